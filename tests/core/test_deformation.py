"""How one face differs from the mean neutral one: by hand on the triangles, on renders, on the page, and where it is declined."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from infant_fer.deformation import (
    COMPARED,
    CUT_OFF,
    DIFFERENCE,
    MOST_TURN,
    TURNED,
    UNCLEAR,
    aligned_points,
    difference_words,
    differing_triangles,
    neutral_triangles,
    why_declined,
)
from infant_fer.drawing import DIFFERENCE_OVERLAY, close_up, draw_faces
from infant_fer.face import LANDMARK_COUNT, Face, HeadPose
from infant_fer.images import load_photo
from infant_fer.locales import translator
from infant_fer.models.geometry import POINTS
from infant_fer.synthetic import EXPRESSIONS, Light, View, render, sample_infant
from infant_fer.ui.downloads import download
from infant_fer.ui.lab.reading import redrawn_face
from infant_fer.ui.photo.tab import PhotoEvents
from infant_fer.ui.photo.view import read_photo
from infant_fer.ui.sessions import DisplayOptions, Session
from tests.conftest import EXAMPLES

LIPS = (13, 14)  # the middle of the upper and of the lower lip's inner edge


@pytest.fixture(scope="module")
def cry(analyzer):
    return analyzer.analyze(EXAMPLES / "cry.jpg")


def report_of(points: np.ndarray, yaw: float = 0.0, pitch: float = 0.0, verdict: str = "answer", shape=(600, 600)):
    """A report of one face: its geometry.POINTS are (P, 2), 100 px for the distance from eyes to mouth, a quarter turned."""
    landmarks = np.zeros((LANDMARK_COUNT, 2), np.float32)
    landmarks[list(POINTS)] = 300 + 100 * points[:, ::-1] * [-1, 1]
    face = SimpleNamespace(
        face=Face(landmarks, {}, HeadPose(yaw, pitch, 90.0)), assessment=SimpleNamespace(verdict=verdict)
    )
    return SimpleNamespace(photo=SimpleNamespace(rgb=np.zeros((*shape, 3), np.uint8)), face=lambda number: face)


def test_the_mean_neutral_face_has_no_difference_wherever_it_is_in_the_photo():
    neutral = neutral_triangles()
    corners, differences = differing_triangles(report_of(neutral.neutral), 1)
    assert corners.shape == (len(neutral.triangles), 3, 2)
    assert len(differences) > 90
    np.testing.assert_allclose(differences, 0, atol=0.03)


def test_a_lower_lip_further_down_changes_the_triangles_at_it_alone():
    neutral = neutral_triangles()
    moved = neutral.neutral.copy()
    moved[POINTS.index(17), 1] += 0.1
    _, differences = differing_triangles(report_of(moved), 1)
    touched = (neutral.triangles == POINTS.index(17)).any(1)
    assert (np.abs(differences[touched]) > 0.1).any()
    np.testing.assert_allclose(differences[~touched], 0, atol=0.03)


def test_outline_inner_lips_and_low_triangles_are_not_compared():
    neutral = neutral_triangles()
    left_out = {POINTS.index(point) for point in (10, 152, 234, 454, 13, 14)}
    assert not left_out & set(COMPARED)
    assert set(neutral.triangles.ravel()) <= set(COMPARED)
    corners = neutral.neutral[neutral.triangles]
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
    twice = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1]))
    assert (twice / sides.max(1)).min() >= 0.05


def test_a_triangle_that_is_folded_in_this_face_is_left_out():
    neutral = neutral_triangles()
    moved = neutral.neutral.copy()
    corner, *base = neutral.triangles[0]
    moved[corner] += 2 * (moved[base].mean(0) - moved[corner])  # to the other side
    corners, differences = differing_triangles(report_of(moved), 1)
    assert len(corners) == len(differences) < len(neutral.triangles)
    assert neutral.folded(aligned_points(report_of(moved).face(1).face.landmarks_px[None]))[0, 0]


OUTSIDE = {"shape": (600, 310)}  # cuts the face, which stands on its side, through its brows


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"yaw": MOST_TURN + 1}, TURNED),
        ({"pitch": -MOST_TURN - 1}, TURNED),
        ({"verdict": "cannot say"}, UNCLEAR),
        (OUTSIDE, CUT_OFF),
    ],
)
def test_what_cannot_be_compared_is_declined_in_a_sentence(options, words):
    report = report_of(neutral_triangles().neutral, **options)
    assert why_declined(report, 1) == difference_words(report, 1) == words
    assert len(differing_triangles(report, 1)[0]) == 0
    assert f"{MOST_TURN:g} degrees" in TURNED
    ahead = report_of(neutral_triangles().neutral, MOST_TURN - 1, 1 - MOST_TURN, "caution")
    assert difference_words(ahead, 1) == DIFFERENCE


@pytest.mark.slow
def test_a_cry_colours_a_face_more_than_a_slight_turn_does(analyzer):
    triangles, infant = neutral_triangles(), sample_infant(3)

    def differences(expression: str, yaw: float) -> np.ndarray:
        picture = render(infant.express(EXPRESSIONS[expression].actions), View(yaw=yaw), Light(), 160).image
        landmarks_px = analyzer.face_detector.find(picture)[0].landmarks_px
        return np.abs(triangles.area_changes(aligned_points(landmarks_px[None]))[0])

    turned, crying = [differences("neutral", yaw) for yaw in (-8.0, 0.0, 8.0)], differences("cry", 0.0)
    assert np.max(turned) < 1  # no triangle has the full colour
    assert (crying > 1).sum() > 20
    assert max(each.mean() for each in turned) < crying.mean() / 2


def test_a_cry_colours_the_mouth_and_a_turned_head_nothing(cry):
    view = close_up(cry)
    drawn, plain = (draw_faces(view, 1, overlay).astype(int) for overlay in (DIFFERENCE_OVERLAY, "box only"))
    x, y = view.faces[0].face.landmarks_px[list(LIPS)].mean(0).round().astype(int)
    red, _, blue = (drawn - plain)[y, x]
    assert red > blue  # orange: larger than in a neutral face
    face = view.faces[0]
    turned = replace(face, face=replace(face.face, pose=HeadPose(MOST_TURN + 1, 0.0, 0.0)))
    np.testing.assert_array_equal(draw_faces(replace(view, faces=(turned,)), 1, DIFFERENCE_OVERLAY), plain)


def test_the_page_says_what_the_difference_shows_and_that_no_model_is_in_it(analyzer, cry):
    registry, session = SimpleNamespace(analyzer=lambda checkpoint, on_progress=None: analyzer), Session(language="de")
    session.display = DisplayOptions(DIFFERENCE_OVERLAY)
    *_, words = read_photo(registry, session, load_photo(EXAMPLES / "cry.jpg"), "any")
    assert translator("de")(DIFFERENCE) in words
    assert "nothing about health, and nothing about what the model used" in DIFFERENCE
    events = PhotoEvents(registry, SimpleNamespace(get=lambda session_hash: session))
    visitor = SimpleNamespace(session_hash="visitor")
    assert events.display(visitor, "mesh", 0.8, True, "smooth")[2] == ""
    face = session.report.faces[0]
    turned = replace(face, face=replace(face.face, pose=HeadPose(40.0, 0.0, 0.0)))
    session.report = replace(session.report, faces=(turned,))
    _, short = redrawn_face(session, DIFFERENCE_OVERLAY)  # of the Lab
    assert translator("de")(TURNED) in short
    assert "lab-short" in short
    assert translator("de")(TURNED) in events.display(visitor, DIFFERENCE_OVERLAY, 0.8, True, "smooth")[2]


def test_a_saved_picture_never_goes_without_the_words_of_the_difference(cry):
    session = Session(report=cry)
    saved = {}
    for overlay in ("outlines", "mesh", DIFFERENCE_OVERLAY):
        session.display = DisplayOptions(overlay)
        saved[overlay] = download(session, "landmarks")["base64"]
    assert saved[DIFFERENCE_OVERLAY] == saved["outlines"] != saved["mesh"]
