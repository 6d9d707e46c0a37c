"""The tab "Test the map": cover the face and see, and four further experiments on the map of the face in the Photo tab."""

from __future__ import annotations

from dataclasses import dataclass, replace

import gradio as gr

from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.explain import METHODS
from infant_fer.explain.__main__ import USUAL_METHODS
from infant_fer.explain.covering import FACE_PARTS, FILL_WORDS
from infant_fer.labels import AFFECTS
from infant_fer.locales import translator
from infant_fer.regions import PART_WORDS
from infant_fer.ui.event_queue import PHOTO_PLACES
from infant_fer.ui.languages import choices, language_of
from infant_fer.ui.languages import label as t
from infant_fer.ui.map_tests.experiments import (
    COVERS_PART,
    COVERS_SPOT,
    GUESSES,
    Cover,
    cover_of,
    settings_of,
)
from infant_fer.ui.map_tests.view import (
    compared_html,
    covered,
    measured_html,
    overlap_html,
    randomized_html,
    steady_html,
    tapped,
)
from infant_fer.ui.private_image import PrivateImage
from infant_fer.ui.sessions import Session, SessionStore

INTRODUCTION = (
    "A heat map is a claim about the model. **Test it**, on the face that is chosen in the Photo tab. "
    "Nothing here says what an infant feels."
)
EMPTY = "Choose a photo in the Photo tab first. Its face appears here."
SEVERAL_METHODS = (
    "Methods see different things. Open a picture to read how it is meant. Where they agree, and the tests above agree, "
    "the claim stands better."
)
PREDICTED, NO_OTHER = "the predicted one", "all others"
QUIET = {"show_progress": "hidden", "api_visibility": "private"}
COVERS = QUIET | {"concurrency_id": "cover", "concurrency_limit": PHOTO_PLACES}  # one visitor's run in order
# Apart from the Photo tab's maps, which would wait for minutes of experiments.
COMPUTING = {"concurrency_id": "map-tests", "concurrency_limit": 1, "api_visibility": "private"}


@dataclass(frozen=True)
class _Cover:
    face: PrivateImage
    answer: gr.HTML
    parts: gr.CheckboxGroup
    action: gr.Radio
    fill: gr.Radio
    uncover: gr.Button

    @property
    def outputs(self) -> list:
        """The components that a cover changes, in the order of `view.covered`."""
        return [self.face, self.answer, self.parts]


@dataclass(frozen=True)
class _Map:
    method: gr.Dropdown
    target: gr.Dropdown
    versus: gr.Dropdown

    @property
    def inputs(self) -> list:
        """The inputs of `experiments.settings_of`."""
        return [self.method, self.target, self.versus]


def build_map_tests_tab(
    registry: CheckpointRegistry, sessions: SessionStore, checkpoint: gr.Dropdown, tab: gr.Tab
) -> None:
    """Lay out the tab and wire its events; `sessions` are those of the Photo tab."""
    gr.Markdown(t(INTRODUCTION))
    cover = _lay_out_cover()
    _wire_cover(registry, sessions, checkpoint, tab, cover)
    with gr.Accordion(t("How to test a heat map: five experiments, five minutes"), open=True, elem_id="map-tests"):
        tested = _lay_out_map()
        results = _wire_experiments(registry, sessions, checkpoint, tested)
        results.append(_wire_comparison(registry, sessions, checkpoint, tested))

    def on_open(checkpoint: str, request: gr.Request):
        session = sessions.get(request.session_hash)
        return [gr.skip() if session.tested == _tested(session, checkpoint) else ""] * len(results)

    tab.select(on_open, [checkpoint], results, trigger_mode="always_last", **QUIET)


def _tested(session: Session, checkpoint: str) -> tuple:
    """Return what a result is of: results of another face or checkpoint are not shown."""
    return session.subject, checkpoint


def _lay_out_cover() -> _Cover:
    gr.Markdown(f"## {t('Cover it and see')}")
    gr.Markdown(t("Tap a part of the face, or choose parts below. The answer follows."))
    with gr.Row(equal_height=False, elem_id="cover-bench"):
        with gr.Column(scale=2, min_width=260):
            words = t("The face as the model sees it")
            face = PrivateImage(label=words, show_label=False, interactive=False, buttons=[], elem_id="cover-face")
            gr.HTML(words, padding=False, elem_classes="caption")  # a label upon it would cover the forehead
        with gr.Column(scale=3, min_width=280):
            answer = gr.HTML(f'<div class="ife"><p>{t(EMPTY)}</p></div>', elem_id="cover-answer")
            parts = gr.CheckboxGroup(
                [(t(PART_WORDS[part]), part) for part in FACE_PARTS], label=t("Cover"), elem_id="cover-parts"
            )
            uncover = gr.Button(t("Uncover everything"), size="sm", elem_id="cover-none")
            actions = [COVERS_PART, COVERS_SPOT, GUESSES]
            action = gr.Radio(
                choices(actions),
                value=COVERS_PART,
                label=t("A tap on the face"),
                elem_id="cover-action",
            )
            fills = [(t(FILL_WORDS[name].capitalize()), name) for name in ("blur", "skin", "neighbours")]
            fill = gr.Radio(fills, value="blur", label=t("Covered with"), elem_id="cover-fill")
    return _Cover(face, answer, parts, action, fill, uncover)


def _lay_out_map() -> _Map:
    with gr.Row():
        methods = [(t(method.title), name) for name, method in METHODS.items()]
        method = gr.Dropdown(methods, value="smoothgrad", label=t("Map to test"), min_width=220, elem_id="test-method")
        target = gr.Dropdown(
            choices((PREDICTED, *AFFECTS)),
            value=PREDICTED,
            label=t("Class it explains"),
            min_width=220,
            elem_id="test-target",
        )
        versus = gr.Dropdown(
            choices((NO_OTHER, *AFFECTS)),
            value=NO_OTHER,
            label=t("Rather than"),
            min_width=220,
            elem_id="test-versus",
        )
    return _Map(method, target, versus)


def _wire_cover(
    registry: CheckpointRegistry, sessions: SessionStore, checkpoint: gr.Dropdown, tab: gr.Tab, cover: _Cover
) -> None:
    """Cover what is tapped or chosen; the newest request wins."""

    def on_open(checkpoint: str, fill: str, request: gr.Request):
        session = sessions.get(request.session_hash)
        if session.report is None or not session.report.faces:
            words = translator(language_of(request))(EMPTY)
            return None, f'<div class="ife"><p>{words}</p></div>', []
        return covered(registry, session, checkpoint, replace(cover_of(session), fill=fill))

    def on_tap(checkpoint: str, action: str, fill: str, request: gr.Request, event: gr.SelectData):
        return tapped(registry, sessions.get(request.session_hash), checkpoint, event.index, action, fill)

    def on_parts(checkpoint: str, parts: list[str], fill: str, request: gr.Request):
        session = sessions.get(request.session_hash)
        known = tuple(part for part in FACE_PARTS if part in parts)
        return covered(registry, session, checkpoint, replace(cover_of(session), parts=known, fill=fill))

    def on_uncover(checkpoint: str, fill: str, request: gr.Request):
        return covered(registry, sessions.get(request.session_hash), checkpoint, Cover(fill=fill))

    chosen, tap = [checkpoint, cover.parts, cover.fill], [checkpoint, cover.action, cover.fill]
    newest = {**COVERS, "trigger_mode": "always_last"}
    tab.select(on_open, [checkpoint, cover.fill], cover.outputs, **newest)
    cover.face.select(on_tap, tap, cover.outputs, **{**COVERS, "trigger_mode": "multiple"})
    gr.on([cover.parts.input, cover.fill.input], on_parts, chosen, cover.outputs, **newest)
    cover.uncover.click(on_uncover, [checkpoint, cover.fill], cover.outputs, **newest)


def _wire_experiments(
    registry: CheckpointRegistry, sessions: SessionStore, checkpoint: gr.Dropdown, tested: _Map
) -> list[gr.HTML]:
    """Lay out and wire the experiments that have one button and one result each; return the places of the results."""
    results = []

    def experiment(number: int, title: str, words: str, button: str, name: str, compute, further: tuple = ()) -> None:
        def event(checkpoint: str, method: str, target: str, versus: str, request: gr.Request, *values):
            session = sessions.get(request.session_hash)
            session.tested = subject = _tested(session, checkpoint)
            found = compute(registry, session, checkpoint, settings_of(method, target, versus), *values)
            return found if subject == _tested(session, checkpoint) else ""

        gr.Markdown(f"### {number}. {t(title)}")
        gr.Markdown(t(words))
        inputs = [checkpoint, *tested.inputs, *(control() for control in further)]
        pressed = gr.Button(t(button), size="sm", elem_id=f"test-{name}")
        shown = gr.HTML("", elem_id=f"test-{name}-result")
        pressed.click(event, inputs, [shown], show_progress_on=[shown], **COMPUTING)
        results.append(shown)

    experiment(
        1, "Guess first",
        "Where did *you* look to name the expression? Above, let a tap mark where you looked, tap there, then see the map.",
        "Show the map and the overlap", "guess", overlap_html,
    )  # fmt: skip
    experiment(
        2, "Hide what it marks",
        "If the map is true, hiding what it marks lowers the answer sooner than hiding at random, and the parts it marks are "
        "those whose cover hurts.",
        "Hide step by step", "faithful", measured_html,
    )  # fmt: skip
    experiment(
        3, "Randomise the network",
        "A network with random weights has learned nothing. A map that stays the same shows the picture, not the model.",
        "Randomise, from the top layer down", "random", randomized_html,
        (lambda: gr.Slider(0, 1, 1, step=0.1, label=t("Share of the layers"), buttons=[], elem_id="test-random-share"),),
    )  # fmt: skip
    experiment(
        4, "Do it again",
        "Other random numbers, or the face one pixel further right, should not change the map.",
        "Repeat the map", "steady", steady_html,
    )  # fmt: skip
    return results


def _wire_comparison(
    registry: CheckpointRegistry, sessions: SessionStore, checkpoint: gr.Dropdown, tested: _Map
) -> gr.HTML:
    gr.Markdown(f"### 5. {t('Ask several methods')}")
    gr.Markdown(t(SEVERAL_METHODS))
    methods = [(t(method.title), name) for name, method in METHODS.items()]
    chosen = gr.CheckboxGroup(methods, value=list(USUAL_METHODS), label=t("Methods"), elem_id="test-methods")
    targets = gr.CheckboxGroup(
        choices((PREDICTED, *AFFECTS)),
        value=[PREDICTED],
        label=t("Classes"),
        elem_id="test-targets",
    )
    others = gr.CheckboxGroup(
        [name for _, name in registry.choices], value=[], label=t("Further checkpoints"), elem_id="test-checkpoints",
        visible=len(registry.choices) > 1,
    )  # fmt: skip
    go = gr.Button(t("Draw them side by side"), variant="primary", elem_id="test-compare")
    shown = gr.HTML("", elem_id="test-compare-result")

    def event(checkpoint, methods, targets, others, request: gr.Request, *chosen_map):
        session = sessions.get(request.session_hash)
        session.tested = subject = _tested(session, checkpoint)
        names = list(dict.fromkeys([checkpoint, *others]))
        for found in compared_html(registry, session, names, methods, targets, settings_of(*chosen_map)):
            if subject != _tested(session, checkpoint):
                yield ""
                return
            yield found

    go.click(
        event, [checkpoint, chosen, targets, others, *tested.inputs], [shown], show_progress="hidden",
        **COMPUTING,
    )  # fmt: skip
    return shown
