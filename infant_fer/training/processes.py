"""Is this one of several processes that torchrun or accelerate started? Then one of them finds faces, talks and writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def several() -> bool:
    """Whether a launcher started more than one process."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """Whether this is the only process, or the one that talks and writes."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def first_alone() -> Iterator[None]:
    """Let the first process go ahead; the others come when it is done, and find what it has cached."""
    if not several():
        yield
        return
    from accelerate import PartialState

    on_cpu = not torch.cuda.is_available()
    with PartialState(cpu=on_cpu, **({"backend": "gloo"} if on_cpu else {})).main_process_first():
        yield
