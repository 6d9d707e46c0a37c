"""What a visitor sees of webcam frames, records of them and takes a picture of; without a browser."""

import csv
import io
import time

import gradio as gr
import numpy as np
import pytest

from infant_fer.images import Photo
from infant_fer.ui.charts import live_chart
from infant_fer.ui.live_tab import PAUSED, LiveEvents, read_frame, reading_html, recording_csv
from infant_fer.ui.sessions import LiveReading, Session, SessionStore
from tests.ui.tabs.test_photo_view import photo


def test_a_frame_is_read_with_what_to_know_of_the_answer(registry, astronaut):
    picture, html = read_frame(registry, Session(), photo("smile"), "any")
    assert picture.ndim == 3
    assert "Positive expression" in html
    assert 'class="note"' not in html
    assert '<span title="Mahalanobis++ distance">This face is less like' in html
    assert html.count("Mahalanobis") == 1  # not in what is read
    _, html = read_frame(registry, Session(), photo("two_faces"), "any")
    assert "choose the one" not in html  # there is no such choice
    _, html = read_frame(registry, Session(), Photo(astronaut, (512, 512)), "any")
    assert "does not look like an infant" in html
    assert "Cannot say" in html
    assert 'class="bar"' not in html


def test_a_wavering_reading_is_not_clear(analyzer):
    [face] = analyzer.analyze(photo("smile")).faces
    unsure = {"positive": 0.4, "neutral": 0.35, "negative": 0.25}
    html = reading_html([LiveReading(1.0, unsure, ("positive", "neutral"))], 1.0, face, (), Session())
    assert "Not clear" in html
    assert html.count("stroke-dasharray") == 6  # three lines and their key


def test_a_recording_ends_after_its_time_and_becomes_a_table(registry):
    session = Session()
    likely = {"positive": 0.9, "neutral": 0.06, "negative": 0.04}
    session.add_reading(LiveReading(5.0, likely, ("positive",)))
    session.start_recording(10.0)
    for at, verdict in ((10.5, "answer"), (30.0, "cannot say"), (69.9, "caution"), (70.1, "answer")):
        session.add_reading(LiveReading(at, likely, ("positive",), verdict))
    rows = list(csv.DictReader(io.StringIO(recording_csv(session.recorded))))
    assert [row["time_s"] for row in rows] == ["0.00", "19.50", "59.40"]
    assert [row["label"] for row in rows] == ["positive", "", "positive"]


def test_frames_without_a_face_are_a_gap_in_the_chart_and_rows_of_the_recording(registry):
    session = Session()
    session.start_recording(time.monotonic())
    for frame in (photo("smile"), Photo(np.zeros((240, 320, 3), np.uint8), (320, 240)), photo("smile")):
        _, html = read_frame(registry, session, frame, "any")
        assert "Recorded: " in html
    assert [row["verdict"] for row in csv.DictReader(io.StringIO(recording_csv(session.recorded)))] == [
        "answer",
        "no face",
        "answer",
    ]
    assert recording_csv(session.recorded).splitlines()[2].endswith(",no face,,,,")
    assert live_chart(session.recorded, time.monotonic(), 60.0).count("<polyline") == 6  # three lines before and after
    assert "Positive expression" in html


@pytest.mark.parametrize(
    ("live", "camera_on", "advice"), [(True, False, "Start the camera"), (False, True, "Switch it on")]
)
def test_a_recording_needs_a_camera_that_is_read(registry, live, camera_on, advice):
    events, visitor = LiveEvents(registry, SessionStore()), gr.Request(session_hash="visitor", client=None, headers={})
    events.frame(photo("smile"), "any", False, visitor)
    with pytest.raises(gr.Error, match=advice):
        events.record(live, camera_on, visitor)


def test_a_picture_of_the_newest_frame_can_be_taken_while_the_reading_is_off(registry):
    events, visitor = LiveEvents(registry, SessionStore()), gr.Request(session_hash="visitor", client=None, headers={})
    events.frame(photo("smile"), "any", True, visitor)
    newest = photo("cry")
    view, reading = events.frame(newest, "any", False, visitor)
    assert view == gr.skip()
    assert PAUSED in reading  # after the answer of a frame that was on its way
    values = events.freeze("any", True, visitor)
    assert "Negative expression" in values[3]


@pytest.mark.parametrize(("camera_on", "age", "advice"), [(False, 0.0, "Start the camera"), (True, 60.0, "Wait")])
def test_no_picture_is_taken_of_a_frame_that_the_camera_does_not_show_now(registry, camera_on, age, advice):
    sessions, visitor = SessionStore(), gr.Request(session_hash="visitor", client=None, headers={})
    sessions.create("visitor").frame = photo("smile"), time.monotonic() - age
    with pytest.raises(gr.Error, match=advice):
        LiveEvents(registry, sessions).freeze("any", camera_on, visitor)
    assert sessions.get("visitor").report is None
