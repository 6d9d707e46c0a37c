"""Which affects may this face show? Prediction sets that hold the raters' label in a stated share of faces, of every class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from infant_fer.metrics import Proportion

COVERAGE = 0.95


@dataclass(frozen=True)
class PredictionSets:
    """Class-conditional split conformal prediction with the least ambiguous score, 1 - p (Sadinle, Lei and Wasserman 2019).

    A class belongs to the set where its probability is at least its threshold; the most probable class always does. For a
    face like those of the calibration, P(label in set | label) >= coverage for each class (Vovk 2012).
    """

    thresholds: dict[str, float]  # least probability by class; 0 where the calibration has too few faces of it
    coverage: float = COVERAGE

    @classmethod
    def fit(
        cls, labels: Sequence[str], probabilities: np.ndarray, truth: np.ndarray, coverage: float = COVERAGE
    ) -> PredictionSets:
        """Calibrate on (N, C) probabilities of faces that the checkpoint was not trained on, with (N,) true indices."""
        own = {
            label: probabilities[truth == index, index] for index, label in enumerate(labels)
        }  # of each face's true class
        return cls({label: _threshold(values, coverage) for label, values in own.items()}, coverage)

    def of(self, probabilities: Mapping[str, float]) -> tuple[str, ...]:
        """Return the set of one face, the most probable class first; never empty."""
        ranked = sorted(probabilities, key=lambda label: -probabilities[label])
        return (ranked[0], *(label for label in ranked[1:] if probabilities[label] >= self.thresholds[label]))

    def masks(self, labels: Sequence[str], probabilities: np.ndarray) -> np.ndarray:
        """Return the sets of (N, C) probabilities as (N, C) bool."""
        inside = probabilities >= np.array([self.thresholds[label] for label in labels])
        inside[np.arange(len(inside)), probabilities.argmax(1)] = True
        return inside


def covered(masks: np.ndarray, truth: np.ndarray, infants: np.ndarray | None = None) -> Proportion:
    """Return in how many of N faces the (N, C) sets hold the (N,) true class; intervals over infants."""
    return Proportion.of(masks[np.arange(len(truth)), truth], infants)


def _threshold(own: np.ndarray, coverage: float) -> float:
    """Return the k-th smallest of n probabilities of the true class, k = floor((n + 1) (1 - coverage)); 0 where k is 0."""
    rank = int(np.floor((len(own) + 1) * (1 - coverage) + 1e-9))
    return float(np.sort(own)[rank - 1]) if rank else 0.0
