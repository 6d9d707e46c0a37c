"""What is kept of an audit? The checkpoint, what was compared, every figure, and how far they may be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from infant_fer.audit.factors import FACTORS, Factor
from infant_fer.audit.movement import Change, Movement, movements, plain_agreement
from infant_fer.audit.reading import Reading
from infant_fer.metrics import Proportion

CAUTION = (
    "Renders are not people. This shows how sensitive the model is to one change at a time on rendered faces, not how fair it is "
    "among infants. A flip is measured against the answer for the reference picture, not against the truth; the rendered "
    "affect is that of the expression a face was made with, and nobody has rated it. Steps between levels are not equally large. "
    "A checkpoint that was trained on renders is likely to be steadier on them than on photographs. Intervals of shares "
    "(Wilson, 95 %) count pictures as independent although each infant is in several; those of changes draw infants anew."
)


@dataclass(frozen=True)
class Audit:
    """The result for one checkpoint."""

    checkpoint: str
    seed: int
    infants: int
    expressions: tuple[str, ...]
    pictures: int
    without_face: Proportion  # of all pictures
    plain_agreement: Proportion  # label is the rendered affect, of the faces found in plain pictures
    movements: tuple[Movement, ...]

    def by_factor(self) -> list[tuple[Factor, list[Movement]]]:
        """Each audited factor with its levels."""
        names = dict.fromkeys(movement.factor for movement in self.movements)
        return [(FACTORS[name], [each for each in self.movements if each.factor == name]) for name in names]

    def strongest(self, count: int = 3) -> list[Movement]:
        """The levels at which the label flips most often, of those where it flips at all."""
        flipping = [each for each in self.movements if each.flips.right]
        return sorted(flipping, key=lambda each: -each.flips.value)[:count]

    def to_dict(self) -> dict:
        """Plain data for JSON; a mean over no pair is null."""
        return {
            "checkpoint": self.checkpoint,
            "seed": self.seed,
            "infants": self.infants,
            "expressions": list(self.expressions),
            "pictures": self.pictures,
            "without_face": _share(self.without_face),
            "plain_agreement": _share(self.plain_agreement),
            "most_flips": [[each.factor, each.level] for each in self.strongest()],
            "factors": [
                {
                    "factor": factor.name,
                    "reference": factor.reference or factor.plain_words,
                    "levels": [_level(each, each.level == factor.reference) for each in levels],
                }
                for factor, levels in self.by_factor()
            ],
            "caution": CAUTION,
        }


def audited(checkpoint: str, readings: Sequence[Reading], seed: int) -> Audit:
    """Sum the readings of one checkpoint up."""
    infants = {reading.picture.infant for reading in readings}
    return Audit(
        checkpoint,
        seed,
        len(infants),
        tuple(dict.fromkeys(reading.picture.expression for reading in readings)),
        len(readings),
        Proportion(sum(reading.label is None for reading in readings), len(readings)),
        plain_agreement(readings),
        tuple(movements(readings, seed)),
    )


def _level(movement: Movement, is_reference: bool) -> dict:
    told = {"level": movement.level, "is_reference": is_reference, "agreement": _share(movement.agreement)}
    if is_reference:
        return told
    return told | {
        "flips": _share(movement.flips),
        "change": _change(movement.change),
        "lost": _share(movement.lost),
        "turns": movement.turns,
    }


def _share(share: Proportion) -> dict:
    return {
        "count": share.right,
        "n": share.n,
        "share": round(share.value, 4) if share.n else None,
        "interval": [round(end, 4) for end in share.interval],
    }


def _change(change: Change) -> dict:
    return {
        "mean": round(change.value, 4) if change.infants else None,
        "interval": [round(end, 4) for end in change.interval],
        "infants": change.infants,
    }
