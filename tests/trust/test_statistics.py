"""Calibration, prediction sets, distances and the risk-coverage curve, against values known by hand and other libraries."""

import crepes
import numpy as np
import pytest

from infant_fer import metrics
from infant_fer.labels import AFFECTS
from infant_fer.trust.calibration import LEAST, Reliability
from infant_fer.trust.conformal import PredictionSets, covered
from infant_fer.trust.distance import KINDS, Distance, Gaussian, InfantProbe


def drawn(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 3) probabilities and truths drawn from them."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet((0.5, 0.4, 0.3), n)
    return probabilities, np.array([random.choice(3, p=each) for each in probabilities])


def test_prediction_sets_are_those_of_crepes():
    probabilities, truth = drawn(400)
    new, _ = drawn(300, seed=1)
    sets = PredictionSets.fit(AFFECTS, probabilities, truth)
    for index in range(3):
        own = 1 - probabilities[truth == index, index]
        other = crepes.ConformalClassifier().fit(own)
        expected = other.predict_set(1 - new[:, [index]], confidence=0.95, smoothing=False)[:, 0] == 1
        expected |= new.argmax(1) == index
        np.testing.assert_array_equal(sets.masks(AFFECTS, new)[:, index], expected)


def test_every_class_is_covered_on_new_faces():
    probabilities, truth = drawn(3000)
    new, new_truth = drawn(6000, seed=1)
    masks = PredictionSets.fit(AFFECTS, probabilities, truth).masks(AFFECTS, new)
    for index in range(3):
        rows = new_truth == index
        assert covered(masks[rows], new_truth[rows]).value == pytest.approx(0.95, abs=0.02)
    assert (masks.sum(1) >= 1).all()


def test_a_class_with_few_faces_is_always_possible():
    probabilities, truth = drawn(200)
    rows = (truth != 2) | (np.cumsum(truth == 2) <= 18)  # 19 are the fewest that allow 95 %
    sets = PredictionSets.fit(AFFECTS, probabilities[rows], truth[rows])
    assert sets.thresholds["negative"] == 0
    assert sets.of({"positive": 0.999, "neutral": 0.0005, "negative": 0.0005}) == ("positive", "negative")


def test_a_set_is_never_empty():
    strict = PredictionSets(dict.fromkeys(AFFECTS, 0.9))
    assert strict.of({"positive": 0.3, "neutral": 0.4, "negative": 0.3}) == ("neutral",)
    assert strict.masks(AFFECTS, np.array([[0.3, 0.4, 0.3]])).tolist() == [[False, True, False]]


def test_one_set_equals_its_row_of_the_mask():
    probabilities, truth = drawn(200)
    sets = PredictionSets.fit(AFFECTS, probabilities, truth)
    for row, mask in zip(probabilities, sets.masks(AFFECTS, probabilities), strict=True):
        assert set(sets.of(dict(zip(AFFECTS, row, strict=True)))) == set(np.array(AFFECTS)[mask])


def test_frequencies_rise_with_the_probability_and_are_the_counts():
    probabilities, truth = drawn(1000)
    fitted = Reliability.fit(AFFECTS, probabilities, truth)
    assert Reliability.from_dict(fitted.to_dict()) == fitted
    for index, label in enumerate(AFFECTS):
        bins = fitted.bins[label]
        rows = probabilities.argmax(1) == index
        assert sum(each.n for each in bins) == rows.sum()
        assert sum(each.right for each in bins) == (rows & (truth == index)).sum()
        assert all(each.n >= LEAST for each in bins)
        frequencies = [each.right / each.n for each in bins]
        assert frequencies == sorted(frequencies)
        high = probabilities[rows].max(1) >= bins[-1].low
        found = fitted.of(label, 0.999)
        assert (found["n"], found["right"]) == (high.sum(), (truth[rows][high] == index).sum())


def test_a_label_that_no_held_out_face_was_given_has_no_frequency():
    right = np.arange(155) < 144
    probabilities = np.tile([0.9, 0.05, 0.05], (155, 1))
    fitted = Reliability.fit(AFFECTS, probabilities, np.where(right, 0, 1))
    found = fitted.of("positive", 0.9)
    assert (found["right"], found["n"], round(found["value"], 2)) == (144, 155, 0.93)
    assert fitted.of("negative", 0.9) is None


def test_mahalanobis_distance_of_a_known_normal_distribution():
    random = np.random.default_rng(0)
    features = random.normal(size=(20_000, 3)) * [1.0, 2.0, 0.5] + [5.0, 0.0, -1.0]
    gaussian = Gaussian.fit(features, np.zeros(len(features), int))
    found = gaussian.squared_distances(np.array([[5, 0, -1], [6, 0, -1], [5, 4, -1], [5, 0, 0.5]], float))
    np.testing.assert_allclose(found, [0, 1, 4, 9], atol=0.2)


def test_directions_that_are_not_kept_still_count(monkeypatch):
    monkeypatch.setattr("infant_fer.trust.distance.DIRECTIONS", 2)
    features = np.random.default_rng(0).normal(size=(20_000, 6))
    features[:, :2] *= 10
    gaussian = Gaussian.fit(features, np.zeros(len(features), int))
    assert gaussian.directions.shape == (6, 2)
    found = gaussian.squared_distances(np.array([[0, 0, 3, 0, 0, 0], [30, 0, 0, 0, 0, 0]], float))
    np.testing.assert_allclose(found, [9, 9], rtol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_faces_unlike_the_training_faces_are_farther(kind):
    random = np.random.default_rng(0)
    centres = random.normal(size=(3, 40)) * 4
    classes = np.repeat([0, 1, 2], 40)
    train, new = (centres[classes] + random.normal(size=(120, 40)) for _ in range(2))
    unlike = random.normal(size=(100, 40)) * 4
    distance = Distance.fit(kind, train, classes)  # 120 faces, 40 features
    assert metrics.auc(np.r_[distance.of(new), distance.of(unlike)], np.repeat([0, 1], [120, 100])) > 0.95


def test_relative_distance_ignores_what_all_faces_share():
    random = np.random.default_rng(0)
    classes = np.repeat([0, 1], 500)
    features = random.normal(size=(1000, 5))
    features[:, 0] += 6 * classes
    near, shared, between = np.array([[0, 0, 0, 0, 0], [0, 9, 0, 0, 0], [3, 0, 0, 0, 0]], float)
    relative, plain = (Distance.fit(kind, features, classes) for kind in ("relative mahalanobis", "mahalanobis"))
    assert relative.of(np.stack([near, shared]))[1] == pytest.approx(relative.of(near[None])[0], abs=1.0)
    assert plain.of(shared[None])[0] > plain.of(near[None])[0] + 50
    assert relative.of(between[None])[0] > relative.of(near[None])[0] + 3


def test_a_probe_tells_infants_from_others():
    random = np.random.default_rng(0)
    infants, others = random.normal(1, 1, (300, 8)), random.normal(-1, 1, (100, 8))
    probe = InfantProbe.fit(infants, others)
    assert (probe.of(random.normal(1, 1, (200, 8))) > 0.5).mean() > 0.95
    assert (probe.of(random.normal(-1, 1, (200, 8))) < 0.5).mean() > 0.95


def test_risk_and_coverage_by_hand():
    doubt, right = np.array([0.1, 0.4, 0.2, 0.3]), np.array([True, False, True, True])
    coverage, risk = metrics.risk_coverage(doubt, right)
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(risk, [0, 0, 0, 0.25])
    assert metrics.area_under_risk_coverage(doubt, right) == pytest.approx(0.0625)
    tied = metrics.risk_coverage(np.zeros(4), right)[1]
    np.testing.assert_allclose(tied, 0.25)  # no order among equals flatters


def test_false_positives_at_a_sensitivity_by_hand():
    scores, truth = np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False])
    assert metrics.false_positive_rate(scores, truth, 0.5) == 0
    assert metrics.false_positive_rate(scores, truth, 1.0) == 0.5
