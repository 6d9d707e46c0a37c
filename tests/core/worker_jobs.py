"""Work for the tests of processes: a module that a new process imports in no time."""

import os
import signal
import time
from pathlib import Path

from infant_fer.errors import ImageError


def load() -> int:
    return 10


def refuse() -> int:
    raise ImageError("nothing to load")


def times_ten(factor: int, item: int) -> tuple[int, int]:
    return factor * item, os.getpid()


def die_at(item_of_death: int, marks: Path | None, factor: int, item: int) -> tuple[int, int]:
    """Die at one item; with `marks` only the first time."""
    if item == item_of_death and not (marks and marks.exists()):
        if marks:
            marks.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return times_ten(factor, item)


def die_when_others_are_done(log: Path, factor: int, item: int) -> tuple[int, int]:
    """Note each item as it starts; die at the first one once the fourth has started, in the other of two workers."""
    with log.open("a") as stream:
        stream.write(f"{item}\n")
    started = log.read_text().split()
    if item == 1 and started.count("1") == 1:
        while "4" not in started:
            time.sleep(0.01)
            started = log.read_text().split()
        os.kill(os.getpid(), signal.SIGKILL)
    return times_ten(factor, item)


def lost(item: int) -> tuple[int, int]:
    return -item, 0
