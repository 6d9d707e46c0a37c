"""How is the page served? With everything off that could keep, count or send what visitors do, and a guard in front."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

import gradio as gr
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from gradio.state_holder import SessionState, StateHolder
from starlette.middleware import Middleware

from infant_fer.ui.event_queue import KeepsNothing
from infant_fer.ui.languages import I18N, FallbackLanguage
from infant_fer.ui.request_guard import NOT_UNDERSTOOD, RequestGuard, allowed_hosts, log_failure
from infant_fer.ui.style import CSS, HEAD, THEME
from infant_fer.ui.uploads import CLIP_BYTES, separate_uploads, stored_bytes, upload_folder

MAX_THREADS = 48  # of events; what the page consists of is served by other threads
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")


def launch(
    page: gr.Blocks, host: str = "127.0.0.1", port: int = 7860, allow_hosts: Sequence[str] = (), block: bool = True
) -> str:
    """Serve a page and return its address.

    It answers under `host`, this computer's names and addresses, a Space's own name and `allow_hosts` only.
    """
    page.queue()
    space = os.environ.get("SPACE_HOST", "")
    hosts, any_address = allowed_hosts(host, [name for name in (*allow_hosts, *space.split(",")) if name])
    guard = Middleware(
        RequestGuard,
        hosts=hosts,
        any_address=any_address,
        stored_bytes=lambda: stored_bytes(upload_folder()),
    )
    logging.getLogger("uvicorn.error").addFilter(_short_failures)
    with _without_proxy():
        app, url, _ = page.launch(
            server_name=host,
            server_port=port,
            theme=THEME,
            css=CSS,
            head=HEAD,
            i18n=I18N,
            share=False,
            run_history=False,
            enable_monitoring=False,
            pwa=False,
            ssr_mode=False,
            mcp_server=False,
            num_workers=0,
            footer_links=[],
            show_error=True,
            max_file_size=CLIP_BYTES,
            max_threads=MAX_THREADS,
            state_session_capacity=64,
            quiet=True,
            prevent_thread_lock=True,
            app_kwargs={
                "middleware": [guard, Middleware(FallbackLanguage)],
                "docs_url": None,
                "redoc_url": None,
                "openapi_url": None,
                "exception_handlers": {RequestValidationError: _not_understood},
            },
        )
    separate_uploads(app)
    app.state_holder.__class__ = ForgetfulHolder
    print(f"The page is ready: {url}", flush=True)
    if block:
        page.block_thread()
    return url


class ForgetfulState(SessionState):
    """What Gradio keeps of a visitor's components, without the values that were sent and shown: photos are among them.

    Gradio has them for links to a session, which are closed here; gathering them takes a third of a first event's time.
    """

    def __init__(self, blocks: gr.Blocks):
        self.blocks_config = copy(blocks.default_config)
        self.config_values = KeepsNothing()
        self.state_data: dict[int, Any] = {}
        self._state_ttl: dict[int, Any] = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = 3600

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: object) -> None:
        pass


class ForgetfulHolder(StateHolder):
    """Gradio's record of all visitors, made of forgetful ones."""

    def __getitem__(self, session_id: str) -> SessionState:
        """Return a visitor's state, a new one on first use."""
        self.session_data.setdefault(session_id, ForgetfulState(self.blocks))
        return super().__getitem__(session_id)


async def _not_understood(request, error: RequestValidationError) -> JSONResponse:
    """Answer a request of the wrong form; FastAPI's own answer quotes it, a whole photo too."""
    return JSONResponse({"detail": NOT_UNDERSTOOD}, 422)


def _short_failures(record: logging.LogRecord) -> bool:
    """Log a failed request in one line without the error's message, which may quote what a visitor sent."""
    if record.exc_info and record.exc_info[1] is not None:
        log_failure("A request failed", record.exc_info[1])
        return False
    return True


@contextmanager
def _without_proxy() -> Iterator[None]:
    """Set the environment's proxies aside: Gradio asks its own server whether it has started, and a proxy cannot tell."""
    names = {name for variable in PROXY_VARIABLES for name in (variable, variable.upper())}
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
