"""Which components does the Photo tab have? Their layout, without events."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from infant_fer.analyzer import ExplanationSettings
from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.drawing import OVERLAYS
from infant_fer.explain import METHODS
from infant_fer.labels import AFFECTS
from infant_fer.ui.downloads import DOWNLOADS
from infant_fer.ui.photo.view import WAITING
from infant_fer.ui.private_image import PrivateImage
from infant_fer.ui.sessions import DisplayOptions
from infant_fer.ui.style import NEEDS_HTTPS, NO_CAMERA

PREDICTED = "the predicted one"
EXAMPLE_TITLES = {"two_faces": "Two faces", "lying": "Lying down"}
CAMERA = {"video": {"width": {"ideal": 1280}, "height": {"ideal": 960}}}


@dataclass(frozen=True)
class Inputs:
    """Where a photo comes from."""

    photo: PrivateImage
    examples: dict[Path, gr.Button]


@dataclass(frozen=True)
class Results:
    """What is shown of a photo."""

    landmarks: PrivateImage
    saliency: PrivateImage
    face: gr.Radio
    answer: gr.HTML
    legend: gr.HTML
    cancel: gr.Button
    saves: dict[str, gr.Button]
    payload: gr.JSON  # an invisible component through which a download reaches the browser

    @property
    def of_face(self) -> list:
        """The components that change with the chosen face, in the order of `view.face_values`."""
        return [self.landmarks, self.saliency, self.answer, self.legend, self.face, self.cancel]


@dataclass(frozen=True)
class Settings:
    """What a visitor may set."""

    checkpoint: gr.Dropdown
    target: gr.Dropdown
    method: gr.Dropdown
    samples: gr.Slider
    noise: gr.Slider
    seed: gr.Number
    overlay: gr.Radio
    strength: gr.Slider
    close_up: gr.Checkbox

    @property
    def explanation(self) -> list:
        """The inputs of `explanation_settings`."""
        return [self.target, self.method, self.samples, self.noise, self.seed]

    @property
    def display(self) -> list:
        """The inputs of `DisplayOptions`."""
        return [self.overlay, self.strength, self.close_up]


def explanation_settings(target: str, method: str, samples: float, noise: float, seed: float) -> ExplanationSettings:
    """Return the settings of a map from the values of `Settings.explanation`."""
    return ExplanationSettings(
        method,
        target=None if target == PREDICTED else target,
        samples=int(samples),
        noise=noise,
        seed=int(seed or 0),
    )


def lay_out_inputs(examples: list[Path]) -> Inputs:
    """Lay out the photo and the examples."""
    photo = PrivateImage(
        label="Photo",
        sources=["upload", "webcam", "clipboard"],
        webcam_options=gr.WebcamOptions(mirror=False, constraints=CAMERA),
        buttons=[],
        height=320,
        elem_id="photo",
        placeholder="Drop a photo here\nor click to choose one",
    )
    gr.HTML(NO_CAMERA, padding=False, elem_classes=NEEDS_HTTPS)
    gr.Markdown("JPEG, PNG, WebP, AVIF or HEIC, up to 12 MB. No photo at hand? Rendered examples, no real infant:")
    with gr.Row():
        buttons = {
            path: gr.Button(
                EXAMPLE_TITLES.get(path.stem, path.stem.capitalize()),
                elem_id=f"example-{path.stem}",
                size="sm",
                min_width=84,
            )
            for path in examples
        }
    return Inputs(photo, buttons)


def lay_out_results() -> Results:
    """Lay out both pictures, the answer and the downloads."""
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
            kind: gr.Button(title, size="sm", min_width=130, elem_id=f"save-{kind}")
            for kind, title in DOWNLOADS.items()
        }
    return Results(landmarks, saliency, face, answer, legend, cancel, saves, gr.JSON(visible=False))


def lay_out_settings(registry: CheckpointRegistry) -> Settings:
    """Lay out the settings, folded."""
    display = DisplayOptions()
    usual = ExplanationSettings()
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        checkpoint = gr.Dropdown(registry.choices, value=registry.default, label="Checkpoint", elem_id="checkpoint")
        with gr.Row():
            target = gr.Dropdown([PREDICTED, *AFFECTS], value=PREDICTED, label="Class to explain", elem_id="target")
            methods = [(method.title, name) for name, method in METHODS.items()]
            method = gr.Dropdown(methods, value=usual.method, label="Method", elem_id="method")
        with gr.Row():
            samples = gr.Slider(5, 200, usual.samples, step=5, label="Noise samples", elem_id="samples")
            noise = gr.Slider(
                0, 0.5, usual.noise, step=0.01, label="Noise level (share of the input's range)", elem_id="noise"
            )
            seed = gr.Number(usual.seed, label="Seed", precision=0, minimum=0, maximum=2**31 - 1, elem_id="seed")
        with gr.Row():
            overlay = gr.Radio(list(OVERLAYS), value=display.overlay, label="Landmarks", elem_id="overlay")
            strength = gr.Slider(
                0, 1, display.strength, step=0.05, label="How strongly the map covers the photo", elem_id="strength"
            )
            close_up = gr.Checkbox(display.close_up, label="Zoom to the faces", elem_id="close-up")
    return Settings(checkpoint, target, method, samples, noise, seed, overlay, strength, close_up)
