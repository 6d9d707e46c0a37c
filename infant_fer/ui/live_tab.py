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
from infant_fer.ui.lines import KEY_HEIGHT, key, line
from infant_fer.ui.photo_tab import PhotoTab
from infant_fer.ui.photo_view import read_photo, told
from infant_fer.ui.private_image import PrivateImage
from infant_fer.ui.sessions import LIVE_SECONDS, LiveReading, Session, SessionStore

SMOOTHING_SECONDS = 1.0
CHART_WIDTH, CHART_HEIGHT = 300, 80
STREAM_EVERY = 0.08  # s between frames the browser sends; the newest wins
CAMERA = {"video": {"width": {"ideal": 640}, "height": {"ideal": 480}}}
IDLE = '<div class="ife"><p>Start the camera, and the reading appears here. Nothing is stored.</p></div>'
PAUSED = '<div class="ife"><p>Paused: frames are dropped unread until you switch on again.</p></div>'
LOOKING = '<div class="ife"><h2>No face in view</h2><p>Bring the face closer, with light on it.</p></div>'


def build_live_tab(registry: CheckpointRegistry, sessions: SessionStore, photo_tab: PhotoTab, tabs: gr.Tabs) -> None:
    """Lay out the tab and wire stream, switch and freeze."""
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280):
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

    def on_frame(frame: Photo | None, checkpoint: str, request: gr.Request):
        session = sessions.get(request.session_hash)
        if frame is None or not session.live:
            return gr.skip(), gr.skip()
        answer = read_frame(registry, session, frame, checkpoint)
        return answer if session.live else (gr.skip(), gr.skip())  # switched off meanwhile

    def on_switch(live: bool, request: gr.Request):
        sessions.get(request.session_hash).live = live
        return IDLE if live else PAUSED

    def on_freeze(checkpoint: str, request: gr.Request):
        session = sessions.get(request.session_hash)
        if session.frame is None:
            raise told("There is no frame yet. Start the camera first.")
        return [*read_photo(registry, session, session.frame, checkpoint), gr.update(selected="photo")]

    private = {"api_visibility": "private"}
    camera.stream(
        on_frame,
        [camera, photo_tab.checkpoint],
        [view, reading],
        stream_every=STREAM_EVERY,
        concurrency_limit=1,
        show_progress="hidden",
        **private,
    )
    switch.input(on_switch, [switch], [reading], show_progress="hidden", **private)
    frozen = freeze.click(on_freeze, [photo_tab.checkpoint], [*photo_tab.outputs, tabs], **private)
    photo_tab.explain_after(frozen)


def read_frame(registry: CheckpointRegistry, session: Session, frame: Photo, checkpoint: str) -> tuple:
    """Read one webcam frame; gives the picture with its overlay and the smoothed reading as HTML."""
    session.frame = frame
    try:
        report = registry.analyzer(checkpoint).analyze(session.frame, thorough=False)
    except InfantFERError as error:
        raise told(error) from None
    if not report.faces:
        return report.photo.rgb, LOOKING
    now = time.monotonic()
    session.readings.append(LiveReading(now, report.faces[0].prediction.probabilities))
    while now - session.readings[0].at > LIVE_SECONDS:
        session.readings.popleft()
    notes = (*report.faces[0].notes, *report.notes)
    return draw_faces(report, 1, OVERLAYS[0]), reading_html(list(session.readings), now, notes)


def reading_html(readings: list[LiveReading], now: float, notes: Sequence[str] = ()) -> str:
    """The mean of the last second as headline and bars, the newest frame's notes, and the last twenty seconds as a chart."""
    recent = [reading.probabilities for reading in readings if now - reading.at <= SMOOTHING_SECONDS]
    mean = {affect: sum(p[affect] for p in recent) / len(recent) for affect in AFFECTS}
    return (
        f'<div class="ife">{headline_html(mean)}{probability_bars(mean)}{notes_html(notes)}'
        f"<h3>The last {LIVE_SECONDS:.0f} seconds</h3>{_chart(readings, now)}"
        '<p class="quiet">Mean of the last second. The expression, not the feeling; not a medical device.</p></div>'
    )


def _chart(readings: list[LiveReading], now: float) -> str:
    """Three lines in an inline SVG: time from left (20 s ago) to right (now), probability from bottom to top."""
    bottom = KEY_HEIGHT + CHART_HEIGHT
    lines = "".join(
        line(
            (
                (
                    CHART_WIDTH * (1 - (now - reading.at) / LIVE_SECONDS),
                    bottom - CHART_HEIGHT * reading.probabilities[affect],
                )
                for reading in readings
            ),
            affect,
        )
        for affect in AFFECTS
    )
    return (
        f'<svg viewBox="0 0 {CHART_WIDTH} {bottom + 2}" width="100%" role="img" aria-label="Probabilities of the three classes '
        f'over time">{key(0)}<rect x="0" y="{KEY_HEIGHT}" width="{CHART_WIDTH}" height="{CHART_HEIGHT}" fill="none" '
        f'stroke="currentColor" opacity=".35"/>{lines}</svg>'
    )
