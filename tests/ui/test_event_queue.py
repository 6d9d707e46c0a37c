"""The page's queue on a small page of its own: it goes on after a fault, and keeps nothing that nobody fetches."""

import time

import gradio as gr
import httpx
import pytest

from infant_fer.ui import event_queue
from infant_fer.ui.event_queue import UNFETCHED_SECONDS, GuardedBlocks
from infant_fer.ui.server import launch
from tests.ui.test_sessions import wait_until


@pytest.fixture
def page():
    with GuardedBlocks(analytics_enabled=False) as page:
        text = gr.Textbox()
        gr.Button().click(lambda words: words.upper(), [text], [text], api_name="analyze")
    yield page
    page.close()


def ask(url: str, session_hash: str = "visitor") -> str:
    body = {"data": ["hello"], "session_hash": session_hash}
    return httpx.post(f"{url}gradio_api/call/analyze", json=body).json()["event_id"]


def fetch(url: str, event_id: str) -> str:
    """Return the server's events up to the answer; a queue that is dead sends heartbeats only."""
    text, end = "", time.monotonic() + 30
    with httpx.stream("GET", f"{url}gradio_api/call/analyze/{event_id}", timeout=20) as events:
        for piece in events.iter_text():
            text += piece
            if "event: complete" in text or time.monotonic() > end:
                break
    return text


def test_the_queue_is_restarted_after_a_fault(page, monkeypatch, capsys):
    url = launch(page, port=None, block=False)
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
    url = launch(page, port=None, block=False)
    queue = page._queue
    ask(url, "left")
    wait_until(lambda: not queue.event_ids_to_events)
    queue.forget_unfetched(time.monotonic())
    assert "left" in queue.pending_messages_per_session
    queue.forget_unfetched(time.monotonic() + UNFETCHED_SECONDS + 1)
    assert "left" not in queue.pending_messages_per_session
    assert "left" not in queue.pending_event_ids_session
    assert not queue.sent_at


def test_a_message_to_a_forgotten_visitor_is_no_fault(page):
    url = launch(page, port=None, block=False)
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


def test_a_full_queue_says_when_to_come_back(page, monkeypatch):
    monkeypatch.setattr(event_queue, "MAX_WAITING", 0)
    monkeypatch.setattr(event_queue, "_of_the_largest_crowd", lambda *_: None)
    url = launch(page, port=None, block=False)
    answer = httpx.post(f"{url}gradio_api/call/analyze", json={"data": ["hello"]})
    assert answer.status_code == 503
    assert "try again in 5 seconds" in answer.text
