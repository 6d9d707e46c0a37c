"""What is kept of a visitor, and what of two requests at the same time."""

import sys
import threading
import time
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from infant_fer.ui import sessions
from infant_fer.ui.sessions import Session, SessionStore


def wait_until(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


@dataclass
class Clock:
    """A clock of the sessions that stands still until it is set, with their timers: (time to go off, function)."""

    now: float = 0.0
    timers: list = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def timer(self, seconds: float, function) -> SimpleNamespace:
        return SimpleNamespace(start=lambda: self.timers.append((self.now + seconds, function)))

    def set(self, now: float) -> None:
        """Set the clock and let the timers go off whose time has come."""
        self.now = now
        due = [each for each in self.timers if each[0] <= now]
        self.timers = [each for each in self.timers if each not in due]
        for _, function in due:
            function()


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(sessions, "time", clock)
    monkeypatch.setattr(sessions.threading, "Timer", clock.timer)
    return clock


@pytest.fixture
def report(analyzer):
    from tests.conftest import EXAMPLES

    return analyzer.analyze(EXAMPLES / "two_faces.jpg")


def test_a_finished_reading_never_replaces_a_newer_photo_s(report):
    session = Session()
    older = session.begin_photo(report.photo)
    newer = session.begin_photo(report.photo)
    assert session.finish_photo(newer, report)
    assert not session.finish_photo(older, replace(report, faces=()))
    assert session.report is report


def test_a_map_of_the_photo_before_does_not_come_back(report):
    session = Session()
    session.finish_photo(session.begin_photo(report.photo), report)
    before, number, request_id = session.begin_map("settings")
    assert (before, number) == (report, 1)
    newer = replace(report)
    session.finish_photo(session.begin_photo(report.photo), newer)
    assert not session.update_map(request_id, before, "settings", complete=True)
    assert session.report is newer
    assert session.begin_map("settings") is not None


def test_every_request_gets_an_id_of_its_own_among_threads():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    session, ids = Session(), [[] for _ in range(8)]
    try:
        threads = [
            threading.Thread(target=lambda mine=mine: mine.extend(session.begin_photo(None) for _ in range(2000)))
            for mine in ids
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len({number for mine in ids for number in mine}) == 8 * 2000


def test_removing_a_photo_drops_its_report(report):
    session = Session()
    session.finish_photo(session.begin_photo(report.photo), report)
    assert session.choose_face(2)
    assert not session.choose_face(3)
    session.begin_photo(None)
    assert session.report is None
    assert session.photo is None
    assert not session.choose_face(1)


def test_sessions_are_forgotten_when_left_idle(clock):
    store, gone = SessionStore(idle_seconds=30), []
    store.on_forget = gone.append
    first = store.create("a")
    assert store.create("a") is first
    store.create("b")
    clock.set(29)
    assert (len(store), gone) == (2, [])
    clock.set(30)  # nobody comes after them
    assert (len(store), gone) == (0, ["a", "b"])
    assert clock.timers == []


def test_who_comes_back_in_time_is_remembered(clock):
    store = SessionStore(idle_seconds=30)
    first = store.create("a")
    store.create("b")
    clock.set(20)
    assert store.get("a") is first
    clock.set(30)
    assert "b" not in store
    assert "a" in store
    assert [at for at, _ in clock.timers] == [50]
    clock.set(50)
    assert "a" not in store


def test_only_a_picture_makes_a_session():
    store = SessionStore()
    assert store.get("a") is not store.get("a")
    assert store.create(None) is not store.create(None)
    assert store.create("") is not store.create("")
    assert len(store) == 0


def test_a_request_that_begins_after_its_visitor_left_keeps_nothing(monkeypatch):
    """Its picture was still being decoded. A page that lives after all sends further events."""
    monkeypatch.setattr(sessions, "MAX_LEFT", 2)
    store = SessionStore()
    for name in ("a", "b"):
        store.create(name)
        store.forget(name)
        store.create(name).photo = "a photo"
    assert len(store) == 0
    store.come_back("a")
    assert store.create("a") is store.get("a")
    for name in ("c", "d"):
        store.forget(name)
    assert store.create("b") is store.get("b")  # the first of more than are remembered


def test_a_crowd_from_one_address_does_not_push_out_the_others():
    store, gone = SessionStore(capacity=4), []
    store.on_forget = gone.append
    visitor = store.create("visitor", "192.0.2.1")
    for number in range(20):
        store.create(f"crowd-{number}", "192.0.2.2")
    assert store.get("visitor") is visitor
    assert len(store) == 4
    assert gone == [f"crowd-{number}" for number in range(17)]


def test_readings_of_all_visitors_together_are_limited(monkeypatch):
    monkeypatch.setattr(sessions, "MAX_READINGS_OF_ALL", 30)
    store = SessionStore()
    visitor = store.create("visitor", "192.0.2.1")
    visitor.keep_reading(1, "a reading")
    for number in range(8):
        crowd = store.create(f"crowd-{number}", "192.0.2.2")
        for reading in range(10):
            crowd.keep_reading(reading, "a reading")
    store.create("newcomer", "192.0.2.3")
    assert store.get("visitor") is visitor
    assert "newcomer" in store
    assert sum(len(store.get(f"crowd-{number}").readings) for number in range(8)) <= 30
