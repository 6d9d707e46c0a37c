"""How long may a request to the Hub take, and how much may it send? Limits that huggingface_hub itself does not have."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache
from math import inf

import httpcore2
import httpx2
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import hf_request_event_hook

SECONDS_TO_ANSWER = 15.0
SLOWEST = 10_000  # bytes per second, once the first SECONDS_TO_ANSWER are over
MAX_ANSWER_BYTES = 16 * 2**20  # of an answer that is no file
# Each continues a sentence that names what was requested.
TOOK_TOO_LONG, CAME_TOO_SLOWLY, WAS_TOO_LARGE = "took too long", "came too slowly", "was larger than announced"


class RequestTooLongError(OSError):
    """A request that took too long or sent too much; not one that huggingface_hub repeats."""


@dataclass(frozen=True)
class _Limits:
    deadline: float = inf  # time.monotonic
    most_bytes: float = inf


_limits: ContextVar[_Limits] = ContextVar("limits of requests to the Hub")
_headers_by: ContextVar[float] = ContextVar("time.monotonic by which an answer's headers are there", default=inf)


@contextmanager
def request_limits(seconds: float | None = None, most_bytes: int | None = None) -> Iterator[None]:
    """Limit all requests of huggingface_hub in this context: their seconds together, the bytes of each file.

    In nested blocks the earlier deadline and the innermost `most_bytes` apply. Xet, whose own transfers know no limit, is
    off from here on in the whole process. Requests raise
    RequestTooLongError, whose text is one of the three above.
    """
    _install_client()
    constants.HF_HUB_DISABLE_XET = True
    limits = _limits.get(_Limits())
    if seconds is not None:
        limits = replace(limits, deadline=min(limits.deadline, time.monotonic() + seconds))
    if most_bytes is not None:
        limits = replace(limits, most_bytes=most_bytes)
    token = _limits.set(limits)
    try:
        yield
    finally:
        _limits.reset(token)


def fetched(url: str, seconds: float) -> bytes:
    """Return what an address sends within that time, at most MAX_ANSWER_BYTES of it.

    Raises RequestTooLongError, and httpx2.HTTPError for an address that cannot be reached or a status that is no success.
    """
    with request_limits(seconds), _LimitedClient(follow_redirects=True) as client:
        return client.get(url).raise_for_status().content


class _LimitedClient(httpx2.Client):
    def __init__(self, **options):
        super().__init__(**options)
        for transport in (self._transport, *self._mounts.values()):
            if isinstance(transport, httpx2.HTTPTransport):  # which takes no backend as an argument
                transport._pool._network_backend = _LimitedBackend()

    def send(self, request: httpx2.Request, *, stream: bool = False, **options) -> httpx2.Response:
        limits = _limits.get(_Limits())
        if limits.deadline == inf:
            return super().send(request, stream=stream, **options)
        left = min(limits.deadline - time.monotonic(), SECONDS_TO_ANSWER)
        if left <= 0:
            raise RequestTooLongError(TOOK_TOO_LONG)
        request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), left)
        headers_by = _headers_by.set(time.monotonic() + left)
        try:
            response = super().send(request, stream=True, **options)
        finally:
            _headers_by.reset(headers_by)
        most_bytes = limits.most_bytes if stream else MAX_ANSWER_BYTES
        if isinstance(response.stream, httpx2.SyncByteStream):
            response.stream = _LimitedStream(response.stream, replace(limits, most_bytes=most_bytes))
        if not stream:
            try:
                response.read()
            finally:
                response.close()
        return response


class _LimitedStream(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream, limits: _Limits):
        self._stream, self._limits, self._start = stream, limits, time.monotonic()

    def __iter__(self) -> Iterator[bytes]:
        received = 0
        for chunk in self._stream:
            received += len(chunk)
            now = time.monotonic()
            if now > min(self._limits.deadline, self._start + SECONDS_TO_ANSWER + received / SLOWEST):
                raise RequestTooLongError(CAME_TOO_SLOWLY)
            if received > self._limits.most_bytes:
                raise RequestTooLongError(WAS_TOO_LARGE)
            yield chunk

    def close(self) -> None:
        self._stream.close()


class _LimitedBackend(httpcore2.SyncBackend):
    def connect_tcp(self, *arguments, **options) -> httpcore2.NetworkStream:
        return _LimitedConnection(super().connect_tcp(*arguments, **options))


class _LimitedConnection(httpcore2.NetworkStream):
    """A connection that ends a wait for headers in time, however few of their bytes come at once."""

    def __init__(self, stream: httpcore2.NetworkStream):
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = _headers_by.get() - time.monotonic()
        if left <= 0:
            raise RequestTooLongError(TOOK_TOO_LONG)
        return self._stream.read(max_bytes, timeout if left == inf else min(timeout or inf, left))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str):
        return self._stream.get_extra_info(info)

    def start_tls(self, *arguments, **options) -> httpcore2.NetworkStream:
        return _LimitedConnection(self._stream.start_tls(*arguments, **options))


@cache
def _install_client() -> None:
    """Let huggingface_hub make its client with limits, and otherwise as it does itself."""
    hooks = {"request": [hf_request_event_hook]}
    set_client_factory(lambda: _LimitedClient(event_hooks=hooks, follow_redirects=True, timeout=None))
