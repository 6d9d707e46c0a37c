"""Baselines that are fitted on the train faces."""

from dataclasses import replace

import numpy as np
import pytest

from infant_fer.data.labeled_images import AlignedDataset
from infant_fer.evaluation.predictions import baselines
from infant_fer.face import BLENDSHAPE_COUNT, LANDMARK_COUNT
from tests.data.test_splits import city


@pytest.fixture
def faces() -> AlignedDataset:
    """Return 24 faces of 8 infants, each a picture of noise of its own."""
    random, images = np.random.default_rng(0), city(8)
    count = len(images)
    crops = np.repeat(random.integers(0, 256, (count, 32, 32, 1), np.uint8), 3, axis=3)
    geometry = random.normal(size=(count, BLENDSHAPE_COUNT)).astype(np.float32)
    return AlignedDataset(
        images, crops, geometry, np.zeros((count, LANDMARK_COUNT, 2), np.float32), np.ones(count, bool)
    )


def test_the_most_alike_train_face_gives_its_label(faces):
    random = np.random.default_rng(1)
    noise = random.integers(-20, 21, faces.crops.shape[:3])[..., None]
    again = np.clip(np.int16(faces.crops) + noise, 0, 255).astype(np.uint8)
    order = random.permutation(len(faces))
    measured = replace(faces, crops=again).rows(order)
    measured.found[0] = False
    copied = baselines(faces, measured)["most alike train face"]
    assert (copied.predicted == faces.images.truth[order])[1:].all()
    assert copied.probabilities[0] == pytest.approx([1 / 3] * 3)
    assert copied.probabilities[1:].max(1) == pytest.approx(1)


def test_whole_pictures_have_the_majority_class_to_compare_with(faces):
    whole = replace(faces, found=np.zeros(len(faces), bool))
    assert set(baselines(whole, whole)) == {"majority class"}
