"""How does a data set become a trained, measured model? Read, find faces, split, check for leaks, train, measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from infant_fer.alignment import CropSpec
from infant_fer.data.face_cache import align_images, whole_images
from infant_fer.data.labeled_images import AlignedDataset, LabeledImages, one_hot
from infant_fer.data.leakage import Leaks, leaks, refuse_leaks, trainable_rows, with_joined_subjects, without_leaks
from infant_fer.data.splits import check_classes, folds, fraction, split
from infant_fer.errors import DatasetError
from infant_fer.evaluation.mean_maps import MeanMap
from infant_fer.evaluation.predictions import Predictions, RepeatedPredictions, baselines, predict
from infant_fer.evaluation.scores import RepeatedScores, repeated_scores
from infant_fer.metrics import Proportion
from infant_fer.models.ensemble import MOST_MEMBERS
from infant_fer.models.features import fingerprint
from infant_fer.models.infant_face import luminance_crops
from infant_fer.training.action_units import ActionUnitTask
from infant_fer.training.checks import checked_base, load_teacher, read_images, seeded_base
from infant_fer.training.config import ExperimentConfig
from infant_fer.training.cross_validation import CrossValidation, cross_validate
from infant_fer.training.minority import with_renders, with_warped
from infant_fer.training.pretrained import PretrainedModel
from infant_fer.training.provenance import Provenance, is_main_process, main_process_first, start_run
from infant_fer.training.reports.history import Fold
from infant_fer.training.reports.watching import WatchedFace, digest, read_frames, watched_faces
from infant_fer.training.trainer import FitRun, fit
from infant_fer.trust.fitting import TrustFaces, can_fit, fit_trust, fit_trust_of_folds, has_test
from infant_fer.trust.store import TrustData

if TYPE_CHECKING:
    from infant_fer.training.variants import Candidate

Log = Callable[[str], None]
TEACHER_SHARE = 0.5  # of the teacher's predictions in a target
NO_FACES = "no trust data: they are of faces that were found, and the crops are whole pictures"
FRACTIONS = (1 / 8, 1 / 4, 1 / 2)  # of the train pictures, for the curve over their number


@dataclass(frozen=True, eq=False)
class ExperimentResult:
    """The trained model, its predictions for held-out pictures, and how they came about."""

    base: PretrainedModel
    predictions: dict[str, Predictions]  # dev, test
    cross_validation: RepeatedPredictions | None
    history: list[dict]  # of the training on train; empty where only the folds were trained, see `histories`
    provenance: Provenance
    baselines: dict[str, Predictions]
    size_curve: dict[int, Proportion]  # held-out accuracy by the number of train pictures; empty unless configured
    held_out: dict[str, AlignedDataset]  # the faces of dev and test
    images: LabeledImages  # all that were used
    splits: np.ndarray  # (N,) str; with averaged folds, dev is train
    trust: TrustData | None = None  # None where too few infants are held out
    keep: str = "best"  # which epoch was kept
    candidates: Sequence[Candidate] = ()  # the variants that were compared, this one among them
    frames: Sequence[np.ndarray] = ()  # (H, W, 3) uint8: the maps of the watched faces after every epoch
    folds: Sequence[Fold] = ()  # of the cross-validation, repeat by repeat
    maps: Sequence[MeanMap] | None = None  # of the model over the faces of `measured`, where variants.maps_of has run

    @property
    def measured(self) -> tuple[str, Predictions]:
        """Return the split that the report is about, and its predictions: test where there is one, else dev."""
        name = "test" if "test" in self.predictions else "dev"
        return name, self.predictions[name]

    @property
    def histories(self) -> list[list[dict]]:
        """Return the log of the training that made the model, or the logs of the folds whose models it averages."""
        return [self.history] if self.history else [each.history for each in self.folds]

    @cached_property
    def cross_validation_scores(self) -> RepeatedScores | None:
        """Return the scores of the cross-validation, computed once; None without one."""
        return repeated_scores(self.cross_validation) if self.cross_validation else None

    @property
    def record(self) -> dict:
        """Return what is recorded of the run as plain data for JSON, with the variants that were compared."""
        compared = {"compared": {each.name: each.to_dict() for each in self.candidates}} if self.candidates else {}
        return self.provenance.to_dict() | compared

    @property
    def further(self) -> dict[str, Predictions | RepeatedPredictions]:
        """Return the predictions for other images than those of `measured`."""
        others = {name: each for name, each in self.predictions.items() if name != self.measured[0]}
        return others | ({"cross-validation": self.cross_validation} if self.cross_validation else {})


def run(config: ExperimentConfig, log: Log = print) -> ExperimentResult:
    """Train and measure; nothing is written but the run's folder. Raises InfantFERError with one sentence."""
    base, dataset = _model_and_data(config, log)
    watched = watched_faces(config.watch, base.crop, config.data.crops == "whole")
    splits, across = _checked_splits(dataset, config, log)
    if config.rendered:
        dataset, splits = with_renders(dataset, splits, config.rendered, base.crop, config.data.cache, log)
    if config.warped:
        dataset, splits = with_warped(dataset, splits, config.warped, base.crop, config.seed, log)
    task = ActionUnitTask.of(dataset, base.crop, config.data.cache) if config.aux else None
    # Of variants only the first finds faces and renders; the others read the cache.
    start, processor_start = time.monotonic(), time.process_time()
    seen = dataset.rows(np.isin(splits, ("train", "dev"))) if config.folds.average else dataset
    fold_splits = _checked_folds(seen.images, config)
    fewer = [fraction(dataset.images, splits, share, config.seed_of_split) for share in FRACTIONS if config.size_curve]
    provenance = Provenance.of(config, base, dataset, splits, across)
    with main_process_first():  # the others must not write before the folder is empty
        if is_main_process():
            description = {**provenance.to_dict(), "watch": digest(watched), **_weights(base, dataset, config)}
            provenance = replace(provenance, resumed=start_run(config.run_folder, description, config.resume) or None)
    history = [] if config.folds.average else _fit(base, dataset, splits, config, config.run_folder, watched, task)
    learned = task.detach(base, dataset.rows((splits == "dev") & dataset.found)) if task else None
    cross_validation = _cross_validate(config, seen, fold_splits, log)
    base = cross_validation.average if cross_validation and config.folds.average else base
    names = ("test",) if config.folds.average else ("dev", "test")  # the folds were trained on dev
    held_out = {name: dataset.rows(splits == name) for name in names if (splits == name).any()}
    predictions = {name: predict(base.model, base.processor, rows) for name, rows in held_out.items()}
    name = "test" if "test" in held_out else "dev"
    learned_from = ("train", "dev") if config.folds.average else ("train",)
    train, measured = dataset.rows(np.isin(splits, learned_from)), held_out[name]
    minutes, processor_minutes = (time.monotonic() - start) / 60, (time.process_time() - processor_start) / 60
    curve = _size_curve(config, dataset, fewer, measured, log)
    if curve:
        curve[len(train.images)] = predictions[name].accuracy
    return ExperimentResult(
        base=base,
        predictions=predictions,
        cross_validation=cross_validation.predictions if cross_validation else None,
        history=history,
        folds=cross_validation.folds if cross_validation else (),
        provenance=replace(
            provenance,
            action_units=learned,
            minutes=round(minutes, 1),
            processor_minutes=round(processor_minutes, 1),
        ),
        baselines=baselines(train, measured),
        size_curve=curve,
        held_out=held_out,
        images=dataset.images,
        splits=np.where((splits == "dev") & config.folds.average, "train", splits),
        keep=config.settings.keep,
        frames=read_frames(config.run_folder) if watched else (),
        trust=_trust_of_folds(base, seen, cross_validation, log)
        if cross_validation and config.folds.average
        else _trust(base, dataset, splits, log),
    )


def _trust_of_folds(
    base: PretrainedModel, dataset: AlignedDataset, cross_validation: CrossValidation, log: Log
) -> TrustData | None:
    """Return the trust data of averaged folds; None where no face was looked for."""
    probabilities = cross_validation.predictions.repeats[0].probabilities
    if not dataset.found.any():
        log(NO_FACES)
        return None
    return fit_trust_of_folds(base.model, dataset.rows(dataset.found), probabilities[dataset.found])


def _trust(base: PretrainedModel, dataset: AlignedDataset, splits: np.ndarray, log: Log) -> TrustData | None:
    """Return the trust data of the finished model; None where dev is too small, or no face was looked for."""
    if not dataset.found.any():
        log(NO_FACES)
        return None
    faces = TrustFaces(replace(dataset, images=replace(dataset.images, split=splits)).rows(dataset.found), None)
    if not can_fit(faces):
        log("no trust data: too few infants are held out in dev")
        return None
    return fit_trust(base.model, base.processor, faces, has_test(faces), log)


def _model_and_data(config: ExperimentConfig, log: Log) -> tuple[PretrainedModel, AlignedDataset]:
    data = config.data
    images = read_images(data)
    for message in images.left_out:
        log(f"left out: {message}")
    for message in images.notes:
        log(message)
    base = checked_base(config, images.labels)
    log(f"base: {base}")
    faces = _faces(images, base.crop, config, log)
    if data.crops == "whole":
        return base, with_joined_subjects(faces, log)
    return base, trainable_rows(faces, data.whole_pictures, log)


def _faces(images: LabeledImages, crop: CropSpec, config: ExperimentConfig, log: Log = print) -> AlignedDataset:
    if config.data.crops == "whole":
        return whole_images(images, crop, log)
    with main_process_first():
        return align_images(images, crop, config.data.cache, log=log)


def _weights(base: PretrainedModel, dataset: AlignedDataset, config: ExperimentConfig) -> dict[str, str | None]:
    """Return what tells the weights that a run starts from, and those of its teacher, from others of the same name."""
    teacher = load_teacher(config.teacher, dataset.images.labels).model if config.teacher else None
    return {
        "weights of the base": fingerprint(base.model),
        "weights of the teacher": fingerprint(teacher) if teacher else None,
    }


def _checked_splits(dataset: AlignedDataset, config: ExperimentConfig, log: Log) -> tuple[np.ndarray, Leaks]:
    """Return the (N,) str splits and the leaks between them. Raises DatasetError when they cannot be used."""
    images, method = dataset.images, config.data.split
    splits = split(images, method, config.seed_of_split)
    splits = without_leaks(images, splits) if config.data.drop_leaks else splits
    for name in ("train", "dev", "test"):
        log(f"{name}: {images.rows(splits == name).counts()}")
    check_classes(images, splits)
    if not (splits == "dev").any():
        raise DatasetError(f"The split {method!r} leaves no dev picture to choose by. Use --split subject.")
    if config.folds.average and not (splits == "test").any():
        raise DatasetError(
            f"The split {method!r} has no test rows, and averaged folds have seen the rest. Use --split subject."
        )
    found = leaks(images, splits, luminance_crops(dataset.crops))
    log(f"across the splits: {found}")
    refuse_leaks(found, config.data.allow_leakage)
    return splits, found


def _checked_folds(images: LabeledImages, config: ExperimentConfig) -> list[np.ndarray]:
    """Return the splits of the cross-validation. Raises DatasetError, before anything is trained, when one is unusable."""
    wanted = config.folds
    if wanted.average and wanted.count * wanted.repeats > MOST_MEMBERS:
        raise DatasetError(
            f"{wanted.count} folds {wanted.repeats} times are more than the {MOST_MEMBERS} models that can be averaged."
        )
    splits = list(folds(images, wanted.count, wanted.repeats, config.seed_of_split)) if wanted.count else []
    for number, each in enumerate(splits):
        check_classes(images, each, f" of fold {number + 1} of {len(splits)}")
    return splits


def _fit(
    base: PretrainedModel,
    dataset: AlignedDataset,
    splits: np.ndarray,
    config: ExperimentConfig,
    folder: Path,
    watched: Sequence[WatchedFace] = (),
    task: ActionUnitTask | None = None,
) -> list[dict]:
    """Train on one split; of the held-out pictures only dev may choose the epoch. A second task's head stays attached."""
    train, dev = (dataset.rows(splits == name) for name in ("train", "dev"))
    train = train.with_target(_targets(train, base.crop, config))
    if task:
        task.attach(base)
        train = task.with_targets(train)
    return fit(base, train, dev, config.settings, FitRun(folder, config.seed, config.resume, watched))


def _targets(train: AlignedDataset, crop: CropSpec, config: ExperimentConfig) -> np.ndarray:
    """Return (N, C) targets: votes or plain classes, mixed with a teacher's predictions when one is named.

    The teacher is a checkpoint with the same classes. Where its crop is not `crop`, that of `train`, it sees its own.
    Raises CheckpointError and DatasetError.
    """
    images = train.images
    target = images.target if config.settings.soft_labels else one_hot(images.truth, len(images.labels))
    if config.teacher is None:
        return target
    loaded = load_teacher(config.teacher, images.labels)
    rows = train if loaded.crop == crop else _faces(images, loaded.crop, config)
    return (
        (1 - TEACHER_SHARE) * target + TEACHER_SHARE * predict(loaded.model, loaded.processor, rows).probabilities
    ).astype(np.float32)


def _cross_validate(
    config: ExperimentConfig, dataset: AlignedDataset, fold_splits: list[np.ndarray], log: Log
) -> CrossValidation | None:
    def fit_fold(number: int, splits: np.ndarray) -> tuple[PretrainedModel, list[dict]]:
        base = seeded_base(config, dataset.images.labels)
        return base, _fit(base, dataset, splits, config, config.run_folder / f"fold-{number}")

    def predict_fold(base: PretrainedModel, held_out: np.ndarray) -> Predictions:
        return predict(base.model, base.processor, dataset.rows(held_out))

    if not fold_splits:
        return None
    return cross_validate(dataset.images, fold_splits, fit_fold, predict_fold, log, config.folds.average)


def _size_curve(
    config: ExperimentConfig, dataset: AlignedDataset, fewer: list[np.ndarray], measured: AlignedDataset, log: Log
) -> dict[int, Proportion]:
    curve = {}
    for splits in fewer:
        count = int((splits == "train").sum())
        log(f"{count} train pictures")
        base = seeded_base(config, dataset.images.labels)
        _fit(base, dataset, splits, config, config.run_folder / f"train-{count}")
        curve[count] = predict(base.model, base.processor, measured).accuracy
    return curve
