"""Attacks on a running page, one after the other, bounded in time and size; for a page on this computer only."""

from __future__ import annotations

import asyncio
import io
import json
import random
import secrets
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
from PIL import Image

from benchmarks.visitors import LIMITS, BusyError, Visitor, page_function

CLOSED = (
    "gradio_api/file=/etc/passwd",
    "gradio_api/proxy=http://127.0.0.1:9/",
    "gradio_api/component_server",
    "monitoring",
)
PATHS = ("queue/join", "call/analyze", "call/v2/analyze", "cancel", "reset", "run/predict", "stream/abc", "upload")
KEYS = ("data", "fn_index", "session_hash", "event_id", "trigger_id", "event_data", "simple_format", "batched", "x")


async def attack(url: str, photo: bytes) -> None:
    """Run all attacks in turn. What the page refuses is no fault here; httpx.HTTPError is raised when it does not answer."""
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False, limits=LIMITS) as client:
        for step in (
            sessions,
            floods,
            streams,
            bombs,
            clips,
            long_lists,
            broken_uploads,
            left_connections,
            closed_routes,
        ):
            await step(client, photo)
        await fuzz(client, fuzz_requests(300, photo))


async def sessions(client: httpx.AsyncClient, photo: bytes) -> None:
    """Join with malformed sessions while a map is drawn, then send photos of 40 visitors who leave at once."""
    show, draw = await page_function(client, "photo", "input"), await page_function(client, "samples", "release")
    one = Visitor(client)
    await one.run(show, await one.upload(photo))
    await one.join(draw)
    for session_hash in ("", "../x", "x" * 99, 5, None):
        body = {"data": [], "fn_index": draw.number, "session_hash": session_hash}
        await client.post("gradio_api/queue/join", json=body)
    for _ in range(40):
        await _joined(Visitor(client), show, {"url": None, "path": "nothing", "meta": {"_type": "gradio.FileData"}})


async def floods(client: httpx.AsyncClient, photo: bytes) -> None:
    """Call every function with wrong data, thrice, as visitors who never fetch an answer."""
    config = (await client.get("config")).json()
    for function in config["dependencies"]:
        for data in ([], [[0]] * 3, [{"path": "/etc/passwd"}] * len(function["inputs"])):
            body = {"data": data, "fn_index": function["id"], "session_hash": secrets.token_hex(6)}
            await client.post("gradio_api/queue/join", json=body)


async def streams(client: httpx.AsyncClient, photo: bytes) -> None:
    """Open more live streams than there are places, send a frame to each, and go."""
    stream = await page_function(client, "camera", "stream")
    for _ in range(40):
        await _joined(Visitor(client), stream, None)


async def bombs(client: httpx.AsyncClient, photo: bytes) -> None:
    """Send twelve photos of 40 megapixels in a kilobyte at the same time."""
    packed = io.BytesIO()
    Image.new("1", (8000, 5000)).save(packed, "PNG")

    async def send() -> None:
        picture = await Visitor(client).upload(packed.getvalue())
        await client.post("gradio_api/call/analyze", json={"data": [picture]})

    await asyncio.gather(*(send() for _ in range(12)))


async def clips(client: httpx.AsyncClient, photo: bytes) -> None:
    """Send what is no clip to the Clip tab, where the page has one."""
    with suppress(LookupError):
        read = await page_function(client, "clip-file", "upload")
        for content in (b"no clip" * 1000, photo, b"#EXTM3U\nfile:///etc/passwd\n"):
            visitor = Visitor(client)
            await _joined(visitor, read, await visitor.upload(content))


async def long_lists(client: httpx.AsyncClient, photo: bytes) -> None:
    """Ask for a thousand photos in one request and for a thousand maps, of a photo that was read."""
    picture = await Visitor(client).upload(photo)
    await client.post("gradio_api/call/analyze_batch", json={"data": [[picture] * 1000]})
    with suppress(LookupError):
        show, compare = (
            await page_function(client, "photo", "input"),
            await page_function(client, "test-compare", "click"),
        )
        visitor = Visitor(client)
        await visitor.run(show, await visitor.upload(photo))
        await _joined(visitor, compare, compare.defaults[0], ["rise"] * 1000, ["positive"] * 1000)


async def broken_uploads(client: httpx.AsyncClient, photo: bytes) -> None:
    """Upload what nobody reads, and begin uploads that break off."""
    for _ in range(10):
        await client.post("gradio_api/upload", files={"files": ("photo.jpg", photo)})
    for _ in range(20):
        head = "content-type: multipart/form-data; boundary=a\r\ncontent-length: 100000\r\n\r\n--a\r\n"
        writer = await _connection(client, f"POST /gradio_api/upload HTTP/1.1\r\nhost: localhost\r\n{head}")
        writer.close()


async def left_connections(client: httpx.AsyncClient, photo: bytes) -> None:
    """Open connections that say nothing, half a request, or listen to sessions that do not exist; leave them open a while."""
    requests = ("", "GET / HTTP/1.1\r\nhost: local", "GET /gradio_api/heartbeat/{} HTTP/1.1\r\nhost: localhost\r\n\r\n")
    writers = [await _connection(client, request.format(secrets.token_hex(6))) for request in requests * 30]
    await asyncio.sleep(1)
    for writer in writers:
        writer.close()


async def closed_routes(client: httpx.AsyncClient, photo: bytes) -> None:
    """Ask for what is closed, under strange names."""
    for path in CLOSED:
        for host in ("localhost", "evil.example.com"):
            await client.get(path, headers={"host": host})
            await client.post(path, json={}, headers={"host": host, "origin": "https://evil.example.com"})


def fuzz_requests(count: int, photo: bytes, seed: int = 1) -> Iterator[tuple[str, bytes, str]]:
    """Yield (path, body, content type) of malformed requests to the API, the same for the same seed."""
    draw = random.Random(seed)
    piece = {"url": f"data:image/jpeg;base64,{photo[:99].hex()}", "path": None, "meta": {"_type": "gradio.FileData"}}
    values = [
        "",
        "a" * 11,
        photo[:99].hex(),
        None,
        0,
        -1,
        10**30,
        0.5,
        True,
        [],
        {},
        piece,
        [[[]]],
        {"path": "/etc/passwd"},
    ]
    types = ("application/json",) * 8 + (
        "text/plain",
        "multipart/form-data; boundary=a",
        "",
        "application/json; charset=x",
    )
    for number in range(count):
        changed = {key: draw.choice(values) for key in draw.sample(KEYS, draw.randint(0, len(KEYS)))}
        nearly = {
            "data": draw.choices(values, k=draw.randint(0, 9)),
            "fn_index": draw.randrange(80),
            "session_hash": "fuzz",
        }
        key = draw.choice(KEYS)
        body = changed if number % 2 else {**nearly, key: changed.get(key, nearly.get(key))}
        content = json.dumps(body).encode()
        if number % 5 == 0:
            content = bytes(draw.choice((byte, draw.randrange(256))) for byte in content[:60])
        yield f"gradio_api/{draw.choice(PATHS)}", content, draw.choice(types)


async def fuzz(
    client: httpx.AsyncClient, requests: Iterator[tuple[str, bytes, str]], at_once: int = 8
) -> list[httpx.Response]:
    """Send requests, some at the same time, and return the answers."""
    places, answers = asyncio.Semaphore(at_once), []

    async def send(path: str, body: bytes, content_type: str) -> None:
        async with places:
            answers.append(await client.post(path, content=body, headers={"content-type": content_type}))

    await asyncio.gather(*(send(*request) for request in requests))
    return answers


async def _joined(visitor: Visitor, function, *values) -> None:
    with suppress(BusyError, httpx.HTTPStatusError):
        await visitor.join(function, *values)


async def _connection(client: httpx.AsyncClient, content: str) -> asyncio.StreamWriter:
    address = urlsplit(str(client.base_url))
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(content.encode())
    await writer.drain()
    return writer
