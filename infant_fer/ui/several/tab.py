"""The Several photos tab: a grid of readings, two of them compared, and tables; the browser hands photos over one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr
from gradio.events import Dependency

from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.errors import ImageError, InfantFERError
from infant_fer.face_search import SearchBudget
from infant_fer.images import Photo
from infant_fer.locales import translator
from infant_fer.report import Report
from infant_fer.ui.downloads import SAVE_JS
from infant_fer.ui.event_queue import READS_PHOTO
from infant_fer.ui.languages import label as t
from infant_fer.ui.languages import language_of
from infant_fer.ui.photo.tab import PhotoTab, created
from infant_fer.ui.photo.view import time_stamped, user_error
from infant_fer.ui.private_image import PhotoInput
from infant_fer.ui.sessions import MAX_READINGS, Session, SessionStore
from infant_fer.ui.several.readings import (
    FORMATS,
    card,
    comparison_html,
    opened_html,
    reading_of,
    source_of,
    table,
    unread,
)
from infant_fer.ui.style import page_file

QUIET = {"show_progress": "hidden", "api_visibility": "private"}
# The events of each run in order: no report is listed twice, and the newest detail is shown.
LISTS, SHOWS_DETAIL = QUIET | {"concurrency_id": "several-list"}, QUIET | {"concurrency_id": "several-detail"}
FULL = "The list is full: {count} photos. Save the table, clear the list, and go on."
TITLES = {"csv": "Table (CSV)", "json": "Readings (JSON)", "html": "Report (HTML)"}
GRID = '<div class="ife several"><div class="several-grid"></div></div>'
NO_LONGER_KEPT = "This reading is no longer kept. Read the photo again."
NONE_YET = "There is nothing to save yet. Choose some photos first."


@dataclass(frozen=True)
class _Parts:
    photo: PhotoInput
    name: gr.Textbox
    request_id: gr.Number
    answer: gr.JSON
    detail: gr.HTML
    chosen: gr.JSON
    open_one: gr.Button
    compare: gr.Button
    clear: gr.Button
    saves: dict[str, gr.Button]
    payload: gr.JSON


def build_several_tab(
    registry: CheckpointRegistry, sessions: SessionStore, photo_tab: PhotoTab
) -> Callable[[Dependency], None]:
    """Lay out the tab and wire its events; photos that are read in the Photo tab join the list.

    Returns what has a picture explained and listed after an event of another tab that has shown it in the Photo tab.
    """
    gr.HTML(page_file("several.html"), padding=False, elem_id="several")
    with gr.Row(elem_id="several-saves"):
        saves = {
            kind: gr.Button(t(TITLES[kind]), size="sm", min_width=110, elem_id=f"several-{kind}") for kind in FORMATS
        }
        clear = gr.Button(t("Clear the list"), size="sm", min_width=110, elem_id="several-clear")
    detail = gr.HTML("", elem_id="several-detail", padding=False)
    gr.HTML(GRID, padding=False, elem_id="several-list")  # last: it may be many screens long
    photo = PhotoInput(label="photo", elem_id="several-photo", visible="hidden", sources=["upload"])
    parts = _Parts(
        photo=photo,
        name=gr.Textbox(visible=False),
        request_id=gr.Number(visible=False, precision=0),
        answer=gr.JSON(visible=False),
        detail=detail,
        chosen=gr.JSON(visible=False),
        open_one=gr.Button(visible="hidden", elem_id="several-open"),
        compare=gr.Button(visible="hidden", elem_id="several-compare"),
        clear=clear,
        saves=saves,
        payload=gr.JSON(visible=False),
    )
    return _wire(SeveralEvents(registry, sessions), parts, photo_tab)


class SeveralEvents:
    """What happens at each event, by the visitor's session."""

    def __init__(self, registry: CheckpointRegistry, sessions: SessionStore):
        self.registry, self.sessions = registry, sessions

    def read(
        self, photo: Photo | ImageError | None, name: str, request_id: int | None, checkpoint: str, request: gr.Request
    ):
        """Read one photo and keep its answer; return what the browser shows of it, with its request's id, and an empty photo."""
        if photo is None:
            return gr.skip(), gr.skip()
        session = created(self.sessions, request)
        number = session.next_reading_number()
        if number is None:
            sentence = translator(session.language)(FULL, count=MAX_READINGS)
            return {"fault": sentence, "full": True, "request": request_id}, None
        try:
            if isinstance(photo, ImageError):
                raise photo
            report = self.registry.analyzer(checkpoint).analyze(photo, budget=SearchBudget())
            reading = reading_of(time_stamped(report), number, session.language)
        except InfantFERError as error:
            reading = unread((name or "")[:120], number, translator(session.language)(error.sentence), session.language)
        kept = session.keep_reading(number, reading)
        return (card(reading, session.language) if kept else {"cleared": True}) | {"request": request_id}, None

    def list_shown(self, request: gr.Request):
        """List the report that the Photo tab shows unless it is listed; return what the list shows of it, or None."""
        session = self.sessions.get(request.session_hash)
        report = session.report
        if report is None or not report.faces or session.listed_number(source_of(report)) is not None:
            return None
        return self._keep(report, session.next_reading_number(), session)

    def update_shown(self, request: gr.Request):
        """Let the list have the report with a complete map, whose verdict counts the steadiness; return as list_shown."""
        session = self.sessions.get(request.session_hash)
        report = session.report
        if report is None or not any(face.assessment.steadiness for face in report.faces):
            return None
        return self._keep(report, session.listed_number(source_of(report)), session)

    def _keep(self, report: Report, number: int | None, session: Session):
        if number is None:
            return None
        reading = reading_of(report, number, session.language)
        return card(reading, session.language) if session.keep_reading(number, reading) else None

    def open_one(self, opened: list, request: gr.Request):
        """Return the answer of one reading; `opened` is its number, and whether the browser has its file."""
        [reading] = self._readings(opened[:1], request)
        return opened_html(reading, bool(opened[1:] and opened[1]), language_of(request))

    def compare(self, chosen: list, request: gr.Request):
        """Return two readings side by side."""
        first, second = self._readings(chosen[:2], request)
        return comparison_html(first, second, language_of(request))

    def clear(self, request: gr.Request):
        """Forget all readings."""
        self.sessions.get(request.session_hash).clear_readings()
        return ""

    def save(self, kind: str):
        def event(request: gr.Request):
            session = self.sessions.get(request.session_hash)
            if not session.readings:
                raise user_error(NONE_YET)
            return table(list(session.readings.values()), kind, session.language)

        return event

    def _readings(self, numbers: list, request: gr.Request) -> list:
        session: Session = self.sessions.get(request.session_hash)
        found = [session.readings.get(int(number)) for number in numbers]
        if None in found or not found:
            raise user_error(NO_LONGER_KEPT)
        return found


def _wire(events: SeveralEvents, parts: _Parts, photo_tab: PhotoTab) -> Callable[[Dependency], None]:
    checkpoint = photo_tab.settings.checkpoint
    read = parts.photo.input(
        events.read,
        [parts.photo, parts.name, parts.request_id, checkpoint],
        [parts.answer, parts.photo],
        js="(photo, _name, _id, checkpoint) => window.infantFerSeveral.begin(photo, checkpoint)",
        trigger_mode="multiple",
        **READS_PHOTO,
        **QUIET,
    )
    read.success(None, [parts.answer], None, js="(answer) => window.infantFerSeveral.add(answer)", **QUIET)
    read.failure(None, None, None, js="() => window.infantFerSeveral.failed()", **QUIET)

    def list_after(shown: Dependency, event: Callable) -> None:
        kept = shown.success(event, None, [parts.answer], **LISTS)
        kept.success(None, [parts.answer], None, js="(answer) => window.infantFerSeveral.addLast(answer)", **QUIET)

    def explain_and_list(shown: Dependency) -> None:
        list_after(shown, events.list_shown)
        list_after(photo_tab.explain_after(shown), events.update_shown)

    for start in photo_tab.starts:
        list_after(start, events.list_shown)
    for explained in photo_tab.explained:
        list_after(explained, events.update_shown)
    details = ((parts.open_one, events.open_one, "opened"), (parts.compare, events.compare, "compared"))
    for button, event, chosen in details:
        button.click(
            event, [parts.chosen], [parts.detail], js=f"() => [window.infantFerSeveral.{chosen}()]", **SHOWS_DETAIL
        )
    for button in (parts.clear, photo_tab.clear_tray):
        cleared = button.click(events.clear, None, [parts.detail], **SHOWS_DETAIL)
        cleared.then(None, None, None, js="() => window.infantFerSeveral.clear()", **QUIET)
    for kind, button in parts.saves.items():
        saved = button.click(events.save(kind), None, [parts.payload], **QUIET)
        saved.success(None, [parts.payload], None, js=SAVE_JS, api_visibility="private")
    return explain_and_list
