"""Compute accuracies with 95 % intervals, ranking, calibration and agreement: the figures of every report.

scikit-learn and scipy.stats are imported inside the functions, so that importing this module stays cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NotRequired, TypedDict

import numpy as np
from scipy.special import entr, ndtri, softmax, stdtrit

RESAMPLES = 2_000  # of a bootstrap; its interval then moves by about 0.1 points between two seeds
LEVEL = 0.95
FEW_INFANTS = 15  # below which a bootstrap over infants alone is too narrow
INTERVALS = (  # in words, for reports: the rule of Proportion
    "Intervals are 95 %: Wilson's, or, where an infant has several pictures, a bootstrap over infants that is widened to hold "
    f"Wilson's (where all resamples are alike, Wilson's for as many cases as infants); below {FEW_INFANTS} infants also to hold "
    "Wilson's for the effective number of cases."
)
CHANCE_DRAWS = 200
TEMPERATURES = (0.3, 5.0)  # bounds within which a temperature is sought


class ProportionDict(TypedDict):
    """The one JSON form of a proportion; `infants` is present when the interval is a bootstrap over so many infants."""

    value: float | None
    right: int
    n: int
    interval95: list[float]
    infants: NotRequired[int]


@dataclass(frozen=True)
class Proportion:
    """`right` of `n` cases, with a 95 % interval.

    The interval is Wilson's (1927), or, if `infants` is given, that over infants, `cluster_interval`.
    """

    right: int
    n: int
    infants: int | None = None  # in how many infants the n cases are
    bootstrap_interval: tuple[float, float] | None = None

    @classmethod
    def of(cls, right: np.ndarray, infants: np.ndarray | None = None) -> Proportion:
        """Count the true entries of (N,) bool. Bootstrap over `infants`, (N,) of any dtype, if one has several cases."""
        count = len(np.unique(infants)) if infants is not None else len(right)
        if infants is None or count == len(right):
            return cls(int(np.sum(right)), len(right))
        return cls(int(np.sum(right)), len(right), count, cluster_interval(right, infants))

    @property
    def value(self) -> float:
        """Return right / n, NaN without a case."""
        return self.right / self.n if self.n else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval, (0, 1) without a case."""
        return self.bootstrap_interval or wilson_interval(self.right, self.n)

    def to_dict(self) -> ProportionDict:
        """Return plain data for JSON, with None for an undefined value."""
        interval = [float(end) for end in self.interval]
        value = self.value if self.n else None
        plain: ProportionDict = {"value": value, "right": self.right, "n": self.n, "interval95": interval}
        if self.infants is not None:
            plain["infants"] = self.infants
        return plain

    @classmethod
    def from_dict(cls, plain: ProportionDict) -> Proportion:
        """Read what `to_dict` wrote."""
        infants = plain.get("infants")
        low, high = plain["interval95"]
        return cls(plain["right"], plain["n"], infants, (low, high) if infants else None)

    @property
    def short(self) -> str:
        """Return one table cell: value, interval and n; a dash without a case."""
        if not self.n:
            return "–"
        low, high = self.interval
        return f"{self.value * 100:.1f} % ({low * 100:z.0f}–{high * 100:.0f}), n = {self.n}"

    def __str__(self) -> str:
        low, high = self.interval
        of = f"{self.n}" if self.infants is None else f"{self.n} of {self.infants} infants"
        return f"{self.value * 100:.1f} % (n = {of}, 95 % interval {low * 100:.1f}–{high * 100:.1f})"


class MeanDict(TypedDict):
    """The JSON form of a mean."""

    value: float
    n: int
    infants: int
    interval95: list[float] | None


@dataclass(frozen=True)
class Mean:
    """The mean of a figure over `n` pictures, with its 95 % bootstrap interval over `infants`; None for one infant's pictures.

    Over fewer than FEW_INFANTS the interval is too narrow.
    """

    value: float
    interval: tuple[float, float] | None
    n: int
    infants: int

    @classmethod
    def of(cls, values: Sequence[float], infants: np.ndarray, seed: int = 0) -> Mean:
        """Average (N ≥ 1,) values; `infants` (N,) says which infant each is of. `seed` draws the bootstrap."""
        _, number = np.unique(infants, return_inverse=True)
        sums, counts = np.bincount(number, values), np.bincount(number)
        interval = bootstrap_interval(sums, counts, seed) if len(counts) > 1 else None
        return cls(float(np.mean(values)), interval, len(values), len(counts))

    def to_dict(self) -> MeanDict:
        """Return plain data for JSON."""
        ends = None if self.interval is None else list(self.interval)
        return {"value": self.value, "n": self.n, "infants": self.infants, "interval95": ends}

    @classmethod
    def from_dict(cls, plain: MeanDict) -> Mean:
        """Read what `to_dict` wrote."""
        ends = plain["interval95"]
        return cls(plain["value"], None if ends is None else (ends[0], ends[1]), plain["n"], plain["infants"])

    def ends(self, digits: int = 2, scale: float = 1) -> str:
        """Return the interval's ends, times `scale`, for the brackets after a value."""
        if self.interval is None:
            return "one infant, no interval"
        return "–".join(f"{end * scale:.{digits}f}" for end in self.interval)

    @property
    def short(self) -> str:
        """Return one table cell."""
        return f"{self.value:.2f} ({self.ends()}), n = {self.n}"


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval (1927), which stays inside 0..1 and holds for small n; (0, 1) without a case."""
    return _wilson(right / n, n) if n else (0.0, 1.0)


def _wilson(share: float, cases: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of so many cases, which need be no whole number."""
    deviation = float(ndtri(0.5 + 0.5 * LEVEL))
    scale = 2 * (cases + deviation**2)
    middle = (2 * cases * share + deviation**2) / scale
    half = deviation / scale * sqrt(4 * cases * share * (1 - share) + deviation**2)
    return middle - half if share > 0 else 0.0, middle + half if share < 1 else 1.0


def cluster_interval(right: np.ndarray, infants: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap of the mean of (N,) values in 0..1 that draws infants, not cases (Efron 1979).

    It is widened to hold Wilson's interval of N independent cases; where all resamples are alike (all cases right, or one
    infant only), Wilson's interval of as many cases as there are infants. A few infants show too little of how much infants
    differ: below FEW_INFANTS it is widened to hold `effective_interval`, too.
    """
    values = np.asarray(right, float)
    _, number = np.unique(infants, return_inverse=True)
    sums, counts = np.bincount(number, values), np.bincount(number)
    low, high = bootstrap_interval(sums, counts, seed)
    independent = len(values) if high > low else len(counts)
    intervals = [(low, high), wilson_interval(round(values.mean() * independent), independent)]
    if 1 < len(counts) < FEW_INFANTS:
        intervals.append(effective_interval(sums, counts))
    return min(low for low, _ in intervals), max(high for _, high in intervals)


def effective_interval(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share for the effective number of cases, from the (K > 1,) sums and counts of clusters.

    That is the number of independent cases whose share would vary as much as this one does between clusters, at most all
    cases, or K where it does not vary, times the squared ratio of the normal's quantile to Student's with K - 1 degrees of
    freedom (Korn and Graubard 1998, with Wilson's interval as Dean and Pagano 2015 advise).
    """
    share, cases, clusters = sums.sum() / counts.sum(), counts.sum(), len(counts)
    variance = clusters / (clusters - 1) * ((sums - share * counts) ** 2).sum() / cases**2
    effective = min(share * (1 - share) / variance, cases) if variance > 0 else clusters
    return _wilson(
        float(share), float(effective * (ndtri((1 + LEVEL) / 2) / stdtrit(clusters - 1, (1 + LEVEL) / 2)) ** 2)
    )


def bootstrap_interval(sums: np.ndarray, counts: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap over clusters of a mean, from each cluster's (K,) sum and (K,) count."""
    drawn = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def bootstrap_ranks(values: np.ndarray, clusters: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the (P,) ranks of the columns' means, 1 is the largest, and their (P, 2) 95 % intervals over clusters.

    `values` is (N, P); `clusters` (N,) says which rows belong together, such as the pictures of one infant. Equal means
    share the better rank.
    """
    _, number = np.unique(clusters, return_inverse=True)
    counts = np.bincount(number)
    sums = np.stack([np.bincount(number, column) for column in values.T], 1)
    drawn = np.random.default_rng(seed).integers(len(counts), size=(RESAMPLES, len(counts)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)[:, None]
    ends = np.quantile(_ranks(means), ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0, method="nearest")
    return _ranks(values.mean(0)[None])[0], ends.T


def _ranks(means: np.ndarray) -> np.ndarray:
    """Return the (R, P) ranks within each row of (R, P) means."""
    return 1 + (means[:, None, :] > means[:, :, None] + 1e-12).sum(2)


def accuracy(predicted: np.ndarray, truth: np.ndarray, infants: np.ndarray | None = None) -> Proportion:
    """Return the proportion of equal entries of two (N,) arrays; `infants` as in `Proportion.of`."""
    return Proportion.of(predicted == truth, infants)


def confusion(predicted: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Return (C, C) counts: true classes as rows, predicted classes as columns."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(truth, predicted, labels=range(classes))


def cohen_kappa(counts: np.ndarray) -> np.ndarray | float:
    """Return Cohen's κ (1960) of (..., C, C) counts of two raters, (...) or a float; NaN where chance agreement is certain."""
    counts = np.asarray(counts, float)
    total = counts.sum((-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = np.trace(counts, axis1=-2, axis2=-1) / total
        chance = (counts.sum(-1) * counts.sum(-2)).sum(-1) / total**2
        kappa = np.where(np.isclose(chance, 1), np.nan, (observed - chance) / (1 - chance))
    return float(kappa) if kappa.ndim == 0 else kappa


def balanced_accuracy(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean recall over the classes that occur."""
    from sklearn.metrics import recall_score

    return float(recall_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0))


def auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Return the probability that a positive case scores above a negative one, NaN when one kind is missing."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, scores)) if len(np.unique(truth)) == 2 else float("nan")


def concordance(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Return Lin's concordance correlation coefficient (1989) of two (N,) arrays."""
    covariance = ((predicted - predicted.mean()) * (truth - truth.mean())).mean()
    return float(2 * covariance / (predicted.var() + truth.var() + (predicted.mean() - truth.mean()) ** 2))


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Return the entropy in nats of (..., C) probabilities."""
    return entr(probabilities).sum(-1)


def negative_log_likelihood(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean of -log p of the true class, from (N, C) probabilities and (N,) indices."""
    from sklearn.metrics import log_loss

    return float(log_loss(truth, probabilities, labels=range(probabilities.shape[1])))


def brier_score(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean squared distance of (N, C) probabilities from the truth, 0 to 2 (Brier 1950)."""
    from sklearn.metrics import brier_score_loss

    return float(brier_score_loss(truth, probabilities, labels=range(probabilities.shape[1]), scale_by_half=False))


def calibration_error(probabilities: np.ndarray, truth: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error (Guo et al. 2017): |confidence - accuracy| over equal-width bins, weighted."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(number, confidence, bins) - np.bincount(number, right, bins)
    return float(np.abs(gaps).sum() / len(truth))


def risk_coverage(doubt: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (N,) coverage and (N,) risk: the share of errors among the 1, 2, ... N answers of least `doubt`.

    Among equally doubtful answers the errors are spread evenly (El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017).
    """
    order = np.argsort(doubt, kind="stable")
    _, group, counts = np.unique(doubt[order], return_inverse=True, return_counts=True)
    wrong = np.bincount(group, ~right[order]) / counts
    answered = np.arange(1, len(order) + 1)
    return answered / len(order), np.cumsum(wrong[group]) / answered


def area_under_risk_coverage(doubt: np.ndarray, right: np.ndarray) -> float:
    """Return AURC: the mean risk over all coverages, from (N,) doubts and (N,) bool; smaller is better."""
    return float(risk_coverage(doubt, right)[1].mean())


def false_positive_rate(scores: np.ndarray, truth: np.ndarray, sensitivity: float = 0.95) -> float:
    """Return the share of negative cases at the threshold that finds at least this share of positive cases, from (N,) scores."""
    positive = np.sort(scores[truth])[::-1]
    if not len(positive) or truth.all():
        return float("nan")
    threshold = positive[int(np.ceil(sensitivity * len(positive) - 1e-9)) - 1]
    return float((scores[~truth] >= threshold).mean())


def calibration_error_of_chance(probabilities: np.ndarray, seed: int = 0) -> float:
    """Return the mean calibration error of (N, C) probabilities over truths drawn from them: N faces show no smaller one."""
    random = np.random.default_rng(seed)
    sums = probabilities.cumsum(1)
    drawn = (random.random((CHANCE_DRAWS, len(sums), 1)) > sums[:, :-1]).sum(2)
    return float(np.mean([calibration_error(probabilities, truth) for truth in drawn]))


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> float:
    """Return the exact two-sided p that two classifiers err equally often on the same N cases (McNemar 1947); (N,) bool.

    The cases count as independent: where an infant has several pictures, p is too small.
    """
    from scipy.stats import binomtest

    only_first, only_second = int((first_right & ~second_right).sum()), int((~first_right & second_right).sum())
    differing = only_first + only_second
    return float(binomtest(only_first, differing).pvalue) if differing else 1.0


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """Return the divisor of (N, C) logits, within TEMPERATURES, of the least negative log-likelihood (Guo et al. 2017)."""
    from scipy.optimize import minimize_scalar

    def loss(log_divisor: float) -> float:
        return negative_log_likelihood(softmax(np.float64(logits) / np.exp(log_divisor), axis=1), truth)

    return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))
