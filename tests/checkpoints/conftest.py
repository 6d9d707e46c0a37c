"""Fixtures of the tests of checkpoints: a folder that may be spoiled, and a Hub on loopback."""

import shutil

import pytest

from infant_fer.checkpoints.sources import resolve
from tests.fake_hub import REPO, FakeHub


@pytest.fixture
def folder(tiny, tmp_path):
    """Return a sound checkpoint folder that a test may spoil."""
    return shutil.copytree(tiny, tmp_path / "faces")


@pytest.fixture
def hub(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "hub" / REPO)
    with FakeHub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def get(hub, tmp_path):
    """Call resolve() on the fake Hub, with a cache of its own."""
    return lambda source=REPO, **options: resolve(source, endpoint=hub.url, cache_dir=tmp_path / "cache", **options)
