"""Face parts on a face drawn by hand, where every answer is known, and on a photographed adult."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from mediapipe.tasks.python.vision import FaceLandmarksConnections as Connections
from PIL import Image

from infant_fer import regions
from infant_fer.alignment import CropSpec, align_face
from infant_fer.face_detection import FaceDetector
from infant_fer.regions import OUTLINES, PART_WORDS, PARTS, TRIANGLES, density_ratio_per_part, part_map, share_per_part

SIZE = 100


def ring(count: int, centre_xy: tuple[float, float], radii: tuple[float, float], start: str) -> np.ndarray:
    """Return `count` points on an ellipse: clockwise from the top, or from the left downwards as the lips run."""
    angles = np.arange(count) * 2 * np.pi / count
    along, across = (np.sin(angles), -np.cos(angles)) if start == "top" else (-np.cos(angles), np.sin(angles))
    return np.stack([along, across], 1) * radii + centre_xy


def drawn_face(mouth_height: float = 6.0) -> np.ndarray:
    """Return (478, 2) mesh of a round face of radius 45 in the middle of a 100 px crop."""
    points = np.full((478, 2), 50.0)
    points[list(regions.FACE_OVAL)] = ring(36, (50, 50), (45, 45), "top")
    points[list(regions.NOSE)] = ring(20, (50, 52), (8, 11), "top")
    points[list(regions.OUTER_LIPS)] = ring(20, (50, 74), (14, mouth_height), "left")
    points[[9, 8]] = (50, 31), (50, 36)
    outer_to_inner = np.linspace(22, 42, 5)
    lower, upper = [(x, 34) for x in outer_to_inner], [(x, 30) for x in outer_to_inner[::-1]]
    right_brow, right_eye = np.array(lower + upper), ring(16, (32, 43), (8, 3), "left")
    points[list(regions.RIGHT_BROW)], points[list(regions.LEFT_BROW)] = right_brow, mirrored(right_brow)
    points[list(regions.RIGHT_EYE)], points[list(regions.LEFT_EYE)] = right_eye, mirrored(right_eye)
    return points


def mirrored(points: np.ndarray) -> np.ndarray:
    return np.stack([100 - points[:, 0], points[:, 1]], 1)


def part_at(parts: np.ndarray, x: float, y: float) -> str:
    return PARTS[parts[round(y), round(x)]]


@pytest.mark.parametrize(
    ("x", "y", "part"),
    [
        (32, 43, "eyes"),
        (68, 43, "eyes"),
        (32, 32, "brows"),
        (68, 32, "brows"),
        (50, 33, "brows"),  # the frown between them
        (50, 52, "nose"),
        (50, 74, "mouth"),
        (37, 74, "mouth"),
        (15, 60, "cheeks"),
        (85, 60, "cheeks"),
        (50, 15, "forehead"),
        (50, 90, "chin"),
        (1, 1, "outside"),
        (98, 50, "outside"),
    ],
)
def test_each_place_of_the_drawn_face_has_its_part(x, y, part):
    assert part_at(part_map(drawn_face(), SIZE), x, y) == part


def test_every_pixel_has_one_part_and_the_face_has_the_area_of_its_circle():
    parts = part_map(drawn_face(), SIZE)
    assert parts.shape == (SIZE, SIZE)
    assert parts.dtype == np.uint8
    assert set(np.unique(parts)) == set(range(len(PARTS)))
    assert (parts != PARTS.index("outside")).sum() == pytest.approx(np.pi * 45**2, rel=0.02)


def test_the_map_of_an_upright_drawn_face_is_its_own_mirror_image():
    parts = part_map(drawn_face() - (0.5, 0), SIZE)  # now the axis runs between the pixels 49 and 50
    assert (parts != parts[:, ::-1]).mean() < 0.02


def test_an_open_mouth_is_all_mouth_and_leaves_a_chin():
    closed, opened = part_map(drawn_face(3), SIZE), part_map(drawn_face(14), SIZE)
    assert part_at(closed, 50, 84) == "chin"
    assert part_at(opened, 50, 84) == "mouth"
    assert part_at(opened, 50, 93) == "chin"


def test_lids_and_lip_edges_count_with_the_eye_and_the_mouth():
    parts = part_map(drawn_face(), SIZE)  # the root of the area is 80, so 3 % are 2 px
    assert part_at(parts, 32, 43 + 3 + 2) == "eyes"
    assert part_at(parts, 32, 43 + 3 + 5) == "cheeks"
    assert part_at(parts, 50, 74 + 6 + 2) == "mouth"
    assert part_at(parts, 50, 74 + 6 + 5) == "chin"


@pytest.mark.parametrize("shift", [(1000, 0), (0, -1000)])
def test_a_mesh_outside_the_crop_leaves_only_outside(shift):
    assert (part_map(drawn_face() + shift, SIZE) == PARTS.index("outside")).all()


def test_a_face_partly_outside_keeps_the_parts_that_are_in():
    parts = part_map(drawn_face() - (50, 0), SIZE)
    assert part_at(parts, 18, 43) == "eyes"
    assert part_at(parts, 60, 50) == "outside"


def test_all_weight_in_the_mouth_is_a_mouth_share_of_one():
    parts = part_map(drawn_face(), SIZE)
    shares = share_per_part((parts == PARTS.index("mouth")).astype(np.float32), parts)
    assert shares == {part: float(part == "mouth") for part in PARTS}


def test_shares_weigh_the_map_and_sum_to_one():
    parts = np.zeros((2, 2), np.uint8)
    parts[1] = PARTS.index("mouth")
    shares = share_per_part(np.array([[1, 0], [2, 1]]), parts)
    assert shares["brows"] == 0.25
    assert shares["mouth"] == 0.75
    assert sum(shares.values()) == pytest.approx(1)


def test_an_empty_map_has_the_shares_of_the_areas():
    parts = np.zeros((2, 2), np.uint8)
    parts[0, 0] = PARTS.index("outside")
    shares = share_per_part(np.zeros((2, 2)), parts)
    assert shares["brows"] == 0.75
    assert shares["outside"] == 0.25


def test_density_ratio_is_share_over_area():
    parts = np.full((10, 10), PARTS.index("cheeks"), np.uint8)
    parts[0] = PARTS.index("mouth")
    values = np.ones((10, 10))
    values[0] = 9
    ratio = density_ratio_per_part(values, parts)
    assert ratio["mouth"] == pytest.approx(5)  # half of the map on a tenth of the crop
    assert ratio["cheeks"] == pytest.approx(0.5 / 0.9)
    assert ratio["eyes"] == 0


def test_every_part_has_words():
    assert tuple(PART_WORDS) == PARTS


def edges(pairs) -> set[frozenset[int]]:
    return {frozenset(pair) for pair in pairs}


def reference(*names: str) -> set[frozenset[int]]:
    return edges((line.start, line.end) for name in names for line in getattr(Connections, f"FACE_LANDMARKS_{name}"))


@pytest.mark.parametrize(
    ("part", "names"),
    [("face", ["FACE_OVAL"]), ("eyes", ["LEFT_EYE", "RIGHT_EYE"]), ("mouth", ["LIPS"])],
)
def test_closed_outlines_are_mediapipes(part, names):
    assert edges(pair for path in OUTLINES[part] for pair in pairwise(path)) == reference(*names)


def test_right_and_left_are_the_infants():
    assert reference("RIGHT_EYEBROW") <= edges(pairwise(regions.RIGHT_BROW)) | {frozenset((70, 46))}
    assert reference("LEFT_EYEBROW") <= edges(pairwise(regions.LEFT_BROW)) | {frozenset((300, 276))}


def test_nose_lines_are_mediapipes():
    assert edges(pair for path in OUTLINES["nose"] for pair in pairwise(path)) <= reference("NOSE")


def test_triangles_are_mediapipes_tesselation():
    assert TRIANGLES.shape == (852, 3)
    assert set(TRIANGLES.ravel()) == set(range(468))  # all but the ten points of the irises
    sides = edges(pair for a, b, c in TRIANGLES.tolist() for pair in ((a, b), (b, c), (c, a)))
    assert sides == reference("TESSELATION")


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    """Return the photograph of Eileen Collins in scikit-image (public domain, NASA), (512, 512, 3) uint8."""
    skimage = pytest.importorskip("skimage", reason="scikit-image carries the photograph")
    return np.array(Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB"))


# Mesh points whose mean lies inside the part.
PLACES = {"eyes": [33, 133], "mouth": [61, 291], "nose": [4], "brows": [52, 66], "forehead": [10, 9], "chin": [152, 17]}


@pytest.mark.parametrize("quarter_turns", [0, 1])
@pytest.mark.parametrize("size", [80, 224])
def test_parts_of_a_photographed_face_lie_where_they_should(astronaut, quarter_turns, size):
    photo = np.ascontiguousarray(np.rot90(astronaut, quarter_turns))
    face = FaceDetector().find(photo)[0]
    aligned = align_face(photo, face, CropSpec(size))
    landmarks = aligned.to_crop(face.landmarks_px)
    parts = part_map(landmarks, size)
    for part, indices in PLACES.items():
        assert part_at(parts, *landmarks[indices].mean(0)) == part
    shares = share_per_part(np.ones((size, size)), parts)
    assert shares["cheeks"] > shares["mouth"] > 0.04
    assert 0.2 < shares["outside"] < 0.45
