"""Figures that can be known by hand: shares with their intervals, calibration, areas under curves."""

import json
import math

import numpy as np
import pytest
from scipy.stats import binomtest

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
    assert metrics.brier_score(np.array([[0.8, 0.2]]), np.array([0])) == pytest.approx(0.08)
    logits = np.log(np.array([[0.99, 0.01]] * 10))
    assert metrics.fit_temperature(logits, np.array([0] * 7 + [1] * 3)) > 3  # far too sure


def test_the_temperature_undoes_overconfidence():
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (4000, 3))
    truth = np.array([random.choice(3, p=row) for row in metrics.softmax(logits, axis=1)])
    assert metrics.fit_temperature(logits, truth) == pytest.approx(1, rel=0.1)
    assert metrics.fit_temperature(logits * 3, truth) == pytest.approx(3, rel=0.1)


def test_auc_of_one_kind_is_unknown():
    assert metrics.auc(np.array([0.1, 0.9, 0.8]), np.array([0, 1, 0])) == 1
    assert math.isnan(metrics.auc(np.array([0.1, 0.9]), np.array([1, 1])))


def test_pictures_of_one_infant_do_not_count_as_independent():
    """Ten infants with ten pictures each, all ten right or all ten wrong: the interval is that of ten cases, not of 100."""
    infants, right = np.repeat(np.arange(10), 10), np.repeat([True] * 8 + [False] * 2, 10)
    shown = metrics.Proportion.of(right, infants)
    low, high = shown.interval
    assert (shown.right, shown.n, shown.infants) == (80, 100, 10)
    assert high - low > 2.5 * np.diff(metrics.wilson_interval(80, 100))[0]
    assert low < 0.55  # the 2.5 % and 97.5 % quantiles of a binomial of 10 and 0.8 are 0.5 and 1.0
    assert high == pytest.approx(1, abs=0.051)
    assert metrics.Proportion.from_dict(shown.to_dict()) == shown


@pytest.mark.parametrize("infants", [2, 3, 5, 8, 14])
def test_intervals_of_few_infants_hold_the_truth_in_95_of_100_draws(infants):
    """Infants differ as much as a Beta distribution of mean 0.7 and an intraclass correlation of 1/8 says."""
    random, number, held = np.random.default_rng(infants), np.repeat(np.arange(infants), 24), 0
    for _ in range(200):
        right = random.random(24 * infants) < random.beta(4.9, 2.1, infants)[number]
        low, high = metrics.cluster_interval(right, number)
        held += low <= 0.7 <= high
    assert held >= 184  # 0.95 less three standard deviations of 200 draws


def test_two_infants_that_nearly_agree_are_no_certainty():
    """Two infants with 14 of 24 right each, and with 14 and 15."""
    infants = np.repeat([0, 1], 24)
    alike = metrics.cluster_interval(np.arange(48) % 24 < 14, infants)
    nearly = metrics.cluster_interval(np.arange(48) % 24 < 14 + infants, infants)
    assert alike[1] - alike[0] > nearly[1] - nearly[0] > 0.8


def test_wilsons_interval_is_that_of_scipy():
    for right, n in ((0, 1), (1, 4), (80, 100), (400, 400)):
        expected = binomtest(right, n).proportion_ci(0.95, "wilson")
        assert metrics.wilson_interval(right, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_an_infant_of_one_picture_each_gives_wilsons_interval():
    right = np.array([True, False, True, True])
    assert metrics.Proportion.of(right, np.array(["a", "b", "c", "d"])) == metrics.Proportion(3, 4)


def test_all_right_is_no_certainty_and_counts_infants():
    shown = metrics.Proportion.of(np.ones(20, bool), np.repeat([0, 1], 10))
    low, high = shown.interval
    assert low < metrics.wilson_interval(2, 2)[0] / 2  # two infants say next to nothing
    assert high == 1
    many = metrics.Proportion.of(np.ones(40, bool), np.repeat(np.arange(20), 2))
    assert many.interval == metrics.wilson_interval(20, 20)


def test_a_proportion_of_no_case_is_none_in_json():
    assert metrics.Proportion(0, 0).to_dict() == {"value": None, "right": 0, "n": 0, "interval95": [0.0, 1.0]}
    assert metrics.Proportion(0, 0).short == "–"


def test_an_interval_is_never_narrower_than_that_of_independent_cases():
    """Every infant has one case right of three, so no resample differs."""
    shown = metrics.Proportion.of(np.tile([True, False, False, False], 20), np.repeat(np.arange(20), 4))
    assert shown.interval == metrics.wilson_interval(5, 20)
    low, high = metrics.Proportion.of(np.tile([True, False], 50), np.repeat(np.arange(2), [49, 51])).interval
    wilson = metrics.wilson_interval(50, 100)
    assert low <= wilson[0] < wilson[1] <= high


def test_intervals_are_over_infants_not_pictures():
    """Ten pictures of one infant say no more than one."""
    infants = np.array(["a"] * 10 + ["b", "c"])
    mean = metrics.Mean.of([1.0] * 10 + [0.0, 0.0], infants)
    assert mean.value == pytest.approx(10 / 12)
    assert mean.interval[0] == 0
    assert (mean.n, mean.infants) == (12, 3)


def test_one_infants_pictures_have_no_interval():
    mean = metrics.Mean.of([0.2, 0.4], np.array(["a", "a"]))
    assert mean.interval is None
    assert mean.short == "0.30 (one infant, no interval), n = 2"
    assert metrics.Mean.from_dict(json.loads(json.dumps(mean.to_dict()))) == mean


def test_confusion_has_the_truth_in_rows():
    table = metrics.confusion(np.array([1, 1, 0]), np.array([0, 0, 0]), 3)
    assert table.tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 0]]
