"""The whole page: tabs, the programmatic endpoint, and how it is served."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.errors import InfantFERError
from infant_fer.images import MAX_BYTES, Photo
from infant_fer.report_html import STYLE
from infant_fer.synthetic.mesh.data import is_installed
from infant_fer.ui.about_tab import build_about_tab
from infant_fer.ui.lab.style import LAB_STYLE
from infant_fer.ui.lab.tab import build_lab_tab
from infant_fer.ui.live_tab import build_live_tab
from infant_fer.ui.photo_tab import build_photo_tab
from infant_fer.ui.photo_view import told
from infant_fer.ui.privacy import PrivacyMiddleware
from infant_fer.ui.private_image import PrivateImage, part_uploads
from infant_fer.ui.sessions import SessionStore

TITLE = "infant_fer"
INTRODUCTION = (
    "# What does the expression look like?\n"
    "Choose a photo of an infant. The page names the expression and shows what in the picture weighed in the answer. "
    "It reads faces, not feelings, and is not a medical device."
)
THEME = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])  # no font is fetched
CSS = (
    STYLE
    + LAB_STYLE
    + """
footer { display: none !important; }
#card table { display: block; overflow-x: auto; border: 0; } #card :is(td, th) { min-width: 7rem; }
@media (max-width: 640px) { .gradio-container { padding: .5rem !important; } }
"""
)
NO_LAB = (
    "## Expression lab\nA further tab moves the face of a rendered infant by sliders and shows how the answer moves. It appears "
    "after `pip install --no-deps -r requirements-synthetic.txt` and a new start of the page."
)


def build_page(registry: CheckpointRegistry, sessions: SessionStore, examples: list[Path]) -> gr.Blocks:
    """Build the page; nothing is served yet. The lab is there when what it needs is installed."""
    with_lab, lab_sessions = is_installed(), SessionStore()
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Tabs(selected="photo") as tabs:
            with gr.Tab("Photo", id="photo"):
                photo_tab = build_photo_tab(registry, sessions, examples)
            with gr.Tab("Live", id="live"):
                build_live_tab(registry, sessions, photo_tab, tabs)
            if with_lab:
                with gr.Tab("Lab", id="lab") as tab:
                    build_lab_tab(registry, lab_sessions, photo_tab.checkpoint, tab)
            with gr.Tab("About", id="about"):
                if not with_lab:
                    gr.Markdown(NO_LAB)
                build_about_tab(registry, photo_tab.checkpoint, photo_tab.loaded)
        _add_endpoint(page, registry)
        _forget_with(page, (sessions, lab_sessions))
    return page


def _forget_with(page: gr.Blocks, stores: Sequence[SessionStore]) -> None:
    """Forget visitors who close the page, and let Gradio forget those whom the stores forget: it keeps every component's
    last value, photos too.
    """

    def forgotten(session_hash: str) -> None:
        if not any(session_hash in store for store in stores):
            page.state_holder.session_data.pop(session_hash, None)

    def left(request: gr.Request):
        for store in stores:
            store.forget(request.session_hash)
        forgotten(request.session_hash)

    for store in stores:
        store.forgotten = forgotten
    page.unload(left)


def launch(page: gr.Blocks, host: str = "127.0.0.1", port: int = 7860, block: bool = True) -> str:
    """Serve the page with everything off that could keep, count or send what visitors do; gives its address."""
    page.queue(max_size=32, default_concurrency_limit=2)
    app, url, _ = page.launch(
        server_name=host,
        server_port=port,
        theme=THEME,
        css=CSS,
        share=False,
        run_history=False,
        enable_monitoring=False,
        pwa=False,
        ssr_mode=False,
        mcp_server=False,
        footer_links=[],
        show_error=True,
        max_file_size=MAX_BYTES,
        state_session_capacity=64,
        quiet=True,
        prevent_thread_lock=True,
        app_kwargs={
            "middleware": [Middleware(PrivacyMiddleware)],
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
        },
    )
    part_uploads(app)
    print(f"The page is ready: {url}", flush=True)
    if block:
        page.block_thread()
    return url


def _add_endpoint(page: gr.Blocks, registry: CheckpointRegistry) -> None:
    """`/analyze`: a photo in, the report as JSON out; the checkpoint is optional."""

    def analyze(photo: Photo | None, checkpoint: str | None, request: gr.Request) -> dict:
        # Gradio keeps what was sent, and here no page will be closed.
        page.state_holder.session_data.pop(request.session_hash, None)
        if photo is None:
            raise told("Send a photo.")
        try:
            return json.loads(registry.analyzer(checkpoint or registry.default).analyze(photo).to_json())
        except InfantFERError as error:
            raise told(error) from None

    photo = PrivateImage(visible=False, label="photo")
    checkpoint = gr.Dropdown(registry.choices, value=registry.default, visible=False, label="checkpoint")
    report = gr.JSON(visible=False, label="report")
    gr.Button(visible=False).click(analyze, [photo, checkpoint], [report], api_name="analyze")
