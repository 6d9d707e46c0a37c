"""How does Gradio's queue survive strange requests, and what does it remember? A queue that restarts and forgets."""

from __future__ import annotations

import asyncio
import sys
import time

import gradio as gr
from gradio.queueing import Queue
from gradio.utils import run_coro_in_background

from infant_fer.ui.request_guard import BUSY, NOT_UNDERSTOOD, log_failure

MAX_WAITING = 32  # events of all visitors
UNFETCHED_SECONDS = 60.0  # how long an answer waits for its visitor


class _Nothing(dict):
    """A dict that keeps nothing: Gradio's record of who called what and when stays empty."""

    def __setitem__(self, key, value) -> None:
        pass


class RobustQueue(Queue):
    """Gradio's queue, restarted when its task fails, without analytics, and without answers that nobody fetches."""

    def start(self) -> None:
        """Start as Gradio does, and the sweep of answers nobody fetches."""
        self.closed = False
        self.event_analytics = _Nothing()
        self.sent_at: dict[str, float] = {}
        super().start()
        run_coro_in_background(self._forget_unfetched_periodically)

    def close(self) -> None:
        """Stop for good."""
        self.closed = True
        super().close()

    async def start_processing(self) -> None:
        """Process events until the queue is closed; a failure is logged and processing goes on."""
        while not self.closed:
            try:
                await super().start_processing()
            except Exception as error:
                log_failure("The queue was restarted", error)
            self.stopped = self.closed  # Gradio's own task leaves it stopped

    async def push(self, body, request, username):
        """Queue an event; a full queue says when to try again."""
        if len(self) >= (self.max_size or sys.maxsize):
            return False, BUSY, "queue_full"
        return await super().push(body, request, username)

    def send_message(self, event, event_message) -> None:
        """Keep a message for an event's visitor; one whose session is forgotten gets none."""
        if event.session_hash in self.pending_messages_per_session:
            self.sent_at[event.session_hash] = time.monotonic()
            super().send_message(event, event_message)

    def forget_unfetched(self, now: float) -> None:
        """Drop the messages of visitors who have fetched none for UNFETCHED_SECONDS, and empty records of old visitors."""
        for session_hash, sent in list(self.sent_at.items()):
            if now - sent < UNFETCHED_SECONDS:
                continue
            messages = self.pending_messages_per_session.get(session_hash)
            running = any(event.session_hash == session_hash for event in self.event_ids_to_events.values())
            if running and (messages is None or messages.empty()):
                continue
            self.pending_messages_per_session.pop(session_hash, None)
            self.pending_event_ids_session.pop(session_hash, None)
            del self.sent_at[session_hash]

    async def _forget_unfetched_periodically(self) -> None:
        while not self.closed:
            await asyncio.sleep(UNFETCHED_SECONDS / 6)
            self.forget_unfetched(time.monotonic())


class GuardedBlocks(gr.Blocks):
    """A page whose faults say nothing of what visitors sent, neither in the log nor in the answer."""

    def queue(self, *args, **options):
        """Set up the queue as Gradio does, with our class."""
        super().queue(*args, **options)
        self._queue.__class__ = RobustQueue
        return self

    async def process_api(self, block_fn, inputs, *args, **options):
        """Answer one event. Missing optional inputs of the public endpoint are None; any other fault is one sentence.

        Gradio's own message of a fault quotes the values that were sent, a whole photo too, and prints them in the log.
        """
        function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        missing = len(function.inputs) - len(inputs)
        if missing > 0 and inputs and function.api_name == "analyze":
            inputs = [*inputs, *[None] * missing]
        if len(inputs) != len(function.inputs):
            raise gr.Error(NOT_UNDERSTOOD, print_exception=False)
        try:
            return await super().process_api(block_fn, inputs, *args, **options)
        except gr.Error as error:
            if error.print_exception:  # not one of ours
                log_failure("A request failed", error)
                raise gr.Error(NOT_UNDERSTOOD, print_exception=False) from None
            raise
        except Exception as error:
            log_failure("A request failed", error)
            raise gr.Error(NOT_UNDERSTOOD, print_exception=False) from None
