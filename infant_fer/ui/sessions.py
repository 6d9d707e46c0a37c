"""What does the server remember of a visitor, and when does it forget? One small record, in memory only."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infant_fer.drawing import OVERLAYS
from infant_fer.images import Photo
from infant_fer.report import Report

if TYPE_CHECKING:  # the lab is optional
    from infant_fer.synthetic.lab import LabSettings

MAX_SESSIONS = 64  # a report with its photo is about 6 MB
IDLE_SECONDS = 1800.0
LIVE_SECONDS = 20.0  # what the live chart shows


@dataclass(frozen=True)
class LiveReading:
    """The affect probabilities of one webcam frame; `at` is time.monotonic() in seconds."""

    at: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class DisplayOptions:
    """How the two pictures are drawn."""

    overlay: str = OVERLAYS[0]
    strength: float = 0.8  # cover of the photo where the map is strongest
    close_up: bool = True


@dataclass(eq=False)
class Session:
    """A visitor's last report, chosen face and live readings. `turn` grows whenever the map under way is to stop."""

    report: Report | None = None
    number: int = 1
    turn: int = 0
    asked: int = 0  # photos so far; the answer for one that is no longer the newest is not shown
    drawn: tuple | None = None  # the last map that is whole: its turn, checkpoint and settings
    look: DisplayOptions = DisplayOptions()
    live: bool = True  # whether webcam frames are read
    frame: Photo | None = None
    readings: deque[LiveReading] = field(default_factory=deque)
    wanted: tuple[LabSettings, str] | None = None  # in the lab: the newest portrait asked for, and the checkpoint
    interpolating: bool = False  # in the lab: whether the walk under way is to go on
    used_at: float = 0.0

    def show(self, report: Report | None) -> None:
        """Replace the report; explanations of the old one notice by the turn and stop."""
        self.report = report
        self.choose(1)

    def choose(self, number: int) -> None:
        """Make a face the explained one."""
        self.number = number
        self.stop_map()

    def stop_map(self) -> None:
        """Let the map under way end as it is."""
        self.turn += 1


class SessionStore:
    """Sessions by Gradio's session hash; forgets the idle, whether or not anybody comes after them, and, above capacity, the
    least recently used. `forgotten` is told of each.
    """

    def __init__(self, capacity: int = MAX_SESSIONS, idle_seconds: float = IDLE_SECONDS):
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._capacity, self._idle_seconds = capacity, idle_seconds
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self.forgotten: Callable[[str], None] = lambda session_hash: None

    def __contains__(self, session_hash: str) -> bool:
        return session_hash in self._sessions

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, session_hash: str) -> Session:
        """The visitor's session, made on first use."""
        now = time.monotonic()
        with self._lock:
            session = self._sessions.setdefault(session_hash, Session())
            session.used_at = now
            self._sessions.move_to_end(session_hash)
            crowded = [self._sessions.popitem(last=False)[0] for _ in range(len(self._sessions) - self._capacity)]
            self._set_timer(now)
        for key in crowded:
            self.forgotten(key)
        return session

    def forget(self, session_hash: str | None) -> None:
        """Drop everything about a visitor who left."""
        with self._lock:
            self._sessions.pop(session_hash, None)

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
            self.forgotten(key)
