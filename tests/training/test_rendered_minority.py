"""Renders that fill a class of few pictures: in train alone, as many as bring it to the median of the other classes."""

from dataclasses import replace

import numpy as np
import pytest

from infant_fer.alignment import CropSpec
from infant_fer.data.labeled_images import one_hot
from infant_fer.errors import DatasetError
from infant_fer.training import minority
from infant_fer.training.config import DataConfig, ExperimentConfig, FoldsConfig, balanced
from infant_fer.training.minority import with_renders
from tests.drawn_data import face_dataset

LABELS = ("happy", "sad", "disgust")
CROP = CropSpec(32)


def faces(counts: dict[str, int]):
    """Return train faces with so many of each class, and one dev face of each."""
    truth = np.repeat(np.arange(3), [counts[name] for name in LABELS])
    truth = np.concatenate([truth, np.arange(3)])
    crops = np.zeros((len(truth), 32, 32, 3), np.uint8)
    dataset = face_dataset(crops, np.zeros((len(truth), 285)), one_hot(truth, 3))
    dataset = replace(dataset, images=replace(dataset.images, labels=LABELS, heads={}))
    return dataset, np.array(["train"] * (len(truth) - 3) + ["dev"] * 3)


@pytest.mark.slow
def test_renders_bring_a_class_to_the_median_of_the_others(tmp_path):
    dataset, splits = faces({"happy": 5, "sad": 3, "disgust": 2})
    said = []
    more, new_splits = with_renders(dataset, splits, "disgust", CROP, tmp_path, said.append)
    added = len(more) - len(dataset)
    assert 1 <= added <= 2  # the median of 5 and 3, less 2; a render without a found face does not count
    assert (more.images.truth[-added:] == 2).all()
    assert more.found[-added:].all()
    assert more.crops[-added:].std() > 10
    assert (new_splits[-added:] == "train").all()
    assert (new_splits[: len(splits)] == splits).all()
    assert not set(more.images.subject[-added:]) & set(dataset.images.subject)
    assert said[-1] == f"{added} renders of disgust are added to its 2 train pictures"


def test_a_class_that_is_large_already_gets_none(tmp_path, monkeypatch):
    monkeypatch.setattr(minority, "run_job", lambda *_: pytest.fail("rendered"))
    dataset, splits = faces({"happy": 2, "sad": 3, "disgust": 3})
    more, new_splits = with_renders(dataset, splits, "disgust", CROP, tmp_path, lambda line: None)
    assert more is dataset
    assert new_splits is splits


@pytest.mark.parametrize("label", ["contempt", "sad"])
def test_a_class_that_cannot_be_rendered_is_refused(tmp_path, label):
    dataset, splits = faces({"happy": 5, "sad": 3, "disgust": 2})
    with pytest.raises(DatasetError, match="cannot be rendered for these classes; happy, disgust can"):
        with_renders(dataset, splits, label, CROP, tmp_path)


def test_renders_go_with_aligned_crops_and_without_folds():
    config = ExperimentConfig(data=DataConfig("x"), base="b", output=None)
    assert balanced(config, "synthetic:Disgusted").rendered == "disgust"
    for other in (replace(config, folds=FoldsConfig(5)), replace(config, data=DataConfig("x", crops="whole"))):
        with pytest.raises(DatasetError, match="add --crops aligned"):
            balanced(other, "synthetic:disgust")
