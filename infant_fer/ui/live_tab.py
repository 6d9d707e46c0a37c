"""The Live tab: a webcam stream with overlay and smoothed label, a freeze button, and a recording of the readings."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence

import gradio as gr
from gradio.events import Dependency

from infant_fer.batch.writers import NO_FACE
from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.drawing import OVERLAYS, draw_faces
from infant_fer.images import Photo
from infant_fer.labels import AFFECTS
from infant_fer.locales import translator
from infant_fer.report import FaceReport
from infant_fer.report_html import live_html
from infant_fer.trust.rules import without_choice
from infant_fer.ui.charts import live_chart
from infant_fer.ui.downloads import SAVE_JS, as_download
from infant_fer.ui.event_queue import LIVE_IDLE_SECONDS, LIVE_PLACES, READS_PHOTO
from infant_fer.ui.languages import label as t
from infant_fer.ui.languages import language_of
from infant_fer.ui.photo.tab import PhotoTab, created
from infant_fer.ui.photo.view import read_photo, user_error
from infant_fer.ui.private_image import PrivateImage
from infant_fer.ui.sessions import LIVE_SECONDS, RECORD_SECONDS, LiveReading, Session, SessionStore
from infant_fer.ui.style import NEEDS_HTTPS, NO_CAMERA

SMOOTHING_SECONDS = 1.0
STREAM_EVERY = 0.08  # s between frames the browser sends; the newest wins
CAMERA = {"video": {"width": {"ideal": 640}, "height": {"ideal": 480}}}
IDLE = "Start the camera to see the reading here. Nothing is stored."
PAUSED = "Paused. Frames are not read until you switch on again."
NO_FRAME = "No picture of the camera has come in the last seconds. Wait a moment, then try again."
CAMERA_OFF = "The camera is off. Start the camera first."
NOT_WHILE_PAUSED = "The reading is paused. Switch it on first, then record."
NOTHING_RECORDED = "Nothing is recorded yet. Start the camera and press the record button."
WITH_CAMERA_JS = "(value) => [value, window.infantFer.cameraRuns()]"
QUIET = {"show_progress": "hidden", "api_visibility": "private"}


def build_live_tab(
    registry: CheckpointRegistry, sessions: SessionStore, photo_tab: PhotoTab, tabs: gr.Tabs
) -> Dependency:
    """Lay out the tab and wire stream, switch, freeze and recording; return the event that shows a frame in the Photo tab."""
    with gr.Row(equal_height=False, elem_id="live-bench"):
        with gr.Column(scale=4, min_width=280):
            gr.HTML(NO_CAMERA, padding=False, elem_classes=NEEDS_HTTPS)
            camera = PrivateImage(
                label=t("Camera"),
                show_label=False,
                sources=["webcam"],
                streaming=True,
                webcam_options=gr.WebcamOptions(mirror=True, constraints=CAMERA),
                buttons=[],
                elem_id="camera",
            )
            with gr.Row(elem_id="live-start-row"):
                gr.Button(t("Start camera"), variant="primary", min_width=140, elem_id="live-start")
                facing = [(t("Front camera"), "user"), (t("Rear camera"), "environment")]
                gr.Radio(
                    facing,
                    value="user",
                    show_label=False,
                    label=t("Camera"),
                    interactive=True,  # no event takes its value: the browser does (page.js)
                    min_width=180,
                    elem_id="live-facing",
                )
            reading = gr.HTML(f'<div class="ife"><p>{t(IDLE)}</p></div>', elem_id="live-reading", padding=False)
        with gr.Column(scale=5, min_width=280):
            view = PrivateImage(
                label=t("What is read"),
                show_label=False,
                interactive=False,
                buttons=["fullscreen"],
                elem_id="live-view",
            )
            switch = gr.Checkbox(True, label=t("Read in real time"), elem_id="live-switch")
            freeze = gr.Button(t("Take a picture and explain it"), elem_id="freeze")
            camera_on = gr.Checkbox(visible=False)  # the browser knows of the camera
            events = LiveEvents(registry, sessions)
            _build_recording(events, switch, camera_on, reading)
    checkpoint = photo_tab.settings.checkpoint
    camera.stream(
        events.frame,
        [camera, checkpoint, switch],
        [view, reading],
        stream_every=STREAM_EVERY,
        concurrency_limit=LIVE_PLACES,
        **QUIET,
    )
    switch.input(events.switch, [switch], [reading], **QUIET)
    return freeze.click(
        events.freeze,
        [checkpoint, camera_on],
        [*photo_tab.outputs, tabs],
        js=WITH_CAMERA_JS,
        api_visibility="private",
        **READS_PHOTO,
    )


def _build_recording(events: LiveEvents, switch: gr.Checkbox, camera_on: gr.Checkbox, reading: gr.HTML) -> None:
    """Lay out and wire the buttons that record the readings and save them."""
    with gr.Row():
        record = gr.Button(t("Record 60 seconds"), min_width=140, elem_id="live-record")
        save = gr.Button(t("Save the recording (CSV)"), min_width=140, elem_id="live-save")
    payload = gr.JSON(visible=False)
    record.click(events.record, [switch, camera_on], [reading], js=WITH_CAMERA_JS, **QUIET)
    saved = save.click(events.save, None, [payload], **QUIET)
    saved.success(None, [payload], None, js=SAVE_JS, api_visibility="private")


class LiveEvents:
    """What happens at each event, by the visitor's session."""

    def __init__(self, registry: CheckpointRegistry, sessions: SessionStore):
        self.registry, self.sessions = registry, sessions

    def frame(self, frame: Photo | None, checkpoint: str, live: bool, request: gr.Request):
        """Read a frame; one that comes while the reading is switched off is only kept for a picture.

        Each such frame says again that the reading is paused: the browser may receive the answer of the last frame that
        was read after the switch's own answer.
        """
        if frame is None:
            return gr.skip(), gr.skip()
        session = created(self.sessions, request)
        session.frame = frame, time.monotonic()
        if live and session.live:
            answer = read_frame(self.registry, session, frame, checkpoint)
            if session.live:  # not switched off meanwhile
                return answer
        return gr.skip(), plain_words(PAUSED, request)

    def switch(self, live: bool, request: gr.Request):
        self.sessions.get(request.session_hash).live = live
        return plain_words(IDLE if live else PAUSED, request)

    def freeze(self, checkpoint: str, camera_on: bool, request: gr.Request):
        """Show what the camera sees in the Photo tab. Raises gr.Error where it is off, or sent nothing lately."""
        session = self.sessions.get(request.session_hash)
        frame = newest_frame(session, camera_on)
        return [*read_photo(self.registry, session, frame, checkpoint), gr.update(selected="photo")]

    def record(self, live: bool, camera_on: bool, request: gr.Request):
        session = self.sessions.get(request.session_hash)
        newest_frame(session, camera_on)
        if not live:
            raise user_error(NOT_WHILE_PAUSED)
        session.start_recording(time.monotonic())
        return gr.skip()

    def save(self, request: gr.Request):
        recorded = self.sessions.get(request.session_hash).recorded
        if not recorded:
            raise user_error(NOTHING_RECORDED)
        return as_download("live-readings.csv", "text/csv", recording_csv(recorded).encode())


def newest_frame(session: Session, camera_on: bool) -> Photo:
    """Return what the camera sees. Raises gr.Error where it is off, and where no frame came for LIVE_IDLE_SECONDS."""
    if not camera_on:
        raise user_error(CAMERA_OFF)
    frame, came_at = session.frame or (None, 0.0)
    if frame is None or time.monotonic() - came_at > LIVE_IDLE_SECONDS:
        raise user_error(NO_FRAME)
    return frame


def plain_words(words: str, request: gr.Request) -> str:
    """Return the box of the reading with one sentence in the visitor's language."""
    return f'<div class="ife"><p>{translator(language_of(request))(words)}</p></div>'


def read_frame(registry: CheckpointRegistry, session: Session, frame: Photo, checkpoint: str) -> tuple:
    """Read one webcam frame; return the picture with its overlay and the smoothed reading as HTML."""
    report = registry.analyzer(checkpoint).analyze(frame, thorough=False)
    now = time.monotonic()
    if not report.faces:
        readings = session.add_reading(LiveReading(now, {}, (), NO_FACE))
        return report.photo.rgb, reading_html(readings, now, None, (), session)
    face = report.faces[0]
    reading = LiveReading(now, face.prediction.probabilities, face.assessment.prediction_set, face.assessment.verdict)
    readings = session.add_reading(reading)
    undecided = named(of_last_second(readings, now)) is None  # as the headline says
    drawn = draw_faces(report, 1, OVERLAYS[0], undecided)
    return drawn, reading_html(readings, now, face, without_choice(report.notes), session)


def reading_html(
    readings: Sequence[LiveReading], now: float, face: FaceReport | None, notes: Sequence[str], session: Session
) -> str:
    """Return the mean of the last second as headline and bars, the newest frame's reasons, and the recent course as a chart.

    A frame that allows no answer has the reason in their place, one without a face advice. While a recording runs, and
    after it, its course follows.
    """
    recent = of_last_second(readings, now)
    mean = {affect: sum(each.probabilities[affect] for each in recent) / max(1, len(recent)) for affect in AFFECTS}
    return str(
        live_html(
            face,
            mean,
            notes,
            label=named(recent),
            chart=live_chart(readings, now, LIVE_SECONDS, translator(session.language)),
            seconds=LIVE_SECONDS,
            recorded=_recorded_seconds(session),
            recording=live_chart(
                session.recorded, session.recording_began + RECORD_SECONDS, RECORD_SECONDS, translator(session.language)
            ),
            language=session.language,
        )
    )


def of_last_second(readings: Sequence[LiveReading], now: float) -> list[LiveReading]:
    """Return the readings of frames with a face from the last SMOOTHING_SECONDS before `now`."""
    return [reading for reading in readings if now - reading.at <= SMOOTHING_SECONDS and reading.probabilities]


def named(readings: Sequence[LiveReading]) -> str | None:
    """Return the affect that the readings name, None where one of them holds several possible or two name different ones."""
    said = [reading for reading in readings if reading.verdict != "cannot say"]
    affects = {affect for reading in said for affect in reading.prediction_set}
    return affects.pop() if len(affects) == 1 else None


def _recorded_seconds(session: Session) -> int | None:
    return round(session.recorded[-1].at - session.recording_began) if session.recorded else None


def recording_csv(readings: Sequence[LiveReading]) -> str:
    """Return one row per frame: seconds since the first, verdict, label (empty where the verdict withholds it), probabilities.

    A frame without a face has the verdict NO_FACE and nothing beside it.
    """
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(("time_s", "verdict", "label", *AFFECTS))
    for reading in readings:
        label = "" if reading.verdict in ("cannot say", NO_FACE) else named([reading]) or "not clear"
        numbers = (f"{reading.probabilities[affect]:.4f}" if reading.probabilities else "" for affect in AFFECTS)
        writer.writerow((f"{reading.at - readings[0].at:.2f}", reading.verdict, label, *numbers))
    return stream.getvalue()
