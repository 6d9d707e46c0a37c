"""What does the server remember of a visitor, and when does it forget? One small record, in memory only."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
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
class Look:
    """How the two pictures are drawn."""

    overlay: str = OVERLAYS[0]
    strength: float = 0.8  # cover of the photo where the map is strongest
    close_up: bool = True


@dataclass(eq=False)
class Session:
    """A visitor's last report, chosen face and live readings. `turn` grows with every new photo or face."""

    report: Report | None = None
    number: int = 1
    turn: int = 0
    look: Look = Look()
    live: bool = True  # whether webcam frames are read
    frame: Photo | None = None
    readings: deque[LiveReading] = field(default_factory=deque)
    wanted: tuple[LabSettings, str] | None = None  # in the lab: the newest portrait asked for, and the checkpoint
    walking: bool = False  # in the lab: whether the walk under way is to go on
    used_at: float = 0.0

    def show(self, report: Report | None) -> None:
        """Replace the report; explanations of the old one notice by the turn and stop."""
        self.report = report
        self.choose(1)

    def choose(self, number: int) -> None:
        """Make a face the explained one."""
        self.number, self.turn = number, self.turn + 1


class SessionStore:
    """Sessions by Gradio's session hash; forgets the idle and, above capacity, the least recently used."""

    def __init__(self, capacity: int = MAX_SESSIONS, idle_seconds: float = IDLE_SECONDS):
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._capacity, self._idle_seconds = capacity, idle_seconds
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, session_hash: str) -> Session:
        """The visitor's session, made on first use."""
        now = time.monotonic()
        with self._lock:
            session = self._sessions.setdefault(session_hash, Session())
            session.used_at = now
            self._sessions.move_to_end(session_hash)
            for key in [key for key, old in self._sessions.items() if now - old.used_at > self._idle_seconds]:
                del self._sessions[key]
            while len(self._sessions) > self._capacity:
                self._sessions.popitem(last=False)
            return session

    def forget(self, session_hash: str | None) -> None:
        """Drop everything about a visitor who left."""
        with self._lock:
            self._sessions.pop(session_hash, None)
