"""Cross-validate by infant: a prediction for every image by a model that never saw its infant, once per repeat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from infant_fer.data.labeled_images import LabeledImages
from infant_fer.evaluation.predictions import Predictions, RepeatedPredictions
from infant_fer.models.ensemble import ensemble_of
from infant_fer.training.pretrained import PretrainedModel


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The held-out predictions of every repeat, and the models of the folds."""

    predictions: RepeatedPredictions
    models: tuple[PretrainedModel, ...]  # of all folds and repeats, or only the first

    @property
    def average(self) -> PretrainedModel:
        """Return the models of all folds as one checkpoint."""
        return replace(self.models[0], model=ensemble_of([each.model for each in self.models]))


def cross_validate(
    images: LabeledImages,
    splits: Sequence[np.ndarray],
    fit: Callable[[int, np.ndarray], PretrainedModel],
    predict: Callable[[PretrainedModel, np.ndarray], Predictions],
    log: Callable[[str], None],
    keep_models: bool = False,
) -> CrossValidation:
    """Fit one model per split, as `splits.folds` gives them repeat by repeat, and predict its test rows.

    `fit(number, split)` trains a model, `predict(model, held_out)` applies it to the images of an (N,) mask. A repeat ends
    when each image has been held out once; the repeats are kept apart, because their mean would be the prediction of an
    ensemble. Unless `keep_models`, only the first model is kept.
    """
    models: list = []
    repeats = []
    probabilities, predicted = np.zeros((len(images), len(images.labels))), np.zeros(len(images), bool)
    for number, split in enumerate(splits):
        log(f"fold {number + 1} of {len(splits)}")
        model, held_out = fit(number, split), split == "test"
        probabilities[held_out] = predict(model, held_out).probabilities
        if keep_models or not models:
            models.append(model)
        predicted |= held_out
        if predicted.all():
            repeats.append(Predictions.of(images, probabilities))
            probabilities, predicted = np.zeros_like(probabilities), np.zeros_like(predicted)
    return CrossValidation(RepeatedPredictions(tuple(repeats)), tuple(models))
