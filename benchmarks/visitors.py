"""Visitors of a running page as programs: they send what the browser sends and read the events it would read."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx

BUSY_STATUS = 503
# A connection is used again within a second only: the server closes those that are idle for five, as httpx does by default,
# and a request that meets the closing is lost.
LIMITS = httpx.Limits(keepalive_expiry=1)


class BusyError(Exception):
    """The page said that it is busy."""


@dataclass(frozen=True)
class Function:
    """An event function of the page: its number and the values its inputs have when the page is opened."""

    number: int
    defaults: tuple


async def page_function(client: httpx.AsyncClient, elem_id: str, event: str) -> Function:
    """Return the server's function of a component's event, such as ("photo", "input")."""
    config = (await client.get("config")).json()
    ids = {item["id"]: item["props"].get("elem_id") for item in config["components"]}
    values = {item["id"]: item["props"].get("value") for item in config["components"]}
    for function in config["dependencies"]:
        if function["backend_fn"] and any(
            ids.get(target) == elem_id and on == event for target, on in function["targets"]
        ):
            return Function(function["id"], tuple(values[number] for number in function["inputs"]))
    raise LookupError(f"the page has no {event} event of #{elem_id}")


class Visitor:
    """One visitor with a session of its own. Raises BusyError where the page is busy and httpx.HTTPStatusError else."""

    def __init__(self, client: httpx.AsyncClient):
        self.client = client
        self.session_hash = secrets.token_hex(6)

    async def upload(self, content: bytes) -> dict:
        """Upload a photo and return what names it in later requests."""
        answer = await self.client.post("gradio_api/upload", files={"files": ("photo.jpg", content)})
        return {"path": _checked(answer).json()[0], "meta": {"_type": "gradio.FileData"}}

    async def join(self, function: Function, *values) -> str:
        """Queue an event whose first inputs are `values`; return its id."""
        data = [*values, *function.defaults[len(values) :]]
        body = {"data": data, "fn_index": function.number, "session_hash": self.session_hash}
        return _checked(await self.client.post("gradio_api/queue/join", json=body)).json()["event_id"]

    async def leave(self) -> None:
        """Close the page, which the browser lets the server know by ending the connection that it held open."""
        async with self.client.stream("GET", f"gradio_api/heartbeat/{self.session_hash}") as alive:
            await anext(alive.aiter_lines())

    async def messages(self) -> AsyncIterator[dict]:
        """Yield the messages of this visitor's events until the last of them has ended."""
        parameters = {"session_hash": self.session_hash}
        async with self.client.stream("GET", "gradio_api/queue/data", params=parameters) as events:
            async for line in events.aiter_lines():
                if line.startswith("data: "):
                    message = json.loads(line[6:])
                    if message["msg"] == "close_stream":
                        return
                    yield message

    async def run(self, function: Function, *values) -> dict:
        """Run an event to its end and return its output; an error is under "error"."""
        await self.join(function, *values)
        output = {}
        async for message in self.messages():
            if message["msg"] == "process_completed":
                output = message["output"]
        return output

    async def stream(self, function: Function, frame: str, seconds: float, every: float) -> int:
        """Send a frame, a data: URL, each `every` seconds, the next one only when the last was answered; return how many were."""
        picture = {"url": frame, "meta": {"_type": "gradio.FileData"}}
        clock = asyncio.get_running_loop()
        end, answered = clock.time() + seconds, 0
        while clock.time() < end:
            event_id = await self.join(function, picture)
            sent = clock.time()
            async for message in self.messages():
                if message["msg"] != "process_streaming":
                    continue
                answered += 1
                if clock.time() >= end:
                    await self.client.post(f"gradio_api/stream/{event_id}/close")
                    continue
                await asyncio.sleep(max(0.0, sent + every - clock.time()))
                sent = clock.time()
                data = [picture, *function.defaults[1:]]
                body = {
                    "data": data,
                    "fn_index": function.number,
                    "session_hash": self.session_hash,
                    "event_id": event_id,
                }
                await self.client.post(f"gradio_api/stream/{event_id}", json=body)
        return answered


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.status_code == BUSY_STATUS and "busy" in answer.text:
        raise BusyError(answer.json()["detail"])
    return answer.raise_for_status()
