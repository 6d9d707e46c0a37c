"""How does a data set become a trained, measured model? Read, find faces, split, check for leaks, train, measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from infant_fer.data.aligned_dataset import AlignedDataset, trainable_rows
from infant_fer.data.datasets import read_labeled_images
from infant_fer.data.face_cache import align_images
from infant_fer.data.labeled_images import LabeledImages, one_hot
from infant_fer.data.leakage import Leaks, leaks, refuse_leaks, without_leaks
from infant_fer.data.splits import check_classes, folds, fraction, split
from infant_fer.errors import DatasetError
from infant_fer.evaluation.baselines import baseline_probabilities
from infant_fer.evaluation.predictions import Predictions, RepeatedPredictions, predict
from infant_fer.labels import affect_of_labels
from infant_fer.metrics import Proportion
from infant_fer.models.ensemble import MOST_MEMBERS
from infant_fer.models.infant_face import luminance_crops
from infant_fer.training.config import ExperimentConfig
from infant_fer.training.cross_validation import CrossValidation, cross_validate
from infant_fer.training.pretrained import PretrainedModel, load_pretrained
from infant_fer.training.provenance import provenance, start_run
from infant_fer.training.runtime import is_main_process, main_process_first
from infant_fer.training.trainer import fit

Log = Callable[[str], None]
TEACHER_SHARE = 0.5  # of the teacher's predictions in a target
FRACTIONS = (1 / 8, 1 / 4, 1 / 2)  # of the train pictures, for the curve over their number


@dataclass(frozen=True, eq=False)
class ExperimentResult:
    """The trained model, its predictions for held-out pictures, and how they came about."""

    base: PretrainedModel
    predictions: dict[str, Predictions]  # dev, test
    cross_validation: RepeatedPredictions | None
    history: list[dict]
    provenance: dict
    baselines: dict[str, Predictions]
    size_curve: dict[int, Proportion]  # held-out accuracy by the number of train pictures; empty unless configured
    crops: dict[str, np.ndarray]  # (N, S, S, 3) uint8 of dev and test
    pictures: LabeledImages  # all that were used
    splits: np.ndarray  # (N,) str; with averaged folds, dev is train

    @property
    def measured(self) -> tuple[str, Predictions]:
        """Return the split that the report is about, and its predictions: test where there is one, else dev."""
        name = "test" if "test" in self.predictions else "dev"
        return name, self.predictions[name]

    @property
    def further(self) -> dict[str, Predictions | RepeatedPredictions]:
        """Return the predictions for other images than those of `measured`."""
        others = {name: each for name, each in self.predictions.items() if name != self.measured[0]}
        return others | ({"cross-validation": self.cross_validation} if self.cross_validation else {})


def run(config: ExperimentConfig, log: Log = print) -> ExperimentResult:
    """Train and measure; nothing is written but the run's folder. Raises InfantFERError with one sentence."""
    start = time.monotonic()
    base, dataset = _model_and_data(config, log)
    splits, across = _checked_splits(dataset, config, log)
    seen = dataset.rows(np.isin(splits, ("train", "dev"))) if config.folds.average else dataset
    folds_of_pictures = _checked_folds(seen.pictures, config)
    fewer = [fraction(dataset.pictures, splits, share, config.seed) for share in FRACTIONS if config.size_curve]
    description = provenance(config, base, dataset, splits, across)
    with main_process_first():  # the others must not write before the folder is empty
        if is_main_process():
            start_run(config.run_folder, description, config.resume)
    history = [] if config.folds.average else _fit(base, dataset, splits, config, config.run_folder)
    cross_validation = _cross_validate(config, seen, folds_of_pictures, log)
    base = cross_validation.average if cross_validation and config.folds.average else base
    names = ("test",) if config.folds.average else ("dev", "test")  # the folds were trained on dev
    held_out = {name: dataset.rows(splits == name) for name in names if (splits == name).any()}
    predictions = {name: _predict(base, rows) for name, rows in held_out.items()}
    train, measured = dataset.rows(splits == "train"), held_out["test" if "test" in held_out else "dev"]
    description["minutes"] = round((time.monotonic() - start) / 60, 1)
    curve = _size_curve(config, dataset, fewer, measured, log)
    if curve:
        curve[len(train.pictures)] = predictions["test" if "test" in predictions else "dev"].accuracy
    return ExperimentResult(
        base,
        predictions,
        cross_validation.predictions if cross_validation else None,
        history,
        description,
        _baselines(train, measured),
        curve,
        {name: rows.crops for name, rows in held_out.items()},
        dataset.pictures,
        np.where((splits == "dev") & config.folds.average, "train", splits),
    )


def compare(
    config: ExperimentConfig, bases: Sequence[str], log: Log = print
) -> tuple[ExperimentResult, dict[str, float]]:
    """Train several bases alike; return the result of the one with the best dev accuracy, and every base's accuracy.

    Averaged folds have seen the dev split; they are compared by the cross-validation. Raises what `run` does.
    """
    results = {}
    for base in bases:
        log(f"--- {base}")
        output = config.output.with_name(f"{config.output.name}-{base.replace('/', '-').replace(':', '-')}")
        results[base] = run(replace(config, base=base, output=output), log)
        if not config.folds.average and "dev" not in results[base].predictions:
            raise DatasetError(f"The split {config.data.split!r} has no dev part to compare by. Use --split subject.")
    scores = {
        base: (result.cross_validation if config.folds.average else result.predictions["dev"]).accuracy.value  # type: ignore[union-attr]
        for base, result in results.items()
    }
    return results[max(scores, key=scores.__getitem__)], scores


def _model_and_data(config: ExperimentConfig, log: Log) -> tuple[PretrainedModel, AlignedDataset]:
    data = config.data
    pictures = read_labeled_images(data.source, data.classes, data.pictures, data.cache)
    for message in pictures.left_out:
        log(f"left out: {message}")
    for message in pictures.notes:
        log(message)
    affect_of_labels(pictures.labels)  # else the finished checkpoint could not be loaded
    base = _seeded_base(config, pictures.labels)
    log(f"base: {base}")
    with main_process_first():
        aligned = align_images(pictures, base.crop, data.cache, log=log)
    return base, trainable_rows(aligned, data.whole_pictures, log)


def _seeded_base(config: ExperimentConfig, labels: tuple[str, ...]) -> PretrainedModel:
    torch.manual_seed(config.seed)  # new heads and random weights are drawn
    return load_pretrained(config.base, labels, config.size)


def _checked_splits(dataset: AlignedDataset, config: ExperimentConfig, log: Log) -> tuple[np.ndarray, Leaks]:
    """Return the (N,) str splits and the leaks between them. Raises DatasetError when they cannot be used."""
    pictures, method = dataset.pictures, config.data.split
    splits = split(pictures, method, config.seed)
    splits = without_leaks(pictures, splits) if config.data.drop_leaks else splits
    for name in ("train", "dev", "test"):
        log(f"{name}: {pictures.rows(splits == name).counts()}")
    check_classes(pictures, splits)
    if config.folds.average and not (splits == "test").any():
        raise DatasetError(
            f"The split {method!r} has no test part, and averaged folds have seen the rest. Use --split subject."
        )
    found = leaks(pictures, splits, luminance_crops(dataset.crops))
    log(f"across the splits: {found}")
    refuse_leaks(found, config.data.allow_leakage or method in ("thesis", "holdout"))
    return splits, found


def _checked_folds(pictures: LabeledImages, config: ExperimentConfig) -> list[np.ndarray]:
    """Return the splits of the cross-validation. Raises DatasetError, before anything is trained, when one is unusable."""
    wanted = config.folds
    if wanted.average and wanted.count * wanted.repeats > MOST_MEMBERS:
        raise DatasetError(
            f"{wanted.count} folds {wanted.repeats} times are more than the {MOST_MEMBERS} models that can be averaged."
        )
    splits = list(folds(pictures, wanted.count, wanted.repeats, config.seed)) if wanted.count else []
    for each in splits:
        check_classes(pictures, each)
    return splits


def _fit(
    base: PretrainedModel, dataset: AlignedDataset, splits: np.ndarray, config: ExperimentConfig, folder: Path
) -> list[dict]:
    """Train on one split; dev chooses the epoch, or train where there is no dev: nothing held out may choose."""
    train, dev = (dataset.rows(splits == name) for name in ("train", "dev"))
    dev = dev if len(dev.pictures) else train
    train = train.with_target(_targets(train, config.settings.soft_labels, config.teacher, config.data.cache))
    return fit(base, train, dev, config.settings, folder, config.seed, config.resume)


def _targets(train: AlignedDataset, soft: bool, teacher: str | None, cache: Path) -> np.ndarray:
    """Return (N, C) targets: votes or plain classes, mixed with a teacher's predictions when one is named.

    The teacher is a checkpoint with the same classes; it sees its own crops. Raises CheckpointError and DatasetError.
    """
    pictures = train.pictures
    target = pictures.target if soft else one_hot(pictures.truth, len(pictures.labels))
    if teacher is None:
        return target
    loaded = load_pretrained(teacher, pictures.labels)
    if not loaded.whole:
        raise DatasetError(f"The teacher {loaded.name} has other classes than {', '.join(pictures.labels)}.")
    rows = train if loaded.crop.size == train.crops.shape[1] else align_images(pictures, loaded.crop, cache)
    return ((1 - TEACHER_SHARE) * target + TEACHER_SHARE * _predict(loaded, rows).probabilities).astype(np.float32)


def _cross_validate(
    config: ExperimentConfig, dataset: AlignedDataset, folds_of_pictures: list[np.ndarray], log: Log
) -> CrossValidation | None:
    def fit_fold(number: int, splits: np.ndarray) -> PretrainedModel:
        base = _seeded_base(config, dataset.pictures.labels)
        _fit(base, dataset, splits, config, config.run_folder / f"fold-{number}")
        return base

    def predict_fold(base: PretrainedModel, held_out: np.ndarray) -> Predictions:
        return _predict(base, dataset.rows(held_out))

    if not folds_of_pictures:
        return None
    return cross_validate(dataset.pictures, folds_of_pictures, fit_fold, predict_fold, log, config.folds.average)


def _size_curve(
    config: ExperimentConfig, dataset: AlignedDataset, fewer: list[np.ndarray], measured: AlignedDataset, log: Log
) -> dict[int, Proportion]:
    curve = {}
    for splits in fewer:
        count = int((splits == "train").sum())
        log(f"{count} train pictures")
        base = _seeded_base(config, dataset.pictures.labels)
        _fit(base, dataset, splits, config, config.run_folder / f"train-{count}")
        curve[count] = _predict(base, measured).accuracy
    return curve


def _predict(base: PretrainedModel, rows: AlignedDataset) -> Predictions:
    return predict(base.model, base.processor, rows.pictures, rows.crops, rows.geometry, rows.found)


def _baselines(train: AlignedDataset, measured: AlignedDataset) -> dict[str, Predictions]:
    """Return the predictions of the baselines for the same pictures. Needs a face of every class in the train pictures."""
    rows = measured.pictures
    seen = train.geometry[train.found], train.pictures.truth[train.found]
    answers = baseline_probabilities(*seen, len(rows.labels), measured.geometry, measured.found)
    return {name: Predictions.of(rows, probabilities) for name, probabilities in answers.items()}
