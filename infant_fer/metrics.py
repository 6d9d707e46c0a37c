"""How good is an answer? Accuracies with intervals, and the other figures of a model card."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

Z95 = 1.959964  # two-sided 95 % of the normal distribution


@dataclass(frozen=True)
class Proportion:
    """A share of `n` cases with its 95 % Wilson interval."""

    right: int
    n: int

    @property
    def value(self) -> float:
        """The share itself; NaN when there is no case."""
        return self.right / self.n if self.n else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 1927: stays inside 0..1 and holds for small n."""
        if not self.n:
            return 0.0, 1.0
        centre = (self.value + Z95**2 / (2 * self.n)) / (1 + Z95**2 / self.n)
        half = (
            Z95 / (1 + Z95**2 / self.n) * math.sqrt(self.value * (1 - self.value) / self.n + Z95**2 / (4 * self.n**2))
        )
        return centre - half, centre + half

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value * 100:.1f} % (n = {self.n}, 95 % interval {low * 100:.1f}–{high * 100:.1f})"


def accuracy(predicted: np.ndarray, truth: np.ndarray) -> Proportion:
    """Share of equal entries of two (N,) arrays."""
    return Proportion(int((predicted == truth).sum()), len(truth))


def balanced_accuracy(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean recall over the classes that occur."""
    return float(balanced_accuracy_score(truth, predicted))


def auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Chance that a positive case scores above a negative one; NaN when one kind is missing."""
    return float(roc_auc_score(truth, scores)) if len(np.unique(truth)) == 2 else float("nan")


def concordance(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Lin's concordance correlation coefficient (1989) of two (N,) arrays."""
    covariance = ((predicted - predicted.mean()) * (truth - truth.mean())).mean()
    return float(2 * covariance / (predicted.var() + truth.var() + (predicted.mean() - truth.mean()) ** 2))


def negative_log_likelihood(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean of -log p of the true class; (N, C) and (N,)."""
    return float(-np.log(probabilities[np.arange(len(truth)), truth].clip(1e-12)).mean())


def calibration_error(probabilities: np.ndarray, truth: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017): |confidence - accuracy| over equal-width bins, weighted by their size."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[which == b].mean() - right[which == b].mean()) * (which == b).mean() for b in np.unique(which)
    ]
    return float(sum(gaps))


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> float:
    """Exact two-sided p that two classifiers err equally often on the same cases (McNemar 1947); (N,) bool each."""
    only_first, only_second = int((first_right & ~second_right).sum()), int((~first_right & second_right).sum())
    n, k = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The divisor of (N, C) logits with the least negative log-likelihood, on a grid of 0.3 to 5 (Guo et al. 2017)."""
    grid = np.geomspace(0.3, 5.0, 120)
    return float(min(grid, key=lambda divisor: negative_log_likelihood(softmax(logits / divisor), truth)))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of (N, C) logits."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
