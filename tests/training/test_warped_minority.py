"""Real train faces that the mesh warps towards a class of few pictures: in train alone, and moved as the class's mean is."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from infant_fer.alignment import CropSpec, aligned_landmarks
from infant_fer.data.labeled_images import one_hot
from infant_fer.errors import DatasetError
from infant_fer.face import LANDMARK_COUNT, LEFT_EYE_CORNERS, MOUTH_CORNERS, RIGHT_EYE_CORNERS
from infant_fer.training.config import DataConfig, ExperimentConfig, FoldsConfig, balanced
from infant_fer.training.minority import warped, with_warped
from tests.drawn_data import face_dataset

LABELS = ("positive", "neutral", "negative")
CROP = CropSpec(96)
NOSE = (1, 2, 3, 4, 5)  # landmarks that stand for a nose here: its tip and four points around it
TIP, AROUND = np.array([48.0, 50.0]), np.array([[0, 0], [-6, -6], [6, -6], [-6, 6], [6, 6]])
LOWER = 6.0  # px in the crop that the nose of negative faces lies lower


def faces(counts: tuple[int, int, int]):
    """Return train faces with a white dot at the nose's tip, and one dev face of each class; the anchors are at the template."""
    truth = np.concatenate([np.repeat(np.arange(3), counts), np.arange(3)])
    random = np.random.default_rng(0)
    elsewhere = random.uniform(10, 86, (8 * LANDMARK_COUNT, 2))
    elsewhere = elsewhere[np.abs(elsewhere - TIP).max(1) > 16][:LANDMARK_COUNT]
    points = np.tile(elsewhere, (len(truth), 1, 1))
    for corners, at in zip((RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS, MOUTH_CORNERS), CROP.anchors_px, strict=True):
        points[:, list(corners)] = at + np.array([[-5.0, 0], [5, 0]])
    points[:, NOSE] = TIP + AROUND
    points[np.ix_(truth == 2, NOSE, [1])] += LOWER
    crops = np.zeros((len(truth), 96, 96, 3), np.uint8)
    for crop, place in zip(crops, points[:, NOSE[0]], strict=True):
        cv2.circle(crop, tuple(int(value) for value in place), 3, (255, 255, 255), -1)
    dataset = face_dataset(crops, np.ones((len(truth), 285)), one_hot(truth, 3))
    photo = points * 2 + 40  # another scale and place in the photo
    dataset = replace(dataset, landmarks_px=photo.astype(np.float32), images=replace(dataset.images, heads={}))
    return dataset, np.array(["train"] * (len(truth) - 3) + ["dev"] * 3)


def lightest(crop: np.ndarray) -> np.ndarray:
    """Return where the dot is, x and y."""
    rows, columns = np.nonzero(crop[..., 0] > 128)
    return np.array([columns.mean(), rows.mean()])


def test_landmarks_of_the_photo_are_found_again_in_the_crop():
    dataset, _ = faces((1, 1, 1))
    np.testing.assert_allclose(aligned_landmarks(dataset.landmarks_px, CROP.anchors_px)[0, NOSE[0]], TIP, atol=1e-3)


def test_a_picture_moves_with_its_points_and_its_border_stays():
    points = np.concatenate([TIP + AROUND, [[48.0, 80.0], [20.0, 40.0], [76.0, 40.0]]])
    crop = np.zeros((96, 96, 3), np.uint8)
    cv2.circle(crop, (48, 50), 3, (255, 255, 255), -1)
    crop[0] = 200
    shift = np.array([[0, LOWER]] * 5 + [[0, 0]] * 3)
    np.testing.assert_array_equal(warped(crop, points, 0 * shift), crop)
    moved = warped(crop, points, shift)
    np.testing.assert_allclose(lightest(moved[10:]), np.add(TIP, (0, LOWER - 10)), atol=0.2)
    assert (moved[0] == 200).all()


def test_neutral_train_faces_become_faces_of_the_rare_class():
    dataset, splits = faces((30, 30, 12))
    said = []
    more, new_splits = with_warped(dataset, splits, "negative", CROP, log=said.append)
    added = more.rows(np.arange(len(dataset), len(more)))
    assert len(added) == 18  # 30 less 12
    assert (added.images.truth == 2).all()
    assert (added.images.target == [0, 0, 1]).all()
    assert (new_splits[len(splits) :] == "train").all()
    assert (new_splits[: len(splits)] == splits).all()
    neutral = set(dataset.images.subject[(splits == "train") & (dataset.images.truth == 1)])
    assert set(added.images.subject) <= neutral  # an infant stays on one side
    lower = np.array([lightest(crop)[1] for crop in added.crops]) - 50
    assert (lower > 0.6 * LOWER).all()
    assert (lower < 1.4 * LOWER).all()
    assert lower.std() > 0.3  # of varied strength
    assert not added.found.any()  # no landmarks of its own
    assert said == ["18 faces of neutral are warped to negative"]
    again, _ = with_warped(dataset, splits, "negative", CROP, log=said.append)
    np.testing.assert_array_equal(again.crops, more.crops)


def test_a_large_class_gets_none_and_a_tiny_one_has_no_mean():
    dataset, splits = faces((12, 12, 12))
    assert with_warped(dataset, splits, "negative", CROP, log=lambda line: None)[0] is dataset
    dataset, splits = faces((30, 30, 9))
    with pytest.raises(DatasetError, match="needs 10 train faces of each"):
        with_warped(dataset, splits, "negative", CROP, log=lambda line: None)


def test_a_class_that_the_data_lack_is_said_in_one_sentence():
    dataset, splits = faces((12, 12, 12))
    with pytest.raises(DatasetError, match="no class 'disgust' to fill; there are positive, neutral, negative"):
        with_warped(dataset, splits, "disgust", CROP, log=lambda line: None)


def test_the_option_goes_with_aligned_crops_and_without_folds():
    config = ExperimentConfig(data=DataConfig("x"), base="b", output=None)
    assert balanced(config, "warped:Disgusted").warped == "disgust"
    for other in (replace(config, folds=FoldsConfig(5)), replace(config, data=DataConfig("x", crops="whole"))):
        with pytest.raises(DatasetError, match="--balance warped adds aligned faces"):
            balanced(other, "warped:disgust")
    with pytest.raises(DatasetError, match="synthetic:CLASS and warped:CLASS"):
        balanced(config, "warped")
