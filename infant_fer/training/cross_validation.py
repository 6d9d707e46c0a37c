"""How good is a recipe on infants that it has not seen? One model per fold, each measured on the fold that it never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from infant_fer.data.labeled_images import LabeledImages
from infant_fer.evaluation.predictions import Predictions, RepeatedPredictions
from infant_fer.models.ensemble import ensemble_of
from infant_fer.training.pretrained import PretrainedModel
from infant_fer.training.reports.history import Fold


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The held-out predictions of every repeat, the trainings of the folds, and their models."""

    predictions: RepeatedPredictions
    folds: tuple[Fold, ...]
    models: tuple[PretrainedModel, ...]  # of all folds and repeats, or only the first

    @property
    def average(self) -> PretrainedModel:
        """Return the models of all folds as one checkpoint."""
        return replace(self.models[0], model=ensemble_of([each.model for each in self.models]))


def cross_validate(
    images: LabeledImages,
    splits: Sequence[np.ndarray],
    fit_fold: Callable[[int, np.ndarray], tuple[PretrainedModel, list[dict]]],
    predict_fold: Callable[[PretrainedModel, np.ndarray], Predictions],
    log: Callable[[str], None],
    keep_models: bool = False,
) -> CrossValidation:
    """Fit one model per split, as `splits.folds` gives them repeat by repeat, and predict its test rows.

    `fit_fold(number, split)` trains a model and returns it with the training's log, `predict_fold(model, held_out)` applies
    it to the images of an (N,) mask. A repeat ends when each image has been held out once; the repeats are kept apart, because
    their mean would be the prediction of an ensemble. Unless `keep_models`, only the first model is kept.
    """
    models: list[PretrainedModel] = []
    repeats, trained = [], []
    probabilities, predicted = np.zeros((len(images), len(images.labels))), np.zeros(len(images), bool)
    for number, fold in enumerate(splits):
        log(f"fold {number + 1} of {len(splits)}")
        (model, history), held_out = fit_fold(number, fold), fold == "test"
        predictions = predict_fold(model, held_out)
        probabilities[held_out] = predictions.probabilities
        trained.append(Fold(history, predictions.accuracy))
        if keep_models or not models:
            models.append(model)
        predicted |= held_out
        if predicted.all():
            repeats.append(Predictions.of(images, probabilities))
            probabilities, predicted = np.zeros_like(probabilities), np.zeros_like(predicted)
    return CrossValidation(RepeatedPredictions(tuple(repeats)), tuple(trained), tuple(models))
