"""Loops over pixels and triangles become machine code here, with numba."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from infant_fer.errors import SyntheticError
from infant_fer.synthetic.mesh.data import HOW_TO_GET


@cache
def compiled(function: Callable) -> Callable:
    """The function as machine code, which is kept for later runs where a file may be written. Raises SyntheticError without numba."""
    try:
        from numba import njit
    except ImportError:
        raise SyntheticError(HOW_TO_GET) from None
    try:
        return njit(cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return njit(function)
