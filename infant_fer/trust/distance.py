"""How unlike the training faces is this one? Mahalanobis distances of a checkpoint's features, for any architecture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RELATIVE = "relative mahalanobis"
KINDS = ("mahalanobis++", RELATIVE, "mahalanobis")
DIRECTIONS = 64  # principal directions that are kept; the variance in the others is taken as equal. 64 was best on dev
EPSILON = 1e-9


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A normal distribution of D features whose covariance is low-rank plus isotropic; one mean per class.

    means (K, D); directions (D, R), orthonormal; variances (R,); `rest` is the variance in every other direction. float32.
    """

    means: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    rest: float

    @classmethod
    def fit(cls, features: np.ndarray, classes: np.ndarray, per_class: bool = True) -> Gaussian:
        """Fit class means and one covariance to (N, D) features, shrunk as Ledoit and Wolf (2004), so that N may be below D.

        If not `per_class`, the variance between the classes is part of the covariance, and there is one mean.
        """
        from sklearn.covariance import ledoit_wolf

        numbers, index = np.unique(classes, return_inverse=True)
        means = np.stack([features[index == number].mean(0) for number in range(len(numbers))])
        covariance, _ = ledoit_wolf(features - means[index], assume_centered=True)
        if not per_class:  # the same shrinkage for both, else the difference of two distances would show how it differs
            mean = features.mean(0)
            between = (means - mean) * np.sqrt(np.bincount(index) / len(index))[:, None]
            means, covariance = mean[None], covariance + between.T @ between
        variances, directions = np.linalg.eigh(covariance)
        kept = min(DIRECTIONS, len(variances))
        others = variances[: len(variances) - kept]
        rest = float(others.mean()) if len(others) else 1.0
        single = np.float32
        return cls(
            means.astype(single),
            directions[:, -kept:].astype(single),
            variances[-kept:].astype(single),
            max(rest, EPSILON),
        )

    def squared_distances(self, features: np.ndarray) -> np.ndarray:
        """Return (N,) squared Mahalanobis distances of (N, D) features to the nearest mean."""
        found = np.empty((len(features), len(self.means)))
        for column, mean in enumerate(self.means):
            centred = np.asarray(features, np.float64) - mean
            along = centred @ self.directions
            outside = np.maximum((centred**2).sum(1) - (along**2).sum(1), 0)
            if self.directions.shape[0] == self.directions.shape[1]:
                outside = np.zeros_like(outside)  # rounding errors only
            found[:, column] = (along**2 / np.maximum(self.variances, EPSILON)).sum(1) + outside / self.rest
        return found.min(1)


@dataclass(frozen=True, eq=False)
class Distance:
    """A distance to the training faces, larger for what is unlike them. One of KINDS:

    "mahalanobis": to the nearest class mean with the common covariance (Lee et al. 2018). "mahalanobis++": the same after
    scaling features to unit length (Müller and Hein 2025, arXiv 2505.18032). "relative mahalanobis": less the distance to
    one Gaussian of all faces (Ren et al. 2021, arXiv 2106.09022).
    """

    kind: str
    classes: Gaussian
    everything: Gaussian | None = None  # of "relative mahalanobis"

    @classmethod
    def fit(cls, kind: str, features: np.ndarray, classes: np.ndarray) -> Distance:
        """Fit to (N, D) features of the training faces and their (N,) classes."""
        if kind not in KINDS:
            raise ValueError(f"There is no distance {kind!r}; choose one of {', '.join(KINDS)}.")
        features = _scaled(features) if kind == "mahalanobis++" else np.asarray(features, np.float64)
        everything = Gaussian.fit(features, classes, per_class=False) if kind == RELATIVE else None
        return cls(kind, Gaussian.fit(features, classes), everything)

    def of(self, features: np.ndarray) -> np.ndarray:
        """Return (N,) distances of (N, D) features."""
        features = _scaled(features) if self.kind == "mahalanobis++" else np.asarray(features, np.float64)
        found = self.classes.squared_distances(features)
        return found if self.everything is None else found - self.everything.squared_distances(features)


def _scaled(features: np.ndarray) -> np.ndarray:
    """Return (N, D) features of unit length; of length 0 where they are 0."""
    features = np.asarray(features, np.float64)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), EPSILON)


@dataclass(frozen=True, eq=False)
class InfantProbe:
    """A logistic regression on the features that tells infants' faces from others, for checkpoints without a head for it."""

    weights: np.ndarray  # (D,) float32
    bias: float

    @classmethod
    def fit(cls, infants: np.ndarray, others: np.ndarray) -> InfantProbe:
        """Fit to (N, D) features of infants' faces and (M, D) of others, both kinds with equal weight."""
        from sklearn.linear_model import LogisticRegression

        features = np.concatenate([infants, others]).astype(np.float64)
        truth = np.arange(len(features)) < len(infants)
        mean, deviation = features.mean(0), features.std(0) + 1e-6
        model = LogisticRegression(C=0.01, max_iter=2000, class_weight="balanced")
        model.fit((features - mean) / deviation, truth)
        weights = model.coef_[0] / deviation
        return cls(weights.astype(np.float32), float(model.intercept_[0] - weights @ mean))

    def of(self, features: np.ndarray) -> np.ndarray:
        """Return the (N,) probability of an infant's face for (N, D) features."""
        from scipy.special import expit

        return expit(np.asarray(features, np.float64) @ self.weights + self.bias)
