"""The Photo tab: a photo goes in; landmarks, saliency map and the answer come out side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from infant_fer.analyzer import ExplanationSettings
from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.drawing import OVERLAYS
from infant_fer.explain import METHODS
from infant_fer.images import Photo, load_photo
from infant_fer.labels import AFFECTS
from infant_fer.ui.downloads import KINDS, SAVE_JS, download
from infant_fer.ui.photo_view import (
    HIDE,
    WAITING,
    choose_face,
    clicked_face,
    explained,
    guarded,
    read_photo,
    redrawn,
)
from infant_fer.ui.private_image import PrivateImage
from infant_fer.ui.sessions import DisplayOptions, SessionStore

PREDICTED = "the predicted one"
QUIET = {"show_progress": "hidden", "api_visibility": "private"}
EXAMPLE_WORDS = {"two_faces": "Two faces", "lying": "Lying down"}
CAMERA = {"video": {"width": {"ideal": 1280}, "height": {"ideal": 960}}}


@dataclass(frozen=True)
class PhotoTab:
    """What other tabs need: the outputs of a new photo, a way to have it explained after an event, the checkpoint, and the
    event that has loaded another one.
    """

    outputs: list
    explain_after: Callable[[object], None]
    checkpoint: gr.Dropdown
    loaded: object


@dataclass(frozen=True)
class _Inputs:
    photo: PrivateImage
    examples: dict[Path, gr.Button]


@dataclass(frozen=True)
class _Results:
    landmarks: PrivateImage
    saliency: PrivateImage
    face: gr.Radio
    answer: gr.HTML
    legend: gr.HTML
    cancel: gr.Button
    saves: dict[str, gr.Button]
    payload: gr.JSON


@dataclass(frozen=True)
class _Settings:
    checkpoint: gr.Dropdown
    target: gr.Dropdown
    method: gr.Dropdown
    samples: gr.Slider
    noise: gr.Slider
    seed: gr.Number
    overlay: gr.Radio
    strength: gr.Slider
    close_up: gr.Checkbox


def build_photo_tab(registry: CheckpointRegistry, sessions: SessionStore, examples: list[Path]) -> PhotoTab:
    """Lay out the tab and wire its events."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=280):
            inputs = _lay_out_inputs(examples)
        with gr.Column(scale=5, min_width=320):
            results = _lay_out_results()
    settings = _lay_out_settings(registry)
    return _wire(registry, sessions, inputs, results, settings)


def _lay_out_inputs(examples: list[Path]) -> _Inputs:
    photo = PrivateImage(
        label="Photo",
        sources=["upload", "webcam", "clipboard"],
        webcam_options=gr.WebcamOptions(mirror=False, constraints=CAMERA),
        buttons=[],
        height=320,
        elem_id="photo",
        placeholder="Drop a photo here\nor click to choose one",
    )
    gr.Markdown("JPEG, PNG, WebP, AVIF or HEIC, up to 12 MB. No photo at hand? Rendered examples, no real infant:")
    with gr.Row():
        buttons = {
            path: gr.Button(_example_words(path), elem_id=f"example-{path.stem}", size="sm", min_width=84)
            for path in examples
        }
    return _Inputs(photo, buttons)


def _lay_out_results() -> _Results:
    with gr.Row():
        landmarks = PrivateImage(
            label="Face and landmarks", interactive=False, buttons=["fullscreen"], elem_id="landmarks", min_width=280
        )
        saliency = PrivateImage(
            label="What weighed in the answer", interactive=False, buttons=["fullscreen"], elem_id="map", min_width=280
        )
    face = gr.Radio(
        [1], value=1, visible=False, label="Which face?", info="Or click a face in the left picture.", elem_id="face"
    )
    cancel = gr.Button("Stop drawing the map", visible=False, size="sm", elem_id="cancel")
    with gr.Row():
        with gr.Column(min_width=280):
            answer = gr.HTML(WAITING, elem_id="answer")
        with gr.Column(min_width=280):
            legend = gr.HTML("", elem_id="legend")
    with gr.Row():
        saves = {
            kind: gr.Button(words, size="sm", min_width=130, elem_id=f"save-{kind}") for kind, words in KINDS.items()
        }
    return _Results(landmarks, saliency, face, answer, legend, cancel, saves, gr.JSON(visible=False))


def _lay_out_settings(registry: CheckpointRegistry) -> _Settings:
    look = DisplayOptions()
    asked = ExplanationSettings()
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        checkpoint = gr.Dropdown(registry.choices, value=registry.default, label="Checkpoint", elem_id="checkpoint")
        with gr.Row():
            target = gr.Dropdown([PREDICTED, *AFFECTS], value=PREDICTED, label="Class to explain", elem_id="target")
            methods = [(method.title, name) for name, method in METHODS.items()]
            method = gr.Dropdown(methods, value=asked.method, label="Method", elem_id="method")
        with gr.Row():
            samples = gr.Slider(5, 200, asked.samples, step=5, label="Noise samples", elem_id="samples")
            noise = gr.Slider(
                0, 0.5, asked.noise, step=0.01, label="Noise level (share of the input's range)", elem_id="noise"
            )
            seed = gr.Number(asked.seed, label="Seed", precision=0, minimum=0, maximum=2**31 - 1, elem_id="seed")
        with gr.Row():
            overlay = gr.Radio(list(OVERLAYS), value=look.overlay, label="Landmarks", elem_id="overlay")
            strength = gr.Slider(
                0, 1, look.strength, step=0.05, label="How strongly the map covers the photo", elem_id="strength"
            )
            close_up = gr.Checkbox(look.close_up, label="Zoom to the faces", elem_id="close-up")
    return _Settings(checkpoint, target, method, samples, noise, seed, overlay, strength, close_up)


def _wire(
    registry: CheckpointRegistry, sessions: SessionStore, inputs: _Inputs, results: _Results, settings: _Settings
) -> PhotoTab:
    def on_photo(photo: Photo | None, checkpoint: str, request: gr.Request):
        return read_photo(registry, sessions.get(request.session_hash), photo, checkpoint)

    def on_example(path: Path):
        def event(checkpoint: str, request: gr.Request):
            return read_photo(registry, sessions.get(request.session_hash), load_photo(path), checkpoint)

        return event

    def on_checkpoint(checkpoint: str, request: gr.Request, progress=gr.Progress()):
        session = sessions.get(request.session_hash)
        photo = session.report.photo if session.report else None
        return read_photo(registry, session, photo, checkpoint, lambda share, words: progress(share, desc=words))

    def on_face(number: int, request: gr.Request):
        return choose_face(sessions.get(request.session_hash), int(number))

    def on_click(request: gr.Request, event: gr.SelectData):
        session = sessions.get(request.session_hash)
        return choose_face(session, clicked_face(session, event.index))

    def on_look(overlay: str, strength: float, close_up: bool, request: gr.Request):
        session = sessions.get(request.session_hash)
        session.look = DisplayOptions(overlay, strength, close_up)
        return redrawn(session)

    def on_explain(checkpoint, target, method, samples, noise, seed, request: gr.Request, progress=gr.Progress()):
        asked = ExplanationSettings(
            method, None if target == PREDICTED else target, int(samples), noise, int(seed or 0)
        )
        yield from explained(registry, sessions.get(request.session_hash), checkpoint, asked, progress)

    def on_stop(request: gr.Request):
        sessions.get(request.session_hash).stop_map()
        return HIDE

    def on_save(kind: str):
        def event(request: gr.Request):
            return guarded(sessions.get(request.session_hash), lambda session: download(session, kind))

        return event

    explain_event = {
        "fn": on_explain,
        "inputs": [
            settings.checkpoint, settings.target, settings.method, settings.samples, settings.noise, settings.seed
        ],
        "outputs": [results.saliency, results.answer, results.legend, results.cancel],
        "concurrency_id": "explain",  # one map at a time; reading a photo does not wait for it
        "concurrency_limit": 1,
        "trigger_mode": "always_last",  # what was asked while a map was drawn is drawn next
        "show_progress_on": [results.saliency],
        "api_visibility": "private",
    }  # fmt: skip
    face_outputs = [results.landmarks, results.saliency, results.answer, results.legend, results.face, results.cancel]
    outputs = [inputs.photo, *face_outputs]
    reading = {"show_progress_on": [results.answer], "api_visibility": "private"}
    # Every upload is read, and so deleted, even while the removal of another is under way; one after the other, so that
    # the newest answer comes last.
    in_turn = {"trigger_mode": "multiple", "concurrency_id": "photo", "concurrency_limit": 1}
    loaded = settings.checkpoint.input(
        on_checkpoint, [settings.checkpoint], outputs, trigger_mode="always_last", **reading
    )
    starts = [
        loaded,
        inputs.photo.input(on_photo, [inputs.photo, settings.checkpoint], outputs, **reading, **in_turn),
        results.face.input(on_face, [results.face], face_outputs, trigger_mode="always_last", **QUIET),
        results.landmarks.select(on_click, None, face_outputs, trigger_mode="multiple", **QUIET),
    ]
    starts += [
        button.click(on_example(path), [settings.checkpoint], outputs, **reading, **in_turn)
        for path, button in inputs.examples.items()
    ]
    explaining = [start.success(**explain_event) for start in starts]
    stop = {"fn": on_stop, "inputs": None, "outputs": [results.cancel], "queue": False, **QUIET}
    changed = (settings.target, settings.method, settings.samples, settings.noise)
    explaining += [setting.input(**stop, trigger_mode="always_last").success(**explain_event) for setting in changed]
    explaining += [slider.release(**explain_event) for slider in (settings.samples, settings.noise)]
    explaining.append(settings.seed.submit(**explain_event))

    results.cancel.click(**stop, cancels=explaining)
    inputs.photo.clear(None, cancels=explaining, queue=False, **QUIET)  # the input event tells that it is gone
    look = [settings.overlay, settings.strength, settings.close_up]
    strength = settings.strength.input, settings.strength.release  # keys send no release
    for event in (settings.overlay.input, *strength, settings.close_up.input):
        event(on_look, look, [results.landmarks, results.saliency], trigger_mode="always_last", **QUIET)
    for kind, button in results.saves.items():
        saved = button.click(on_save(kind), None, [results.payload], **QUIET)
        saved.success(None, [results.payload], None, js=SAVE_JS, api_visibility="private")
    return PhotoTab(outputs, lambda event: event.success(**explain_event), settings.checkpoint, loaded)


def _example_words(path: Path) -> str:
    return EXAMPLE_WORDS.get(path.stem, path.stem.capitalize())
