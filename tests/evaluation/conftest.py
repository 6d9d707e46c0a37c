"""Twelve infants with three pictures each, none of which shows a face, for whole runs."""

import cv2
import numpy as np
import pytest

from infant_fer.data.datasets import read_labeled_images
from infant_fer.labels import AFFECTS
from infant_fer.models.geometry import GEOMETRY_SIZE
from tests.drawn_data import scene, store_faces


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Twelve infants with three pictures each."""
    folder = tmp_path_factory.mktemp("labelled")
    for number in range(36):
        label = AFFECTS[number % 3]
        cv2.imwrite(str(folder / f"i{number // 3:02}_{label}.png"), scene(label, number))
    return folder


@pytest.fixture(scope="module")
def cache(labelled, tmp_path_factory):
    """Faces as if they had been found in the labelled pictures, the whole of each: looking for them takes minutes."""
    pictures = read_labeled_images(labelled)
    whole = [
        cv2.resize(cv2.imread(member)[..., ::-1], (32, 32), interpolation=cv2.INTER_AREA) for member in pictures.members
    ]
    geometry = np.random.default_rng(0).normal(size=(len(whole), GEOMETRY_SIZE)).astype(np.float32)
    folder = tmp_path_factory.mktemp("cache")
    store_faces(pictures, folder, np.stack(whole), geometry)
    return folder
