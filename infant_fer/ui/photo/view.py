"""What the Photo tab shows: values for its components from a visitor's session. No layout, no events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import gradio as gr
import numpy as np

from infant_fer.analyzer import ExplanationSettings
from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.deformation import difference_words
from infant_fer.drawing import DIFFERENCE_OVERLAY, close_up, draw_faces, draw_saliency, whole_view
from infant_fer.errors import InfantFERError
from infant_fer.face_search import SearchBudget
from infant_fer.images import Photo
from infant_fer.locales import translator
from infant_fer.report import Report
from infant_fer.report_html import answer_html, fault_html, shares_html
from infant_fer.ui.languages import label as t
from infant_fer.ui.sessions import Session

WAITING = "Choose a photo, take one with the camera, or try an example."
# What the browser does at once when a photo is removed, and when it gets no answer; values as of `face_values`.
CLEAR_JS = "() => window.infantFer.cleared()"
FAIL_JS = "() => { document.querySelector('#photo-fail').click(); }"
FAILED_JS = "() => window.infantFer.failed()"
ENDED_JS = "() => window.infantFer.ended()"
GOOD_JS = "(good) => good"
NO_MAP_JS = "() => window.infantFer.noMap()"
DRAW_JS = "(...values) => window.infantFer.draws(...values)"
NOTHING_YET = "There is nothing to show yet. Choose a photo with a face first."
SHOW, HIDE = gr.update(visible=True), gr.update(visible=False)


def waiting_html() -> str:
    """Return what stands in the answer's place before there is a photo; the browser translates it."""
    return f'<div class="ife waiting"><p>{t(WAITING)}</p></div>'


def user_error(error: InfantFERError | str) -> gr.Error:
    """Return the message for the person in front of the page, without a traceback in the server's log.

    The page translates it for the visitor.
    """
    return gr.Error(error.sentence if isinstance(error, InfantFERError) else error, print_exception=False)


def read_photo(
    registry: CheckpointRegistry,
    session: Session,
    photo: Photo | InfantFERError | None,
    checkpoint: str,
    fault: InfantFERError | None = None,
) -> list:
    """Analyze a photo and keep its report; return values for photo, landmarks, map, answer, legend, face choice, cancel, overlay words.

    What cannot be read (a fault in the photo's place) clears the page and says why in the answer's place; `fault` is what
    the answer says first. Returns skips when a newer photo was chosen meanwhile, and for a photo that was removed (None):
    the browser has cleared the page already (CLEAR_JS), and a late answer would clear the next photo.
    """
    request_id = session.begin_photo(None if isinstance(photo, InfantFERError) else photo)
    if photo is None:
        return [gr.skip()] * 8
    report: Report | None = None
    faults = [] if fault is None else [fault]
    try:
        if isinstance(photo, InfantFERError):
            raise photo
        report = time_stamped(registry.analyzer(checkpoint).analyze(photo, budget=SearchBudget()))
    except InfantFERError as error:
        faults.append(error)
    translate = translator(session.language)
    words = "<hr>".join(str(fault_html(translate(each.sentence), session.language)) for each in faults)
    if not session.finish_photo(request_id, report, words):
        return [gr.skip()] * 8
    if report is None:
        return [None, None, None, words, "", HIDE, HIDE, ""]
    return [whole_view(report).photo.rgb, *face_values(session)]


def time_stamped(report: Report) -> Report:
    """Return the report with the present time."""
    return replace(report, read_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")


def choose_face(session: Session, number: int) -> list:
    """Make another face the explained one; return values for landmarks, map, answer, legend, face choice, cancel, overlay words."""
    if not session.choose_face(number):
        raise user_error(NOTHING_YET)
    return face_values(session)


def clicked_face(session: Session, shown_xy: tuple[float, float]) -> int:
    """Return the number of the face whose box centre is nearest to a click in pixels of the shown picture."""

    def distance(face) -> float:
        box = np.array(face.face.box_xyxy)
        return float(np.linalg.norm((box[:2] + box[2:]) / 2 - shown_xy))

    return min(shown(session, report_with_face(session)).faces, key=distance).number


def face_values(session: Session) -> list:
    """Return values for landmarks, map, answer, legend, face choice, cancel and overlay words, before the map is drawn."""
    report = current_report(session)
    view = shown(session, report)
    numbers = [face.number for face in report.faces]
    choice = gr.update(choices=numbers or [1], value=session.face_number, visible=len(numbers) > 1)
    plain = view.photo.rgb if report.faces else None
    return [
        landmarks_picture(session),
        plain,
        answer(session.fault, report, session.face_number, session.language),
        "",
        choice,
        SHOW if numbers else HIDE,
        overlay_words(session),
    ]


def explained(
    registry: CheckpointRegistry, session: Session, checkpoint: str, settings: ExplanationSettings
) -> Iterator[list]:
    """Yield map, answer, legend and cancel as samples come in; ends early when the visitor has moved on.

    A complete map is not drawn again. A map that fails leaves none, and its fault is raised: an older one would pass for
    the answer to the settings on the page. Where there is no face to explain, the answer is given once more: a step of the
    map of an older photo may have reached the browser after it.
    """
    key = checkpoint, settings
    fault = session.fault  # of what is explained: a newer photo may have another
    begun = session.begin_map(key)
    if begun is None:
        yield [*unexplained(session), HIDE]
        return
    report, number, request_id = begun
    try:
        for step in registry.analyzer(checkpoint).explain_with_steadiness(report, number, settings):
            explanation = step.face(number).explanation
            assert explanation is not None  # every step has one
            if not session.update_map(request_id, step, key, explanation.complete):
                # A step on its way to the browser may have shown the button again.
                yield [gr.skip(), gr.skip(), gr.skip(), HIDE]
                return
            done = HIDE if explanation.complete else SHOW
            legend = str(shares_html(step.face(number), session.language))
            yield [map_picture(session, step), answer(fault, step, number, session.language), legend, done]
    except Exception:
        session.update_map(request_id, report.with_explanation(number, None), key, complete=False)
        raise


def unexplained(session: Session) -> list:
    """Return values for map, answer and legend where no face is to be explained; skips where what the page shows stands."""
    report = session.report
    stands = not session.fault if report is None else bool(report.faces)
    return [gr.skip()] * 3 if stands else [None, answer(session.fault, report, 1, session.language), ""]


def answer(fault: str, report: Report | None, number: int, language: str) -> str:
    """Return the answer to a face of a report as HTML, below the HTML of what went wrong; without a report only that."""
    words = "" if report is None else str(answer_html(report, number, language))
    return "<hr>".join(each for each in (fault, words) if each)


def shown(session: Session, report: Report | None = None) -> Report:
    """Return a report (the session's) in the frame of the pictures on the page."""
    view = close_up if session.display.close_up else whole_view
    return view(report or current_report(session))


def landmarks_picture(session: Session) -> np.ndarray:
    """Return the shown photo with boxes and landmarks, (H, W, 3) uint8 RGB."""
    return draw_faces(shown(session), session.face_number, session.display.overlay)


def overlay_words(session: Session) -> str:
    """Return as HTML what the drawn difference from an average face shows, or why there is none; empty for other overlays."""
    report = session.report
    if report is None or not report.faces or session.display.overlay != DIFFERENCE_OVERLAY:
        return ""
    words = difference_words(report, session.face_number)
    return f'<div class="ife"><p class="quiet">{translator(session.language)(words)}</p></div>'


def map_picture(session: Session, report: Report | None = None) -> np.ndarray:
    """Return the shown photo with the map of a report (the session's), (H, W, 3) uint8 RGB."""
    display = session.display
    return draw_saliency(shown(session, report), session.face_number, display.strength, display.map_view)


def redrawn(session: Session) -> tuple:
    """Return both pictures and the overlay's words after a change of the display options; skips before there is a photo."""
    if session.report is None:
        return gr.skip(), gr.skip(), gr.skip()
    map_or_none = map_picture(session) if session.report.faces else None
    return landmarks_picture(session), map_or_none, overlay_words(session)


def current_report(session: Session) -> Report:
    """Return the session's report, or tell the visitor that there is none yet."""
    if session.report is None:
        raise user_error(NOTHING_YET)
    return session.report


def report_with_face(session: Session) -> Report:
    """Return a report that has a face to show, or tell the visitor that there is none yet."""
    report = current_report(session)
    if not report.faces:
        raise user_error(NOTHING_YET)
    return report
