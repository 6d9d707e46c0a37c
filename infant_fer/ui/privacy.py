"""What may a browser load, ask and keep? Response headers, closed routes and the private upload folder."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Gradio's page needs inline scripts and eval; everything else comes from this server or from memory.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self' https://huggingface.co https://*.hf.space",
    )
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": 'camera=(self "https://huggingface.co"), microphone=(), geolocation=()',
}
CLOSED_ROUTES = (
    "/gradio_api/proxy=",
    "/gradio_api/process_recording",
    "/gradio_api/deep_link",
    "/gradio_api/file=",  # every picture travels as a data: URL, so no upload is ever served to anybody
    "/gradio_api/file/",
    "/monitoring",
)
CACHEABLE = ("/assets", "/static", "/svelte")
SWEEP_SECONDS, UNREAD_SECONDS = 60, 300  # how often uploads are looked through, and how old an unread one may become


class PrivacyMiddleware:
    """ASGI middleware: adds the headers, forbids caches to keep answers, and closes routes the page does not need."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        if path.startswith(CLOSED_ROUTES):
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                extra = HEADERS if path.startswith(CACHEABLE) else {**HEADERS, "cache-control": "no-store"}
                message.setdefault("headers", []).extend((k.encode(), v.encode()) for k, v in extra.items())
            await send(message)

        await self.app(scope, receive, send_with_headers)


@contextmanager
def private_upload_folder() -> Iterator[str]:
    """Give Gradio an upload folder of its own, readable by this user only and gone with the program, also when it is told to
    end (SIGTERM). What is uploaded and not read is deleted after some minutes. Only for the main thread.
    """
    ended, told_to_end = threading.Event(), signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="infant-fer-") as folder:
        threading.Thread(target=_sweep, args=(Path(folder), ended), daemon=True).start()
        before = os.environ.get("GRADIO_TEMP_DIR")
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            yield folder
        finally:
            ended.set()
            signal.signal(signal.SIGTERM, told_to_end)
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before


def delete_unread(folder: Path, seconds: float = UNREAD_SECONDS) -> None:
    """Delete files and empty folders that are older than that: uploads nobody read, and those that broke off."""
    before = time.time() - seconds
    for path in sorted(folder.rglob("*"), reverse=True):  # a folder comes after what lies in it
        with suppress(OSError):  # read and deleted meanwhile, or a folder that is not empty
            if path.stat().st_mtime < before:
                path.rmdir() if path.is_dir() else path.unlink()


def _sweep(folder: Path, ended: threading.Event) -> None:
    while not ended.wait(SWEEP_SECONDS):
        delete_unread(folder)
