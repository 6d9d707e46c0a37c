"""What the Lab tab shows: values for its components from a visitor's session. No layout, no events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import gradio as gr
import numpy as np

from infant_fer.analyzer import ExplanationSettings
from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.errors import InfantFERError
from infant_fer.face_search import SearchBudget
from infant_fer.images import Photo
from infant_fer.labels import AFFECT_COLOURS
from infant_fer.locales import Message, translator
from infant_fer.report import Report
from infant_fer.synthetic.lab import MAIN, STEPS, InterpolationStep, LabSettings, actions_at, interpolate, portrait
from infant_fer.synthetic.twin import NO_ANSWER, NO_CHANGE, changes
from infant_fer.templates import render
from infant_fer.ui.lab.interpolation import interpolation_html
from infant_fer.ui.photo.view import (
    HIDE,
    SHOW,
    current_report,
    explained,
    landmarks_picture,
    overlay_words,
    read_photo,
    shown,
    user_error,
)
from infant_fer.ui.sessions import DisplayOptions, Session

PLAIN = "plain"  # no landmarks; no key of a catalogue, see `controls.lay_out_controls`
PREPARING = "The first picture takes some seconds longer: the renderer is prepared once. After that a change takes about a second."
NO_FACE = "That happens with rendered infants too. Turn the head back to the camera, uncover the face, or make the light brighter."


def read_portrait(
    registry: CheckpointRegistry, session: Session, settings: LabSettings, checkpoint: str, overlay: str
) -> list:
    """Render and read an infant; return values for face, map, short answer, answer and legend.

    Returns skips when the same portrait was requested last, and when a newer one was requested meanwhile.
    """
    requested = (settings, checkpoint)
    if not session.begin_portrait(requested):
        return [gr.skip()] * 5
    session.draw_photo_as(DisplayOptions(overlay, close_up=False))
    try:
        try:
            image = portrait(settings).image
        except InfantFERError as error:
            raise user_error(error) from None
        values = _read(registry, session, image, checkpoint) if session.is_newest_portrait(requested) else []
        return values if session.is_newest_portrait(requested) else [gr.skip()] * 5
    except gr.Error:
        session.forget_portrait(requested)  # so that the same can be tried again
        raise


def _read(registry: CheckpointRegistry, session: Session, image: np.ndarray, checkpoint: str) -> list:
    _, _, plain, answer, legend, *_ = read_photo(registry, session, Photo(image, image.shape[1::-1]), checkpoint)
    if session.report is None:
        return [gr.skip()] * 5  # a newer one is read already
    return [face_picture(session), plain, short_words(session), _with_advice(session, answer), legend]


def _with_advice(session: Session, answer):
    """Return an answer with what to do where no face was found; what is no text, as gr.skip(), stays."""
    if not isinstance(answer, str) or session.report is None or session.report.faces:
        return answer
    return f'{answer}<div class="ife"><p>{translator(session.language)(NO_FACE)}</p></div>'


def drawn_map(
    registry: CheckpointRegistry, session: Session, checkpoint: str, settings: ExplanationSettings
) -> Iterator[list]:
    """Yield map, answer and legend as samples come in; a complete map is not drawn again."""
    for saliency, answer, legend, _ in explained(registry, session, checkpoint, settings):
        yield [saliency, _with_advice(session, answer), legend]


def redrawn_face(session: Session, overlay: str) -> tuple:
    """Return the face with other landmarks, and the short answer with the overlay's words; skips before there is one."""
    session.draw_as(DisplayOptions(overlay, close_up=False))
    return (gr.skip(), gr.skip()) if session.report is None else (face_picture(session), short_words(session))


def short_words(session: Session) -> str:
    """Return the answer in a line, and below it what a drawn difference from an average face shows."""
    return short_html(current_report(session), session.language) + overlay_words(session)


def face_picture(session: Session) -> np.ndarray:
    """Return the rendered face, (S, S, 3) uint8 RGB, with the landmarks of the display options."""
    return shown(session).photo.rgb if session.display.overlay == PLAIN else landmarks_picture(session)


def short_html(report: Report, language: str = "en") -> str:
    """Return the answer in a line, which stays in sight with the pictures."""
    _ = translator(language)
    if not report.faces:
        return f'<div class="ife lab-short">{_("No face found")}</div>'
    probabilities = report.face(1).prediction.probabilities
    words = ", ".join(
        f'<span style="color:{AFFECT_COLOURS[affect]}" aria-hidden="true">■</span>&nbsp;<b>{_(affect)}</b>&nbsp;{share * 100:.0f}&nbsp;%'
        for affect, share in sorted(probabilities.items(), key=lambda item: -item[1])
    )
    return f'<div class="ife lab-short">{words}</div>'


def _probabilities(registry: CheckpointRegistry, checkpoint: str, image: np.ndarray) -> Mapping[str, float] | None:
    """Return the affects' probabilities of the first face in an (S, S, 3) picture; None without a face."""
    faces = registry.analyzer(checkpoint).analyze(image, budget=SearchBudget()).faces
    return faces[0].prediction.probabilities if faces else None


def smallest_change(
    registry: CheckpointRegistry, session: Session, settings: LabSettings, checkpoint: str
) -> Iterator[str]:
    """Yield the search for the smallest single movement that flips the answer as HTML.

    A newer series or search, the series' stop and another portrait or checkpoint end it, and then nothing is shown.
    """
    searched, tried = (settings, checkpoint), 0
    request_id = session.begin_search(searched)
    yield str(render("flip.html.j2", session.language, tried=tried, most=MAIN, sentence=""))
    for tried, best in changes(settings, partial(_probabilities, registry, checkpoint)):
        if not (session.is_newest_interpolation(request_id) and session.is_searched(searched)):
            yield ""
            return
        sentence = best.sentence if best else NO_CHANGE if tried == MAIN else ""
        yield str(render("flip.html.j2", session.language, tried=tried, most=MAIN, sentence=sentence))
    if not tried and session.is_searched(searched):
        sentence = Message.joined(NO_ANSWER, NO_FACE)
        yield str(render("flip.html.j2", session.language, tried=MAIN, most=MAIN, sentence=sentence))


def search_result(session: Session):
    """Return what the search's result becomes once a portrait was requested: nothing, unless it is the one that was searched."""
    return gr.skip() if session.holds_search else ""


def step_actions(session: Session, chosen: tuple[str, str], number: int) -> dict[str, float]:
    """Return the facial actions of a step of the newest series, from 1; of one between the `chosen` ends before there is any."""
    return actions_at(*(session.series_ends or chosen), number)


def interpolated(
    registry: CheckpointRegistry, session: Session, settings: LabSettings, start: str, end: str, checkpoint: str
) -> Iterator[list]:
    """Yield the interpolation as HTML, one picture more each time, and the stop button; ends early when it is stopped."""
    request_id = session.begin_interpolation()
    steps: list[InterpolationStep] = []
    ends, language = (start, end), session.language
    session.series_ends = ends
    yield [interpolation_html(steps, STEPS, ends, language=language), SHOW]
    try:
        for step in interpolate(settings, start, end, partial(_probabilities, registry, checkpoint)):
            steps.append(step)
            if not session.is_newest_interpolation(request_id):
                break
            yield [interpolation_html(steps, STEPS, ends, language=language), SHOW]
    except InfantFERError as error:
        yield [gr.skip(), HIDE]
        raise user_error(error) from None
    yield [interpolation_html(steps, STEPS, ends, ended=True, language=language), HIDE]
