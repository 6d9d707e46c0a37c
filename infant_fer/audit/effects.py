"""Measure how every level of a factor changes the answers against its reference pictures, with intervals over infants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from infant_fer.audit.matched import FACTORS, Factor, Picture
from infant_fer.audit.reading import Reading
from infant_fer.metrics import INTERVALS, Mean, Proportion

CAUTION = (
    "Renders are not people. This shows how sensitive the model is to one change at a time on rendered faces, not how fair it is "
    "among infants. A flip is measured against the answer for the reference picture, not against the truth; the rendered "
    "affect is that of the expression a face was rendered with, and nobody has rated it. Steps between levels are not equally large. "
    "A checkpoint that was trained on renders is likely to be steadier on them than on photographs. "
    f"{INTERVALS} Those of changes of a probability are the bootstrap alone."
)


@dataclass(frozen=True)
class MeanChange:
    """A mean change of a probability over pictures, with its 95 % interval over infants."""

    value: float  # -1..1; NaN without a pair
    interval: tuple[float, float]
    infants: int

    @property
    def short(self) -> str:
        """Return one table cell: value and interval; a dash without a pair."""
        low, high = self.interval
        return f"{self.value:+z.2f} ({low:+z.2f} to {high:+z.2f})" if self.infants else "–"

    def to_dict(self) -> dict:
        """Return plain data for JSON, with None for a mean over no pair."""
        mean = round(self.value, 4) if self.infants else None
        return {"mean": mean, "interval": [round(end, 4) for end in self.interval], "infants": self.infants}

    @classmethod
    def from_dict(cls, plain: dict) -> MeanChange:
        """Read what `to_dict` wrote."""
        value = float("nan") if plain["mean"] is None else plain["mean"]
        return cls(value, tuple(plain["interval"]), plain["infants"])


@dataclass(frozen=True)
class LevelEffect:
    """The effect of one level of a factor on the answers. At the reference level only the agreement is measured."""

    level: str
    agreement: Proportion  # label is the rendered affect, of the faces found at this level
    flips: Proportion | None = None  # label differs from the reference's, of the pairs in which both faces were found
    change: MeanChange | None = None  # of the probability of the reference's label, over the same pairs
    lost: Proportion | None = None  # no face found, of the pairs whose reference face was found
    turns: Mapping[str, int] | None = None  # "positive → neutral": count, the most frequent first

    @property
    def is_reference(self) -> bool:
        """Tell whether the other levels are compared with this one."""
        return self.flips is None

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        plain = {"level": self.level, "is_reference": self.is_reference, "agreement": self.agreement.to_dict()}
        if self.is_reference:
            return plain
        compared = {name: getattr(self, name).to_dict() for name in ("flips", "change", "lost")}
        return {**plain, **compared, "turns": dict(self.turns or {})}

    @classmethod
    def from_dict(cls, plain: dict) -> LevelEffect:
        """Read what `to_dict` wrote, here or in an earlier version."""
        level, agreement = plain["level"], _proportion(plain["agreement"])
        if plain["is_reference"]:
            return cls(level, agreement)
        change = MeanChange.from_dict(plain["change"])
        return cls(level, agreement, _proportion(plain["flips"]), change, _proportion(plain["lost"]), plain["turns"])


@dataclass(frozen=True)
class FactorEffect:
    """The effects of a factor's levels, compared with `reference`: a level's name, or what the plain picture shows."""

    factor: str
    reference: str
    levels: tuple[LevelEffect, ...]

    @property
    def compared(self) -> list[LevelEffect]:
        """Return the levels but for the reference."""
        return [level for level in self.levels if not level.is_reference]


@dataclass(frozen=True)
class Audit:
    """The result for one checkpoint."""

    checkpoint: str
    seed: int
    infants: int
    expressions: tuple[str, ...]
    pictures: int
    without_face: Proportion  # of all pictures
    plain_agreement: Proportion  # label is the rendered affect, of the faces found where nothing was changed
    factors: tuple[FactorEffect, ...]
    caution: str = CAUTION

    def strongest(self, count: int = 3) -> list[tuple[str, LevelEffect]]:
        """Return factor and level where the label flips most often, of those where it flips at all."""
        flipping = [(each.factor, level) for each in self.factors for level in each.compared if level.flips.right]
        return sorted(flipping, key=lambda pair: -pair[1].flips.value)[:count]

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        factors = [
            {"factor": each.factor, "reference": each.reference, "levels": [level.to_dict() for level in each.levels]}
            for each in self.factors
        ]
        return {
            "checkpoint": self.checkpoint,
            "seed": self.seed,
            "infants": self.infants,
            "expressions": list(self.expressions),
            "pictures": self.pictures,
            "without_face": self.without_face.to_dict(),
            "plain_agreement": self.plain_agreement.to_dict(),
            "most_flips": [[factor, level.level] for factor, level in self.strongest()],
            "factors": factors,
            "caution": self.caution,
        }

    @classmethod
    def from_dict(cls, plain: dict) -> Audit:
        """Read what `to_dict` wrote, here or in an earlier version."""
        factors = (
            FactorEffect(each["factor"], each["reference"], tuple(map(LevelEffect.from_dict, each["levels"])))
            for each in plain["factors"]
        )
        shares = {name: _proportion(plain[name]) for name in ("without_face", "plain_agreement")}
        same = {name: plain[name] for name in ("checkpoint", "seed", "infants", "pictures", "caution")}
        return cls(**same, **shares, expressions=tuple(plain["expressions"]), factors=tuple(factors))


def audit_readings(checkpoint: str, readings: Sequence[Reading], seed: int) -> Audit:
    """Measure the effects of all factors that were read, in the order of FACTORS; `seed` draws the bootstraps of changes."""
    infants = np.array([reading.picture.infant for reading in readings])
    missed = np.array([reading.label is None for reading in readings])
    by_picture = {reading.picture: reading for reading in readings}
    audited = {picture.factor for picture in by_picture}
    return Audit(
        checkpoint,
        seed,
        len(np.unique(infants)),
        tuple(dict.fromkeys(reading.picture.expression for reading in readings)),
        len(readings),
        Proportion.of(missed, infants),
        _agreement([reading for reading in readings if not reading.picture.factor]),
        tuple(_factor_effect(factor, by_picture, seed) for factor in FACTORS.values() if factor.name in audited),
    )


def mean_change(differences: Mapping[int, Sequence[float]], seed: int = 0) -> MeanChange:
    """Return the mean of all infants' differences, {infant: values}, with a bootstrap that draws infants, not pictures.

    Below two infants the interval is -1..1: nothing is known.
    """
    values = [value for each in differences.values() for value in each]
    if not values:
        return MeanChange(float("nan"), (-1.0, 1.0), 0)
    mean = Mean.of(values, np.repeat(list(differences), list(map(len, differences.values()))), seed)
    return MeanChange(mean.value, mean.interval or (-1.0, 1.0), mean.infants)


def _factor_effect(factor: Factor, by_picture: Mapping[Picture, Reading], seed: int) -> FactorEffect:
    levels = tuple(_level_effect(factor, level, by_picture, seed) for level in factor.levels)
    return FactorEffect(factor.name, factor.reference or factor.plain_words, levels)


def _level_effect(factor: Factor, level: str, by_picture: Mapping[Picture, Reading], seed: int) -> LevelEffect:
    at_level = [
        reading for picture, reading in by_picture.items() if (picture.factor, picture.level) == (factor.name, level)
    ]
    if level == factor.reference:
        return LevelEffect(level, _agreement(at_level))
    pairs = [(by_picture[each.picture.reference], each) for each in at_level]
    pairs = [(before, after) for before, after in pairs if before.label]
    found = [(before, after) for before, after in pairs if after.label]
    differences: dict[int, list[float]] = {}
    for before, after in found:
        change = after.probabilities[before.label] - before.probabilities[before.label]
        differences.setdefault(after.picture.infant, []).append(change)
    turns = Counter(f"{before.label} → {after.label}" for before, after in found if before.label != after.label)
    return LevelEffect(
        level,
        _agreement(at_level),
        _over_infants([(after, before.label != after.label) for before, after in found]),
        mean_change(differences, seed),
        _over_infants([(after, after.label is None) for _, after in pairs]),
        dict(turns.most_common()),
    )


def _agreement(readings: Sequence[Reading]) -> Proportion:
    return _over_infants([(each, each.label == each.rendered_affect) for each in readings if each.label])


def _over_infants(cases: Sequence[tuple[Reading, bool]]) -> Proportion:
    """Return the proportion of true cases, with an interval over infants where one has several."""
    infants = np.array([reading.picture.infant for reading, _ in cases], int)
    return Proportion.of(np.array([true for _, true in cases], bool), infants)


def _proportion(plain: Any) -> Proportion:
    """Read a proportion; earlier versions wrote `count` for `right`."""
    return Proportion(plain["count"], plain["n"]) if "count" in plain else Proportion.from_dict(plain)
