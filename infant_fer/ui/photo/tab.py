"""The Photo tab: a photo goes in; landmarks, saliency map and the answer come out side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import gradio as gr
from gradio.context import Context
from gradio.events import Dependency

from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.errors import ImageError, InfantFERError
from infant_fer.images import Photo, load_photo
from infant_fer.locales import translator
from infant_fer.ui.downloads import SAVE_JS, download
from infant_fer.ui.event_queue import PHOTO_PLACES, READS_PHOTO, GuardedBlocks
from infant_fer.ui.languages import language_of
from infant_fer.ui.photo.layout import (
    Inputs,
    Results,
    Settings,
    explanation_settings,
    lay_out_answer,
    lay_out_examples,
    lay_out_photo,
    lay_out_results,
    lay_out_settings,
)
from infant_fer.ui.photo.view import (
    CLEAR_JS,
    DRAW_JS,
    ENDED_JS,
    FAIL_JS,
    FAILED_JS,
    GOOD_JS,
    HIDE,
    NO_MAP_JS,
    choose_face,
    clicked_face,
    explained,
    read_photo,
    redrawn,
)
from infant_fer.ui.sessions import DisplayOptions, Session, SessionStore

QUIET = {"show_progress": "hidden", "api_visibility": "private"}
# The events of each run in order, so that the newest choice of a visitor is the last.
DRAWS = {"concurrency_id": "display", "concurrency_limit": PHOTO_PLACES}
CHOOSES_FACE = {"concurrency_id": "face", "concurrency_limit": PHOTO_PLACES}


@dataclass(frozen=True)
class PhotoTab:
    """What other tabs need of the Photo tab.

    `outputs` are the components that a new photo changes; `explain_after` has it explained after an event, and
    `wire_clearing`, which is called after that of all tabs, lets what clears the page end all these maps;
    `checkpoint_loaded` is the event that has loaded another checkpoint; `starts` are the events that have read a photo,
    `explained` those that have drawn a map; `clear_tray` forgets what was read so far.
    """

    outputs: list
    explain_after: Callable[[Dependency], Dependency]
    wire_clearing: Callable[[], None]
    settings: Settings
    checkpoint_loaded: Dependency
    starts: list[Dependency]
    explained: list[Dependency]
    clear_tray: gr.Button


def build_photo_tab(registry: CheckpointRegistry, sessions: SessionStore, examples: list[Path]) -> PhotoTab:
    """Lay out the tab and wire its events."""
    with gr.Row(equal_height=False, elem_id="photo-bench"):
        with gr.Column(scale=4, min_width=280, elem_id="photo-side"):
            photo = lay_out_photo()
            answer = lay_out_answer()
            inputs = Inputs(photo, lay_out_examples(examples))
        with gr.Column(scale=7, min_width=300, elem_id="photo-views"):
            results = lay_out_results(answer)
    settings = lay_out_settings(registry)
    return _wire(PhotoEvents(registry, sessions), inputs, results, settings)


def created(sessions: SessionStore, request: gr.Request) -> Session:
    """Return the session of a visitor who brings a picture."""
    session = sessions.create(request.session_hash, request.client.host if request.client else "")
    session.language = language_of(request)
    return session


class PhotoEvents:
    """What happens at each event, by the visitor's session."""

    def __init__(self, registry: CheckpointRegistry, sessions: SessionStore):
        self.registry, self.sessions = registry, sessions

    def photo(self, photo: Photo | ImageError | None, checkpoint: str, *display, request: gr.Request):
        session = self.sessions.get(request.session_hash) if photo is None else created(self.sessions, request)
        session.draw_photo_as(DisplayOptions(*display))
        return read_photo(self.registry, session, photo, checkpoint)

    def example(self, path: Path):
        def event(request: gr.Request, checkpoint: str, *display):
            return self.photo(replace(load_photo(path), name=path.name), checkpoint, *display, request=request)

        return event

    def upload(self, request: gr.Request, photo: Photo | ImageError | None, checkpoint: str, *display):
        return self.photo(photo, checkpoint, *display, request=request)

    def checkpoint(self, checkpoint: str, good: str, request: gr.Request, progress=gr.Progress()):
        """Load a checkpoint; one that cannot be loaded gives way to the last good one, and the answer says so."""

        translate = translator(language_of(request))

        def on_progress(share: float, words: str) -> None:
            progress(share, desc=translate(words))

        session = self.sessions.get(request.session_hash)
        fault = None
        try:
            self.registry.analyzer(checkpoint, on_progress)
        except InfantFERError as error:
            fault, checkpoint = error, good
        chosen = [gr.skip() if fault is None else checkpoint, checkpoint]
        if session.photo is not None:
            values = read_photo(self.registry, session, session.photo, checkpoint, fault)
        elif fault is not None:
            session.language = language_of(request)  # the session may be an empty one
            values = read_photo(self.registry, session, fault, checkpoint)
        else:
            values = [gr.skip()] * 8
        return [*values, *chosen]

    def forget(self, session_hash: str) -> None:
        """Note that the page shows no photo: none that is being read for it is shown, and no map drawn of an older one."""
        self.sessions.get(session_hash).begin_photo(None)

    def face(self, number: int, request: gr.Request):
        return choose_face(self.sessions.get(request.session_hash), int(number))

    def click(self, request: gr.Request, event: gr.SelectData):
        session = self.sessions.get(request.session_hash)
        return choose_face(session, clicked_face(session, event.index))

    def display(self, request: gr.Request, *display):
        session = self.sessions.get(request.session_hash)
        session.draw_as(DisplayOptions(*display))
        return redrawn(session)

    def explain(self, request: gr.Request, *values):
        checkpoint, *explanation = values
        session = self.sessions.get(request.session_hash)
        yield from explained(self.registry, session, checkpoint, explanation_settings(*explanation))

    def stop(self, request: gr.Request):
        self.sessions.get(request.session_hash).stop_map()
        return HIDE

    def save(self, kind: str):
        def event(note: str, request: gr.Request):
            return download(self.sessions.get(request.session_hash), kind, note or "")

        return event


def _wire(events: PhotoEvents, inputs: Inputs, results: Results, settings: Settings) -> PhotoTab:
    explain = {
        "fn": events.explain,
        "inputs": [settings.checkpoint, *settings.explanation],
        "outputs": [results.saliency, results.answer, results.legend, results.cancel],
        "concurrency_id": "explain",  # one map at a time; reading a photo does not wait for it
        "concurrency_limit": 1,
        "trigger_mode": "always_last",  # the newest request while a map is drawn is drawn next
        "js": DRAW_JS,
        **QUIET,  # the legend shows how much is drawn, and nothing covers the growing map
    }
    root: GuardedBlocks = Context.root_block
    root.forget_photo = events.forget
    outputs = [inputs.photo, *results.of_face]
    loaded, starts = _wire_starts(events, inputs, results, settings, outputs)

    maps: list[Dependency] = []

    def draws_map(event: Dependency) -> Dependency:
        event.failure(None, None, [results.saliency, results.legend, results.cancel], js=NO_MAP_JS, **QUIET)
        maps.append(event)
        return event

    def explain_after(start: Dependency) -> Dependency:
        for ended in (start.then, start.failure):  # after a fault Gradio runs the second alone
            ended(None, None, None, js=ENDED_JS, trigger_mode="multiple", **QUIET)
        return draws_map(start.success(**explain))

    for start in (loaded, *starts):
        explain_after(start)
    stop = {"fn": events.stop, "inputs": None, "outputs": [results.cancel], "queue": False, **QUIET}
    for setting in (settings.target, settings.method, settings.samples, settings.noise):
        draws_map(setting.input(**stop, trigger_mode="always_last").success(**explain))
    for slider in (settings.samples, settings.noise):
        draws_map(slider.release(**explain))
    draws_map(settings.seed.submit(**explain))

    def wire_clearing() -> None:
        """A step of a map that is on its way would bring the older answer back: every map ends with it."""
        clears = {"cancels": maps, "queue": False, **QUIET}
        results.fail.click(None, None, outputs, js=FAILED_JS, **clears)
        inputs.photo.clear(None, None, results.of_face, js=CLEAR_JS, **clears)

    for start in (loaded, *starts):  # no answer came: a full queue, a lost connection, a fault of ours
        start.failure(None, None, None, js=FAIL_JS, **QUIET)  # Gradio ends no other events from here
    # The drawing ends by itself at its next step: an event that Gradio cancels may end as an error in the browser.
    results.cancel.click(**stop)
    settings.lost.click(None, [settings.good], [settings.checkpoint], js=GOOD_JS, queue=False, **QUIET)
    strength = settings.strength.input, settings.strength.release  # keys send no release
    for event in (settings.overlay.input, settings.map_view.input, *strength, settings.close_up.input):
        pictures = [results.landmarks, results.saliency, results.overlay_words]
        event(events.display, settings.display, pictures, trigger_mode="always_last", **DRAWS, **QUIET)
    for kind, button in results.saves.items():
        saved = button.click(events.save(kind), [results.note], [results.payload], **QUIET)
        saved.success(None, [results.payload], None, js=SAVE_JS, api_visibility="private")
    read = [starts[0], *starts[3:]]  # the others choose another face
    return PhotoTab(outputs, explain_after, wire_clearing, settings, loaded, read, [*maps], results.clear_tray)


def _wire_starts(
    events: PhotoEvents, inputs: Inputs, results: Results, settings: Settings, outputs: list
) -> tuple[Dependency, list[Dependency]]:
    """Wire what brings a new answer; gives the event that loads a checkpoint, and the others."""
    reading = {"show_progress_on": [results.answer], "api_visibility": "private", **READS_PHOTO}
    # An upload is read, and so deleted, even while the removal of another is under way.
    every = {"trigger_mode": "multiple"}
    face = {**CHOOSES_FACE, **QUIET}
    loaded = settings.checkpoint.input(
        events.checkpoint,
        [settings.checkpoint, settings.good],
        [*outputs, settings.checkpoint, settings.good],
        trigger_mode="always_last",
        **reading,
    )
    how = [settings.checkpoint, *settings.display]
    starts = [
        inputs.photo.input(events.upload, [inputs.photo, *how], outputs, **reading, **every),
        results.face.input(events.face, [results.face], results.of_face, trigger_mode="always_last", **face),
        results.landmarks.select(events.click, None, results.of_face, trigger_mode="multiple", **face),
    ]
    starts += [
        button.click(events.example(path), how, outputs, **reading, **every) for path, button in inputs.examples.items()
    ]
    loaded.failure(None, [settings.good], [settings.checkpoint], js=GOOD_JS, **QUIET)
    return loaded, starts
