"""SECURITY.md can be checked line by line: every promise names tests, and every test it names exists."""

import re

import pytest

from infant_fer.ui.uploads import CLIP_BYTES
from tests.conftest import ROOT

TEXT = (ROOT / "SECURITY.md").read_text("utf-8")
PROMISED = TEXT.partition("## What is promised")[2].partition("## What is not promised")[0]
PROMISES = [line for line in re.split(r"^- ", PROMISED, flags=re.MULTILINE)[1:]]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise[:40])
def test_every_promise_names_tests_that_exist(promise):
    named = re.findall(r"`(tests/[\w/]+\.py|test_\w+)`", promise)
    assert named[0].endswith(".py")
    assert any(name.startswith("test_") for name in named)
    for name in named:
        if name.endswith(".py"):
            source = (ROOT / name).read_text("utf-8")
        else:
            assert re.search(rf"^def {name}\(", source, flags=re.MULTILINE), name


def test_all_promises_are_found():
    assert len(PROMISES) > 20
    assert {heading for heading in re.findall(r"^### (\w+)", PROMISED, flags=re.MULTILINE)} == {
        "Data",
        "Network",
        "Files",
        "Visitors",
        "Checkpoints",
    }


def test_the_proxies_let_the_largest_clip_through():
    limits = [int(each) for each in re.findall(r"(?:max_size|client_max_body_size) (\d+)(?:MB|m)\b", TEXT)]
    assert len(limits) == 2
    assert all(each * 10**6 > CLIP_BYTES for each in limits)
