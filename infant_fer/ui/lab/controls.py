"""Which controls does the Lab tab have, and which settings do their values stand for?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from infant_fer.drawing import OVERLAYS
from infant_fer.synthetic.expressions import EXPRESSIONS
from infant_fer.synthetic.lab import MAIN, MOVEMENTS, STRONGEST, LabSettings, Movement, actions_of
from infant_fer.synthetic.occluders import OCCLUDERS
from infant_fer.ui.lab.reading import PLAIN
from infant_fer.ui.languages import choices
from infant_fer.ui.languages import label as t

START = "open smile"
NO_OCCLUDER = "no occluder"
MOST_SEED = 999_999


@dataclass(frozen=True)
class Controls:
    """The controls by what they change."""

    movements: list[gr.Slider]  # in the order of MOVEMENTS
    seed: gr.Number
    age: gr.Slider
    tone: gr.Slider
    tears: gr.Slider
    occluder: gr.Dropdown
    scene: list[gr.Slider]  # light and view, in the order of LabSettings
    another: gr.Button
    overlay: gr.Radio

    @property
    def inputs(self) -> list:
        """The components whose values `lab_settings` takes."""
        return [*self.movements, self.seed, self.age, self.tone, self.tears, self.occluder, *self.scene]

    @property
    def sliders(self) -> list[gr.Slider]:
        """Every slider."""
        return [control for control in self.inputs if isinstance(control, gr.Slider)]


def lab_settings(values: Sequence) -> LabSettings:
    """Return the settings from the values of `Controls.inputs`."""
    weights, (seed, age, tone, tears, occluder, *scene) = values[: len(MOVEMENTS)], values[len(MOVEMENTS) :]
    actions = {movement.name: float(weight) for movement, weight in zip(MOVEMENTS, weights, strict=True)}
    return LabSettings(actions, int(seed or 0), age, tone, tears, None if occluder == NO_OCCLUDER else occluder, *scene)


def lay_out_expressions() -> dict[str, gr.Button]:
    """Lay out a button for every named expression."""
    with gr.Row(elem_id="lab-expressions"):
        return {
            name: gr.Button(t(name.capitalize()), size="sm", min_width=84, elem_id=f"lab-{name.replace(' ', '-')}")
            for name in EXPRESSIONS
        }


def lay_out_controls() -> Controls:
    """Lay out the sliders and choices, in a column.

    No initial value is a key of the catalogues: until a component is shown, Gradio translates such a value, too.
    """
    with gr.Accordion(t("What the face does"), elem_id="lab-movements"):
        with gr.Row():
            movements = [_movement(each) for each in MOVEMENTS[:MAIN]]
        with gr.Accordion(t("More movements"), open=False, elem_id="lab-more"), gr.Row():
            movements += [_movement(each) for each in MOVEMENTS[MAIN:]]
    usual = LabSettings({})
    with gr.Accordion(t("Infant"), elem_id="lab-infant"):
        with gr.Row():
            seed = gr.Number(
                usual.seed,
                label=t("Infant number"),
                precision=0,
                minimum=0,
                maximum=MOST_SEED,
                min_width=180,
                elem_id="lab-seed",
            )
            occluder = gr.Dropdown(
                [(t("nothing"), NO_OCCLUDER), *choices(OCCLUDERS)],
                value=NO_OCCLUDER,
                label=t("Before the face"),
                min_width=180,
                elem_id="lab-occluder",
            )
            age = _slider(t("Age"), 0, 1, usual.age, 0.05, t("0 newborn, 1 toddler"), "age")
            tone = _slider(t("Skin tone"), 0, 1, usual.tone, 0.01, t("0 light, 1 dark"), "tone")
            tears = _slider(t("Tears"), 0, 1, usual.tears, 0.05, t("0 none, 1 wet cheeks"), "tears")
        another = gr.Button(t("Another infant"), elem_id="lab-another")
    with gr.Accordion(t("Light and head"), elem_id="lab-scene"), gr.Row():
        scene = _scene(usual)
    overlay = gr.Radio(
        [(t("none"), PLAIN), *choices(OVERLAYS)], value=PLAIN, label=t("Landmarks"), elem_id="lab-overlay"
    )
    return Controls(movements, seed, age, tone, tears, occluder, scene, another, overlay)


def _scene(usual: LabSettings) -> list[gr.Slider]:
    sides, nod = t("degrees; below 0 left, above 0 right"), t("degrees; below 0 up, above 0 down")
    usual_light = t(f"{usual.brightness:g} is usual")
    return [
        _slider(t("Light from"), -90, 90, usual.azimuth, 5, sides, "azimuth"),
        _slider(t("Height of the light"), -20, 80, usual.elevation, 5, t("degrees above the face"), "elevation"),
        _slider(t("Brightness"), 0.2, 2.0, usual.brightness, 0.05, usual_light, "brightness"),
        _slider(t("Head turn"), -60, 60, usual.yaw, 5, sides, "yaw"),
        _slider(t("Head nod"), -30, 30, usual.pitch, 5, nod, "pitch"),
    ]


def _movement(movement: Movement) -> gr.Slider:
    weight = actions_of(START)[movement.name]
    return _slider(t(movement.words), 0, STRONGEST, weight, 0.05, f"{movement.name}, {movement.unit}", movement.name)


def _slider(label: str, low: float, high: float, value: float, step: float, info: str, name: str) -> gr.Slider:
    return gr.Slider(
        low, high, value, step=step, label=label, info=info, buttons=[], min_width=240, elem_id=f"lab-{name}"
    )
