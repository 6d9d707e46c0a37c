"""How often is an answer with this probability right? Counts of held-out faces by label and probability, to be said in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from infant_fer.metrics import Proportion
from infant_fer.trust.assessment import CalibratedJSON

MOST_FACES = 10**9  # in a bin; a larger count is no count
LEAST = 20  # faces in a bin; its 95 % interval is then at most 41 points wide


@dataclass(frozen=True)
class ReliabilityBin:
    """Held-out faces of one predicted label whose probability is at least `low`: `right` of `n` were labelled so."""

    low: float
    right: int
    n: int


@dataclass(frozen=True)
class Reliability:
    """For each predicted label its bins, by rising probability; the first begins at 0."""

    bins: dict[str, tuple[ReliabilityBin, ...]]

    @classmethod
    def fit(
        cls, labels: Sequence[str], probabilities: np.ndarray, truth: np.ndarray, least: int = LEAST
    ) -> Reliability:
        """Count (N, C) probabilities against (N,) truths. The bins' frequencies rise with the probability.

        The bins are the steps of an isotonic regression (Zadrozny and Elkan 2002), joined until each has `least` faces.
        """
        predicted, confidence = probabilities.argmax(1), probabilities.max(1)
        found = {}
        for index, label in enumerate(labels):
            rows = predicted == index
            if rows.any():
                found[label] = _monotone_bins(confidence[rows], truth[rows] == index, least)
        return cls(found)

    def of(self, label: str, confidence: float) -> CalibratedJSON | None:
        """Return what became of held-out answers like this one; None where no held-out face was given this label."""
        bins = self.bins.get(label)
        if not bins:
            return None
        chosen = [each for each in bins if each.low <= confidence][-1]
        share = Proportion(chosen.right, chosen.n)
        return {
            "label": label,
            "value": share.value,
            "right": chosen.right,
            "n": chosen.n,
            "interval95": [float(end) for end in share.interval],
        }

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        return {label: [[each.low, each.right, each.n] for each in bins] for label, bins in self.bins.items()}

    @classmethod
    def from_dict(cls, plain: dict) -> Reliability:
        """Read what `to_dict` wrote. Raises ValueError when it is damaged."""
        bins = {
            str(label): tuple(ReliabilityBin(float(low), int(right), int(n)) for low, right, n in each)
            for label, each in plain.items()
        }
        for each in bins.values():
            rises = all(before.low < after.low <= 1 for before, after in pairwise(each))  # False for NaN
            if (
                not each
                or each[0].low != 0
                or not rises
                or any(not 0 <= one.right <= one.n or not 0 < one.n <= MOST_FACES for one in each)
            ):
                raise ValueError("the reliability bins are damaged")
        return cls(bins)


def _monotone_bins(confidence: np.ndarray, right: np.ndarray, least: int) -> tuple[ReliabilityBin, ...]:
    """Return bins of (N,) confidences whose frequency of (N,) bool `right` does not fall."""
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(confidence, kind="stable")
    confidence, right = confidence[order], right[order]
    steps = IsotonicRegression().fit_transform(confidence, right)
    bins: list[ReliabilityBin] = []
    for value in np.unique(steps):
        rows = steps == value
        new = ReliabilityBin(float(confidence[rows][0]), int(right[rows].sum()), int(rows.sum()))
        if bins and bins[-1].n < least:
            new = _joined(bins.pop(), new)
        bins.append(new)
    if len(bins) > 1 and bins[-1].n < least:
        last = bins.pop()
        bins.append(_joined(bins.pop(), last))
    return (ReliabilityBin(0.0, bins[0].right, bins[0].n), *bins[1:])


def _joined(first: ReliabilityBin, second: ReliabilityBin) -> ReliabilityBin:
    return ReliabilityBin(first.low, first.right + second.right, first.n + second.n)
