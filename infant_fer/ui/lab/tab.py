"""The Lab tab: an infant rendered from sliders, the model's answer to it, and the series of pictures from one expression to another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr
from gradio.events import Dependency

from infant_fer.analyzer import ExplanationSettings
from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.synthetic.expressions import EXPRESSIONS
from infant_fer.synthetic.lab import STEPS, actions_of, drawn_age_and_tone
from infant_fer.synthetic.twin import twin_of
from infant_fer.ui.lab.controls import MOST_SEED, Controls, lab_settings, lay_out_controls, lay_out_expressions
from infant_fer.ui.lab.reading import (
    PREPARING,
    drawn_map,
    interpolated,
    read_portrait,
    redrawn_face,
    search_result,
    smallest_change,
    step_actions,
)
from infant_fer.ui.languages import label as t
from infant_fer.ui.photo.tab import created
from infant_fer.ui.photo.view import HIDE, report_with_face
from infant_fer.ui.private_image import PrivateImage
from infant_fer.ui.sessions import SessionStore

INTRODUCTION = (
    "Move a face and see how the answer moves. This is a **rendered infant, not a real one**. "
    "Choose an expression, then change it:"
)
SERIES = "The infant above in the same light; only the expression changes, in equal steps."
EXERCISES = (
    "**Which movement alone changes the answer?** Start from *neutral*, move one slider, and put it back before the next. Guess first: "
    "is it the mouth, the eyes or the brows? Then see whether it is the same for another infant.",
    "**Does the skin tone change the answer?** Keep everything else and move only the tone, then only the light. If the answer "
    "changes, that says something about the model, not about infants. One infant proves little: try several before you conclude "
    "anything.",
    "**Where does the map look?** Compare the bright places for *smile* and *cry*, then cover part of the face with a hand or a "
    "pacifier. Is the map bright where you would look yourself?",
)
SIMPLER = (
    "A render is simpler than a face, so results here may not hold for photos. The name of an expression says what the face does, not "
    "what an infant feels."
)
TWIN = (
    "The rendered infant makes the face that is chosen in the Photo tab: its movements and the pose of its head, as far as they "
    "were measured. It is no likeness. Then see which single movement would change the answer."
)
QUIET = {"show_progress": "hidden", "trigger_mode": "always_last", "api_visibility": "private"}  # the newest wins
SETS_SLIDERS = QUIET | {"concurrency_id": "lab-sliders"}  # one visitor's run in order


@dataclass(frozen=True)
class _Results:
    face: PrivateImage
    saliency: PrivateImage
    short: gr.HTML
    answer: gr.HTML
    legend: gr.HTML


@dataclass(frozen=True)
class _Twin:
    take_over: gr.Button
    search: gr.Button
    shown: gr.HTML


@dataclass(frozen=True)
class _Interpolation:
    start: gr.Dropdown
    end: gr.Dropdown
    go: gr.Button
    stop: gr.Button
    shown: gr.HTML
    step: gr.Slider


def build_lab_tab(
    registry: CheckpointRegistry, sessions: SessionStore, photos: SessionStore, checkpoint: gr.Dropdown, tab: gr.Tab
) -> None:
    """Lay out the tab and wire its events; `sessions` are the lab's own, beside those of the `photos`."""
    gr.Markdown(t(INTRODUCTION))
    expressions = lay_out_expressions()
    with gr.Row(equal_height=False, elem_id="lab-bench"):
        with gr.Column(scale=5, min_width=320, elem_id="lab-results"):
            results = _lay_out_results()
        with gr.Column(scale=4, min_width=320):
            controls = lay_out_controls()
    twin = _lay_out_twin()
    interpolation = _lay_out_interpolation()
    gr.Markdown(f"### {t('Exercises for a class')}")
    for number, exercise in enumerate(EXERCISES, 1):
        gr.Markdown(f"{number}. {t(exercise)}")
    gr.Markdown(t(SIMPLER))
    render_after = _wire(registry, sessions, checkpoint, tab, controls, results, twin)
    _wire_starts(expressions, controls, sessions, render_after)
    _wire_twin(registry, sessions, photos, checkpoint, controls, twin, render_after)
    _wire_interpolation(registry, sessions, checkpoint, controls, interpolation, render_after)


def _lay_out_results() -> _Results:
    with gr.Column(elem_id="lab-pictures"):
        with gr.Row():
            face = _picture(t("Rendered infant, not a real one"), "lab-face")
            saliency = _picture(t("What weighed in the answer"), "lab-map")
        short = gr.HTML("", elem_id="lab-short", padding=False)
    answer = gr.HTML(f'<div class="ife"><p>{t(PREPARING)}</p></div>', elem_id="lab-answer")
    return _Results(face, saliency, short, answer, gr.HTML("", elem_id="lab-legend"))


def _picture(words: gr.I18nData, name: str) -> PrivateImage:
    """A picture with its words below it: a label upon it would cover a small face."""
    with gr.Column(min_width=140):
        picture = PrivateImage(label=words, show_label=False, interactive=False, buttons=[], elem_id=name)
        gr.HTML(f'<div class="lab-caption">{words}</div>', padding=False)
    return picture


def _lay_out_twin() -> _Twin:
    with gr.Accordion(t("A twin of the face in the photo"), open=False, elem_id="lab-twin"):
        gr.Markdown(t(TWIN))
        with gr.Row():
            take_over = gr.Button(t("Take over movements and pose"), size="sm", elem_id="lab-take-over")
            search = gr.Button(t("Find the smallest change that flips the answer"), size="sm", elem_id="lab-flip")
        shown = gr.HTML("", elem_id="lab-flip-result")
    return _Twin(take_over, search, shown)


def _lay_out_interpolation() -> _Interpolation:
    with gr.Accordion(t("From one expression to another"), elem_id="lab-interpolation"):
        gr.Markdown(t(SERIES))
        with gr.Row():
            names = [(t(name.capitalize()), name) for name in EXPRESSIONS]
            start = gr.Dropdown(names, value="open smile", label=t("From"), min_width=150, elem_id="lab-from")
            end = gr.Dropdown(names, value="cry", label=t("To"), min_width=150, elem_id="lab-to")
        go = gr.Button(t("Render the series"), variant="primary", elem_id="lab-go")
        stop = gr.Button(t("Stop"), visible=False, size="sm", elem_id="lab-stop")
        shown = gr.HTML("", elem_id="lab-series")
        step = gr.Slider(
            1, STEPS, 1, step=1, label=t("Put a step of this series on the sliders above"), buttons=[], elem_id="lab-step",
            info=t("To see where the map looks before and after the answer changes"),
        )  # fmt: skip
    return _Interpolation(start, end, go, stop, shown, step)


def _wire(
    registry: CheckpointRegistry,
    sessions: SessionStore,
    checkpoint: gr.Dropdown,
    tab: gr.Tab,
    controls: Controls,
    results: _Results,
    twin: _Twin,
) -> Callable[[Dependency], Dependency]:
    """Render when the tab is opened or a control moved; return a function that has it done after another event too.

    What was found for one portrait goes when another is rendered.
    """

    def on_change(request: gr.Request, checkpoint: str, overlay: str, *values):
        session = created(sessions, request)
        read = read_portrait(registry, session, lab_settings(values), checkpoint, overlay)
        return [*read, search_result(session)]

    def on_explain(checkpoint: str, request: gr.Request):
        session = sessions.get(request.session_hash)
        yield from drawn_map(registry, session, checkpoint, ExplanationSettings())

    def on_overlay(overlay: str, request: gr.Request):
        return redrawn_face(sessions.get(request.session_hash), overlay)

    render = {
        "fn": on_change,
        "inputs": [checkpoint, controls.overlay, *controls.inputs],
        "outputs": [results.face, results.saliency, results.short, results.answer, results.legend, twin.shown],
        **QUIET,
        "show_progress": "minimal",
        "show_progress_on": [results.face],
    }
    explain = {
        "fn": on_explain,
        "inputs": [checkpoint],
        "outputs": [results.saliency, results.answer, results.legend],
        "concurrency_id": "explain",  # shared with the photos: one map at a time
        "concurrency_limit": 1,
        **QUIET,
    }
    moved = [event for slider in controls.sliders for event in (slider.input, slider.release)]  # keys send no release
    gr.on([tab.select, controls.occluder.input, *moved], **render).success(**explain)
    controls.overlay.input(on_overlay, [controls.overlay], [results.face, results.short], **QUIET)
    return lambda event: event.success(**render).success(**explain)


def _wire_starts(
    expressions: dict[str, gr.Button], controls: Controls, sessions: SessionStore, render_after: Callable
) -> None:
    """Let named expressions and infants set the sliders; a series of one infant ends when another is chosen."""

    def on_expression(name: str):
        return lambda: list(actions_of(name).values())

    def on_infant(further: int):
        def event(seed: int | None, request: gr.Request):
            sessions.get(request.session_hash).begin_interpolation()  # a series ends
            number = (int(seed or 0) + further) % (MOST_SEED + 1)
            return number, *drawn_age_and_tone(number)

        return event

    for name, button in expressions.items():
        render_after(button.click(on_expression(name), None, controls.movements, **SETS_SLIDERS))
    for trigger, further in ((controls.seed.input, 0), (controls.another.click, 1)):
        person = [controls.seed, controls.age, controls.tone]
        render_after(trigger(on_infant(further), [controls.seed], person, **SETS_SLIDERS))


def _wire_twin(
    registry: CheckpointRegistry,
    sessions: SessionStore,
    photos: SessionStore,
    checkpoint: gr.Dropdown,
    controls: Controls,
    twin: _Twin,
    render_after: Callable,
) -> None:
    """Set the sliders to the face of the Photo tab, and search for the smallest change of the rendered infant."""

    def on_take_over(request: gr.Request, *values):
        session = photos.get(request.session_hash)
        face = report_with_face(session).face(session.face_number).face
        settings = twin_of(face, lab_settings(values))
        return [*settings.actions.values(), settings.yaw, settings.pitch]

    def on_search(request: gr.Request, checkpoint: str, *values):
        yield from smallest_change(registry, created(sessions, request), lab_settings(values), checkpoint)

    moved = [*controls.movements, *controls.scene[-2:]]  # yaw and pitch come last
    render_after(twin.take_over.click(on_take_over, controls.inputs, moved, **SETS_SLIDERS))
    twin.search.click(on_search, [checkpoint, *controls.inputs], [twin.shown], **QUIET)


def _wire_interpolation(
    registry: CheckpointRegistry,
    sessions: SessionStore,
    checkpoint: gr.Dropdown,
    controls: Controls,
    interpolation: _Interpolation,
    render_after: Callable,
) -> None:
    def on_interpolate(request: gr.Request, checkpoint: str, start: str, end: str, *values):
        session = created(sessions, request)
        yield from interpolated(registry, session, lab_settings(values), start, end, checkpoint)

    def on_stop(request: gr.Request):
        sessions.get(request.session_hash).begin_interpolation()
        return HIDE

    def on_step(start: str, end: str, number: int, request: gr.Request):
        return list(step_actions(created(sessions, request), (start, end), int(number)).values())

    rendered_from = [checkpoint, interpolation.start, interpolation.end, *controls.inputs]
    interpolation.go.click(on_interpolate, rendered_from, [interpolation.shown, interpolation.stop], **QUIET)
    interpolation.stop.click(on_stop, None, [interpolation.stop], queue=False, **QUIET)
    stepped = gr.on(
        [interpolation.step.input, interpolation.step.release],
        on_step,
        [interpolation.start, interpolation.end, interpolation.step],
        controls.movements,
        **SETS_SLIDERS,
    )
    render_after(stepped)
