"""Figures of the benchmarks: drawn over what belongs together, and of every kind of face."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import scenes, synthetic, upside_down
from infant_fer.face import HeadPose
from infant_fer.metrics import wilson_interval


def scene(group: str) -> dict:
    return {
        "group": group,
        "visible": "full",
        "affect": "neutral",
        "found": True,
        "false": False,
        "answer": "neutral",
        "seconds": 1.0,
    }


def test_like_pictures_of_a_group_count_as_one_case():
    alike, apart = (scenes.figures([scene(group) for group in groups]) for groups in ("aaaa", "abcd"))
    for name in (
        "fully visible faces found",
        "faces read as labelled, of those found",
        "pictures with a false detection",
    ):
        assert (alike[name].n, apart[name].n) == (4, 4)
        assert alike[name].interval == pytest.approx(wilson_interval(int(alike[name].value), 1))
        assert apart[name].interval == pytest.approx(wilson_interval(apart[name].right, 4))


def test_photos_of_an_infant_upside_down_count_as_one_case():
    def face(roll: float):
        return SimpleNamespace(
            face=SimpleNamespace(pose=HeadPose(0, 0, roll)), assessment=SimpleNamespace(verdict="answer")
        )

    turned = [[face(0), None, face(0)]] * 4 + [[None, None, None]]  # not turned with the photo: the wrong way up
    found = upside_down.figures(turned, np.array([*"aaaab"]), 2)["wrong way up"]
    assert (found.right, found.n) == (4, 4)
    assert found.interval == pytest.approx(wilson_interval(1, 1))
    apart = upside_down.figures(turned, np.array([*"abcde"]), 2)["wrong way up"]
    assert apart.interval == pytest.approx(wilson_interval(4, 4))


def test_every_expression_is_drawn_with_every_face_type():
    pairs = len(synthetic.EXPRESSIONS) * len(synthetic.RACES)
    assert len({synthetic.race_and_expression(number) for number in range(pairs)}) == pairs
