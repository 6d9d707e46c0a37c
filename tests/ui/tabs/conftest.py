"""What the tests of single tabs share."""

from types import SimpleNamespace

import pytest


@pytest.fixture
def registry(analyzer):
    """Return a checkpoint registry whose every name is the shipped checkpoint."""
    return SimpleNamespace(analyzer=lambda checkpoint, on_progress=None: analyzer)
