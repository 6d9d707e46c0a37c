"""The Photo tab: a photo goes in; landmarks, saliency map and the answer come out side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.events import Dependency

from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.errors import InfantFERError
from infant_fer.images import Photo, load_photo
from infant_fer.ui.downloads import SAVE_JS, download
from infant_fer.ui.event_queue import PHOTO_PLACES
from infant_fer.ui.photo.layout import (
    Inputs,
    Results,
    Settings,
    explanation_settings,
    lay_out_inputs,
    lay_out_results,
    lay_out_settings,
)
from infant_fer.ui.photo.view import (
    CLEAR_JS,
    HIDE,
    choose_face,
    clicked_face,
    explained,
    read_photo,
    redrawn,
    user_error,
)
from infant_fer.ui.sessions import DisplayOptions, Session, SessionStore

QUIET = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class PhotoTab:
    """What other tabs need of the Photo tab.

    `outputs` are the components that a new photo changes; `explain_after` has it explained after an event;
    `checkpoint_loaded` is the event that has loaded another checkpoint.
    """

    outputs: list
    explain_after: Callable[[Dependency], Dependency]
    settings: Settings
    checkpoint_loaded: Dependency


def build_photo_tab(registry: CheckpointRegistry, sessions: SessionStore, examples: list[Path]) -> PhotoTab:
    """Lay out the tab and wire its events."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=280):
            inputs = lay_out_inputs(examples)
        with gr.Column(scale=5, min_width=320):
            results = lay_out_results()
    settings = lay_out_settings(registry)
    return _wire(PhotoEvents(registry, sessions), inputs, results, settings)


def created(sessions: SessionStore, request: gr.Request) -> Session:
    """Return the session of a visitor who brings a picture."""
    return sessions.create(request.session_hash, request.client.host if request.client else "")


class PhotoEvents:
    """What happens at each event, by the visitor's session."""

    def __init__(self, registry: CheckpointRegistry, sessions: SessionStore):
        self.registry, self.sessions = registry, sessions

    def photo(self, photo: Photo | None, checkpoint: str, overlay, strength, close_up, request: gr.Request):
        session = self.sessions.get(request.session_hash) if photo is None else created(self.sessions, request)
        session.display = DisplayOptions(overlay, strength, close_up)
        return read_photo(self.registry, session, photo, checkpoint)

    def example(self, path: Path):
        def event(checkpoint: str, overlay, strength, close_up, request: gr.Request):
            return self.photo(load_photo(path), checkpoint, overlay, strength, close_up, request)

        return event

    def checkpoint(self, checkpoint: str, request: gr.Request, progress=gr.Progress()):
        def on_progress(share: float, words: str) -> None:
            progress(share, desc=words)

        try:
            self.registry.analyzer(checkpoint, on_progress)
        except InfantFERError as error:
            raise user_error(error) from None
        session = self.sessions.get(request.session_hash)
        if session.photo is None:
            return [gr.skip()] * 7
        return read_photo(self.registry, session, session.photo, checkpoint)

    def face(self, number: int, request: gr.Request):
        return choose_face(self.sessions.get(request.session_hash), int(number))

    def click(self, request: gr.Request, event: gr.SelectData):
        session = self.sessions.get(request.session_hash)
        return choose_face(session, clicked_face(session, event.index))

    def display(self, overlay: str, strength: float, close_up: bool, request: gr.Request):
        session = self.sessions.get(request.session_hash)
        session.display = DisplayOptions(overlay, strength, close_up)
        return redrawn(session)

    def explain(self, request: gr.Request, progress=gr.Progress(), *values):
        checkpoint, *explanation = values
        session = self.sessions.get(request.session_hash)
        yield from explained(self.registry, session, checkpoint, explanation_settings(*explanation), progress)

    def stop(self, request: gr.Request):
        self.sessions.get(request.session_hash).stop_map()
        return HIDE

    def save(self, kind: str):
        def event(request: gr.Request):
            return download(self.sessions.get(request.session_hash), kind)

        return event


def _wire(events: PhotoEvents, inputs: Inputs, results: Results, settings: Settings) -> PhotoTab:
    explain = {
        "fn": events.explain,
        "inputs": [settings.checkpoint, *settings.explanation],
        "outputs": [results.saliency, results.answer, results.legend, results.cancel],
        "concurrency_id": "explain",  # one map at a time; reading a photo does not wait for it
        "concurrency_limit": 1,
        "trigger_mode": "always_last",  # the newest request while a map is drawn is drawn next
        "show_progress_on": [results.saliency],
        "api_visibility": "private",
    }
    outputs = [inputs.photo, *results.of_face]
    loaded, starts = _wire_starts(events, inputs, results, settings, outputs)
    explaining = [start.success(**explain) for start in (loaded, *starts)]
    stop = {"fn": events.stop, "inputs": None, "outputs": [results.cancel], "queue": False, **QUIET}
    changed = (settings.target, settings.method, settings.samples, settings.noise)
    explaining += [setting.input(**stop, trigger_mode="always_last").success(**explain) for setting in changed]
    explaining += [slider.release(**explain) for slider in (settings.samples, settings.noise)]
    explaining.append(settings.seed.submit(**explain))

    results.cancel.click(**stop, cancels=explaining)
    # The input event tells the server that the photo is gone.
    inputs.photo.clear(None, None, results.of_face, js=CLEAR_JS, cancels=explaining, queue=False, **QUIET)
    strength = settings.strength.input, settings.strength.release  # keys send no release
    for event in (settings.overlay.input, *strength, settings.close_up.input):
        pictures = [results.landmarks, results.saliency]
        event(events.display, settings.display, pictures, trigger_mode="always_last", **QUIET)
    for kind, button in results.saves.items():
        saved = button.click(events.save(kind), None, [results.payload], **QUIET)
        saved.success(None, [results.payload], None, js=SAVE_JS, api_visibility="private")
    return PhotoTab(outputs, lambda event: event.success(**explain), settings, loaded)


def _wire_starts(
    events: PhotoEvents, inputs: Inputs, results: Results, settings: Settings, outputs: list
) -> tuple[Dependency, list[Dependency]]:
    """Wire what brings a new answer; gives the event that loads a checkpoint, and the others."""
    reading = {"show_progress_on": [results.answer], "api_visibility": "private"}
    # Every upload is read, and so deleted, even while the removal of another is under way; one after the other, so that
    # the newest answer comes last.
    in_order = {"trigger_mode": "multiple", "concurrency_id": "photo", "concurrency_limit": PHOTO_PLACES}
    loaded = settings.checkpoint.input(
        events.checkpoint, [settings.checkpoint], outputs, trigger_mode="always_last", **reading
    )
    how = [settings.checkpoint, *settings.display]
    starts = [
        inputs.photo.input(events.photo, [inputs.photo, *how], outputs, **reading, **in_order),
        results.face.input(events.face, [results.face], results.of_face, trigger_mode="always_last", **QUIET),
        results.landmarks.select(events.click, None, results.of_face, trigger_mode="multiple", **QUIET),
    ]
    starts += [
        button.click(events.example(path), how, outputs, **reading, **in_order)
        for path, button in inputs.examples.items()
    ]
    return loaded, starts
