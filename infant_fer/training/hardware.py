"""What does this machine compute with? The GPU where there is one; bfloat16 where it pays."""

from __future__ import annotations

import os
import platform

import torch


def accelerator() -> torch.device:
    """The first NVIDIA GPU that torch sees, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 natively; elsewhere it would be slower than float32."""
    return torch.cuda.is_bf16_supported() if torch.cuda.is_available() else torch.cpu._is_avx512_bf16_supported()


def machine() -> str:
    """What trained, for the card."""
    if torch.cuda.is_available():
        return f"GPU {torch.cuda.get_device_name()}"
    if torch.backends.mps.is_available():
        return f"{platform.machine()} GPU of Apple"
    return f"{platform.machine()} CPU, {os.cpu_count()} cores"
