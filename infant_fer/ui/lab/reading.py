"""What the Lab tab shows: values for its components from a visitor's session there. No layout, no events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import gradio as gr
import numpy as np

from infant_fer.analyzer import ExplanationSettings
from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.errors import InfantFERError
from infant_fer.images import Photo
from infant_fer.labels import AFFECT_COLOURS
from infant_fer.report import Report
from infant_fer.synthetic.interpolation import STEPS, interpolate
from infant_fer.synthetic.lab import LabSettings, portrait
from infant_fer.ui.lab.interpolation import interpolation_html
from infant_fer.ui.photo_view import HIDE, SHOW, explained, landmarks_picture, read_photo, shown, told
from infant_fer.ui.sessions import DisplayOptions, Session

PLAIN = "none"  # no landmarks
PREPARING = (
    '<div class="ife"><p>The first picture takes some seconds longer: the renderer is prepared once. '
    "After that a change takes about a second.</p></div>"
)
NO_FACE = (
    '<div class="ife"><p>That happens with rendered infants too. Turn the head back to the camera, take the cover away, '
    "or make the light brighter.</p></div>"
)


def read_portrait(
    registry: CheckpointRegistry, session: Session, settings: LabSettings, checkpoint: str, overlay: str
) -> list:
    """Render and read an infant; values for face, map, short answer, answer and legend.

    Gives skips when the same has been asked for already, and when something newer was asked for meanwhile.
    """
    wanted = (settings, checkpoint)
    if session.wanted == wanted:
        return [gr.skip()] * 5
    session.wanted, session.look = wanted, DisplayOptions(overlay, close_up=False)
    session.turn += 1  # the map of the portrait before stops
    try:
        image = _rendered(settings)
        values = _read(registry, session, image, checkpoint) if session.wanted is wanted else []
        return values if session.wanted is wanted else [gr.skip()] * 5
    except gr.Error:
        if session.wanted is wanted:
            session.wanted = None  # so that the same can be tried again
        raise


def _rendered(settings: LabSettings) -> np.ndarray:
    try:
        return portrait(settings).image
    except InfantFERError as error:
        raise told(error) from None


def _read(registry: CheckpointRegistry, session: Session, image: np.ndarray, checkpoint: str) -> list:
    _, _, plain, answer, legend, _, _ = read_photo(registry, session, Photo(image, image.shape[1::-1]), checkpoint)
    if session.report is None:
        return []  # something newer is read already
    advice = "" if session.report.faces else NO_FACE
    return [face_picture(session), plain, short_html(session.report), answer + advice, legend]


def drawn_map(
    registry: CheckpointRegistry, session: Session, checkpoint: str, asked: ExplanationSettings, progress
) -> Iterator[list]:
    """Yield map, answer and legend as samples come in; a map that is whole is not drawn again."""
    report = session.report
    if report is None or not report.faces or (report.face(1).explanation and report.face(1).explanation.complete):
        yield [gr.skip()] * 3
        return
    for *values, _ in explained(registry, session, checkpoint, asked, progress):
        yield values


def redrawn_face(session: Session, overlay: str) -> np.ndarray | dict:
    """The face again with other landmarks; a skip before there is one."""
    session.look = DisplayOptions(overlay, close_up=False)
    return gr.skip() if session.report is None else face_picture(session)


def face_picture(session: Session) -> np.ndarray:
    """The rendered face, (S, S, 3) uint8, with landmarks if they are asked for."""
    return shown(session).photo.rgb if session.look.overlay == PLAIN else landmarks_picture(session)


def short_html(report: Report) -> str:
    """The answer in a line, which stays in sight with the pictures."""
    if not report.faces:
        return '<div class="ife lab-short">No face found</div>'
    probabilities = report.face(1).prediction.probabilities
    words = ", ".join(
        f'<span style="color:{AFFECT_COLOURS[affect]}" aria-hidden="true">■</span>&nbsp;<b>{affect}</b>&nbsp;{share * 100:.0f}&nbsp;%'
        for affect, share in sorted(probabilities.items(), key=lambda item: -item[1])
    )
    return f'<div class="ife lab-short">{words}</div>'


def interpolated(
    registry: CheckpointRegistry, session: Session, settings: LabSettings, start: str, end: str, checkpoint: str
) -> Iterator[list]:
    """Yield the walk as HTML, one picture more each time, and the stop button; ends early when the visitor stops it."""

    def read(image: np.ndarray) -> Mapping[str, float] | None:
        faces = registry.analyzer(checkpoint).analyze(image).faces
        return faces[0].prediction.probabilities if faces else None

    session.interpolating, steps = True, []
    yield [interpolation_html(steps, STEPS, start, end), SHOW]
    try:
        for step in interpolate(settings, start, end, read):
            steps.append(step)
            if not session.interpolating:
                break
            yield [interpolation_html(steps, STEPS, start, end), SHOW]
    except InfantFERError as error:
        yield [gr.skip(), HIDE]
        raise told(error) from None
    yield [interpolation_html(steps, STEPS, start, end, ended=True), HIDE]
