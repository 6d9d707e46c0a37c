"""Faces on pictures whose truth is known: an adult's photograph, turned, shrunk, repeated and dotted."""

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from infant_fer.checkpoints import sources
from infant_fer.errors import FaceModelError
from infant_fer.face import BLENDSHAPE_COUNT, Face, HeadPose
from infant_fer.face_detection import FaceDetector
from infant_fer.face_search import (
    NOT_FOUND,
    SearchBudget,
    believed,
    bordered_views,
    filtered_views,
    focus_views,
    grouped,
    tile_views,
    variation,
)
from infant_fer.images import load_image
from tests.conftest import EXAMPLES, HANG_SECONDS, ROOT


@pytest.fixture(scope="module")
def finder() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="module")
def portrait(astronaut) -> np.ndarray:
    """Return an adult's head and shoulders, (300, 300, 3)."""
    return np.ascontiguousarray(astronaut[0:300, 80:380])


def turned(picture: np.ndarray, quarter_turns: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(picture, quarter_turns))


def test_one_face_with_all_it_has(finder, portrait):
    (face,) = finder.find(portrait)
    assert face.landmarks_px.shape == (478, 2)
    assert len(face.blendshapes) == BLENDSHAPE_COUNT
    assert face.blendshapes["mouthSmileLeft"] > 0.5
    left, top, right, bottom = face.box_xyxy
    assert 0 < left < right < 300
    assert 0 < top < bottom < 300
    assert abs(face.pose.yaw) < 15
    right_eye, left_eye, mouth = face.anchors_px
    assert right_eye[0] < mouth[0] < left_eye[0]
    assert mouth[1] > right_eye[1]


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_landmarks_of_a_turned_photo_come_back(finder, portrait, quarter_turns):
    (upright,) = finder.find(portrait)
    (face,) = finder.find(turned(portrait, quarter_turns))
    points = face.landmarks_px.copy()
    for _ in range(quarter_turns):  # rot90 maps (x, y) to (y, 300 - x); undo it
        points = np.stack([300 - points[:, 1], points[:, 0]], 1)
    error = np.median(np.linalg.norm(points - upright.landmarks_px, axis=1)) / upright.height_px
    assert error < 0.03
    expected = (upright.pose.roll - 90 * quarter_turns + 180) % 360 - 180
    assert abs((face.pose.roll - expected + 180) % 360 - 180) < 6


def test_an_infant_upside_down_gets_no_upright_landmarks(finder, monkeypatch):
    """The landmarker fits an upright face to laugh.jpg upside down, brow to mouth, unless both ways are compared."""
    photo = load_image(EXAMPLES / "laugh.jpg")
    (upright,), (face,) = finder.find(photo), finder.find(turned(photo, 2), thorough=False)
    with monkeypatch.context() as patch:
        patch.setattr(FaceDetector, "_right_way_up", lambda self, photo_rgb, face: face)
        (slipped,) = finder.find(turned(photo, 2))
    assert abs(slipped.pose.roll) < 30
    assert abs(face.pose.roll) > 150
    points = np.array(photo.shape[1::-1]) - face.landmarks_px
    assert np.median(np.linalg.norm(points - upright.landmarks_px, axis=1)) / upright.height_px < 0.03


def test_both_of_two_infants_upside_down_are_found(finder):
    photo = load_image(EXAMPLES / "two_faces.jpg")
    assert [abs(face.pose.roll) > 150 for face in finder.find(turned(photo, 2))] == [True, True]


def test_an_upright_infant_beside_one_upside_down_is_found_once(finder):
    pout, laugh = (load_image(EXAMPLES / f"{name}.jpg") for name in ("pout", "laugh"))
    left, right = sorted(finder.find(np.hstack([turned(pout, 2), laugh])), key=lambda face: face.box_xyxy)
    assert abs(left.pose.roll) > 150
    assert abs(right.pose.roll) < 30


def test_a_small_face_upside_down_does_not_take_the_place_of_a_large_one(finder):
    photo, other = (load_image(EXAMPLES / f"{name}.jpg") for name in ("smile", "laugh"))
    photo[135:365, 315:545] = cv2.resize(turned(other[110:530, 110:530], 2), (230, 230))
    faces = sorted(finder.find(photo), key=lambda face: -face.height_px)
    assert faces[0].height_px > 250
    assert abs(faces[0].pose.roll) < 30


def test_variation_counts_views_without_the_face():
    points = np.random.default_rng(0).random((478, 2)).astype(np.float32) * 100

    def moved(*px: float) -> list[Face]:
        return [Face(points + each, {}, HeadPose(0, 0, 0)) for each in px]

    assert variation(moved(0, 0, 0)) == 0
    assert variation([*moved(0, 0), None]) == pytest.approx(NOT_FOUND / 3)
    assert variation([None, None, None]) == NOT_FOUND
    assert 0 < variation(moved(0, 2, 4)) < variation(moved(0, 2, 90)) < NOT_FOUND


def test_the_mirror_image_has_the_opposite_yaw_and_roll(finder, portrait):
    tilted = cv2.warpAffine(portrait, cv2.getRotationMatrix2D((150, 120), -20, 1), (300, 300))  # clockwise
    (face,) = finder.find(tilted)
    (mirrored,) = finder.find(np.ascontiguousarray(tilted[:, ::-1]))
    assert face.pose.roll == pytest.approx(20, abs=6)
    assert mirrored.pose.roll == pytest.approx(-face.pose.roll, abs=5)
    assert mirrored.pose.yaw == pytest.approx(-face.pose.yaw, abs=6)


def test_a_tight_crop_is_found(finder, portrait):
    (face,) = finder.find(portrait)
    left, top, right, bottom = (int(value) for value in face.box_xyxy)
    assert len(finder.find(np.ascontiguousarray(portrait[top:bottom, left:right]))) == 1


def test_small_faces_in_a_wide_picture_are_found_in_tiles(finder, astronaut):
    wide = np.hstack([astronaut, astronaut[:, ::-1], astronaut])  # each face is 7 % of the picture's width
    assert finder.find(wide, thorough=False) == []
    found = finder.find(wide)
    assert len(found) >= 2
    for face in found:
        left, top, right, bottom = face.box_xyxy
        nearest = min(abs((left + right) / 2 - truth) for truth in (226, 1024 - 226, 1024 + 226))
        assert nearest < 15
        assert 60 < top < bottom < 190


def test_the_larger_face_comes_first(finder, portrait):
    canvas = np.full((480, 640, 3), 128, np.uint8)
    canvas[60:480, 0:390] = cv2.resize(portrait, (420, 420), interpolation=cv2.INTER_CUBIC)[:, :390]
    canvas[60:300, 390:630] = cv2.resize(portrait, (240, 240), interpolation=cv2.INTER_AREA)
    found = finder.find(canvas)
    assert len(found) == 2
    assert found[0].height_px > found[1].height_px


def test_a_dotted_photo_is_searched_behind_its_dots(finder, portrait):
    random = np.random.default_rng(0)
    dots = random.random(portrait.shape[:2])
    dotted = portrait.copy()
    dotted[dots < 0.08], dotted[dots > 0.92] = 0, 255
    found = finder.find(dotted)
    assert len(found) == 1
    (truth,) = finder.find(portrait)
    assert np.linalg.norm(found[0].anchors_px - truth.anchors_px, axis=1).max() < 0.1 * truth.height_px


@pytest.mark.parametrize(("name", "size", "share", "seed"), [("cry", 256, 0.08, 2), ("laugh", 256, 0.04, 2)])
def test_dots_do_not_stand_a_face_on_its_head(finder, name, size, share, seed):
    """An open mouth among dots was taken for a forehead, in the view that is rotated by 180°."""
    picture = cv2.resize(load_image(EXAMPLES / f"{name}.jpg"), (size, size), interpolation=cv2.INTER_CUBIC)
    dots = np.random.default_rng(seed).random((size, size))
    picture[dots < share / 2], picture[dots > 1 - share / 2] = 0, 255
    (face,) = finder.find(picture)
    assert abs(face.pose.roll) < 15


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((200, 300, 3), np.uint8),
        np.full((10, 10, 3), 255, np.uint8),
        np.random.default_rng(1).integers(0, 256, (240, 240, 3), dtype=np.uint8),
    ],
    ids=["black", "ten pixels", "noise"],
)
def test_nothing_is_found_where_nothing_is(finder, picture):
    assert finder.find(picture) == []
    assert finder.find(picture, thorough=False) == []


def test_an_easy_face_costs_two_views(finder, portrait, monkeypatch):
    views = []
    plain = FaceDetector._detect
    monkeypatch.setattr(FaceDetector, "_detect", lambda self, view: views.append(1) or plain(self, view))
    finder.find(portrait)
    assert len(views) == 2  # the second upside down


@pytest.mark.parametrize(("seconds", "views_searched"), [(0, 0), (2, 4), (None, None)])
def test_a_search_stops_when_its_time_is_used_up(finder, monkeypatch, seconds, views_searched):
    """Each view takes half a second of a clock that only views move."""
    photo, views = np.zeros((200, 300, 3), np.uint8), []
    monkeypatch.setattr(FaceDetector, "_detect", lambda self, view: views.append(view) or [])
    budget = SearchBudget(1000 if seconds is None else seconds, lambda: len(views) / 2)
    assert finder.find(photo, budget=budget) == []
    assert budget.exhausted == (seconds is not None)
    n_all = 1 + sum(len(list(kind(photo))) for kind in (bordered_views, filtered_views, tile_views))
    assert len(views) == (n_all if views_searched is None else 1 + views_searched)
    assert finder.find_others(photo, [], budget) == []
    assert len(views) == (2 * n_all - 23 if views_searched is None else 1 + views_searched)  # 23 views are no tiles
    views.clear()
    finder.find(photo)
    assert len(views) == n_all


def test_what_was_found_in_time_is_still_confirmed(finder, monkeypatch):
    """The most frequent find is checked with the time used up; the other is not."""
    mesh, clock = np.random.default_rng(0).uniform(0, 100, (478, 2)).astype(np.float32), [0.0]
    often, once = (Face(mesh + shift, {}, HeadPose(0, 0, 0)) for shift in (0, 300))
    answers = iter([[], [], [], [], [], [often], [often], [once]])

    def detect(self, view):
        clock[0] += 0.25
        return next(answers, [often, once])

    monkeypatch.setattr(FaceDetector, "_detect", detect)
    budget = SearchBudget(7 * 0.25, lambda: clock[0] - 0.25)
    assert finder.find(np.zeros((500, 500, 3), np.uint8), budget=budget) == [often]
    assert budget.exhausted


def test_threads_get_the_same_answer(finder, portrait):
    (expected,) = finder.find(portrait)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(finder.find, [portrait] * 8):
            assert np.array_equal(found[0].landmarks_px, expected.landmarks_px)


def test_views_map_back_to_where_they_were_cut():
    photo = np.zeros((300, 400, 3), np.uint8)
    photo[197:204, 97:104] = 255
    checked = 0
    for view in [*bordered_views(photo), *tile_views(photo)]:
        if view.rgb.max() < 200:
            continue
        rows, columns = np.nonzero(view.rgb[..., 0] > view.rgb.max() / 2)
        if min(rows.min(), columns.min()) < 2 or max(rows.max(), columns.max()) > len(view.rgb) - 3:
            continue  # the spot is cut by the view's edge
        back = view.to_photo @ np.array([columns.mean(), rows.mean(), 1])
        assert back == pytest.approx([100, 200], abs=1)
        checked += 1
    assert checked > 20


def test_close_looks_hold_the_find():
    points = np.random.default_rng(0).uniform((100, 100), (160, 160), (478, 2)).astype(np.float32)
    for view in focus_views(np.zeros((300, 300, 3), np.uint8), points, 30):
        inside = cv2.invertAffineTransform(view.to_photo) @ np.array([130, 130, 1])
        assert inside == pytest.approx([160, 160], abs=3)


def test_groups_and_belief():
    face = np.random.default_rng(0).uniform(0, 100, (478, 2))
    near, larger, elsewhere = face + 5, face * 2.5, face + 300
    assert grouped([face, elsewhere, near, larger]) == [[0, 2], [1], [3]]
    assert believed([face], [near * 0 + face + 2])
    assert not believed([face], [])
    assert not believed([face], [face + 15])
    assert believed([face, near], [face + 10])
    assert believed([face] * 4, [])
    assert grouped([]) == []


def test_faces_beside_two_known_ones_that_overlap_are_kept(finder, monkeypatch):
    """Two known meshes at one place (5 px apart, 100 px in size) must not take the place of what the tiles show."""
    mesh = np.random.default_rng(0).uniform(0, 100, (478, 2)).astype(np.float32)
    face, again, beside, also_beside = (Face(mesh + shift, {}, HeadPose(0, 0, 0)) for shift in (0, 5, 300, 600))
    monkeypatch.setattr(FaceDetector, "_confirmed", lambda self, photo_rgb, views, budget: [beside, face, also_beside])
    assert finder.find_others(np.zeros((800, 800, 3), np.uint8), [face, again]) == [beside, also_beside]


def test_a_small_find_inside_a_known_face_is_no_other_face(finder, monkeypatch):
    """An eye or an ear can look like a face: the find is a third as large as the known one, its centre in that one's box."""
    mesh = np.random.default_rng(0).uniform(0, 100, (478, 2)).astype(np.float32)
    face, inner, beside = (Face(points, {}, HeadPose(0, 0, 0)) for points in (mesh, mesh / 3 + 60, mesh / 3 + 200))
    monkeypatch.setattr(FaceDetector, "_confirmed", lambda self, photo_rgb, views, budget: [inner, beside])
    assert finder.find_others(np.zeros((400, 400, 3), np.uint8), [face]) == [beside]


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=HANG_SECONDS
    )


@pytest.mark.slow
def test_a_detector_in_a_reference_cycle_is_closed_by_the_garbage_collector():
    """MediaPipe's own __del__ waited for ever for a worker thread that had already gone."""
    done = run_python(
        "import gc\n"
        "from infant_fer.face_detection import FaceDetector\n"
        "class Holder: pass\n"
        "for _ in range(2):\n"
        "    holder = Holder()\n"
        "    holder.me, holder.detector = holder, FaceDetector()\n"
        "    del holder\n"
        "    gc.collect()\n"
        "print('collected')"
    )
    assert done.stdout == "collected\n", done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_loaded_analyzer_answers_in_a_forked_process():
    done = run_python(
        "import os, signal, sys, torch\n"
        "from infant_fer import Analyzer\n"
        "from infant_fer.analyzer import ExplanationSettings\n"
        "few = ExplanationSettings(samples=4)\n"
        "torch.set_num_threads(2)\n"
        "analyzer = Analyzer.from_pretrained(device='cpu')\n"
        "label = analyzer.explain(analyzer.analyze(sys.argv[1]), settings=few).faces[0].prediction.label\n"
        "child = os.fork()\n"
        "if not child:\n"
        f"    signal.alarm({HANG_SECONDS:.0f} // 2)\n"
        "    report = analyzer.explain(analyzer.analyze(sys.argv[1]), settings=few)\n"
        "    os._exit(0 if report.faces[0].prediction.label == label else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(analyzer.analyze(sys.argv[1]).faces))\n",
        str(EXAMPLES / "smile.jpg"),
    )
    assert done.stdout == "0 1\n", done.stderr


def test_the_bundle_is_checked_by_its_hash(tmp_path):
    wrong = tmp_path / "face_landmarker.task"
    wrong.write_bytes(b"something else")
    assert hashlib.sha256(b"something else").hexdigest() != sources.BUNDLE_SHA256
    with pytest.raises(FaceModelError, match="not the expected"):
        FaceDetector(wrong)
    with pytest.raises(FaceModelError, match="No face landmark bundle"):
        FaceDetector(tmp_path / "nowhere.task")
