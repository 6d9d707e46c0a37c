"""Answers for every picture by a model that never saw its infant, and those models averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from infant_fer.models.ensemble import ensemble_of
from infant_fer.training.answers import Answers
from infant_fer.training.bases import Base
from infant_fer.training.material import Material


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """One answer for every picture, by models that never saw its infant (the mean over the repeats), and the folds' models."""

    answers: Answers
    bases: tuple[Base, ...]

    @property
    def average(self) -> Base:
        """All folds' models as one checkpoint."""
        return replace(self.bases[0], model=ensemble_of([base.model for base in self.bases]))


def cross_validated(
    material: Material,
    drawn: Sequence[np.ndarray],
    fitted: Callable[[int, np.ndarray], Base],
    answers: Callable[[Base, Material], Answers],
    log: Callable[[str], None],
    keep: bool = False,
) -> CrossValidation:
    """Fit one model a fold and ask it about the fold; `drawn` are splits as `splits.folds` gives them.

    Every picture is in as many folds as there are repeats, and counts once. `fitted(number, parts)` trains. The models are
    let go after their answers unless they are to be kept.
    """
    pictures, bases = material.pictures, []
    summed = np.zeros((len(pictures), len(pictures.labels)))
    for number, parts in enumerate(drawn):
        log(f"fold {number + 1} of {len(drawn)}")
        base = fitted(number, parts)
        summed[parts == "test"] += answers(base, material.rows(parts == "test")).probabilities
        if keep or not bases:
            bases.append(base)
    shares = summed / summed.sum(1, keepdims=True)
    pooled = Answers(pictures.labels, shares, pictures.truth, pictures.members, pictures.subgroups)
    return CrossValidation(pooled, tuple(bases))
