"""The whole page: tabs and the programmatic endpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.errors import InfantFERError
from infant_fer.face_search import SearchBudget
from infant_fer.images import Photo
from infant_fer.synthetic.mesh.data import is_installed
from infant_fer.ui.about_tab import build_about_tab
from infant_fer.ui.event_queue import GuardedBlocks
from infant_fer.ui.lab.tab import build_lab_tab
from infant_fer.ui.languages import BROWSER_WORDS
from infant_fer.ui.languages import label as t
from infant_fer.ui.live_tab import build_live_tab
from infant_fer.ui.photo.tab import build_photo_tab
from infant_fer.ui.photo.view import user_error
from infant_fer.ui.private_image import PrivateImage
from infant_fer.ui.sessions import SessionStore

TITLE = "infant_fer"
HEAD_HTML = (
    f'<h1 data-words="heading">{BROWSER_WORDS["heading"]}</h1>'
    f'<p data-words="introduction">{BROWSER_WORDS["introduction"]}</p>'
)
NO_LAB = (
    "## Expression lab\nIn a further tab, sliders move the face of a rendered infant, and the page shows how the answer "
    "changes. The tab appears after `pip install --no-deps -r requirements-synthetic.txt` and a restart of the page."
)


def build_page(registry: CheckpointRegistry, sessions: SessionStore, examples: list[Path]) -> gr.Blocks:
    """Build the page; nothing is served yet. The lab is there when what it needs is installed."""
    with_lab, lab_sessions = is_installed(), SessionStore()
    with GuardedBlocks(title=TITLE, analytics_enabled=False) as page:
        gr.HTML(HEAD_HTML, padding=False, elem_id="page-head")
        with gr.Tabs(selected="photo") as tabs:
            with gr.Tab(t("Photo"), id="photo"):
                photo_tab = build_photo_tab(registry, sessions, examples)
            with gr.Tab(t("Live"), id="live"):
                build_live_tab(registry, sessions, photo_tab, tabs)
            if with_lab:
                with gr.Tab(t("Lab"), id="lab") as tab:
                    build_lab_tab(registry, lab_sessions, photo_tab.settings.checkpoint, tab)
            with gr.Tab(t("About"), id="about"):
                if not with_lab:
                    gr.Markdown(NO_LAB)
                build_about_tab(registry, photo_tab.settings.checkpoint, photo_tab.checkpoint_loaded)
        _add_endpoint(page, registry)
        _forget_with(page, (sessions, lab_sessions))
    registry.while_loading = page.apart
    return page


def _forget_with(page: gr.Blocks, stores: Sequence[SessionStore]) -> None:
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

    for store in stores:
        store.on_forget = forget_components
    page.unload(on_unload)


def _add_endpoint(page: gr.Blocks, registry: CheckpointRegistry) -> None:
    """`/analyze`: a photo in, the report as JSON out; the checkpoint is optional."""

    def analyze(photo: Photo | None, checkpoint: str | None, request: gr.Request) -> dict:
        # Gradio keeps what was sent, and here no page will be closed.
        page.state_holder.session_data.pop(request.session_hash, None)
        if photo is None:
            raise user_error("Send a photo.")
        try:
            return json.loads(
                registry.analyzer(checkpoint or registry.default).analyze(photo, budget=SearchBudget()).to_json()
            )
        except InfantFERError as error:
            raise user_error(error) from None

    photo = PrivateImage(visible=False, label="photo")
    checkpoint = gr.Dropdown(registry.choices, value=registry.default, visible=False, label="checkpoint")
    report = gr.JSON(visible=False, label="report")
    gr.Button(visible=False).click(analyze, [photo, checkpoint], [report], api_name="analyze")
