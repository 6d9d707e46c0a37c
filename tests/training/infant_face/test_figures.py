"""Figures of the embedded checkpoints that single out the hard faces: quiet negatives, sure mistakes, covered mouths, votes."""

from dataclasses import replace

import numpy as np
import torch

from benchmarks.quiet_negatives import quiet_by_emotion
from infant_fer.evaluation.predictions import Predictions
from infant_fer.face import BLENDSHAPE_COUNT
from infant_fer.labels import ACTION_UNITS, VOTED_EMOTIONS
from infant_fer.models.geometry import EDGES, GEOMETRY_SIZE, POINTS
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel
from infant_fer.training.infant_face.data import RecipeData
from infant_fer.training.infant_face.figures import _covered_auc as covered_auc
from infant_fer.training.infant_face.figures import _fer2013_accuracies as fer2013_accuracies
from infant_fer.training.infant_face.figures import _hard_negatives as hard_negatives
from infant_fer.training.rendered import RenderedFaces
from tests.drawn_data import drawn_face, face_dataset


def faces(affect: list[int], valence: list[float] | None = None, **heads):
    count = len(affect)
    crops = np.stack([drawn_face(("positive", "neutral", "negative")[index], n) for n, index in enumerate(affect)])
    if valence is not None:
        heads["valence_arousal"] = np.stack([valence, np.zeros(count)], 1)
    return face_dataset(crops, np.zeros((count, 4)), np.eye(3)[affect], **heads)


def test_quiet_negatives_and_sure_mistakes_are_counted_among_negatives_alone():
    images = faces([2, 2, 2, 2, 0, 1], [-1.0, -0.5, -1.5, -2.0, -1.0, 0.0]).images
    probabilities = np.array(
        [[0.1, 0.1, 0.8], [0.95, 0.05, 0], [0.85, 0.15, 0], [0.92, 0.08, 0], [1, 0, 0], [0.95, 0.05, 0]]
    )
    quiet, sure = hard_negatives(Predictions.of(images, probabilities), images)
    assert (quiet.right, quiet.n) == (1, 2)
    assert (sure.right, sure.n) == (2, 4)


def test_quiet_by_emotion_needs_closed_lips_and_no_rater_who_saw_a_cry():
    negatives = faces([2] * 5)
    geometry = np.zeros((5, GEOMETRY_SIZE), np.float32)
    geometry[:, BLENDSHAPE_COUNT + 2 * len(POINTS) + EDGES.index((13, 14))] = (0.05, 0.05, 0.2, 0.05, 0.05)
    found = np.array([True, True, True, False, True])
    emotions = np.array([["sad", "angry"], ["sad", "cry"], ["fear", "sad"], ["sad", "sad"], ["neutral", "sad"]])
    quiet = quiet_by_emotion(replace(negatives, geometry=geometry, found=found), emotions)
    assert quiet.tolist() == [True, False, False, False, False]


def small_model(**settings) -> InfantFaceModel:
    torch.manual_seed(0)
    return InfantFaceModel(InfantFaceConfig(stem_width=8, widths=(8, 16, 32), blocks_per_stage=1, **settings)).eval()


def test_a_covered_mouth_is_measured_on_faces_that_show_theirs():
    heads = {"usable": np.ones(6), "mouth_covered": np.array([0, 0, 0, 0, 1, 0])}
    infants = faces([0, 1, 2, 0, 1, 2], **heads)
    cover = np.zeros((1, 96, 96), np.uint8)
    cover[:, 48:] = 255
    occluders = RenderedFaces(np.full((1, 96, 96), 40, np.uint8), cover, np.zeros((1, len(ACTION_UNITS))), np.zeros(1))
    model = small_model()
    chance = covered_auc(model, infants, occluders)["AUC mouth covered, objects pasted"]
    # A head that looks at one feature in which covered and bare faces differ must separate them, in one direction or the other.
    separations = []
    for feature in range(32):
        torch.nn.init.zeros_(model.readers[0].mouth_covered.weight)
        model.readers[0].mouth_covered.weight.data[0, feature] = 1
        separations.append(covered_auc(model, infants, occluders)["AUC mouth covered, objects pasted"])
    assert max(max(separations), 1 - min(separations)) > 0.95
    assert 0 <= chance <= 1
    assert covered_auc(model, infants, None) == {}


def test_votes_are_measured_on_the_official_split():
    count = 6
    votes = np.eye(8)[[VOTED_EMOTIONS.index("sad")] * count]
    votes[5] = 0
    fer = faces([0] * count, votes=votes, emotion_index=np.zeros(count))
    official = np.array(["dev", "dev", "test", "dev", "dev", "dev"])
    images = replace(fer.images, split=np.array(["train"] * 3 + ["dev"] * 3), subgroups={"official split": official})
    fer = replace(fer, images=images)
    everything = np.ones(count, bool)
    data = RecipeData(fer, everything, fer, fer, everything, everything)
    model = small_model(heads=["affect", "emotion", "votes"])
    torch.nn.init.zeros_(model.readers[0].votes.weight)
    model.readers[0].votes.bias.data = torch.eye(8)[VOTED_EMOTIONS.index("sad")]
    emotions, voted = fer2013_accuracies(model, data, "dev")
    assert (voted.right, voted.n) == (4, 4)
    assert emotions.n == 5
    unvoted = replace(images, subgroups={"official split": np.full(count, "")})
    emotions, voted = fer2013_accuracies(model, replace(data, fer=replace(fer, images=unvoted)), "dev")
    assert emotions.n == 3
    assert voted is None
