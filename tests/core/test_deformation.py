"""How one face differs from the mean neutral one: by hand on the triangles, on renders, on the page, and where it is declined."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from infant_fer.deformation import CHANGE, MOST_TURN, TURNED, change_words, changed_triangles, neutral_triangles
from infant_fer.drawing import CHANGE_OVERLAY, close_up, draw_faces
from infant_fer.face import LANDMARK_COUNT, Face, HeadPose
from infant_fer.images import load_photo
from infant_fer.locales import translator
from infant_fer.models.geometry import POINTS
from infant_fer.ui.lab.reading import redrawn_face
from infant_fer.ui.photo.tab import PhotoEvents
from infant_fer.ui.photo.view import read_photo
from infant_fer.ui.sessions import DisplayOptions, Session
from tests.conftest import EXAMPLES

LIPS = (13, 14)  # the middle of the upper and of the lower lip's inner edge


@pytest.fixture(scope="module")
def reports(analyzer):
    return {name: analyzer.analyze(EXAMPLES / f"{name}.jpg") for name in ("neutral", "cry")}


def face_of(points: np.ndarray, yaw: float = 0.0, pitch: float = 0.0) -> Face:
    """A face whose geometry.POINTS are (P, 2), 100 px for the distance from eyes to mouth, turned a quarter in the photo."""
    landmarks = np.zeros((LANDMARK_COUNT, 2), np.float32)
    landmarks[list(POINTS)] = 300 + 100 * points[:, ::-1] * [-1, 1]
    return Face(landmarks, {}, HeadPose(yaw, pitch, 90.0))


def test_the_mean_neutral_face_has_no_change_wherever_it_is_in_the_photo():
    neutral = neutral_triangles()
    corners, changes = changed_triangles(face_of(neutral.neutral))
    assert corners.shape == (len(neutral.triangles), 3, 2)
    assert len(changes) > 150
    np.testing.assert_allclose(changes, 0, atol=0.03)


def test_parted_lips_change_the_triangles_between_them_alone():
    neutral = neutral_triangles()
    moved = neutral.neutral.copy()
    lower = POINTS.index(LIPS[1])
    moved[lower, 1] += 0.1
    _, changes = changed_triangles(face_of(moved))
    touched = (neutral.triangles == lower).any(1)
    assert (np.abs(changes[touched]) > 0.1).any()
    np.testing.assert_allclose(changes[~touched], 0, atol=0.03)


@pytest.mark.parametrize(("yaw", "pitch"), [(MOST_TURN + 1, 0.0), (0.0, -MOST_TURN - 1)])
def test_a_turned_head_is_declined_in_a_sentence(yaw, pitch):
    neutral = neutral_triangles().neutral
    assert f"{MOST_TURN:g} degrees" in TURNED
    assert change_words(face_of(neutral, yaw, pitch)) == TURNED
    assert len(changed_triangles(face_of(neutral, yaw, pitch))[0]) == 0
    assert change_words(face_of(neutral, MOST_TURN - 1, 1 - MOST_TURN)) == CHANGE


def test_a_cry_colours_the_mouth_and_a_turned_head_nothing(reports):
    view = close_up(reports["cry"])
    drawn, plain = (draw_faces(view, 1, overlay).astype(int) for overlay in (CHANGE_OVERLAY, "box only"))
    x, y = view.faces[0].face.landmarks_px[list(LIPS)].mean(0).round().astype(int)
    red, _, blue = (drawn - plain)[y, x]
    assert red > blue  # orange: larger than in a neutral face
    face = view.faces[0]
    turned = replace(face, face=replace(face.face, pose=HeadPose(MOST_TURN + 1, 0.0, 0.0)))
    np.testing.assert_array_equal(draw_faces(replace(view, faces=(turned,)), 1, CHANGE_OVERLAY), plain)


def test_the_page_says_what_the_change_shows_and_that_no_model_is_in_it(analyzer, reports):
    registry, session = SimpleNamespace(analyzer=lambda checkpoint, on_progress=None: analyzer), Session(language="de")
    session.display = DisplayOptions(CHANGE_OVERLAY)
    *_, words = read_photo(registry, session, load_photo(EXAMPLES / "cry.jpg"), "any")
    assert translator("de")(CHANGE) in words
    assert "not what the model used" in CHANGE
    events = PhotoEvents(registry, SimpleNamespace(get=lambda session_hash: session))
    visitor = SimpleNamespace(session_hash="visitor")
    assert events.display(visitor, "mesh", 0.8, True, "smooth")[2] == ""
    face = session.report.faces[0]
    turned = replace(face, face=replace(face.face, pose=HeadPose(40.0, 0.0, 0.0)))
    session.report = replace(session.report, faces=(turned,))
    _, short = redrawn_face(session, CHANGE_OVERLAY)  # of the Lab
    assert translator("de")(TURNED) in short
    assert "lab-short" in short
    assert translator("de")(TURNED) in events.display(visitor, CHANGE_OVERLAY, 0.8, True, "smooth")[2]
