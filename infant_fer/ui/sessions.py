"""What does the server remember of a visitor, and when does it forget? One small record, in memory only."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from math import inf
from typing import Any

from infant_fer.drawing import MAP_VIEWS, OVERLAYS
from infant_fer.images import Photo
from infant_fer.report import Report
from infant_fer.video.timeline import Timeline

MAX_SESSIONS = 64  # a report with its photo is about 6 MB
IDLE_SECONDS = 1800.0
MAX_LEFT = 1000  # visitors who left and are known as such: some of their requests may not have begun
MAX_READINGS = 200  # in a session's list; a reading takes about 40 KB
MAX_READINGS_OF_ALL = 3000  # in all sessions' lists
LIVE_SECONDS = 20.0  # what the live chart shows
RECORD_SECONDS = 60.0


@dataclass(frozen=True)
class LiveReading:
    """What one webcam frame looks like, as its report says; `at` is time.monotonic() in seconds.

    A frame without a face has no probabilities.
    """

    at: float
    probabilities: dict[str, float]
    prediction_set: tuple[str, ...]
    verdict: str = "answer"


@dataclass(frozen=True)
class DisplayOptions:
    """How the two pictures are drawn."""

    overlay: str = OVERLAYS[0]
    strength: float = 0.8  # cover of the photo where the map is strongest
    close_up: bool = True
    map_view: str = MAP_VIEWS[0]


@dataclass(eq=False)
class Session:
    """A visitor's last photo and report, chosen face and live readings.

    Requests of one visitor run at the same time, so whatever changes several fields does so under the session's lock.
    A request gets an id when it begins; its result is kept only while no newer request has begun.
    """

    photo: Photo | None = None  # the newest that was chosen, read already or not
    report: Report | None = None
    fault: str = ""  # HTML, above the answer: why the photo, or a checkpoint for it, could not be read
    face_number: int = 1
    display: DisplayOptions = DisplayOptions()
    live: bool = True  # whether webcam frames are read
    frame: tuple[Photo, float] | None = None  # the newest of the webcam, and when it came, by time.monotonic()
    live_readings: deque[LiveReading] = field(default_factory=deque)
    recorded: list[LiveReading] = field(default_factory=list)
    recording_began: float = -inf
    readings: OrderedDict[int, Any] = field(default_factory=OrderedDict)  # several.readings.Reading by its number
    timeline: Timeline | None = None  # of the newest clip
    used_at: float = 0.0
    origin: str = ""  # the visitor's address, for fairness among addresses
    language: str = "en"  # one of locales.LANGUAGES
    cover: Hashable = None  # in the map's tests: what is covered of the chosen face, and where the visitor guesses
    tested: Hashable = None  # in the map's tests: the face and the checkpoint that the results on the page are of
    _display_chosen: bool = False
    _photo_request: int = 0
    _reading_number: int = 0
    _cleared_number: int = 0  # readings up to this one are forgotten
    _map_request: int = 0
    _complete_map: Hashable = None  # the last map that is complete: its request, checkpoint and settings
    _portrait: Hashable = None  # in the lab: the newest portrait and checkpoint that were requested
    _interpolation_request: int = 0
    _searched: Hashable = (
        None  # in the lab: the portrait and checkpoint of the newest search, None once they are others
    )
    series_ends: tuple[str, str] | None = None  # in the lab: the expressions of the newest series
    _clip_request: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def draw_as(self, display: DisplayOptions) -> None:
        """Draw the pictures as the visitor has just chosen."""
        self.display, self._display_chosen = display, True

    def draw_photo_as(self, display: DisplayOptions) -> None:
        """Draw as the page was set when it sent a photo, unless `draw_as` was called before: a photo may wait, and a choice not."""
        if not self._display_chosen:
            self.display = display

    def begin_photo(self, photo: Photo | None) -> int:
        """Note the newest photo (None: it was removed, and the report goes too) and return its request id."""
        with self._lock:
            self._photo_request += 1
            self.photo = photo
            if photo is None:
                self._show(None)
            return self._photo_request

    def finish_photo(self, request_id: int, report: Report | None, fault: str = "") -> bool:
        """Show a report (None: the photo could not be read) unless a newer photo was chosen meanwhile; say whether it is shown.

        `fault` is the HTML of what went wrong.
        """
        with self._lock:
            if request_id != self._photo_request:
                return False
            self._show(report, fault)
            return True

    def choose_face(self, number: int) -> bool:
        """Make a face the explained one; False when there is no such face."""
        with self._lock:
            if self.report is None or not 1 <= number <= len(self.report.faces):
                return False
            self.face_number, self.cover, self.fault = number, None, ""
            self.stop_map()
            return True

    def begin_map(self, settings: Hashable) -> tuple[Report, int, int] | None:
        """Return report, face number and request id for a map; None without a face and for a map that is complete already."""
        with self._lock:
            if self.report is None or not self.report.faces:
                return None
            if self._complete_map == (self._map_request, settings):
                return None
            return self.report, self.face_number, self._map_request

    def update_map(self, request_id: int, report: Report, settings: Hashable, complete: bool) -> bool:
        """Keep a report with its map so far; False when the visitor has moved on, so that drawing may end."""
        with self._lock:
            if request_id != self._map_request:
                return False
            self.report = report
            self._complete_map = (request_id, settings) if complete else None
            return True

    def stop_map(self) -> None:
        """Let the map that is being drawn end as it is."""
        with self._lock:
            self._map_request += 1

    def begin_portrait(self, portrait: Hashable) -> bool:
        """In the lab: note the newest portrait; False when the same one was requested last."""
        with self._lock:
            if self._portrait == portrait:
                return False
            self._portrait = portrait
            if self._searched != portrait:
                self._searched = None
            self.stop_map()
            return True

    def is_newest_portrait(self, portrait: Hashable) -> bool:
        """In the lab: whether no other portrait was requested since."""
        return self._portrait is portrait

    def forget_portrait(self, portrait: Hashable) -> None:
        """In the lab: let a portrait that failed be tried again."""
        with self._lock:
            if self._portrait is portrait:
                self._portrait = None

    def begin_interpolation(self) -> int:
        """In the lab: return the request id of a new interpolation; an older one stops."""
        with self._lock:
            self._interpolation_request += 1
            return self._interpolation_request

    def begin_search(self, portrait: Hashable) -> int:
        """In the lab: return the request id of a new search, which is an interpolation that ends with another portrait."""
        with self._lock:
            self._searched = portrait
            return self.begin_interpolation()

    def is_searched(self, portrait: Hashable) -> bool:
        """In the lab: whether the newest search is of this portrait, and no other was requested since."""
        with self._lock:
            return self._searched is not None and self._searched == portrait

    @property
    def holds_search(self) -> bool:
        """In the lab: whether the newest search is of the newest portrait."""
        return self._searched is not None

    def is_newest_interpolation(self, request_id: int) -> bool:
        """In the lab: whether an interpolation is to go on."""
        return self._interpolation_request == request_id

    def begin_clip(self) -> int:
        """Return the request id of a new clip; an older one stops, and its timeline goes."""
        with self._lock:
            self._clip_request += 1
            self.timeline = None
            return self._clip_request

    def is_newest_clip(self, request_id: int) -> bool:
        """Return whether a clip is to be read on."""
        return self._clip_request == request_id

    def finish_clip(self, request_id: int, timeline: Timeline) -> bool:
        """Keep a clip's timeline unless a newer one was chosen meanwhile; say whether it is kept."""
        with self._lock:
            if request_id == self._clip_request:
                self.timeline = timeline
            return request_id == self._clip_request

    def add_reading(self, reading: LiveReading) -> list[LiveReading]:
        """Keep a live reading and return those of the last LIVE_SECONDS."""
        with self._lock:
            self.live_readings.append(reading)
            if 0 <= reading.at - self.recording_began <= RECORD_SECONDS:
                self.recorded.append(reading)
            while reading.at - self.live_readings[0].at > LIVE_SECONDS:
                self.live_readings.popleft()
            return list(self.live_readings)

    def start_recording(self, now: float) -> None:
        """Record the live readings of the next RECORD_SECONDS in place of the last recording."""
        with self._lock:
            self.recorded, self.recording_began = [], now

    def next_reading_number(self) -> int | None:
        """Return the number of the next reading in the list; None when the list is full."""
        with self._lock:
            if len(self.readings) >= MAX_READINGS:
                return None
            self._reading_number += 1
            return self._reading_number

    def listed_number(self, source: str) -> int | None:
        """Return the number of the newest reading in the list with this source; None without one."""
        with self._lock:
            return next((number for number, each in reversed(self.readings.items()) if each.source == source), None)

    def keep_reading(self, number: int, reading: Any) -> bool:
        """Keep a reading in the list; False, and nothing is kept, where the list was cleared since it got its number."""
        with self._lock:
            if number <= self._cleared_number:
                return False
            self.readings[number] = reading
            return True

    def clear_readings(self) -> None:
        """Forget the list, and what is being read for it."""
        with self._lock:
            self.readings.clear()
            self._cleared_number = self._reading_number

    @property
    def subject(self) -> tuple[int, int]:
        """Return what tells the chosen face from that of another photo, and from another face."""
        with self._lock:
            return self._photo_request, self.face_number

    def _show(self, report: Report | None, fault: str = "") -> None:
        self.report, self.fault = report, fault
        self.face_number, self.cover = 1, None
        self.stop_map()


class SessionStore:
    """Sessions by Gradio's session hash. Thread-safe.

    Idle sessions are forgotten, whether or not anybody comes after them. Above `capacity` the least recently used session
    of the address that has most of them is forgotten, so that one visitor cannot push out all others.
    `on_forget` is called with the hash of each.
    """

    def __init__(self, capacity: int = MAX_SESSIONS, idle_seconds: float = IDLE_SECONDS):
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._left: OrderedDict[str, None] = OrderedDict()
        self._capacity, self._idle_seconds = capacity, idle_seconds
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self.on_forget: Callable[[str], None] = lambda session_hash: None

    def __contains__(self, session_hash: str) -> bool:
        return session_hash in self._sessions

    def __len__(self) -> int:
        return len(self._sessions)

    def create(self, session_hash: str | None, origin: str = "") -> Session:
        """Return the visitor's session, a new one on first use; for events that bring a picture.

        A request without a hash gets a session that is not kept: all senders without one would share it. So does one of a
        visitor who left while it waited.
        """
        now = time.monotonic()
        with self._lock:
            if not session_hash or session_hash in self._left:
                return Session()
            session = self._sessions.setdefault(session_hash, Session(origin=origin))
            session.used_at = now
            self._sessions.move_to_end(session_hash)
            surplus = []
            while len(self._sessions) > max(1, self._capacity if self._readings() <= MAX_READINGS_OF_ALL else 1):
                surplus.append(self._evict(session_hash))
            self._set_timer(now)
        for key in surplus:
            self.on_forget(key)
        return session

    def get(self, session_hash: str | None) -> Session:
        """Return the visitor's session, or an empty one that is not kept."""
        with self._lock:
            if session_hash is None or session_hash not in self._sessions:
                return Session()
            self._sessions.move_to_end(session_hash)
            self._sessions[session_hash].used_at = time.monotonic()
            return self._sessions[session_hash]

    def forget(self, session_hash: str | None) -> None:
        """Drop everything about a visitor who left; what still comes of their requests is not kept, until they come back."""
        with self._lock:
            self._sessions.pop(session_hash or "", None)
            self._left[session_hash or ""] = None
            if len(self._left) > MAX_LEFT:
                self._left.popitem(last=False)

    def come_back(self, session_hash: str | None) -> None:
        """Keep again what a visitor sends whose page lives after all, as after a connection that was lost for a moment."""
        with self._lock:
            self._left.pop(session_hash or "", None)

    def _readings(self) -> int:
        return sum(len(session.readings) for session in self._sessions.values())

    def _evict(self, newest: str) -> str:
        """Drop one session other than the newest and return its hash; the lock is held."""
        counts = Counter(session.origin for session in self._sessions.values())
        most = max(counts.values())
        crowded = (
            key
            for key, session in self._sessions.items()  # the least recently used come first
            if key != newest and counts[session.origin] == most
        )
        key = next(crowded, None) or next(iter(self._sessions))
        del self._sessions[key]
        return key

    def _set_timer(self, now: float) -> None:
        """Come back when the one who was seen last the longest ago may be idle; the lock is held."""
        if self._timer is None and self._sessions:
            oldest = next(iter(self._sessions.values())).used_at
            self._timer = threading.Timer(oldest + self._idle_seconds - now, self._forget_idle)
            self._timer.daemon = True
            self._timer.start()

    def _forget_idle(self) -> None:
        now = time.monotonic()
        with self._lock:
            idle = [key for key, session in self._sessions.items() if now - session.used_at >= self._idle_seconds]
            for key in idle:
                del self._sessions[key]
            self._timer = None
            self._set_timer(now)
        for key in idle:
            self.on_forget(key)
