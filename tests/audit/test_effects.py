"""Effects on the answers, known by hand: flips, lost faces, changes and their intervals over infants."""

import numpy as np
import pytest

from infant_fer.audit.effects import audit_readings, mean_change
from infant_fer.audit.matched import CLEAR
from infant_fer.synthetic import EXPRESSIONS
from tests.audit.readings import answered, levels_of


def test_flips_lost_faces_and_turns_are_counted_against_the_reference():
    readings = [
        answered(1, "", "", 0.9, 0.1, 0.0), answered(1, "blur", "4 px", 0.4, 0.6, 0.0),  # flips, falls by 0.5
        answered(2, "", "", 0.8, 0.1, 0.1), answered(2, "blur", "4 px", 0.7, 0.2, 0.1),  # stays, falls by 0.1
        answered(3, "", "", 0.2, 0.7, 0.1), answered(3, "blur", "4 px"),  # lost
        answered(4, "", ""), answered(4, "blur", "4 px", 1.0, 0.0, 0.0),  # no reference to compare with
    ]  # fmt: skip
    levels = levels_of(readings, "blur")
    assert list(levels) == ["2 px", "4 px", "8 px"]
    row = levels["4 px"]
    assert (row.flips.right, row.flips.n) == (1, 2)
    assert (row.lost.right, row.lost.n) == (1, 3)
    assert (row.agreement.right, row.agreement.n) == (2, 3)
    assert row.turns == {"positive → neutral": 1}
    assert row.change.value == pytest.approx(-0.3)
    assert row.change.interval == pytest.approx((-0.5, -0.1))
    assert row.change.infants == 2
    plain = audit_readings("invented", readings, seed=0).plain_agreement
    assert (plain.right, plain.n) == (2, 3)


def test_a_factor_with_a_reference_of_its_own_is_compared_with_that():
    readings = [
        answered(1, "", "", 0, 0, 1),
        answered(1, "age", "baby", 1, 0, 0),
        answered(1, "age", "newborn", 0, 1, 0),
    ]
    levels = levels_of(readings, "age")
    assert levels["newborn"].turns == {"positive → neutral": 1}
    assert levels["baby"].is_reference
    assert levels["baby"].agreement.value == 1


def test_shares_draw_infants_anew_where_one_has_several_pictures():
    """Two of four infants flip, each in all of its 20 pictures: 80 cases, but only four independent ones."""
    readings = []
    for infant in range(4):
        for expression in [*CLEAR, *EXPRESSIONS][:5]:
            wrong = (0.0, 0.0, 1.0) if infant < 2 else (1.0, 0.0, 0.0)
            readings += [answered(infant, "", "", 1, 0, 0, expression=expression)]
            readings += [answered(infant, "noise", level, *wrong, expression=expression) for level in ("5 %", "10 %")]
    flips = levels_of(readings, "noise")["5 %"].flips
    assert (flips.right, flips.n, flips.infants) == (10, 20, 4)
    assert flips.interval == (
        0.0,
        1.0,
    )  # of 4 drawn, none or all flip in 1 of 16 resamples each; Wilson's 20 gave 0.30 to 0.70


def test_infants_not_pictures_are_drawn_anew():
    agreeing = mean_change({1: [0.25, -0.75], 2: [-0.25], 3: [-0.5, 0.0, -0.25]})
    assert (agreeing.value, agreeing.interval) == (-0.25, (-0.25, -0.25))
    split = mean_change({1: [0.0] * 100, 2: [1.0] * 100})
    assert (split.value, split.interval) == (0.5, (0.0, 1.0))  # 200 pictures drawn anew would give about 0.43 to 0.57
    assert mean_change({1: [0.5] * 3, 2: [-0.1]}).value == pytest.approx(0.35)
    assert mean_change({1: [0.1, 0.2], 2: [0.4], 3: [0.0]}, seed=3) == mean_change(
        {1: [0.1, 0.2], 2: [0.4], 3: [0.0]}, seed=3
    )


def test_less_than_two_infants_tell_nothing():
    alone = mean_change({1: [0.5, 0.5], 2: []})
    assert (alone.value, alone.interval, alone.infants) == (0.5, (-1.0, 1.0), 1)
    assert np.isnan(mean_change({}).value)
