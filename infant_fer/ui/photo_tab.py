"""The Photo tab: a photo goes in; landmarks, saliency map and the answer come out side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from infant_fer.analyzer import ExplanationSettings
from infant_fer.drawing import OVERLAYS, draw_faces, draw_saliency, shrink
from infant_fer.errors import InfantFERError
from infant_fer.explain import METHODS
from infant_fer.images import Photo, load_photo
from infant_fer.labels import AFFECTS
from infant_fer.report import Report
from infant_fer.report_html import PICTURE_LONG_SIDE, answer_html, shares_html
from infant_fer.ui.downloads import KINDS, SAVE_JS, download
from infant_fer.ui.private_image import PrivateImage
from infant_fer.ui.sessions import Session, SessionStore
from infant_fer.ui.shelf import Shelf

PREDICTED = "the predicted one"
WAITING = '<div class="ife"><p>Choose a photo, take one with the camera, or try an example.</p></div>'
MODEL_QUEUE = "model"  # one map is computed at a time; reading a photo does not wait for it
EXAMPLE_WORDS = {
    "smile": "Smile",
    "laugh": "Laugh",
    "neutral": "Neutral",
    "cry": "Cry",
    "pout": "Pout",
    "surprise": "Surprise",
    "two_faces": "Two faces",
    "lying": "Lying down",
}


@dataclass(frozen=True)
class PhotoTab:
    """What other tabs need: the outputs of a new photo, and a way to have it explained after an event."""

    outputs: list[gr.components.Component]
    explain_after: Callable[[object], None]
    checkpoint: gr.Dropdown
    overlay: gr.Radio


def build_photo_tab(shelf: Shelf, sessions: SessionStore, examples: list[Path]) -> PhotoTab:
    """Lay out the tab and wire its events."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=280):
            photo = PrivateImage(
                label="Photo",
                sources=["upload", "webcam", "clipboard"],
                webcam_options=gr.WebcamOptions(mirror=False, constraints={"video": {"width": {"ideal": 1280}}}),
                buttons=[],
                height=300,
                elem_id="photo",
                placeholder="Drop a photo here\nor click to choose one (JPEG, PNG, WebP, AVIF, HEIC)",
            )
            with gr.Group(elem_classes="examples"):
                gr.Markdown("Examples (rendered faces, no real infant)", container=False)
                with gr.Row():
                    example_buttons = [
                        gr.Button(EXAMPLE_WORDS.get(path.stem, path.stem), elem_id=f"example-{path.stem}", size="sm", min_width=90)
                        for path in examples
                    ]
        with gr.Column(scale=5, min_width=320):
            with gr.Row():
                landmarks = PrivateImage(label="Face and landmarks", interactive=False, buttons=["fullscreen"], elem_id="landmarks")
                saliency = PrivateImage(label="What weighed in the answer", interactive=False, buttons=["fullscreen"], elem_id="map")
            face = gr.Radio(label="Face", choices=[1], value=1, visible=False, elem_id="face", info="Or click the face in the picture.")
            with gr.Row():
                with gr.Column(min_width=280):
                    answer = gr.HTML(WAITING, elem_id="answer")
                with gr.Column(min_width=280):
                    legend = gr.HTML("", elem_id="legend")
                    cancel = gr.Button("Stop drawing the map", visible=False, size="sm", elem_id="cancel")
    with gr.Row():
        with gr.Accordion("Settings", open=False):
            checkpoint = gr.Dropdown(shelf.choices, value=shelf.choices[0][1], label="Checkpoint", elem_id="checkpoint")
            with gr.Row():
                target = gr.Dropdown([PREDICTED, *AFFECTS], value=PREDICTED, label="Class to explain", elem_id="target")
                methods = [(method.title, name) for name, method in METHODS.items()]
                method = gr.Dropdown(methods, value="smoothgrad", label="Method", elem_id="method")
            with gr.Row():
                samples = gr.Slider(5, 200, 50, step=5, label="Noise samples", elem_id="samples")
                noise = gr.Slider(0.0, 0.5, 0.15, step=0.01, label="Noise level (share of the input's range)", elem_id="noise")
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1, elem_id="seed")
            with gr.Row():
                overlay = gr.Radio(list(OVERLAYS), value=OVERLAYS[0], label="Landmarks", elem_id="overlay")
                strength = gr.Slider(0.0, 1.0, 0.8, step=0.05, label="How strongly the map covers the photo", elem_id="strength")
    with gr.Row():
        saves = {kind: gr.Button(words, size="sm", min_width=120, elem_id=f"save-{kind}") for kind, words in KINDS.items()}
    payload = gr.JSON(visible=False)

    shown = [photo, landmarks, saliency, answer, legend, face, cancel]
    explain_inputs = [target, method, samples, noise, seed, checkpoint, strength]
    explain_outputs = [saliency, answer, legend, cancel]

    def explain(target, method, samples, noise, seed, checkpoint, strength, request: gr.Request, progress=gr.Progress()):
        settings = ExplanationSettings(method, None if target == PREDICTED else target, int(samples), noise, int(seed or 0))
        yield from _explained(shelf, sessions.get(request.session_hash), checkpoint, settings, strength, progress)

    def on_photo(value: Photo | None, checkpoint, overlay, request: gr.Request):
        return read_photo(shelf, sessions.get(request.session_hash), value, checkpoint, overlay)

    def on_checkpoint(checkpoint, overlay, request: gr.Request, progress=gr.Progress()):
        session = sessions.get(request.session_hash)
        value = session.report.photo if session.report else None
        return read_photo(shelf, session, value, checkpoint, overlay, progress)

    def on_face(number, overlay, request: gr.Request):
        return _choose_face(sessions.get(request.session_hash), int(number), overlay)

    def on_click(overlay, request: gr.Request, event: gr.SelectData):
        session = sessions.get(request.session_hash)
        return _choose_face(session, _clicked_face(session, event.index), overlay)

    def on_overlay(overlay, request: gr.Request):
        session = sessions.get(request.session_hash)
        return _shown(draw_faces(session.report, session.number, overlay)) if session.report else gr.skip()

    def on_strength(strength, request: gr.Request):
        session = sessions.get(request.session_hash)
        return _map_picture(session, strength) if session.report and session.report.faces else gr.skip()

    def on_save(kind: str):
        def save(overlay, strength, request: gr.Request):
            session = sessions.get(request.session_hash)
            if session.report is None or (kind == "map" and not session.report.faces):
                raise gr.Error("There is nothing to save yet. Choose a photo with a face first.", print_exception=False)
            return download(session, kind, overlay, strength)

        return save

    private = {"api_visibility": "private"}
    explaining = {
        "fn": explain,
        "inputs": explain_inputs,
        "outputs": explain_outputs,
        "concurrency_id": MODEL_QUEUE,
        "concurrency_limit": 1,
        "show_progress_on": [saliency],
        **private,
    }
    running = []
    picked = [landmarks, saliency, answer, legend, face, cancel]
    starts = [
        photo.input(on_photo, [photo, checkpoint, overlay], shown, show_progress_on=[answer], **private),
        checkpoint.input(on_checkpoint, [checkpoint, overlay], shown, show_progress_on=[answer], **private),
        face.input(on_face, [face, overlay], picked, show_progress="hidden", **private),
        landmarks.select(on_click, [overlay], picked, show_progress="hidden", **private),
    ]
    for button, path in zip(example_buttons, examples, strict=True):

        def on_example(checkpoint, overlay, request: gr.Request, path=path):
            return read_photo(shelf, sessions.get(request.session_hash), load_photo(path), checkpoint, overlay)

        starts.append(button.click(on_example, [checkpoint, overlay], shown, show_progress_on=[answer], **private))
    running += [start.success(**explaining) for start in starts]
    running += [component.input(**explaining) for component in (target, method)]
    running += [slider.release(**explaining) for slider in (samples, noise)]
    running.append(seed.submit(**explaining))
    cancel.click(lambda: gr.update(visible=False), None, [cancel], cancels=running, queue=False, **private)
    photo.clear(on_photo, [photo, checkpoint, overlay], shown, cancels=running, **private)
    overlay.input(on_overlay, [overlay], [landmarks], show_progress="hidden", **private)
    strength.release(on_strength, [strength], [saliency], show_progress="hidden", **private)
    for kind, button in saves.items():
        saved = button.click(on_save(kind), [overlay, strength], [payload], show_progress="hidden", **private)
        saved.success(None, [payload], None, js=SAVE_JS, **private)
    return PhotoTab(shown, lambda event: event.success(**explaining), checkpoint, overlay)


def read_photo(
    shelf: Shelf, session: Session, photo: Photo | None, checkpoint: str, overlay: str, progress: gr.Progress | None = None
) -> list:
    """Analyze a photo, remember its report and give the values of the tab's outputs; no photo clears them."""
    if photo is None:
        session.show(None)
        return [None, None, None, WAITING, "", gr.update(visible=False), gr.update(visible=False)]
    try:
        analyzer = shelf.analyzer(checkpoint, progress)
        session.show(analyzer.analyze(photo))
    except InfantFERError as error:
        raise gr.Error(str(error), print_exception=False) from None
    report = session.report
    return [_shown(photo.rgb), *_pictures(report, 1, overlay), _face_choice(report, 1), gr.update(visible=bool(report.faces))]


def _pictures(report: Report, number: int, overlay: str) -> list:
    landmarks = _shown(draw_faces(report, number, overlay))
    return [landmarks, _shown(report.photo.rgb) if report.faces else None, answer_html(report, number), ""]


def _choose_face(session: Session, number: int, overlay: str) -> list:
    report = session.report
    if report is None or not 1 <= number <= len(report.faces):
        raise gr.Error("Choose a photo with a face first.", print_exception=False)
    session.number, session.turn = number, session.turn + 1
    return [*_pictures(report, number, overlay), _face_choice(report, number), gr.update(visible=True)]


def _face_choice(report: Report, number: int):
    numbers = [face.number for face in report.faces]
    return gr.update(choices=numbers or [1], value=number, visible=len(numbers) > 1)


def _clicked_face(session: Session, shown_xy: list[int] | tuple[int, int]) -> int:
    """The face whose box centre is nearest to a click given in pixels of the shown picture."""
    report = session.report
    if report is None or not report.faces:
        raise gr.Error("Choose a photo with a face first.", print_exception=False)
    height, width = report.photo.rgb.shape[:2]
    scale = max(1.0, max(height, width) / PICTURE_LONG_SIDE)
    x, y = shown_xy[0] * scale, shown_xy[1] * scale

    def distance(face) -> float:
        left, top, right, bottom = face.face.box_xyxy
        return ((left + right) / 2 - x) ** 2 + ((top + bottom) / 2 - y) ** 2

    return min(report.faces, key=distance).number


def _explained(
    shelf: Shelf, session: Session, checkpoint: str, settings: ExplanationSettings, strength: float, progress: gr.Progress
) -> Iterator[list]:
    """Yield map, answer and legend as samples come in; ends early when the visitor has moved on."""
    report, number, turn = session.report, session.number, session.turn
    if report is None or not report.faces:
        yield [gr.skip(), gr.skip(), gr.skip(), gr.update(visible=False)]
        return
    try:
        for step in shelf.analyzer(checkpoint).explain_steps(report, number, settings):
            if session.turn != turn:
                return
            session.report = step
            saliency = step.face(number).explanation.saliency
            progress((saliency.samples, saliency.asked_samples), desc="Drawing the map", unit="samples")
            done = step.face(number).explanation.complete
            yield [
                _map_picture(session, strength),
                answer_html(step, number),
                shares_html(step.face(number).explanation),
                gr.update(visible=not done),
            ]
    except InfantFERError as error:
        raise gr.Error(str(error), print_exception=False) from None


def _map_picture(session: Session, strength: float):
    report = session.report
    return _shown(draw_saliency(report.photo.rgb, report.face(session.number), strength))


def _shown(image_rgb):
    return shrink(image_rgb, PICTURE_LONG_SIDE)
