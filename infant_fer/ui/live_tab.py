"""The Live tab: a webcam stream with overlay and smoothed label, and a freeze button."""

from __future__ import annotations

import time
from collections.abc import Sequence

import gradio as gr

from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.drawing import OVERLAYS, draw_faces
from infant_fer.errors import InfantFERError
from infant_fer.images import Photo
from infant_fer.labels import AFFECTS
from infant_fer.report_html import headline_html, notes_html, probability_bars
from infant_fer.ui.charts import live_chart
from infant_fer.ui.event_queue import LIVE_PLACES
from infant_fer.ui.photo.tab import PhotoTab, created
from infant_fer.ui.photo.view import read_photo, user_error
from infant_fer.ui.private_image import PrivateImage
from infant_fer.ui.sessions import LIVE_SECONDS, LiveReading, Session, SessionStore
from infant_fer.ui.style import NEEDS_HTTPS, NO_CAMERA

SMOOTHING_SECONDS = 1.0
STREAM_EVERY = 0.08  # s between frames the browser sends; the newest wins
CAMERA = {"video": {"width": {"ideal": 640}, "height": {"ideal": 480}}}
IDLE = '<div class="ife"><p>Start the camera to see the reading here. Nothing is stored.</p></div>'
PAUSED = '<div class="ife"><p>Paused. Frames are dropped unread until you switch on again.</p></div>'
NO_FACE = '<div class="ife"><h2>No face in view</h2><p>Bring the face closer, with light on it.</p></div>'


def build_live_tab(registry: CheckpointRegistry, sessions: SessionStore, photo_tab: PhotoTab, tabs: gr.Tabs) -> None:
    """Lay out the tab and wire stream, switch and freeze."""
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280):
            gr.HTML(NO_CAMERA, padding=False, elem_classes=NEEDS_HTTPS)
            camera = PrivateImage(
                label="Camera",
                sources=["webcam"],
                streaming=True,
                webcam_options=gr.WebcamOptions(mirror=True, constraints=CAMERA),
                buttons=[],
                elem_id="camera",
            )
            switch = gr.Checkbox(True, label="Read in real time", elem_id="live-switch")
            freeze = gr.Button("Freeze and explain this frame", elem_id="freeze")
        with gr.Column(min_width=280):
            view = PrivateImage(label="What is read", interactive=False, buttons=["fullscreen"], elem_id="live-view")
        with gr.Column(min_width=240):
            reading = gr.HTML(IDLE, elem_id="live-reading")

    def on_frame(frame: Photo | None, checkpoint: str, live: bool, request: gr.Request):
        if frame is None or not live:
            return gr.skip(), gr.skip()
        session = created(sessions, request)
        answer = read_frame(registry, session, frame, checkpoint) if session.live else None
        return answer if answer and session.live else (gr.skip(), gr.skip())  # switched off meanwhile

    def on_switch(live: bool, request: gr.Request):
        sessions.get(request.session_hash).live = live
        return IDLE if live else PAUSED

    def on_freeze(checkpoint: str, request: gr.Request):
        session = sessions.get(request.session_hash)
        if session.frame is None:
            raise user_error("There is no frame yet. Start the camera first.")
        return [*read_photo(registry, session, session.frame, checkpoint), gr.update(selected="photo")]

    private = {"api_visibility": "private"}
    checkpoint = photo_tab.settings.checkpoint
    camera.stream(
        on_frame,
        [camera, checkpoint, switch],
        [view, reading],
        stream_every=STREAM_EVERY,
        concurrency_limit=LIVE_PLACES,
        show_progress="hidden",
        **private,
    )
    switch.input(on_switch, [switch], [reading], show_progress="hidden", **private)
    frozen = freeze.click(on_freeze, [checkpoint], [*photo_tab.outputs, tabs], **private)
    photo_tab.explain_after(frozen)


def read_frame(registry: CheckpointRegistry, session: Session, frame: Photo, checkpoint: str) -> tuple:
    """Read one webcam frame; return the picture with its overlay and the smoothed reading as HTML."""
    session.frame = frame
    try:
        report = registry.analyzer(checkpoint).analyze(frame, thorough=False)
    except InfantFERError as error:
        raise user_error(error) from None
    if not report.faces:
        return report.photo.rgb, NO_FACE
    face, now = report.faces[0], time.monotonic()
    readings = session.add_reading(LiveReading(now, face.prediction.probabilities))
    return draw_faces(report, 1, OVERLAYS[0]), reading_html(readings, now, (*face.notes, *report.notes))


def reading_html(readings: Sequence[LiveReading], now: float, notes: Sequence[str] = ()) -> str:
    """Return the mean of the last second as headline and bars, the newest frame's notes, and the recent course as a chart."""
    recent = [reading.probabilities for reading in readings if now - reading.at <= SMOOTHING_SECONDS]
    mean = {affect: sum(p[affect] for p in recent) / len(recent) for affect in AFFECTS}
    return (
        f'<div class="ife">{headline_html(mean)}{probability_bars(mean)}{notes_html(notes)}'
        f"<h3>The last {LIVE_SECONDS:.0f} seconds</h3>{live_chart(readings, now)}"
        '<p class="quiet">Mean of the last second. The expression, not the feeling; not a medical device.</p></div>'
    )
