"""What the Photo tab shows: values for its components from a visitor's session. No layout, no events."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gradio as gr
import numpy as np

from infant_fer.analyzer import ExplanationSettings
from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.drawing import draw_faces, draw_saliency
from infant_fer.errors import InfantFERError
from infant_fer.images import Photo
from infant_fer.report import Report
from infant_fer.report_html import answer_html, shares_html
from infant_fer.ui.sessions import Session
from infant_fer.viewing import close_up, whole_view

WAITING = '<div class="ife"><p>Choose a photo, take one with the camera, or try an example.</p></div>'
NOTHING_YET = "There is nothing to show yet. Choose a photo with a face first."
SHOW, HIDE = gr.update(visible=True), gr.update(visible=False)


def told(error: InfantFERError | str) -> gr.Error:
    """The message for the person in front of the page, without a traceback in the server's log."""
    return gr.Error(str(error), print_exception=False)


def read_photo(
    registry: CheckpointRegistry, session: Session, photo: Photo | None, checkpoint: str, progress=None
) -> list:
    """Analyze a photo and remember its report; values for photo, landmarks, map, answer, legend, face choice, cancel.

    Gives skips when another photo was asked for meanwhile.
    """
    session.asked += 1
    asked = session.asked
    if photo is None:
        session.show(None)
        return [None, None, None, WAITING, "", HIDE, HIDE]
    try:
        report = registry.analyzer(checkpoint, progress).analyze(photo)
    except InfantFERError as error:
        raise told(error) from None
    if session.asked != asked:
        return [gr.skip()] * 7
    session.show(report)
    return [whole_view(session.report).photo.rgb, *face_values(session)]


def choose_face(session: Session, number: int) -> list:
    """Make another face the explained one; values for landmarks, map, answer, legend, face choice, cancel."""
    if session.report is None or not 1 <= number <= len(session.report.faces):
        raise told(NOTHING_YET)
    session.choose(number)
    return face_values(session)


def clicked_face(session: Session, shown_xy: tuple[float, float]) -> int:
    """The number of the face whose box centre is nearest to a click in pixels of the shown picture."""
    if session.report is None or not session.report.faces:
        raise told(NOTHING_YET)

    def distance(face) -> float:
        box = np.array(face.face.box_xyxy)
        return float(np.linalg.norm((box[:2] + box[2:]) / 2 - shown_xy))

    return min(shown(session).faces, key=distance).number


def face_values(session: Session) -> list:
    """Values for landmarks, map, answer, legend, face choice and cancel, before the map is drawn."""
    report, view = session.report, shown(session)
    numbers = [face.number for face in report.faces]
    choice = gr.update(choices=numbers or [1], value=session.number, visible=len(numbers) > 1)
    plain = view.photo.rgb if report.faces else None
    return [
        landmarks_picture(session),
        plain,
        answer_html(report, session.number),
        "",
        choice,
        SHOW if numbers else HIDE,
    ]


def explained(
    registry: CheckpointRegistry, session: Session, checkpoint: str, settings: ExplanationSettings, progress
) -> Iterator[list]:
    """Yield map, answer, legend and cancel as samples come in; ends early when the visitor has moved on.

    What is drawn already is not drawn again.
    """
    report, number, turn = session.report, session.number, session.turn
    asked = turn, checkpoint, settings
    if report is None or not report.faces or session.drawn == asked:
        yield [gr.skip(), gr.skip(), gr.skip(), HIDE]
        return
    try:
        for step in registry.analyzer(checkpoint).explain_steps(report, number, settings):
            if session.turn != turn:
                return
            session.report = step
            explanation = step.face(number).explanation
            count = explanation.saliency.samples, explanation.saliency.requested_samples
            progress(count, desc="Drawing the map", unit="samples")
            button = HIDE if explanation.complete else SHOW
            session.drawn = asked if explanation.complete else None
            yield [map_picture(session), answer_html(step, number), shares_html(explanation), button]
    except InfantFERError as error:
        raise told(error) from None


def shown(session: Session) -> Report:
    """The session's report in the frame of the pictures on the page."""
    view = close_up if session.look.close_up else whole_view
    return view(session.report)


def landmarks_picture(session: Session) -> np.ndarray:
    """The shown photo with boxes and landmarks, (H, W, 3) uint8."""
    return draw_faces(shown(session), session.number, session.look.overlay)


def map_picture(session: Session) -> np.ndarray:
    """The shown photo under the chosen face's map, (H, W, 3) uint8."""
    return draw_saliency(shown(session), session.number, session.look.strength)


def redrawn(session: Session) -> tuple:
    """Both pictures again, after a change of how they look; skips before there is a photo."""
    if session.report is None:
        return gr.skip(), gr.skip()
    return landmarks_picture(session), map_picture(session) if session.report.faces else None


def guarded(session: Session, make: Callable[[Session], dict]) -> dict:
    """Make a download of a session that has a face to show, or say that there is none yet."""
    if session.report is None or not session.report.faces:
        raise told(NOTHING_YET)
    return make(session)
