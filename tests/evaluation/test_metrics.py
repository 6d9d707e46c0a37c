"""Figures that can be known by hand: shares with their intervals, calibration, areas under curves."""

import math

import numpy as np
import pytest

from infant_fer import metrics


@pytest.mark.parametrize(
    ("right", "n", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (84, 100, 0.7558, 0.8990)]
)
def test_wilson_by_hand(right, n, low, high):
    assert metrics.Proportion(right, n).interval == pytest.approx((low, high), abs=1e-4)


def test_metrics_by_hand():
    truth, shifted = np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])
    assert metrics.concordance(truth, truth) == pytest.approx(1)
    assert metrics.concordance(shifted, truth) == pytest.approx(2 * (2 / 3) / (4 / 3 + 1))
    assert metrics.mcnemar(np.array([True] * 6 + [False]), np.array([False] * 6 + [True])) == pytest.approx(
        2 * 8 / 2**7
    )
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4]])
    assert metrics.calibration_error(probabilities, np.array([0, 1])) == pytest.approx((0.1 + 0.6) / 2)
    assert metrics.negative_log_likelihood(probabilities, np.array([0, 0])) == pytest.approx(-np.log([0.9, 0.6]).mean())
    logits = np.log(np.array([[0.99, 0.01]] * 10))
    assert metrics.fit_temperature(logits, np.array([0] * 7 + [1] * 3)) > 3  # far too sure


def test_the_temperature_undoes_overconfidence():
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (4000, 3))
    truth = np.array([random.choice(3, p=row) for row in metrics.softmax(logits)])
    assert metrics.fit_temperature(logits, truth) == pytest.approx(1, rel=0.1)
    assert metrics.fit_temperature(logits * 3, truth) == pytest.approx(3, rel=0.1)


def test_auc_of_one_kind_is_unknown():
    assert metrics.auc(np.array([0.1, 0.9, 0.8]), np.array([0, 1, 0])) == 1
    assert math.isnan(metrics.auc(np.array([0.1, 0.9]), np.array([1, 1])))
