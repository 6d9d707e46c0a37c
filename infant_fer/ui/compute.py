"""Whose turn is it to compute? Places for as many computations as the computer bears, and an order among those who wait."""

from __future__ import annotations

import ctypes
import heapq
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import torch

from infant_fer.analyzer import Analyzer, ExplanationSettings
from infant_fer.face_search import SearchBudget
from infant_fer.images import Photo, load_photo
from infant_fer.report import Report

CORES = os.cpu_count() or 1
PLACES = 2  # computations at the same time; the interpreter's lock lets more of them only wait for each other
THREADS = torch.get_num_threads()  # of one computation that has the computer to itself
# Seconds by which a computation lets others go first. It waits no longer than that for those who come after it.
FRAME, PHOTO, MAP = 0.0, 0.5, 1.3


class Turns:
    """Let a number of threads compute at a time, in the order of arrival plus `patience`. Thread-safe."""

    def __init__(self, places: int = PLACES):
        self._places = self._free = places
        self._waiting: list[tuple[float, int, threading.Event]] = []
        self._numbers = count()
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, patience: float = 0.0) -> Iterator[None]:
        """Wait for a place, and hold it while the body runs; `patience` is in seconds.

        The body computes with one thread, which takes a third less of the processor than two threads. Only
        a step of a map, which is long, has all of them while nobody else computes or waits.
        """
        mine = threading.Event()
        with self._lock:
            heapq.heappush(self._waiting, (time.monotonic() + patience, next(self._numbers), mine))
            self._call_next()
        mine.wait()
        torch.set_num_threads(THREADS if patience >= MAP and self._is_only_one() else 1)  # of this thread
        try:
            yield
        finally:
            torch.set_num_threads(THREADS)
            with self._lock:
                self._free += 1
                self._call_next()

    def _is_only_one(self) -> bool:
        with self._lock:
            return self._free == self._places - 1 and not self._waiting

    def _call_next(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            heapq.heappop(self._waiting)[2].set()


TURNS = Turns()  # of the whole program


def release_free_memory() -> None:
    """Give memory that is free inside the C library back to the system, where that is glibc.

    Else large photos, read by many threads, leave hundreds of megabytes behind.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


class SharedAnalyzer(Analyzer):
    """An analyzer that many visitors use at once: frames before photos, photos before the steps of a map."""

    def analyze(
        self,
        photo: str | Path | bytes | np.ndarray | Photo,
        thorough: bool = True,
        budget: SearchBudget | None = None,
    ) -> Report:
        """Find and read every face of one photo when it is its turn; a search that is not thorough is a live frame's."""
        decoded = load_photo(photo)
        with TURNS.turn(PHOTO if thorough else FRAME):
            return super().analyze(decoded, thorough, budget)

    def check_steadiness(self, report: Report, face: int = 1) -> Report:
        """Return the report with one face's steadiness, after a turn among the steps of maps."""
        with TURNS.turn(MAP):
            return super().check_steadiness(report, face)

    def explain_steps(
        self, report: Report, face: int = 1, settings: ExplanationSettings = ExplanationSettings()
    ) -> Iterator[Report]:
        """Yield the report with a map of more and more samples; each step waits for its turn."""
        steps = super().explain_steps(report, face, settings)
        while True:
            with TURNS.turn(MAP):
                step = next(steps, None)
            if step is None:
                return
            yield step
