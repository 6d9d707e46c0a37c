"""The crop: known similarities, points there and back, no aliasing."""

import numpy as np
import pytest

from infant_fer.alignment import AlignedFace, CropSpec, align_face, similarity, whole_picture
from infant_fer.face import LEFT_EYE_CORNERS, MOUTH_CORNERS, RIGHT_EYE_CORNERS, Face, HeadPose

SPEC = CropSpec(size=96, margin=0.15)


def face_at(anchors_px) -> Face:
    """Return a face whose eye and mouth corners lie at three points."""
    landmarks = np.tile(np.mean(anchors_px, 0), (478, 1)).astype(np.float32)
    for corners, point in zip((RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS, MOUTH_CORNERS), anchors_px, strict=True):
        landmarks[list(corners)] = point
    return Face(landmarks, {}, HeadPose(0, 0, 0))


def turned(points: np.ndarray, degrees: float, scale: float, shift) -> np.ndarray:
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ rotation.T * scale + shift


@pytest.mark.parametrize(
    ("degrees", "scale", "shift"), [(0, 1, (0, 0)), (30, 2.5, (40, -7)), (180, 0.3, (5, 5)), (-90, 1, (9, 100))]
)
def test_a_similarity_is_recovered(degrees, scale, shift):
    source = np.array([[0, 0], [1, 0], [0.5, 2]], float)
    matrix = similarity(source, turned(source, degrees, scale, shift))
    assert np.hypot(matrix[0, 0], matrix[1, 0]) == pytest.approx(scale)
    assert np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])) % 360 == pytest.approx(degrees % 360)


def test_coinciding_points_give_a_finite_matrix():
    assert np.isfinite(similarity(np.ones((3, 2)), SPEC.anchors_px)).all()


@pytest.mark.parametrize("degrees", [0, 45, 90, 180, 270])
def test_eyes_and_mouth_fall_on_the_template(degrees):
    anchors = turned(SPEC.anchors_px - 48, degrees, 2, (300, 200))
    photo = np.zeros((400, 600, 3), np.uint8)
    aligned = align_face(photo, face_at(anchors), SPEC)
    assert aligned.crop_rgb.shape == (96, 96, 3)
    np.testing.assert_allclose(aligned.to_crop(anchors), SPEC.anchors_px, atol=1e-3)
    np.testing.assert_allclose(aligned.to_photo(aligned.to_crop(anchors)), anchors, atol=1e-6)


def test_a_large_face_is_averaged_not_sampled():
    stripes = np.zeros((960, 960, 3), np.uint8)
    stripes[:, ::2] = 255  # finer than the crop's pixels: a sampled crop would be black, white or striped
    crop = align_face(stripes, face_at(SPEC.anchors_px * 10), SPEC).crop_rgb
    assert abs(crop.mean() - 127.5) < 3
    assert crop.std() < 12


def test_a_map_returns_to_where_the_face_is():
    anchors = turned(SPEC.anchors_px - 48, 90, 1, (100, 100))
    aligned = align_face(np.zeros((200, 200, 3), np.uint8), face_at(anchors), SPEC)
    spot = np.zeros((96, 96), np.float32)
    x, y = SPEC.anchors_px[2].round().astype(int)
    spot[y - 2 : y + 3, x - 2 : x + 3] = 1
    on_photo = aligned.map_to_photo(spot, (200, 200))
    peak = np.argwhere(on_photo > 0.9).mean(0)[::-1]
    np.testing.assert_allclose(peak, anchors[2], atol=1.5)
    assert on_photo[0, 0] == 0


def test_a_whole_picture_fits_into_the_crop():
    aligned = whole_picture(np.full((48, 24, 3), 200, np.uint8), SPEC)
    assert isinstance(aligned, AlignedFace)
    edges = np.array([[-0.5, -0.5], [23.5, 47.5]])  # of a picture 24 wide and 48 high, between pixels
    np.testing.assert_allclose(aligned.to_crop(edges), [[23.5, -0.5], [71.5, 95.5]])


def test_a_symmetric_picture_stays_symmetric():
    half = np.random.default_rng(0).integers(0, 256, (48, 24, 3), dtype=np.uint8)
    crop = whole_picture(np.hstack([half, half[:, ::-1]]), SPEC).crop_rgb
    assert np.abs(crop.astype(int) - crop[:, ::-1]).max() <= 1
