"""From a clip to its timeline, on the embedded checkpoint and rendered portraits."""

import gc
import io
import threading
import weakref

import numpy as np
import pytest

from infant_fer.alignment import align_face
from infant_fer.errors import ClipError
from infant_fer.images import load_photo
from infant_fer.video import analysis, reading
from infant_fer.video.analysis import ClipAnalysis, VideoSettings, _ahead, analyze_video, parse_region
from infant_fer.video.reading import ClipSettings
from infant_fer.video.timeline import NOT_SEEN
from tests.conftest import EXAMPLES
from tests.video.clips import encoded, placed, portrait

HIDDEN = range(50, 62)


@pytest.fixture(scope="module")
def clip() -> bytes:
    """Return 72 frames: a smile that moves, a cry from frame 24 on, nobody in the HIDDEN frames."""
    smile, cry = portrait("smile"), portrait("cry")
    return encoded(
        placed(
            [(smile if number < 24 else cry, 40 + round(15 * np.sin(number / 6)), 20)] if number not in HIDDEN else []
        )
        for number in range(72)
    )


@pytest.fixture(scope="module")
def timeline(analyzer, clip):
    return analyze_video(io.BytesIO(clip), analyzer, name="clip.mp4")


def test_a_clip_becomes_a_timeline_with_its_bouts(timeline):
    assert timeline.source == "clip.mp4"
    assert (len(timeline.frames), timeline.fps, timeline.persons) == (72, pytest.approx(25), (1,))
    bouts = [(each.onset_s, each.label) for each in timeline.intervals]
    assert [label for _, label in bouts] == ["positive", "negative", NOT_SEEN, "negative"]
    assert bouts[1][0] == pytest.approx(24 / 25, abs=0.12)
    assert timeline.summary["persons"][0]["role"] == "infant"
    assert timeline.infant == 1


def test_frames_without_the_face_are_not_seen_and_all_others_are(timeline):
    assert [reading.seen for reading in timeline.frames] == [number not in HIDDEN for number in range(72)]
    hidden = timeline.frames[HIDDEN.start]
    assert (hidden.probabilities, hidden.smoothed, hidden.box_xyxy, hidden.verdict) == (None,) * 4


def test_a_frame_reads_as_the_same_photo_does(timeline, analyzer):
    smile = placed([(portrait("smile"), 40, 20)])
    photo = analyzer.analyze(smile).faces[0]
    reading = timeline.frames[0]
    assert reading.label == photo.prediction.label
    assert reading.probabilities == pytest.approx(photo.prediction.probabilities, abs=0.1)
    assert reading.box_xyxy == pytest.approx(photo.face.box_xyxy, abs=6)
    assert reading.verdict == photo.assessment.verdict


@pytest.mark.slow
def test_reading_ahead_changes_nothing(clip, analyzer, timeline):
    serial = analyze_video(io.BytesIO(clip), analyzer, VideoSettings(ahead=False), name="clip.mp4")
    assert list(serial.frames) == list(timeline.frames)
    assert serial.intervals == timeline.intervals


def test_a_batch_reads_faces_as_single_ones(analyzer):
    rgb = load_photo(EXAMPLES / "two_faces.jpg").rgb
    report = analyzer.analyze(rgb)
    faces = [each.face for each in report.faces]
    batch = analyzer.read_aligned(faces, [align_face(rgb, face, analyzer.classifier.crop) for face in faces])
    assert len(batch) == 2
    for single, other in zip(report.faces, batch, strict=True):
        assert other.prediction.probabilities == pytest.approx(single.prediction.probabilities, abs=1e-5)
        assert other.assessment.verdict == single.assessment.verdict
    assert analyzer.read_aligned([], []) == []


def test_a_region_limits_the_search_and_boxes_are_of_the_whole_frame(analyzer):
    smile, cry = portrait("smile", 150), portrait("cry", 150)
    clip = encoded([placed([(smile, 5, 40), (cry, 165, 40)])] * 4)
    left, right = (
        analyze_video(io.BytesIO(clip), analyzer, VideoSettings(region=parse_region(side)), name="c")
        for side in ("left", "right")
    )
    assert (left.frames[0].label, right.frames[0].label) == ("positive", "negative")
    assert left.frames[0].box_xyxy[2] < 160 < right.frames[0].box_xyxy[0]
    both = analyze_video(io.BytesIO(clip), analyzer, name="c")
    assert both.persons == (1, 2)
    assert {reading.label for reading in both.frames} == {"positive", "negative"}


@pytest.mark.slow
def test_two_people_who_cross_keep_their_numbers(analyzer):
    """A smiling infant passes before a crying one, who is hidden meanwhile: each number stays with one expression."""
    smile, cry = portrait("smile", 190), portrait("cry", 150)
    clip = encoded(
        placed([(cry, 300 - 6 * number, 60), (smile, 10 + 6 * number, 25)], (480, 240)) for number in range(46)
    )
    timeline = analyze_video(io.BytesIO(clip), analyzer, name="c")
    assert timeline.persons == (1, 2)
    for person in (1, 2):
        readings = [each for each in timeline.frames if each.person == person]
        ends = {each.label for each in (*readings[:8], *readings[-8:])}
        assert ends == {readings[0].label}, "while one half covers the other, its answer may differ"
        assert all(each.seen for each in (*readings[:8], *readings[-8:]))
    assert {reading.label for reading in timeline.frames[:2]} == {"positive", "negative"}
    hidden = [each.time_s for each in timeline.frames if not each.seen]
    assert 0.4 < min(hidden) < max(hidden) < 1.5


def test_regions_are_named_or_given_as_shares():
    assert parse_region("right") == (0.5, 0, 1, 1)
    assert parse_region("0.1,0.2,0.5,1") == (0.1, 0.2, 0.5, 1)
    for wrong in ("middle", "0,0,1", "0.5,0,0.5,1", "0,0,2,1", "nan,0,1,1"):
        with pytest.raises(ClipError, match="region"):
            parse_region(wrong)


def test_sampling_and_range_reach_the_timeline(clip, analyzer):
    settings = VideoSettings(clip=ClipSettings(fps=5, start_s=1.0, end_s=1.9))
    timeline = analyze_video(io.BytesIO(clip), analyzer, settings, name="c")
    assert [reading.time_s for reading in timeline.frames] == pytest.approx([1.0, 1.2, 1.4, 1.6, 1.8])
    assert timeline.summary["persons"][0]["latency_to_negative_s"] == {"start": None}  # the first second was not read


@pytest.mark.slow
def test_progress_grows_to_the_whole(clip, analyzer):
    steps = []
    analyze_video(io.BytesIO(clip), analyzer, on_progress=steps.append, name="c")
    shares = [step.share for step in steps]
    assert shares == sorted(shares)
    assert shares[-1] > 0.95
    assert steps[-1].seconds_left < 5


@pytest.mark.slow
def test_no_frame_outlives_its_turn(clip, analyzer, monkeypatch):
    alive = weakref.WeakSet()

    def recorded(*fields) -> reading.Frame:
        frame = kept(*fields)
        alive.add(frame)
        return frame

    kept = reading.Frame
    monkeypatch.setattr(reading, "Frame", recorded)
    most = 0
    for _ in ClipAnalysis(io.BytesIO(clip), analyzer, VideoSettings(ahead=False)).rows():
        most = max(most, len(alive))
    assert 1 <= most <= 2


def test_a_clip_that_is_sampled_seldom_is_read(analyzer):
    """Of an NTSC clip, one frame a second comes every 1.001 s."""
    clip = encoded([placed([(portrait("smile"), 40, 20)])] * 5, "matroska", times_ms=[n * 1001 for n in range(5)])
    timeline = analyze_video(io.BytesIO(clip), analyzer, VideoSettings(ClipSettings(fps=1)), name="c")
    assert [reading.seen for reading in timeline.frames] == [True] * 5
    assert [each.label for each in timeline.intervals] == ["positive"]


@pytest.mark.slow
def test_persons_beyond_those_followed_are_noted(analyzer):
    smile, cry = portrait("smile", 150), portrait("cry", 150)
    clip = encoded([placed([(smile, 5, 40), (cry, 165, 40)])] * 30)
    timeline = analyze_video(io.BytesIO(clip), analyzer, VideoSettings(max_persons=1), name="c")
    assert timeline.persons == (1,)
    assert timeline.summary["notes"] == ["There were more than 1 persons; 1 further faces were left out."]


def test_a_clip_without_a_face_has_one_person_who_is_not_seen(analyzer):
    timeline = analyze_video(io.BytesIO(encoded([placed([])] * 3)), analyzer, name="c")
    assert [reading.seen for reading in timeline.frames] == [False] * 3
    assert [each.label for each in timeline.intervals] == [NOT_SEEN]


def test_what_is_no_clip_is_refused(analyzer):
    with pytest.raises(ClipError):
        analyze_video(io.BytesIO(b"nothing"), analyzer)


def test_a_reading_that_is_left_early_ends_its_threads_before_the_clip_is_closed(clip, analyzer, monkeypatch):
    def started() -> int:  # a thread of an earlier test may end meanwhile
        return len(set(threading.enumerate()) - before)

    def close(reader) -> None:
        left.append(started())
        original(reader)

    left, original, before = [], reading.ClipReader._close, set(threading.enumerate())
    monkeypatch.setattr(reading.ClipReader, "_close", close)
    monkeypatch.setattr(analysis, "AHEAD_FRAMES", 4)  # both wait for a place in their queues
    rows = ClipAnalysis(io.BytesIO(clip), analyzer).rows()
    next(rows)
    assert started() == 2, "of decoding and of detection"
    rows.close()
    assert left == [0]


def test_reading_ahead_hands_on_faults_and_ends_its_thread():
    def broken():
        yield 1
        raise ValueError("broken")

    items = _ahead(broken(), 2)
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)
    closed = []

    def endless():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    items = _ahead(endless(), 2)
    next(items)
    items.close()
    gc.collect()
    assert closed
