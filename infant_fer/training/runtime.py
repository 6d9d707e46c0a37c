"""What does this process run on? The device, its precision, and its place among processes that a launcher started."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def accelerator() -> torch.device:
    """Return the first NVIDIA GPU that torch sees, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bfloat16() -> bool:
    """Return whether this machine multiplies bfloat16 natively; elsewhere it would be slower than float32."""
    return torch.cuda.is_bf16_supported() if torch.cuda.is_available() else torch.cpu._is_avx512_bf16_supported()


def machine() -> str:
    """Return a description of the training hardware for the model card."""
    if torch.cuda.is_available():
        return f"GPU {torch.cuda.get_device_name()}"
    if torch.backends.mps.is_available():
        return f"{platform.machine()} GPU of Apple"
    return f"{platform.machine()} CPU, {os.cpu_count()} cores"


def is_distributed() -> bool:
    """Return whether torchrun or accelerate started more than one process."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_main_process() -> bool:
    """Return whether this is the only process, or the one that prints and writes."""
    return int(os.environ.get("RANK", "0")) == 0


def log(message: str) -> None:
    """Print a message once, by the main process."""
    if is_main_process():
        print(message, flush=True)


@contextmanager
def main_process_first() -> Iterator[None]:
    """Run the block in the main process first; the others follow when it is done, and find what it has cached."""
    if not is_distributed():
        yield
        return
    from accelerate import PartialState

    on_cpu = not torch.cuda.is_available()
    with PartialState(cpu=on_cpu, **({"backend": "gloo"} if on_cpu else {})).main_process_first():
        yield
