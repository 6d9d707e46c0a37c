"""Which event comes next, and what does the queue remember? Gradio's queue, made fair, restartable and forgetful."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import gradio as gr
from gradio.context import LocalContext
from gradio.queueing import Event, EventQueue, Queue
from gradio.route_utils import get_fn
from gradio.server_messages import ProcessCompletedMessage
from gradio.utils import error_payload, run_coro_in_background
from gradio_client.utils import is_file_obj, traverse

from infant_fer.errors import InfantFERError
from infant_fer.locales import translator
from infant_fer.ui.compute import CORES, release_free_memory
from infant_fer.ui.languages import language_of
from infant_fer.ui.request_guard import BUSY, NOT_UNDERSTOOD, log_failure
from infant_fer.ui.uploads import UNREAD_SECONDS, delete_upload, keep_upload, uploaded_file

PHOTO_GONE = "x-photo-gone"  # header that page.js gives an event
MAX_WAITING = 24  # events for the same place, such as photos, maps, clips or streams
MAX_WAITING_IN_ALL, MAX_WAITING_BYTES = 200, 128 * 2**20
MAX_WAITING_OF_ONE = 8  # events of one visitor
PHOTO_PLACES = max(2, CORES)  # photos that are read at the same time
# What brings a photo, from any tab, or another checkpoint for it: one visitor's run in order, so that the newest is shown.
READS_PHOTO = {"concurrency_id": "photo", "concurrency_limit": PHOTO_PLACES}
LIVE_PLACES = 3 * CORES  # streams at the same time; a core reads about 30 frames a second
LIVE_TURN_SECONDS = 20.0  # after which a stream gives way to one that waits, and waits itself
LIVE_IDLE_SECONDS = 5.0  # without a frame, after which a stream has ended
RELEASE_SECONDS = 5.0  # between two releases of memory while nothing runs
MAX_UNFETCHED = 128  # messages of one visitor; a stream's have a picture each
KEPT_SECONDS = UNREAD_SECONDS / 5  # between two marks that the uploads of waiting events are still needed
UNFETCHED_SECONDS = 60.0  # how long an answer waits for its visitor


class KeepsNothing(dict):
    """A dict that keeps nothing, in place of a record that Gradio has of visitors."""

    def __setitem__(self, key, value) -> None:
        pass


@dataclass
class _Stream:
    """A live stream that runs: since when, its last frame, and since when it is the last."""

    began: float
    frame: object
    frame_since: float = field(init=False)

    def __post_init__(self) -> None:
        self.frame_since = self.began


class RobustQueue(Queue):
    """Gradio's queue, restarted when its task fails, fair among visitors, and without analytics.

    Photos, maps, clips and streams wait apart. When as many wait as may, an event of the address that has most waiting
    gives way. Events of one visitor for the same place run one after the other. Answers that nobody fetches are dropped.
    """

    def start(self) -> None:
        """Start as Gradio does, and the sweep of idle streams and of answers nobody fetches."""
        self.closed = False
        self.event_analytics = KeepsNothing()
        self.sent_at: dict[str, float] = {}
        self.last_sent = 0.0
        self.streams: dict[str, _Stream] = {}
        super().start()
        run_coro_in_background(self._sweep)

    def close(self) -> None:
        """Stop for good."""
        self.closed = True
        super().close()

    async def start_processing(self) -> None:
        """Process events until the queue is closed; a failure is logged and processing goes on."""
        self.loop = asyncio.get_running_loop()
        while not self.closed:
            try:
                await super().start_processing()
            except Exception as error:
                log_failure("The queue was restarted", error)
            self.stopped = self.closed  # Gradio's own task leaves it stopped

    async def push(self, body, request, username):
        """Queue an event. One visitor has one stream and MAX_WAITING_OF_ONE waiting events; who finds no place gets BUSY.

        At a place of `GuardedBlocks.newest_only` a visitor's newer event ends the older ones. One that says so in the header
        PHOTO_GONE comes from a page that has cleared its photo.
        """
        self.blocks.page_lives(body.session_hash)
        if PHOTO_GONE in request.headers:
            self.blocks.forget_photo(body.session_hash)
        function = get_fn(self.blocks, None, body)
        everywhere = self._waiting()
        own = [event for event in everywhere if event.session_hash == body.session_hash]
        if function.connection == "stream":
            for event in (*own, *self._running()):
                if event.streaming and event.session_hash == body.session_hash:
                    await self._end(event)
        elif stop_older := self.blocks.stops_older.get(function.concurrency_id):
            stop_older(body.session_hash)
            for event in own:
                if event.concurrency_id == function.concurrency_id:
                    await self._end(event)
        elif len(own) >= MAX_WAITING_OF_ONE:
            return False, _busy(request), "queue_full"
        for waiting, full in (
            ([event for event in everywhere if event.concurrency_id == function.concurrency_id], _is_full),
            (everywhere, _are_too_many),
        ):
            if full(waiting, request):
                displaced = _of_the_largest_crowd(waiting, _address(request))
                if displaced is None:
                    return False, _busy(request), "queue_full"
                await self._end(displaced, _busy(displaced.request))
        return await super().push(body, request, username)

    async def clean_events(self, *, session_hash: str | None = None, event_id: str | None = None) -> None:
        """Drop the events of a visitor who has left, or one event, as Gradio does; the uploads of those that wait go."""
        left = [each for each in self._waiting() if session_hash == each.session_hash or event_id == each._id]
        await super().clean_events(session_hash=session_hash, event_id=event_id)
        for event in left:
            if event._id not in self.event_ids_to_events:  # it was not begun meanwhile
                _delete_uploads(event)

    def get_events(self) -> tuple[list[Event], bool, str] | None:
        """Take the next event of a place that is free, passing over visitors of whom one runs there already."""
        held_back: list[tuple[EventQueue, list[Event]]] = []
        for concurrency_id, queue in self.event_queue_per_concurrency_id.items():
            running = {event.session_hash for event in self._running() if event.concurrency_id == concurrency_id}
            later = [event for event in queue.queue if event.session_hash in running]
            if later:
                queue.queue = [event for event in queue.queue if event.session_hash not in running]
                held_back.append((queue, later))
        try:
            return super().get_events()
        finally:
            for queue, later in held_back:
                queue.queue = sorted([*queue.queue, *later], key=lambda event: event.enqueue_time)

    def send_message(self, event, event_message) -> None:
        """Keep a message for an event's visitor; one whose session is forgotten, or who fetches nothing, gets none."""
        messages = self.pending_messages_per_session.get(event.session_hash)
        if messages is None:
            return
        if messages.qsize() >= MAX_UNFETCHED:
            self._forget(event.session_hash)
            _close(event)
            return
        self.sent_at[event.session_hash] = self.last_sent = time.monotonic()
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
            self._forget(session_hash)

    def end_streams(self, now: float) -> None:
        """End streams that send no frames any more and, while others wait, those that had their turn."""
        running = {event._id: event for event in self._running() if event.streaming}
        self.streams = {key: stream for key, stream in self.streams.items() if key in running}
        for key, event in running.items():
            stream = self.streams.setdefault(key, _Stream(now, event.data))
            if stream.frame is not event.data:
                stream.frame, stream.frame_since = event.data, now
            others_wait = bool(self.event_queue_per_concurrency_id[event.concurrency_id].queue)
            if now - stream.frame_since > LIVE_IDLE_SECONDS or (others_wait and now - stream.began > LIVE_TURN_SECONDS):
                _close(event)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Let another event have the place of the one that calls this meanwhile; for waiting that is not computing."""
        event = self.event_ids_to_events.get(LocalContext.event_id.get(None) or "")
        if event is None:  # not called from an event
            yield
            return
        place = self.event_queue_per_concurrency_id[event.concurrency_id]

        def occupy(count: int) -> None:
            place.current_concurrency += count

        self.loop.call_soon_threadsafe(occupy, -1)
        try:
            yield
        finally:
            self.loop.call_soon_threadsafe(occupy, 1)

    def _waiting(self) -> list[Event]:
        return [event for queue in self.event_queue_per_concurrency_id.values() for event in queue.queue]

    def _running(self) -> list[Event]:
        return [event for job in self.active_jobs if job is not None for event in job]

    async def _end(self, event: Event, words: str = "") -> None:
        """End a stream, or an event that waits, whose uploads go: with an error if there are `words` for one."""
        if event in self._running():
            _close(event)
            return
        await self.remove_from_queue(event._id)
        _delete_uploads(event)
        output = error_payload(gr.Error(words, print_exception=False), True) if words else {}
        self.send_message(event, ProcessCompletedMessage(output=output, success=not words))

    def _forget(self, session_hash: str) -> None:
        self.pending_messages_per_session.pop(session_hash, None)
        self.pending_event_ids_session.pop(session_hash, None)
        self.sent_at.pop(session_hash, None)

    async def _sweep(self) -> None:
        released = kept = 0.0
        while not self.closed:
            await asyncio.sleep(1)
            now = time.monotonic()
            self.end_streams(now)
            self.forget_unfetched(now)
            if now - kept > KEPT_SECONDS:
                kept = now
                for file in (each for event in self._waiting() for each in _uploads(event)):
                    keep_upload(file)
            patience = RELEASE_SECONDS * (10 if self.event_ids_to_events else 1)
            if self.last_sent > released and now - released > patience:
                released = now
                await asyncio.to_thread(release_free_memory)


def _close(event: Event) -> None:
    """Let a running stream end after the frame that is being read; its visitor may come again."""
    event.run_time, event.closed = inf, True
    event.signal.set()


def _address(request) -> str:
    return request.client.host if request.client else ""


def _busy(request) -> str:
    """Return BUSY in the language of the one who asks."""
    return translator(language_of(request))(BUSY)


def _uploads(event: Event) -> list[Path]:
    """Return the files of the upload folder that an event names."""
    named: list[dict] = []
    with suppress(RecursionError):  # nested deeper than any component's value
        traverse(event.data.data if event.data else [], named.append, is_file_obj)
    return [file for each in named if (file := uploaded_file(each["path"]))]


def _delete_uploads(event: Event) -> None:
    for file in _uploads(event):
        delete_upload(file)


def _is_full(waiting: list[Event], request) -> bool:
    return len(waiting) >= MAX_WAITING


def _are_too_many(waiting: list[Event], request) -> bool:
    total = sum(_size(each) for each in (request, *(event.request for event in waiting)))
    return len(waiting) >= MAX_WAITING_IN_ALL or total > MAX_WAITING_BYTES


def _size(request) -> int:
    return int(request.headers.get("content-length", 0))  # the guard has checked it


def _of_the_largest_crowd(waiting: list[Event], address: str) -> Event | None:
    """Return the newest waiting event of the address that has most of them, if that is fair to a newcomer's address."""
    counts = Counter(_address(event.request) for event in waiting)
    crowd, most = counts.most_common(1)[0] if counts else ("", 0)
    if most <= counts[address] + 1:
        return None
    return [event for event in waiting if _address(event.request) == crowd][-1]


def _no_answer(sentence: str, request: gr.Request | None) -> gr.Error:
    """Return the fault that is shown to the visitor, without a traceback in the server's log."""
    _ = translator(language_of(request))
    return gr.Error(_(sentence), title=_("No answer"), print_exception=False)


class GuardedBlocks(gr.Blocks):
    """A page whose faults say nothing of what visitors sent, neither in the log nor in the answer.

    The sentence of a gr.Error or an InfantFERError, which may be a locales.Message, is said in the visitor's language.
    """

    def __init__(self, **options):
        super().__init__(**options)
        self.stops_older: dict[str, Callable[[str], object]] = {}
        # Called with the session when an event comes, not when it has its turn.
        self.page_lives: Callable[[str], object] = lambda session_hash: None
        self.forget_photo: Callable[[str], object] = lambda session_hash: None

    def newest_only(self, place: str, stop: Callable[[str], object]) -> None:
        """Let a visitor's newer event at a concurrency id end the older ones: one that runs by `stop`, called with the session."""
        self.stops_older[place] = stop

    def queue(self, *args, **options):
        """Set up the queue as Gradio does, with our class and its limits."""
        super().queue(*args, max_size=None, default_concurrency_limit=2, api_open=False, **options)
        self._queue.__class__ = RobustQueue
        return self

    def apart(self) -> AbstractContextManager[None]:
        """Let another event have the place of the calling one meanwhile, as RobustQueue.apart does; before the start nothing."""
        return self._queue.apart() if isinstance(self._queue, RobustQueue) else nullcontext()

    async def process_api(self, block_fn, inputs, *args, **options):
        """Answer one event. Missing optional inputs of a public endpoint are None; any other fault is one sentence.

        Gradio's own message of a fault quotes the values that were sent, a whole photo too, and prints them in the log.
        """
        function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        missing = len(function.inputs) - len(inputs)
        if missing > 0 and inputs and function.api_name in ("analyze", "analyze_batch"):
            inputs = [*inputs, *[None] * missing]
        if len(inputs) != len(function.inputs):
            raise gr.Error(NOT_UNDERSTOOD, print_exception=False)
        try:
            return await super().process_api(block_fn, inputs, *args, **options)
        except gr.Error as error:
            if error.print_exception:  # not one of ours
                log_failure("A request failed", error)
                raise gr.Error(NOT_UNDERSTOOD, print_exception=False) from None
            raise _no_answer(error.message, options.get("request")) from None
        except InfantFERError as error:
            raise _no_answer(error.sentence, options.get("request")) from None
        except Exception as error:
            log_failure("A request failed", error)
            raise gr.Error(NOT_UNDERSTOOD, print_exception=False) from None
