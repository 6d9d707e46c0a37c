"""The page's queue on a small page of its own: it goes on after a fault, and keeps nothing that nobody fetches."""

import asyncio
import time

import gradio as gr
import httpx
import numpy as np
import pytest

from benchmarks.visitors import BusyError, Visitor, page_function
from infant_fer.images import data_url
from infant_fer.ui import event_queue
from infant_fer.ui.event_queue import MAX_WAITING_OF_ONE, PHOTO_GONE, UNFETCHED_SECONDS, GuardedBlocks
from infant_fer.ui.server import launch
from tests.conftest import ANSWER_SECONDS, free_port
from tests.ui.test_sessions import wait_until

FRAME = data_url(np.zeros((8, 8, 3), np.uint8), 80)


@pytest.fixture
def page():
    with GuardedBlocks(analytics_enabled=False) as page:
        text = gr.Textbox()
        gr.Button().click(lambda words: words.upper(), [text], [text], api_name="analyze")
    yield page
    page.close()


def ask(url: str, session_hash: str = "visitor") -> str:
    body = {"data": ["hello"], "session_hash": session_hash}
    return httpx.post(f"{url}gradio_api/call/analyze", json=body, timeout=ANSWER_SECONDS).json()["event_id"]


def fetch(url: str, event_id: str) -> str:
    """Return the server's events up to the answer; a queue that is dead sends heartbeats only."""
    text, end = "", time.monotonic() + ANSWER_SECONDS
    with httpx.stream("GET", f"{url}gradio_api/call/analyze/{event_id}", timeout=ANSWER_SECONDS) as events:
        for piece in events.iter_text():
            text += piece
            if "event: complete" in text or time.monotonic() > end:
                break
    return text


def test_the_queue_is_restarted_after_a_fault(page, monkeypatch, capsys):
    url = launch(page, port=free_port(), block=False)
    queue, real = page._queue, page._queue.get_events
    assert "HELLO" in fetch(url, ask(url))

    def faulty():
        monkeypatch.setattr(queue, "get_events", real)
        raise KeyError("a secret")

    monkeypatch.setattr(queue, "get_events", faulty)
    assert "HELLO" in fetch(url, ask(url))
    assert queue.event_analytics == {}
    log = capsys.readouterr().err
    assert "The queue was restarted: KeyError" in log
    assert "a secret" not in log


def test_an_answer_nobody_fetches_is_forgotten(page):
    url = launch(page, port=free_port(), block=False)
    queue = page._queue
    ask(url, "left")
    wait_until(lambda: not queue.event_ids_to_events)
    queue.forget_unfetched(time.monotonic())
    assert "left" in queue.pending_messages_per_session
    queue.forget_unfetched(time.monotonic() + UNFETCHED_SECONDS + 1)
    assert "left" not in queue.pending_messages_per_session
    assert "left" not in queue.pending_event_ids_session
    assert not queue.sent_at


def test_the_values_of_components_are_not_remembered(page):
    url = launch(page, port=free_port(), block=False)
    assert "HELLO" in fetch(url, ask(url))
    (remembered,) = page.state_holder.session_data.values()
    assert not remembered.config_values
    assert not remembered.state_data


def test_a_message_to_a_forgotten_visitor_is_no_fault(page):
    url = launch(page, port=free_port(), block=False)
    queue, events = page._queue, []
    real = queue.send_message

    def forgetful(event, message):
        events.append(event)
        queue.pending_messages_per_session.pop(event.session_hash, None)
        real(event, message)

    queue.send_message = forgetful
    ask(url, "left")
    wait_until(lambda: len(events) >= 3)
    queue.send_message = real
    assert "HELLO" in fetch(url, ask(url))


@pytest.mark.parametrize("limit", ["MAX_WAITING", "MAX_WAITING_IN_ALL", "MAX_WAITING_BYTES"])
def test_a_full_queue_says_when_to_come_back(page, monkeypatch, limit):
    monkeypatch.setattr(event_queue, limit, 0)
    url = launch(page, port=free_port(), block=False)
    answer = httpx.post(f"{url}gradio_api/call/analyze", json={"data": ["hello"]}, timeout=ANSWER_SECONDS)
    assert answer.status_code == 503
    assert "try again in 5 seconds" in answer.text


async def client_of(page: GuardedBlocks) -> httpx.AsyncClient:
    url = await asyncio.to_thread(launch, page, port=free_port(), block=False)
    return httpx.AsyncClient(base_url=url, timeout=ANSWER_SECONDS)


def test_events_of_one_visitor_run_one_after_the_other(busy_page):
    async def scenario() -> tuple[int, list]:
        async with await client_of(busy_page) as client:
            work = await page_function(client, "work", "click")
            one, other = Visitor(client), Visitor(client)
            for _ in range(3):
                await one.join(work, "hello")
            await asyncio.to_thread(wait_until, lambda: busy_page.most[0] == 1)
            await asyncio.sleep(0.3)  # in which a second one would begin
            alone = busy_page.most[0]
            await other.join(work, "hello")
            await asyncio.to_thread(wait_until, lambda: busy_page.most[0] == 2)
            busy_page.go.set()
            answers = [message["output"]["data"] async for message in one.messages() if "output" in message]
            return alone, answers

    assert asyncio.run(scenario()) == (1, [["HELLO"]] * 3)


def test_an_event_tells_at_once_that_the_photo_is_gone(busy_page):
    """While another one of its visitor runs, and before its own turn."""
    forgotten = []
    busy_page.forget_photo = forgotten.append

    async def scenario() -> tuple[list[str], str]:
        async with await client_of(busy_page) as client:
            work, one = await page_function(client, "work", "click"), Visitor(client)
            await one.join(work, "runs")
            await asyncio.to_thread(wait_until, lambda: busy_page.most[0] == 1)
            before = list(forgotten)
            client.headers[PHOTO_GONE] = "1"
            await one.join(work, "waits")
            return before, one.session_hash

    before, session = asyncio.run(scenario())
    assert (before, forgotten) == ([], [session])


def test_every_event_shows_at_once_that_its_page_lives(busy_page):
    """So that what follows is kept, also where the page was taken for closed."""
    alive = []
    busy_page.page_lives = alive.append

    async def scenario() -> list[str]:
        async with await client_of(busy_page) as client:
            work, one = await page_function(client, "work", "click"), Visitor(client)
            for _ in range(2):
                await one.join(work, "hello")
            return [one.session_hash] * 2

    assert asyncio.run(scenario()) == alive


def test_one_visitor_cannot_take_all_places_to_wait(busy_page):
    async def scenario() -> None:
        async with await client_of(busy_page) as client:
            work, one = await page_function(client, "work", "click"), Visitor(client)
            await one.join(work, "hello")
            await asyncio.to_thread(wait_until, lambda: busy_page.most[0] == 1)
            for _ in range(MAX_WAITING_OF_ONE):
                await one.join(work, "hello")
            with pytest.raises(BusyError):
                await one.join(work, "hello")
            assert await Visitor(client).join(work, "hello")

    asyncio.run(scenario())


def test_the_address_with_most_waiting_events_gives_way(busy_page, monkeypatch):
    """The server is behind a proxy on this computer, as far as it knows, so that the address is the proxy's word."""
    monkeypatch.setattr(event_queue, "MAX_WAITING", 6)

    async def scenario() -> tuple[list, list]:
        async with await client_of(busy_page) as client:
            work = await page_function(client, "work", "click")
            client.headers["x-forwarded-for"] = "192.0.2.1"
            crowd = [Visitor(client) for _ in range(8)]
            for visitor in crowd:  # two run
                await visitor.join(work, "hello")
            with pytest.raises(BusyError):
                await Visitor(client).join(work, "hello")
            client.headers["x-forwarded-for"] = "192.0.2.2"
            guests = [Visitor(client) for _ in range(3)]
            for guest in guests:
                await guest.join(work, "hello")
            with pytest.raises(BusyError):
                await Visitor(client).join(work, "hello")
            busy_page.go.set()
            return [await last_output(visitor) for visitor in crowd], [await last_output(guest) for guest in guests]

    crowd, guests = asyncio.run(scenario())
    assert [output.get("data") for output in guests] == [["HELLO"]] * 3
    assert [output.get("data") for output in crowd] == [["HELLO"]] * 5 + [None] * 3
    assert all("try again in 5 seconds" in output["error"] for output in crowd[5:])


async def last_output(visitor: Visitor) -> dict:
    return [message["output"] async for message in visitor.messages() if message["msg"] == "process_completed"][-1]


def test_waiting_for_a_checkpoint_occupies_no_place(busy_page):
    async def scenario() -> None:
        async with await client_of(busy_page) as client:
            apart = await page_function(client, "apart", "click")
            visitors = [Visitor(client) for _ in range(3)]
            for visitor in visitors:
                await visitor.join(apart, "hello")
            place = busy_page._queue.event_queue_per_concurrency_id[busy_page.fns[apart.number].concurrency_id]
            await asyncio.to_thread(wait_until, lambda: len(busy_page._queue._running()) == 3)
            busy_page.go.set()
            assert [(await last_output(visitor))["data"] for visitor in visitors] == [["hello"]] * 3
            await asyncio.to_thread(wait_until, lambda: place.current_concurrency == 0)

    asyncio.run(scenario())


@pytest.mark.slow
def test_streams_take_turns_and_one_without_frames_ends(busy_page, monkeypatch):
    monkeypatch.setattr(event_queue, "LIVE_TURN_SECONDS", 1.0)
    monkeypatch.setattr(event_queue, "LIVE_IDLE_SECONDS", 1.0)

    async def scenario() -> list[int]:
        async with await client_of(busy_page) as client:
            stream = await page_function(client, "camera", "stream")
            await Visitor(client).join(stream, None)  # sends one frame and is gone
            streams = [Visitor(client).stream(stream, FRAME, 8, 0.1) for _ in range(2)]
            return await asyncio.gather(*streams)

    frames = asyncio.run(scenario())
    assert min(frames) > 5


def test_a_visitor_has_one_stream_and_streams_do_not_keep_others_waiting(busy_page, monkeypatch):
    monkeypatch.setattr(event_queue, "MAX_WAITING", 2)

    async def scenario() -> None:
        async with await client_of(busy_page) as client:
            stream, work = await page_function(client, "camera", "stream"), await page_function(client, "work", "click")
            one = Visitor(client)
            for _ in range(5):
                await one.join(stream, None)
            await asyncio.to_thread(wait_until, lambda: len(busy_page._queue._waiting()) == 0)
            for _ in range(2):
                await Visitor(client).join(stream, None)
            with pytest.raises(BusyError):
                await Visitor(client).join(stream, None)
            busy_page.go.set()
            assert (await Visitor(client).run(work, "hello"))["data"] == ["HELLO"]

    asyncio.run(scenario())


def test_a_stream_whose_answers_nobody_fetches_ends(busy_page, monkeypatch):
    monkeypatch.setattr(event_queue, "MAX_UNFETCHED", 5)

    async def scenario() -> None:
        async with await client_of(busy_page) as client:
            stream, one = await page_function(client, "camera", "stream"), Visitor(client)
            event_id = await one.join(stream, None)
            body = {"data": [None], "fn_index": stream.number, "session_hash": one.session_hash, "event_id": event_id}
            async with asyncio.timeout(60):
                while (await client.post(f"gradio_api/stream/{event_id}", json=body)).status_code != 404:
                    await asyncio.sleep(0.05)
            assert one.session_hash not in busy_page._queue.pending_messages_per_session

    asyncio.run(scenario())
