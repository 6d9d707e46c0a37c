"""Answers for every picture by a model that never saw its infant, and those models averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from infant_fer.data.aligned_dataset import AlignedDataset
from infant_fer.evaluation.predictions import Predictions
from infant_fer.models.ensemble import ensemble_of
from infant_fer.training.pretrained import PretrainedModel


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """One answer for every picture, by models that never saw its infant (the mean over the repeats), and the folds' models."""

    answers: Predictions
    bases: tuple[PretrainedModel, ...]

    @property
    def average(self) -> PretrainedModel:
        """All folds' models as one checkpoint."""
        return replace(self.bases[0], model=ensemble_of([base.model for base in self.bases]))


def cross_validated(
    material: AlignedDataset,
    drawn: Sequence[np.ndarray],
    fitted: Callable[[int, np.ndarray], PretrainedModel],
    answers: Callable[[PretrainedModel, AlignedDataset], Predictions],
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
    pooled = Predictions(pictures.labels, shares, pictures.truth, pictures.members, pictures.subgroups)
    return CrossValidation(pooled, tuple(bases))
