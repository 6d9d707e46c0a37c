"""A disk that is full: what a test writes may not grow."""

import resource
from contextlib import contextmanager


@contextmanager
def no_file_above(size: int):
    """Let no file grow above `size` bytes, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))  # Python ignores the signal, so writing fails
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
