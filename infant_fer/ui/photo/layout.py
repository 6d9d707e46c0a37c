"""Which components does the Photo tab have? Their layout, without events."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from infant_fer.analyzer import ExplanationSettings
from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.drawing import MAP_VIEWS, OVERLAYS
from infant_fer.explain import METHODS
from infant_fer.labels import AFFECTS
from infant_fer.ui.downloads import DOWNLOADS, MAX_NOTE
from infant_fer.ui.languages import label as t
from infant_fer.ui.photo.view import waiting_html
from infant_fer.ui.private_image import PhotoInput, PrivateImage
from infant_fer.ui.sessions import DisplayOptions
from infant_fer.ui.style import NEEDS_HTTPS, NO_CAMERA, PICTURE_SWITCH, TRAY, example_style

PREDICTED = "the predicted one"
EXAMPLE_TITLES = {"two_faces": "Two faces", "lying": "Lying down"}
CAMERA = {"video": {"width": {"ideal": 1280}, "height": {"ideal": 960}}}
FORMATS = "JPEG, PNG, WebP, AVIF or HEIC, up to 12 MB. No photo at hand? Rendered examples, no real infant:"


@dataclass(frozen=True)
class Inputs:
    """Where a photo comes from."""

    photo: PhotoInput
    examples: dict[Path, gr.Button]


@dataclass(frozen=True)
class Results:
    """What is shown of a photo. `fail` is a button that the browser presses when it gets no answer."""

    landmarks: PrivateImage
    saliency: PrivateImage
    face: gr.Radio
    answer: gr.HTML
    legend: gr.HTML
    cancel: gr.Button
    fail: gr.Button
    saves: dict[str, gr.Button]
    note: gr.Textbox
    payload: gr.JSON  # an invisible component through which a download reaches the browser
    clear_tray: gr.Button
    overlay_words: gr.HTML  # what a drawn difference from an average face shows

    @property
    def of_face(self) -> list:
        """The components that change with the chosen face, in the order of `view.face_values`."""
        pictures = [self.landmarks, self.saliency]
        return [*pictures, self.answer, self.legend, self.face, self.cancel, self.overlay_words]


@dataclass(frozen=True)
class Settings:
    """What a visitor may set. `good` holds the name of the last checkpoint that could be loaded.

    `lost` is a button that the browser presses when the choice of a checkpoint gets no answer.
    """

    checkpoint: gr.Dropdown
    good: gr.Textbox
    lost: gr.Button
    target: gr.Dropdown
    method: gr.Dropdown
    samples: gr.Slider
    noise: gr.Slider
    seed: gr.Number
    overlay: gr.Radio
    strength: gr.Slider
    close_up: gr.Checkbox
    map_view: gr.Radio

    @property
    def explanation(self) -> list:
        """The inputs of `explanation_settings`."""
        return [self.target, self.method, self.samples, self.noise, self.seed]

    @property
    def display(self) -> list:
        """The inputs of `DisplayOptions`."""
        return [self.overlay, self.strength, self.close_up, self.map_view]


def explanation_settings(target: str, method: str, samples: float, noise: float, seed: float) -> ExplanationSettings:
    """Return the settings of a map from the values of `Settings.explanation`."""
    return ExplanationSettings(
        method,
        target=None if target == PREDICTED else target,
        samples=int(samples),
        noise=noise,
        seed=int(seed or 0),
    )


def lay_out_photo() -> PhotoInput:
    """Lay out the photo: compact, so that the answer is in sight below it."""
    photo = PhotoInput(
        label=t("Photo"),
        show_label=False,
        sources=["upload", "webcam", "clipboard"],
        webcam_options=gr.WebcamOptions(mirror=False, constraints=CAMERA),
        buttons=[],
        height=190,
        elem_id="photo",
        placeholder=t("Drop a photo here or click to choose one"),
    )
    gr.HTML(NO_CAMERA, padding=False, elem_classes=NEEDS_HTTPS)
    return photo


def lay_out_examples(examples: list[Path]) -> dict[Path, gr.Button]:
    """Lay out the examples as thumbnails; the style gives each button its picture, on wide screens in place of its words."""
    gr.HTML(t(FORMATS), padding=False, elem_classes="quiet-line", elem_id="formats")
    with gr.Column(elem_id="examples"):
        gr.HTML(example_style(examples), padding=False, visible="hidden")
        with gr.Row(elem_id="example-row"):
            return {
                path: gr.Button(
                    t(EXAMPLE_TITLES.get(path.stem, path.stem.capitalize())),
                    elem_id=f"example-{path.stem}",
                    size="sm",
                    min_width=70,
                )
                for path in examples
            }


def lay_out_answer() -> gr.HTML:
    """Lay out the answer; the browser announces its changes."""
    return gr.HTML(waiting_html(), elem_id="answer", padding=False)


def lay_out_results(answer: gr.HTML) -> Results:
    """Lay out both pictures, the map's legend and the downloads."""
    face = gr.Radio(
        [1],
        value=1,
        visible=False,
        label=t("Which face?"),
        info=t("Or click the box of a face."),
        elem_id="face",
    )
    gr.HTML(PICTURE_SWITCH, padding=False, elem_id="picture-switch")
    with gr.Row(elem_id="pictures"):
        landmarks = _picture("Face and landmarks", "landmarks")
        saliency = _picture("What weighed in the answer", "map")
    overlay_words = gr.HTML("", elem_id="overlay-words", padding=False)
    with gr.Column(elem_id="cancel-place"):  # holds the room, so that nothing moves when the button comes and goes
        cancel = gr.Button(t("Stop drawing the map"), visible=False, size="sm", elem_id="cancel")
    legend = gr.HTML("", elem_id="legend", padding=False)
    with gr.Column(elem_id="saves"):
        with gr.Row():
            saves = {
                kind: gr.Button(t(title), size="sm", min_width=130, elem_id=f"save-{kind}")
                for kind, title in DOWNLOADS.items()
            }
        note = gr.Textbox(label=t("Note for the report"), lines=1, max_length=MAX_NOTE, elem_id="note")
    gr.HTML(TRAY, padding=False, elem_id="tray")
    clear_tray = gr.Button(t("Clear the list"), size="sm", elem_id="tray-clear")
    fail = gr.Button(visible="hidden", elem_id="photo-fail")
    payload = gr.JSON(visible=False)
    shown = landmarks, saliency, face, answer, legend, cancel
    return Results(*shown, fail, saves, note, payload, clear_tray, overlay_words)


def _picture(words: str, name: str) -> PrivateImage:
    """A picture with its words below it: a label upon it would cover a face."""
    with gr.Column(min_width=140, elem_classes="picture"):
        picture = PrivateImage(
            label=t(words), show_label=False, interactive=False, buttons=["fullscreen"], elem_id=name, height=400
        )
        gr.HTML(t(words), padding=False, elem_classes="caption")
    return picture


def lay_out_settings(registry: CheckpointRegistry) -> Settings:
    """Lay out the settings, folded."""
    display = DisplayOptions()
    usual = ExplanationSettings()
    checkpoints = [(t(title) if title != name else name, name) for title, name in registry.choices]
    with gr.Accordion(t("Settings"), open=False, elem_id="settings"):
        checkpoint = gr.Dropdown(checkpoints, value=registry.default, label=t("Checkpoint"), elem_id="checkpoint")
        with gr.Row():
            targets = [(t(name), name) for name in (PREDICTED, *AFFECTS)]
            target = gr.Dropdown(targets, value=PREDICTED, label=t("Class to explain"), elem_id="target")
            methods = [(t(method.title), name) for name, method in METHODS.items()]
            method = gr.Dropdown(methods, value=usual.method, label=t("Method"), elem_id="method")
        with gr.Row():
            samples = gr.Slider(5, 200, usual.samples, step=5, label=t("Noise samples"), elem_id="samples")
            noise = gr.Slider(
                0, 0.5, usual.noise, step=0.01, label=t("Noise level (share of the input's range)"), elem_id="noise"
            )
            seed = gr.Number(usual.seed, label=t("Seed"), precision=0, minimum=0, maximum=2**31 - 1, elem_id="seed")
        with gr.Row():
            overlay = _choice(OVERLAYS, display.overlay, t("Landmarks"), "overlay")
            map_view = _choice(MAP_VIEWS, display.map_view, t("Map"), "map-view")
            strength = gr.Slider(
                0, 1, display.strength, step=0.05, label=t("How strongly the map covers the photo"), elem_id="strength"
            )
            close_up = gr.Checkbox(display.close_up, label=t("Zoom to the faces"), elem_id="close-up")
    good = gr.Textbox(registry.default, visible=False)
    lost = gr.Button(visible="hidden", elem_id="checkpoint-lost")
    return Settings(checkpoint, good, lost, target, method, samples, noise, seed, overlay, strength, close_up, map_view)


def _choice(names: tuple[str, ...], value: str, words: gr.I18nData, name: str) -> gr.Radio:
    return gr.Radio([(t(each), each) for each in names], value=value, label=words, elem_id=name)
