"""Faces that move by known rules, found by a detector that knows their positions."""

import cv2
import numpy as np
import pytest

from benchmarks.video import ClipFace, matched
from infant_fer.face import Face, HeadPose
from infant_fer.face_detection import FaceDetector
from infant_fer.images import load_image
from infant_fer.video.tracking import COAST_SECONDS, FaceTracker, PersonNumbers, Sighting
from tests.conftest import EXAMPLES

SHAPE = np.random.default_rng(0).uniform(-0.5, 0.5, (478, 2)).astype(np.float32)
FRAME = np.zeros((480, 640, 3), np.uint8)
STEP = 0.04


def face(x: float, y: float, size: float) -> Face:
    return Face(SHAPE * size + np.float32((x, y)), {}, HeadPose(0, 0, 0))


class KnownFaces:
    """A detector that returns the faces it was given, near a place those whose centre lies in the view."""

    def __init__(self):
        self.faces: list[Face] = []
        self.n_whole = 0

    def find(self, photo_rgb, thorough=True):
        self.n_whole += 1
        return list(self.faces)

    def find_near(self, photo_rgb, box_xyxy, roll):
        left, top, right, bottom = box_xyxy
        half = 1.2 * max(right - left, bottom - top)
        x, y = (left + right) / 2, (top + bottom) / 2
        centres = [(np.add(each.box_xyxy[:2], each.box_xyxy[2:]) / 2, each) for each in self.faces]
        return [each for centre, each in centres if abs(centre[0] - x) < half and abs(centre[1] - y) < half]


def followed(paths, n_frames: int, max_faces: int = 3) -> tuple[list[dict[int, Face]], KnownFaces]:
    """Follow faces given as functions of the frame to a face or None; returns per frame the face of each track."""
    detector = KnownFaces()
    tracker = FaceTracker(detector, max_faces)
    result = []
    for number in range(n_frames):
        detector.faces = [found for path in paths if (found := path(number)) is not None]
        result.append(dict(tracker.update(number * STEP, FRAME)))
    return result, detector


@pytest.mark.parametrize("name", ["neutral", "smile"])
def test_a_face_that_is_suddenly_upside_down_is_followed_the_right_way_up(name):
    """The camera is turned over: near its track the landmarker would go on to fit an upright face."""
    upright = cv2.resize(load_image(EXAMPLES / f"{name}.jpg"), (480, 480))
    tracker, rolls = FaceTracker(FaceDetector(), 3), []
    for number in range(12):
        frame = upright if number < 4 else np.ascontiguousarray(upright[::-1, ::-1])
        rolls.append([abs(face.pose.roll) for _, face in tracker.update(number * 0.2, frame)])
    assert all(roll < 30 for (roll,) in rolls[:4])
    assert rolls[-1][0] > 150


def centre_x(each: Face) -> float:
    return (each.box_xyxy[0] + each.box_xyxy[2]) / 2


def test_two_faces_that_cross_keep_their_tracks():
    """The nearer face hides the other while their centres are closer than half its size."""

    def near(number):
        return face(100 + 4 * number, 200, 120)

    def far(number):
        x = 540 - 4 * number
        return face(x, 200, 90) if abs(x - centre_x(near(number))) > 60 else None

    frames, _ = followed([near, far], 110)
    hidden = [number for number in range(110) if far(number) is None]
    assert len(hidden) > 10
    near_track, far_track = (min(frames[0], key=lambda track: sign * centre_x(frames[0][track])) for sign in (1, -1))
    for number, tracks in enumerate(frames):
        assert tracks[near_track].height_px == pytest.approx(120, rel=0.05)
        assert set(tracks) == ({near_track} if number in hidden else {near_track, far_track})


def test_two_faces_that_pass_each_other_unseen_keep_their_tracks_by_their_motion():
    """Equal faces meet behind a pillar of 160 px: when they come out, each is nearer to where the other went in."""

    def moving(start, step):
        return lambda number: face(x, 200, 100) if abs((x := start + step * number) - 320) > 80 else None

    frames, _ = followed([moving(100, 10), moving(540, -10)], 45)
    assert sum(not tracks for tracks in frames) >= 14
    first, last = frames[0], frames[-1]
    assert set(last) == set(first)
    assert all((centre_x(last[track]) - 320) * (centre_x(first[track]) - 320) < 0 for track in first)


def test_a_face_that_is_hidden_for_a_moment_keeps_its_track_and_a_longer_one_does_not():
    def path(gap):
        return lambda number: None if 20 <= number < 20 + gap else face(300 + number, 200, 100)

    short, _ = followed([path(20)], 60)
    assert {track for tracks in short for track in tracks} == {1}
    assert [bool(tracks) for tracks in short] == [not 20 <= number < 40 for number in range(60)]
    long, _ = followed([path(int(COAST_SECONDS / STEP) + 10)], 90)
    assert {track for tracks in long for track in tracks} == {1, 2}


@pytest.mark.parametrize("step", [1.001, 5.0])
def test_a_face_that_is_sampled_seldom_keeps_its_track_and_its_number(step):
    """Sampled once a second, an NTSC clip has its frames 1.001 s apart."""
    detector, persons = KnownFaces(), PersonNumbers(3)
    tracker = FaceTracker(detector, 3, step)
    window = []
    for number in range(6):
        detector.faces = [face(300, 200, 100)] if number != 3 else []
        tracks = [track for track, _ in tracker.update(number * step, FRAME)]
        window.append((number * step, sightings(*((track, 250, 0.9) for track in tracks))))
    assert {seen.track for _, seen_now in window for seen in seen_now} == {1}
    assert persons.assign(window[:2]) == {}
    assert persons.assign(window[2:]) == {1: 1}


def test_faces_for_which_there_is_no_track_are_counted():
    detector = KnownFaces()
    tracker = FaceTracker(detector, 1)
    for number, count in enumerate((3, 2, 2, 4, 1)):
        detector.faces = [face(100 + 150 * place, 200, 80) for place in range(count)]
        tracker.update(0.5 * number, FRAME)
        assert tracker.left_out == (0 if number < 2 else 1)


def test_the_whole_frame_is_searched_in_steps_and_when_somebody_is_missing():
    _, steady = followed([lambda number: face(300, 200, 100)], 50)
    assert steady.n_whole == pytest.approx(50 * STEP / 0.4, abs=2)
    _, missing = followed([lambda number: face(300, 200, 100) if number < 10 else None], 30)
    assert missing.n_whole >= 20


def test_a_jump_farther_than_the_gate_is_another_face():
    frames, _ = followed([lambda number: face(100 if number < 10 else 500, 200, 80)], 20)
    assert set(frames[5]) == {1}
    assert set(frames[15]) == {2}


def sightings(*tracks) -> list[Sighting]:
    """Return sightings of (track, x, probability of an infant)."""
    return [Sighting(track, (x, 0.0, x + 100.0, 100.0), infant) for track, x, infant in tracks]


def test_persons_are_numbered_by_first_sight_once_seen_in_three_frames():
    numbers = PersonNumbers(3)
    window = [(0.0, sightings((1, 0, 0.9))), (0.04, sightings((1, 0, 0.9), (2, 300, 0.1)))]
    assert numbers.assign(window) == {}
    window = [
        (0.08 + 0.04 * n, sightings((1, 0, 0.9), (2, 300, 0.1), *([(3, 500, 0.9)] if n == 1 else []))) for n in range(3)
    ]
    assert numbers.assign(window) == {1: 1, 2: 2}


def test_a_new_track_continues_the_lost_person_of_its_kind_and_not_the_other():
    numbers = PersonNumbers(3)
    both = [(0.04 * n, sightings((1, 0, 0.9), (2, 300, 0.1))) for n in range(5)]
    assert numbers.assign(both) == {1: 1, 2: 2}
    numbers.assign([(1 + 0.04 * n, []) for n in range(5)])
    back = [(3 + 0.04 * n, sightings((3, 310, 0.95))) for n in range(5)]
    assert numbers.assign(back) == {3: 1}, "an infant at the adult's place is the infant"
    adult = [(4 + 0.04 * n, sightings((3, 310, 0.95), (4, 0, 0.05))) for n in range(5)]
    assert numbers.assign(adult) == {3: 1, 4: 2}


def test_a_person_who_changes_tracks_within_a_window_is_seen_before_and_after():
    """After a cut the same infant has another track."""
    window = [(0.04 * n, sightings((1, 0, 0.9) if n < 5 else (2, 300, 0.9))) for n in range(16)]
    assert PersonNumbers(3).assign(window) == {1: 1, 2: 1}
    numbers = PersonNumbers(3)
    assert numbers.assign(window[:4]) == {1: 1}
    assert numbers.assign(window[4:]) == {1: 1, 2: 1}


def test_a_person_in_sight_is_not_continued_by_a_further_track():
    numbers = PersonNumbers(2)
    assert numbers.assign([(0.04 * n, sightings((1, 0, 0.9))) for n in range(5)]) == {1: 1}
    window = [(1 + 0.04 * n, sightings((1, 0, 0.9), (2, 300, 0.9), (3, 500, 0.9))) for n in range(5)]
    assert numbers.assign(window) == {1: 1, 2: 2}
    assert numbers.left_out == 1


def test_a_clip_of_one_frame_has_a_person():
    assert PersonNumbers(1).assign([(0.0, sightings((1, 0, None)))], last=True) == {1: 1}


def test_the_benchmark_takes_the_face_in_front_for_no_reading_of_the_person_behind():
    """True person 2 has moved before person 1, of whom nothing is visible."""
    rows = [true_row("1", 100, seen="0"), true_row("2", 110, seen="1")]
    front, behind = ClipFace(7, (112, 100, 212, 200)), ClipFace(3, (100, 100, 200, 200))
    assert matched(rows, [front]) == [None, front]
    assert matched(rows, [behind, front]) == [behind, front], "a reading of the hidden person counts as one"
    assert matched([true_row("1", 400, seen="1")], [front]) == [None]
    assert matched(rows, []) == [None, None]


def true_row(person: str, left: int, seen: str) -> dict[str, str]:
    box = {"left": left, "top": 100, "right": left + 100, "bottom": 200}
    return {"person": person, "seen": seen} | {side: str(value) for side, value in box.items()}
