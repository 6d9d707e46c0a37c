"""Which numbers may an option of a command have? Types for argparse, so that a wrong one is refused before any work."""

from __future__ import annotations

from argparse import ArgumentTypeError
from math import isfinite

LARGEST_SEED = 2**32 - 1  # that numpy, torch and the standard library all take


def seed(text: str) -> int:
    """Return a seed, 0 to LARGEST_SEED. Raises ValueError, and ArgumentTypeError outside of this."""
    if not 0 <= (number := int(text)) <= LARGEST_SEED:
        raise ArgumentTypeError(f"{number} is not in 0..{LARGEST_SEED}")
    return number


def positive(text: str) -> int:
    """Return a count or a size of at least 1. Raises ValueError, and ArgumentTypeError below 1."""
    if (number := int(text)) < 1:
        raise ArgumentTypeError(f"{number} is below 1")
    return number


def share(text: str) -> float:
    """Return a share in 0..1. Raises ValueError, and ArgumentTypeError outside of this."""
    if not 0 <= (number := float(text)) <= 1:
        raise ArgumentTypeError(f"{number:g} is not in 0..1")
    return number


def amount(text: str) -> float:
    """Return a finite number of at least 0. Raises ValueError, and ArgumentTypeError for another one."""
    number = float(text)
    if not (isfinite(number) and number >= 0):
        raise ArgumentTypeError(f"{number:g} is no amount of 0 or more")
    return number
