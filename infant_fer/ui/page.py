"""The whole page: tabs and the programmatic endpoints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.drawing import close_up, draw_saliency
from infant_fer.errors import ImageError
from infant_fer.face_search import SearchBudget
from infant_fer.images import Photo, data_url
from infant_fer.synthetic.mesh.data import is_installed
from infant_fer.ui.about_tab import build_about_tab
from infant_fer.ui.clip import is_video_installed
from infant_fer.ui.event_queue import GuardedBlocks
from infant_fer.ui.lab.tab import build_lab_tab
from infant_fer.ui.languages import BROWSER_WORDS
from infant_fer.ui.languages import label as t
from infant_fer.ui.live_tab import build_live_tab
from infant_fer.ui.map_tests.tab import build_map_tests_tab
from infant_fer.ui.photo.tab import build_photo_tab
from infant_fer.ui.photo.view import time_stamped, user_error
from infant_fer.ui.private_image import PrivateImage, PrivateImages
from infant_fer.ui.sessions import SessionStore
from infant_fer.ui.several.tab import build_several_tab

TITLE = "infant_fer"
API_MAP_PX = 512  # long side of the map's picture
# What the programmatic endpoints say of themselves, in English.
API_EXPLAIN = (
    "With `explain` the first face has an `explanation` with its map over the photo (`map`, a PNG data: URL), and its "
    "`assessment` has the `steadiness`: in how many of 32 slightly changed copies the label stays. Its verdict counts that, as "
    "the page's does when the map is complete. Without `explain` the steadiness is null and is not counted."
)
API_DESCRIPTIONS = {
    "analyze": f"Read one photo: its report as JSON. {API_EXPLAIN}",
    "analyze_batch": f"Read several photos: a list of their reports; a file that is no photo has an `error`. {API_EXPLAIN}",
}
HEAD_HTML = (
    f'<h1 data-words="heading">{BROWSER_WORDS["heading"]}</h1>'
    f'<p data-words="introduction">{BROWSER_WORDS["introduction"]}</p>'
    '<button type="button" id="projector" aria-pressed="false" data-words="projector"></button>'
)
NO_LAB = (
    "Expression lab",
    "In a further tab, sliders move the face of a rendered infant, and the page shows how the answer "
    "changes. The tab appears after `pip install --no-deps -r requirements-synthetic.txt` and a restart of the page.",
)


def build_page(registry: CheckpointRegistry, sessions: SessionStore, examples: list[Path]) -> gr.Blocks:
    """Build the page; nothing is served yet. The lab is there when what it needs is installed."""
    with_lab, lab_sessions = is_installed(), SessionStore()
    with GuardedBlocks(title=TITLE, analytics_enabled=False) as page:
        gr.HTML(HEAD_HTML, padding=False, elem_id="page-head")
        with gr.Tabs(selected="photo") as tabs:
            with gr.Tab(t("Photo"), id="photo"):
                photo_tab = build_photo_tab(registry, sessions, examples)
            with gr.Tab(t("Several"), id="several"):
                explain_and_list = build_several_tab(registry, sessions, photo_tab)
            with gr.Tab(t("Live"), id="live"):
                explain_and_list(build_live_tab(registry, sessions, photo_tab, tabs))
            if is_video_installed():
                with gr.Tab(t("Clip"), id="clip"):
                    from infant_fer.ui.clip.tab import build_clip_tab  # imports PyAV

                    explain_and_list(build_clip_tab(registry, sessions, photo_tab, tabs))
            with gr.Tab(t("Test the map"), id="map-tests") as tests_tab:
                build_map_tests_tab(registry, sessions, photo_tab.settings.checkpoint, tests_tab)
            if with_lab:
                with gr.Tab(t("Lab"), id="lab") as tab:
                    build_lab_tab(registry, lab_sessions, sessions, photo_tab.settings.checkpoint, tab)
            with gr.Tab(t("About"), id="about"):
                further = () if with_lab else (NO_LAB,)
                build_about_tab(registry, photo_tab.settings.checkpoint, photo_tab.checkpoint_loaded, further)
        photo_tab.wire_clearing()
        _add_endpoints(page, registry)
        _forget_with(page, (sessions, lab_sessions))
    registry.while_loading = page.apart
    return page


def _forget_with(page: GuardedBlocks, stores: Sequence[SessionStore]) -> None:
    """Forget visitors who close the page, and have Gradio forget those whom the stores forget.

    Gradio keeps every component's last value, photos too.
    """

    def forget_components(session_hash: str) -> None:
        if not any(session_hash in store for store in stores):
            page.state_holder.session_data.pop(session_hash, None)

    def on_unload(request: gr.Request):
        for store in stores:
            store.forget(request.session_hash)
        forget_components(request.session_hash)

    def page_lives(session_hash: str) -> None:
        for store in stores:
            store.come_back(session_hash)

    for store in stores:
        store.on_forget = forget_components
    page.page_lives = page_lives
    page.unload(on_unload)


def _add_endpoints(page: gr.Blocks, registry: CheckpointRegistry) -> None:
    """`/analyze`: a photo in, the report as JSON out; `/analyze_batch`: several photos, a list. All else is optional."""

    def forget(request: gr.Request) -> None:
        # Gradio keeps what was sent, and here no page will be closed.
        page.state_holder.session_data.pop(request.session_hash, None)

    def read(photo: Photo, checkpoint: str | None, explain: bool) -> dict:
        analyzer = registry.analyzer(checkpoint or registry.default)
        report = time_stamped(analyzer.analyze(photo, budget=SearchBudget()))
        if not (explain and report.faces):
            return json.loads(report.to_json())
        *_, report = analyzer.explain_with_steadiness(report)
        answer = json.loads(report.to_json())
        answer["faces"][0]["explanation"]["map"] = data_url(draw_saliency(close_up(report, API_MAP_PX)))
        return answer

    def analyze(photo: Photo | None, checkpoint: str | None, explain: bool | None, request: gr.Request) -> dict:
        forget(request)
        if photo is None:
            raise user_error("Send a photo.")
        return read(photo, checkpoint, _flag(explain))

    def analyze_batch(
        photos: list[tuple[str, Photo | ImageError]] | None,
        checkpoint: str | None,
        explain: bool | None,
        request: gr.Request,
    ) -> list[dict]:
        forget(request)
        if not photos:
            raise user_error("Send photos.")
        answers, flag = [], _flag(explain)
        for name, photo in photos:
            if isinstance(photo, ImageError):
                answers.append({"file": name, "error": str(photo), "faces": []})
            else:
                answers.append({"file": name, **read(photo, checkpoint, flag)})
        return answers

    def inputs(photo: gr.components.Component) -> list:
        # A name that is not in the list reaches the registry, which says so in one sentence.
        names = gr.Dropdown(
            registry.choices, value=registry.default, allow_custom_value=True, visible=False, label="checkpoint"
        )
        return [photo, names, gr.Checkbox(visible=False, label="explain")]

    one, several = PrivateImage(visible=False, label="photo"), PrivateImages(visible=False, label="photos")
    for name, function, photos in (("analyze", analyze, one), ("analyze_batch", analyze_batch, several)):
        answer = gr.JSON(visible=False, label="report")
        description = API_DESCRIPTIONS[name]
        gr.Button(visible=False).click(function, inputs(photos), [answer], api_name=name, api_description=description)


def _flag(explain: bool | None) -> bool:
    """Return whether a map is requested. Raises gr.Error for anything that is no truth value."""
    if not isinstance(explain, bool | None):
        raise user_error("`explain` must be true or false.")
    return bool(explain)
