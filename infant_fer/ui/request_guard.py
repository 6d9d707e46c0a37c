"""Which requests reach Gradio, and which headers do answers carry? An ASGI middleware in front of the whole server."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infant_fer.images import MAX_BYTES
from infant_fer.ui.uploads import CLIP_BYTES

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
CACHEABLE = ("/assets/", "/static/", "/svelte/")

IDENTIFIER = (
    r"[A-Za-z0-9_-]{1,64}"  # of sessions and events; the browser sends about 11 letters, Python's client a UUID
)
READABLE = re.compile(
    r"/|/config/?|/theme\.css|/robots\.txt|/favicon\.ico|/manifest\.json|/pwa_icon|/(assets|static|svelte)/.+"
    r"|/gradio_api/(theme\.css|info/?|app_id/?|startup-events|queue/(data|status)|upload_progress|login_check/?|user/?)"
    rf"|/gradio_api/(heartbeat/{IDENTIFIER}|call/(v2/)?analyze(_batch)?/{IDENTIFIER})"
)
UPLOAD = "/gradio_api/upload"
SENDABLE = re.compile(
    r"/gradio_api/(queue/join|run/predict/?|call/(v2/)?analyze(_batch)?/?|cancel|reset/?)"
    rf"|/gradio_api/stream/{IDENTIFIER}(/close)?"
)
BODILESS = re.compile(rf"/gradio_api/stream/{IDENTIFIER}/close")
FORM_BYTES = 64 * 1024  # what a form or a JSON object has beside the photo
PHOTO_BYTES = MAX_BYTES + FORM_BYTES
UPLOAD_BYTES = CLIP_BYTES + FORM_BYTES
JSON_BYTES = MAX_BYTES * 4 // 3 + FORM_BYTES
TOTAL_BYTES = 256 * 2**20  # of all requests that are being received and of uploads that are not read yet
KEPT_FOR_PHOTOS = 64 * 2**20  # of them: a clip is refused where it would leave less
NOT_UNDERSTOOD = "The request could not be answered: it is not as this page sends it."
BUSY_SECONDS = 5
BUSY = f"The page is busy. Please try again in {BUSY_SECONDS} seconds."


class RefusedRequestError(Exception):
    """A request that does not reach Gradio."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


class RequestGuard:
    """ASGI middleware: lets through only what the page needs, in sizes it can bear, and adds the privacy headers.

    `hosts` are the names under which the page may be addressed, with `any_address` numeric addresses too;
    `stored_bytes` returns the size of uploads that are not read yet.
    """

    def __init__(self, app, hosts: frozenset[str], any_address: bool, stored_bytes: Callable[[], int]):
        self.app = app
        self.hosts, self.any_address = hosts, any_address
        self.stored_bytes = stored_bytes
        self.receiving_bytes = 0

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page opens no WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return
        path = path_below_root(scope)

        started = False

        async def send_with_headers(message):
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                extra = HEADERS if path.startswith(CACHEABLE) else {**HEADERS, "cache-control": "no-store"}
                message.setdefault("headers", []).extend((k.encode(), v.encode()) for k, v in extra.items())
            await send(message)

        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            self._check_host(headers)
            if scope["method"] in ("GET", "HEAD"):
                if not READABLE.fullmatch(path):
                    raise RefusedRequestError(404, "Not found.")
                await self.app(scope, receive, send_with_headers)
            else:
                await self._receive_post(scope, path, headers, receive, send_with_headers)
        except RefusedRequestError as refused:
            await _answer(send_with_headers, refused)
        except Exception as error:
            if started or scope["method"] != "POST":
                raise
            log_failure("A request failed", error)
            await _answer(send_with_headers, RefusedRequestError(400, NOT_UNDERSTOOD))

    async def _receive_post(self, scope, path: str, headers: dict[str, str], receive, send) -> None:
        is_upload = path == UPLOAD
        if scope["method"] != "POST" or not (is_upload or SENDABLE.fullmatch(path)):
            raise RefusedRequestError(404, "Not found.")
        _check_origin(headers, self.hosts)
        size = _content_length(headers, UPLOAD_BYTES if is_upload else JSON_BYTES)
        with self._receiving(size, self.stored_bytes() if is_upload else 0):
            if not is_upload and not BODILESS.fullmatch(path):
                body = await _read_body(receive, headers)
                check_json(body)
                receive = _replay(body, receive)
            elif is_upload and not headers.get("content-type", "").startswith("multipart/form-data"):
                raise RefusedRequestError(415, "An upload is sent as multipart/form-data.")
            await self.app(scope, receive, send)

    @contextmanager
    def _receiving(self, size: int, stored: int) -> Iterator[None]:
        allowed = TOTAL_BYTES if size <= max(PHOTO_BYTES, JSON_BYTES) else TOTAL_BYTES - KEPT_FOR_PHOTOS
        if self.receiving_bytes + stored + size > allowed:
            raise RefusedRequestError(503, BUSY)
        self.receiving_bytes += size
        try:
            yield
        finally:
            self.receiving_bytes -= size

    def _check_host(self, headers: dict[str, str]) -> None:
        name = host_name(headers.get("host", ""))
        if name not in self.hosts and not (self.any_address and _is_address(name)):
            raise RefusedRequestError(
                421, "The page is not served under this name. Its operator can allow a name with --allow-host NAME."
            )


def allowed_hosts(host: str, further: Iterable[str] = ()) -> tuple[frozenset[str], bool]:
    """Return the names a page bound to `host` may be addressed by, and whether any numeric address is one.

    A page on all interfaces is also reached by this computer's name and every numeric address: other sites' scripts
    can make a name of their own point here (DNS rebinding), an address never.
    """
    names = {"localhost", "127.0.0.1", "::1", host_name(host), *map(host_name, further)}
    on_all = host in ("0.0.0.0", "::", "")
    if on_all:
        names |= {socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}
    return frozenset(names), on_all


def host_name(host: str) -> str:
    """Return the name in a Host header or an address, without port and brackets, in lower case."""
    if host.count(":") > 1 and not host.startswith("["):
        return host.lower()  # a bare IPv6 address
    return (urlsplit(f"//{host}").hostname or "") if re.fullmatch(r"[\w.:\[\]-]+", host) else ""


def path_below_root(scope) -> str:
    """Return the decoded path as the routes see it: without the root path of a reverse proxy (GRADIO_ROOT_PATH)."""
    path, root = scope["path"], scope.get("root_path", "")
    rest = path.removeprefix(root) if root else path
    return rest if rest.startswith("/") or not rest else path


def check_json(body: bytes) -> None:
    """Raise RefusedRequestError unless a body is an object with sound identifiers, a list of data and no NaN."""
    try:
        content = json.loads(body, parse_constant=_refuse, parse_int=_small_integer)
    except (ValueError, RecursionError):
        raise RefusedRequestError(400, "The request is no JSON object.") from None
    if not isinstance(content, dict):
        raise RefusedRequestError(400, "The request is no JSON object.")
    for key in ("session_hash", "event_id"):
        value = content.get(key)
        if value is not None and not (isinstance(value, str) and re.fullmatch(IDENTIFIER, value)):
            raise RefusedRequestError(400, f"{key} is 1 to 64 letters, digits, - or _.")
    if not isinstance(content.get("data", []), list):
        raise RefusedRequestError(400, "data is a list.")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _small_integer(digits: str) -> int:
    return int(digits) if len(digits) < 19 else _refuse("a number of more than 64 bits")


def _check_origin(headers: dict[str, str], hosts: frozenset[str]) -> None:
    """Refuse what another site's page sends here with its visitor's browser."""
    origin = headers.get("origin")
    if origin is None:
        foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
    else:
        name = (urlsplit(origin).hostname or "") if origin != "null" else ""
        foreign = name not in hosts and name != host_name(headers.get("host", ""))
    if foreign:
        raise RefusedRequestError(403, "Only this page itself may send photos here.")


def _content_length(headers: dict[str, str], limit: int) -> int:
    length = headers.get("content-length", "")
    if not length.isdecimal():
        raise RefusedRequestError(411, "A request says its length in Content-Length.")
    if int(length) > limit:
        raise RefusedRequestError(413, f"A photo has at most {MAX_BYTES // 10**6} MB, a clip {CLIP_BYTES // 10**6} MB.")
    return int(length)


async def _read_body(receive, headers: dict[str, str]) -> bytes:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusedRequestError(415, "A request is sent as application/json.")
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedRequestError(400, "The request broke off.")
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


def _replay(body: bytes, receive):
    """Return an ASGI receive that gives a body that was read already, then what the client does next."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed():
        return pending.pop() if pending else await receive()

    return replayed


async def _answer(send, refused: RefusedRequestError) -> None:
    body = json.dumps({"detail": str(refused)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refused.status == 503:
        headers.append((b"retry-after", str(BUSY_SECONDS).encode()))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def log_failure(words: str, error: BaseException) -> None:
    """Print an error's type and places, but not its message, which may quote what a visitor sent."""
    places = [f"{Path(place.filename).name}:{place.lineno}" for place in traceback.extract_tb(error.__traceback__)]
    print(f"{words}: {type(error).__name__} at {' > '.join(places[-6:])}", file=sys.stderr, flush=True)
