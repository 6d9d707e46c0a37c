"""How does the answer move? Every level of a factor against its reference pictures, in shares and probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from infant_fer.audit.factors import FACTORS
from infant_fer.audit.matched import Picture
from infant_fer.audit.reading import Reading
from infant_fer.metrics import Proportion

RESAMPLES = 2_000


@dataclass(frozen=True)
class Change:
    """A mean change of a probability, over pictures, with its 95 % interval, over infants."""

    value: float  # -1..1; NaN without a pair
    interval: tuple[float, float]
    infants: int

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:+z.2f} ({low:+z.2f} to {high:+z.2f})"


@dataclass(frozen=True)
class Movement:
    """What one level of a factor does to the answers. A reference level flips and loses nothing by definition."""

    factor: str
    level: str
    flips: Proportion  # label differs from the reference picture's, of the pairs in which both faces were found
    change: Change  # of the probability of the reference picture's label, over the same pairs
    lost: Proportion  # no face found, of the pairs whose reference face was found
    agreement: Proportion  # label is the rendered affect, of the faces found at this level
    turns: dict[str, int]  # "positive → neutral": count, the most frequent first


def movements(readings: Sequence[Reading], seed: int = 0) -> list[Movement]:
    """One row per level of every factor that was read, in the order of FACTORS; `seed` draws the resamples."""
    answered = {reading.picture: reading for reading in readings}
    factors = {picture.factor for picture in answered}
    return [
        _movement(factor.name, level, answered, seed)
        for factor in FACTORS.values()
        if factor.name in factors
        for level in factor.levels
    ]


def plain_agreement(readings: Iterable[Reading]) -> Proportion:
    """How often the label is the rendered affect where nothing was changed."""
    return _agreement([reading for reading in readings if not reading.picture.factor])


def mean_change(differences: Mapping[int, Sequence[float]], seed: int = 0) -> Change:
    """Mean of all infants' differences, with the percentile bootstrap that draws infants, not pictures (Efron 1979).

    `differences` are by infant. Below two infants the interval is -1..1: nothing is known.
    """
    sums = np.array([np.sum(each) for each in differences.values() if len(each)])
    counts = np.array([len(each) for each in differences.values() if len(each)])
    value = float(sums.sum() / counts.sum()) if len(sums) else float("nan")
    if len(sums) < 2:
        return Change(value, (-1.0, 1.0), len(sums))
    drawn = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), (2.5, 97.5))
    return Change(value, (float(low), float(high)), len(sums))


def _movement(factor: str, level: str, answered: Mapping[Picture, Reading], seed: int) -> Movement:
    at_level = [each for each in answered.values() if (each.picture.factor, each.picture.level) == (factor, level)]
    pairs = [(answered[each.picture.reference], each) for each in at_level]
    pairs = [(before, after) for before, after in pairs if before.label]
    found = [(before, after) for before, after in pairs if after.label]
    flipped = [(before.label, after.label) for before, after in found if before.label != after.label]
    differences: dict[int, list[float]] = {}
    for before, after in found:
        moved = after.probabilities[before.label] - before.probabilities[before.label]
        differences.setdefault(after.picture.infant, []).append(moved)
    return Movement(
        factor,
        level,
        Proportion(len(flipped), len(found)),
        mean_change(differences, seed),
        Proportion(len(pairs) - len(found), len(pairs)),
        _agreement(at_level),
        dict(Counter(f"{before} → {after}" for before, after in flipped).most_common()),
    )


def _agreement(readings: Sequence[Reading]) -> Proportion:
    found = [reading for reading in readings if reading.label]
    return Proportion(sum(reading.label == reading.rendered_affect for reading in found), len(found))
