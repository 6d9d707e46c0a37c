"""Heads fitted to frozen features: targets of action units on real faces, and what a fit finds and leaves alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from infant_fer.classifier import AffectClassifier
from infant_fer.face import BLENDSHAPES
from infant_fer.face_detection import FaceDetector
from infant_fer.images import load_image
from infant_fer.labels import ACTION_UNITS, AFFECTS, meters
from infant_fer.models.geometry import GEOMETRY_SIZE
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel
from infant_fer.training.action_units import observed_action_units
from infant_fer.training.infant_face.data import RecipeData
from infant_fer.training.infant_face.linear_heads import (
    add_head,
    add_missing_heads,
    features,
)
from infant_fer.training.optimization import known_cross_entropy
from infant_fer.training.rendered import RenderedFaces
from tests.drawn_data import EXAMPLES, drawn_face, face_dataset

COLUMN = {unit: index for index, unit in enumerate(ACTION_UNITS)}


def small_model(members: int = 1) -> InfantFaceModel:
    torch.manual_seed(0)
    sizes = {"stem_width": 8, "widths": (8, 16, 32), "blocks_per_stage": 1, "geometry_size": GEOMETRY_SIZE}
    return InfantFaceModel(InfantFaceConfig(members=members, **sizes)).eval()


def test_blendshapes_are_named_in_the_detectors_order():
    face = FaceDetector().find(load_image(sorted(EXAMPLES.glob("*.jpg"))[0]))[0]
    assert tuple(face.blendshapes) == BLENDSHAPES


def faces(affects: list[str]):
    count = len(affects)
    geometry = np.zeros((count, GEOMETRY_SIZE))
    geometry[:, BLENDSHAPES.index("browDownRight")] = 0.7
    geometry[:, BLENDSHAPES.index("mouthSmileLeft")] = 0.3
    crops = np.stack([drawn_face(affect, number) for number, affect in enumerate(affects)])
    affect = np.eye(3)[[AFFECTS.index(name) for name in affects]]
    return face_dataset(crops, geometry, affect, eyes_closed=np.arange(count) == 1, usable=np.ones(count))


def test_blendshapes_and_raters_say_what_is_known_of_action_units():
    units = observed_action_units(faces(["positive", "neutral", "negative"]))
    assert units[:, COLUMN["AU4"]] == pytest.approx(0.7)  # the stronger side
    assert units[:, COLUMN["AU12"]].tolist() == pytest.approx([0.6, 0, 0])
    assert units[:, COLUMN["AU43"]].tolist() == [0, 1, 0]
    assert np.isnan(units[:, COLUMN["AU26"]]).all()
    assert np.isnan(units[:, COLUMN["AU20"]]).tolist() == [True, False, True]
    unseen = observed_action_units(replace(faces(["positive"]), found=np.zeros(1, bool)))
    assert np.isnan(unseen[0, COLUMN["AU4"]])
    assert unseen[0, COLUMN["AU12"]] == pytest.approx(0.6)


def test_each_network_is_fitted_to_its_own_features_and_unknown_targets_do_not_count():
    model, random = small_model(members=2), np.random.default_rng(0)
    seen = random.normal(size=(400, 64)).astype(np.float32)
    truth = np.full((400, len(ACTION_UNITS)), np.nan, np.float32)
    truth[:, 0], truth[:, 1] = (
        seen[:, 3] > 0,
        seen[:, 32 + 5] > 0,
    )  # of the first network's features, and of the second's
    add_head(model, "action_units", seen, truth, known_cross_entropy)
    first, second = (reader.action_units for reader in model.readers)
    assert first.weight[0].abs().argmax() == 3
    assert second.weight[1].abs().argmax() == 5
    assert first.weight[1].abs().max() < first.weight[0].abs().max() / 5
    assert first.weight[2:].abs().max() == 0
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 96, 96)).action_unit_logits.shape == (2, len(ACTION_UNITS))


def test_only_missing_heads_are_added_and_the_others_keep_their_answers():
    model, infants = small_model(), faces(list(AFFECTS) * 4)
    count = len(infants)
    infants.images.heads["votes"] = np.eye(8, dtype=np.float32)[[index % 8 for index in range(count)]]
    data = RecipeData(infants, np.ones(count, bool), infants, infants, np.ones(count, bool), np.arange(count) < 6)
    rendered = RenderedFaces(
        infants.crops[..., 0],
        infants.crops[..., 0],
        np.tile(np.linspace(0, 1, 12, dtype=np.float32), (count, 1)),
        np.arange(count),
    )
    before = model(torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1)))
    add_missing_heads(model, data, None)
    assert {"votes", "action_units"} & set(model.config.heads) == {"votes"}
    kept = model.readers[0].votes.weight.clone()
    add_missing_heads(model, data, rendered)
    assert {"votes", "action_units"} <= set(model.config.heads)
    after = model(torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(model.readers[0].votes.weight, kept)
    assert torch.equal(before.image_logits, after.image_logits)
    assert after.vote_logits.shape == (2, 8)
    assert features(model, infants.crops).shape == (count, 32)


def test_a_prediction_has_strengths_and_meters(tmp_path):
    model = small_model()
    model.add_head("action_units")
    torch.nn.init.zeros_(model.readers[0].action_units.weight)
    bias = torch.full((len(ACTION_UNITS),), -30.0)
    bias[COLUMN["AU12"]], bias[COLUMN["AU43"]] = 0.0, 30.0
    model.readers[0].action_units.bias.data = bias
    classifier = AffectClassifier(model, _processor(), "test")
    prediction = classifier.prediction(
        {"logits": torch.zeros(3), "action_unit_logits": model.readers[0].action_units(torch.zeros(32)).detach()}
    )
    assert tuple(prediction.action_units) == ACTION_UNITS
    assert prediction.action_units["AU12"] == pytest.approx(0.5)
    assert meters(prediction.action_units) == pytest.approx(
        {"smile": 0.5, "knit brow": 0, "narrowed eyes": 1, "open mouth": 0}
    )


def _processor():
    from transformers import ViTImageProcessorPil

    from infant_fer.training.infant_face.data import PROCESSOR

    return ViTImageProcessorPil(**PROCESSOR)
