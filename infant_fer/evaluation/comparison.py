"""Measure finished checkpoints on a data set: any checkpoint that the app loads, on any data that training reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch

from infant_fer.checkpoints.loading import LoadedCheckpoint, load_checkpoint
from infant_fer.checkpoints.sources import resolve
from infant_fer.classifier import forward_crops
from infant_fer.data.face_cache import align_images
from infant_fer.data.labeled_images import AlignedDataset, LabeledImages
from infant_fer.data.leakage import trainable_rows
from infant_fer.data.splits import SPLIT_FILE, read_split, split
from infant_fer.errors import DatasetError
from infant_fer.evaluation.predictions import (
    ENSEMBLE,
    Predictions,
    baselines,
    check_vote,
    ensemble,
    predictions_of,
    unique_name,
    vote_weights,
)
from infant_fer.files import is_own_checkpoint
from infant_fer.labels import AFFECTS, EMOTION_TO_AFFECT, canonical_label
from infant_fer.models.features import fingerprint
from infant_fer.trust.figures import TrustFigures
from infant_fer.trust.measurement import MeasuredFaces, assessments, trust_figures
from infant_fer.trust.outputs import FaceOutputs, outputs_of
from infant_fer.trust.store import TrustData, known

TIMED_RUNS = 15
ALL = "all"  # every image, whatever its split
FITTED_WEIGHTS = "The vote's weights were fitted on these very dev pictures, so that its figures flatter. Measure it with --part test."
SPLITS = ("test", "dev", "train", ALL)
# Training has used these splits in a way that flatters the figures on the split.
SEEN_IN_TRAINING = {"test": ("train", "dev"), "dev": ("train",), "train": (), ALL: ("train", "dev")}


@dataclass(frozen=True)
class Cost:
    """What one answer costs: the network's parameters, and the median ms of TIMED_RUNS answers for one crop, after a first one.

    The time holds for this computer and its load; detection and alignment come on top.
    """

    parameters: int
    milliseconds: float

    @classmethod
    def of(cls, model: torch.nn.Module, processor: object, face: AlignedDataset) -> Cost:
        """Measure a model on the first crop of a data set."""
        times = []
        for _ in range(1 + TIMED_RUNS):
            began = perf_counter()
            forward_crops(model, processor, face.crops[:1], face.geometry[:1], face.found[:1])
            times.append(1000 * (perf_counter() - began))
        return cls(sum(each.numel() for each in model.parameters()), median(times[1:]))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The predictions of several models for the same images."""

    predictions: dict[str, Predictions]  # the first checkpoint's come first, the baselines' last
    crops: np.ndarray  # (N, S, S, 3) uint8, those of the first checkpoint
    split: str  # one of SPLITS
    warnings: tuple[str, ...]  # sentences on why a figure may flatter, or differ from the training's
    trust: dict[str, TrustFigures]  # by checkpoint, of those that have trust data
    costs: dict[str, Cost]  # by checkpoint
    without_face: int = 0  # images of the split in which no face was found; they are in none of the figures
    weights: np.ndarray | None = None  # (M,) or (M, C) of the ensemble, from dev, in the data set's order of classes

    @property
    def missed(self) -> str:
        """Return the sentence on images without a face; "" where there is none."""
        if not self.without_face:
            return ""
        total = self.without_face + len(self.crops)
        return f"In {self.without_face} of the {total} pictures of {self.split!r} no face was found; no figure counts them."

    @property
    def models(self) -> dict[str, Predictions]:
        """Return the predictions of the checkpoints and their ensemble, without the baselines'."""
        return {name: each for name, each in self.predictions.items() if name in (*self.costs, ENSEMBLE)}


def evaluate(
    checkpoints: Sequence[str],
    images: LabeledImages,
    split_name: str,
    cache: Path,
    split_method: str = "",
    ensemble_weights: str = "",
    log: Callable[[str], None] = print,
) -> Evaluation:
    """Measure checkpoints on one of SPLITS of a data set; images without a face are left out, counted and named.

    Without a `split_method` of splits.METHODS the splits are those of the first checkpoint's training, or else the data's
    own. `ensemble_weights` adds an ensemble of all: "mean", or weighed by what each reached on dev, "accuracy" or "classes".
    Baselines are fitted on the train images if there are some. As in a training, equal files and near-duplicates show one
    infant, also where splits are drawn; near-duplicates are those in the first checkpoint's crops. Raises CheckpointError
    and DatasetError, also if a checkpoint was trained on some of the images.
    """
    recorded = _recorded(checkpoints, images)
    expected = _splits(recorded, images, split_name, split_method)
    if ensemble_weights:
        check_vote([resolve(source).name for source in checkpoints], expected == "dev", ensemble_weights)
    if split_name == ALL or _follows_record(recorded, split_method):
        _refuse_seen(recorded, expected == split_name, split_name)
    first = load_checkpoint(checkpoints[0])
    aligned = align_images(images, first.crop, cache, log=log)
    faces, missed, warnings = _split_faces(checkpoints, aligned, split_name, split_method, log)
    read, predictions = [_read(first, faces)], dict[str, Predictions]()
    for other in map(load_checkpoint, checkpoints[1:]):
        read.append(_read(other, align_images(faces.images, other.crop, cache)))
    for each in read:
        predictions[unique_name(each.name, predictions)] = each.predictions
    costs = {name: each.cost for name, each in zip(predictions, read, strict=True)}
    trusted = {name: each for name, each in zip(predictions, read, strict=True) if each.trust is not None}
    splits, weights = faces.images.split, None
    rows = splits == split_name
    if ensemble_weights:
        weights = vote_weights(predictions, splits == "dev", ensemble_weights)
        predictions[ENSEMBLE] = ensemble(list(predictions.values()), weights)
        warnings += (FITTED_WEIGHTS,) if weights is not None and split_name == "dev" else ()
    predictions |= baselines(faces.rows(splits == "train"), faces)
    measured = {name: each.rows(rows) for name, each in predictions.items()}
    trust = {name: _trust_figures(each, split_name) for name, each in trusted.items()}
    return Evaluation(measured, faces.crops[rows], split_name, warnings, trust, costs, missed, weights)


def in_classes_of(images: LabeledImages, predictions: Predictions) -> Predictions:
    """Return the predictions in the data set's classes: the same in another order, or emotions summed into affects."""
    probabilities = np.zeros((len(predictions.probabilities), len(images.labels)))
    affects = set(images.labels) <= set(AFFECTS)
    for index, label in enumerate(predictions.labels):
        name = EMOTION_TO_AFFECT.get(label, label) if affects and label not in images.labels else label
        if name in images.labels:
            probabilities[:, images.labels.index(name)] += predictions.probabilities[:, index]
    if not (probabilities.sum(0) > 0).all():
        raise DatasetError(
            f"The checkpoint names {', '.join(predictions.labels)}, which do not cover {', '.join(images.labels)}."
        )
    normalised = probabilities / probabilities.sum(1, keepdims=True)
    return replace(predictions, labels=images.labels, probabilities=normalised)


@dataclass(frozen=True, eq=False)
class _Read:
    """One checkpoint's outputs for all images with a face, `predictions` in the data set's classes."""

    name: str
    predictions: Predictions
    dataset: AlignedDataset
    trust: TrustData | None
    outputs: FaceOutputs | None  # of a checkpoint with trust data
    cost: Cost


def _read(checkpoint: LoadedCheckpoint, dataset: AlignedDataset) -> _Read:
    model = checkpoint.model
    heads = forward_crops(model, checkpoint.processor, dataset.crops, dataset.geometry, dataset.found)
    names = model.config.id2label
    own_classes = replace(dataset.images, labels=tuple(canonical_label(names[index]) for index in sorted(names)))
    predicted = in_classes_of(dataset.images, predictions_of(model, heads["logits"], own_classes))
    trust = TrustData.load(checkpoint.folder, fingerprint(model))
    outputs = None if trust is None else outputs_of(model, heads, dataset)
    cost = Cost.of(model, checkpoint.processor, dataset)
    return _Read(checkpoint.name, predicted, dataset, trust, outputs, cost)


def _trust_figures(read: _Read, split_name: str) -> TrustFigures:
    """Return the figures of trust on the faces of one split."""
    faces = MeasuredFaces(read.dataset, known(read.outputs)).rows(read.dataset.images.split == split_name)
    return trust_figures(assessments(known(read.trust), faces), faces.outputs)


def _recorded(checkpoints: Sequence[str], images: LabeledImages) -> dict[str, np.ndarray | None]:
    """Return the splits by the record of each checkpoint's training; see `read_split`."""
    return {source: read_split(resolve(source).path, images) for source in checkpoints}


def _follows_record(recorded: dict[str, np.ndarray | None], split_method: str) -> bool:
    return not split_method and next(iter(recorded.values())) is not None


def _splits(
    recorded: dict[str, np.ndarray | None], images: LabeledImages, split_name: str, split_method: str
) -> np.ndarray:
    """Return the split of every image, (N,) str. Raises DatasetError where nothing marks the images of the one to measure."""
    if split_name == ALL:
        return np.full(len(images), ALL)
    first = next(iter(recorded.values()))
    if first is not None and not split_method:
        return first
    if split_method in ("", "given") and not (images.split == "train").any():  # of a set for tests alone
        if (images.split == split_name).any():
            return images.split.astype("<U5")
        raise DatasetError(
            f"The data set marks no picture as {split_name!r}. Use --part all to measure every picture, or another --part."
        )
    return split(images, split_method or "given")


def _split_faces(
    checkpoints: Sequence[str],
    aligned: AlignedDataset,
    split_name: str,
    split_method: str,
    log: Callable[[str], None],
) -> tuple[AlignedDataset, int, tuple[str, ...]]:
    """Return the faces that were found with their splits, how many images of the split have none, and warnings.

    Equal files and near-duplicates are one infant before splits are drawn. Raises DatasetError as `evaluate` does.
    """
    no_face = f"No picture with a face is in the split {split_name!r}."
    if not aligned.found.any():
        raise DatasetError(no_face)
    faces = trainable_rows(aligned, whole_pictures=False, log=log)
    subject = aligned.images.subject.astype(object)
    subject[aligned.found] = faces.images.subject
    recorded = _recorded(checkpoints, aligned.images)
    splits = _splits(recorded, replace(aligned.images, subject=subject.astype(str)), split_name, split_method)
    _refuse_seen(recorded, splits == split_name, split_name)
    unknown: tuple[str, ...] = ()
    if split_name != ALL and _follows_record(recorded, split_method):
        unknown = _unknown(resolve(checkpoints[0]).name, splits[aligned.found])
    if not ((splits == split_name) & aligned.found).any():
        raise DatasetError(" ".join((no_face, *unknown)))
    given = aligned.images.split[splits == split_name]
    faces = replace(faces, images=replace(faces.images, split=splits[aligned.found]))
    warnings = _warnings(checkpoints, given, split_name) + _other_crops(checkpoints) + _shared(faces.images, split_name)
    return faces, int(((splits == split_name) & ~aligned.found).sum()), warnings + unknown


def _unknown(checkpoint: str, splits: np.ndarray) -> tuple[str, ...]:
    """Return a sentence on the pictures with a face that have no split, "", by the checkpoint's record; none without any."""
    unknown = int((splits == "").sum())
    if not unknown:
        return ()
    return (
        f"{unknown} of the {len(splits)} pictures with a face have no split in the record of the training of {checkpoint} "
        f"({SPLIT_FILE}) and are not measured; with --split given the data set's own splits count.",
    )


def _shared(images: LabeledImages, split_name: str) -> tuple[str, ...]:
    """Return a sentence on infants that are measured and in a split that training uses; none without any."""
    measured, seen = (np.isin(images.split, names) for names in ((split_name,), SEEN_IN_TRAINING[split_name]))
    shared = np.intersect1d(images.subject[measured], images.subject[seen])
    if not len(shared):
        return ()
    return (
        f"Of {len(shared)} infants there are pictures in {split_name!r} and in {' or '.join(SEEN_IN_TRAINING[split_name])}; equal and "
        "nearly equal pictures count as one infant's. The figures of what learned from them flatter, and the baselines did.",
    )


def _refuse_seen(recorded: dict[str, np.ndarray | None], measured: np.ndarray, split_name: str) -> None:
    """Raise DatasetError if a checkpoint's record says that training used some of the measured images."""
    for source, splits in recorded.items():
        seen = 0 if splits is None else (measured & np.isin(splits, SEEN_IN_TRAINING[split_name])).sum()
        if seen:
            raise DatasetError(
                f"{source} was trained on {seen} of the {measured.sum()} images of {split_name!r}. "
                "Use --part test, or checkpoints that were trained with the same splits; without --split the splits are "
                "those of the first checkpoint's training."
            )


def _warnings(checkpoints: Sequence[str], given_splits: np.ndarray, split_name: str) -> tuple[str, ...]:
    """Return a sentence for each checkpoint without a SPLIT_FILE: it may have been trained on some of the measured images.

    `given_splits` are the data set's own splits of these images, (N,) str.
    """
    marked = int(np.isin(given_splits, SEEN_IN_TRAINING[split_name]).sum())
    if split_name != ALL and not marked:
        return ()
    data = f", {marked} of which the data set marks as train or dev" if marked else ""
    return tuple(
        f"{found.name} does not record what it was trained on. If it was trained on some of these "
        f"{len(given_splits)} images{data}, its figures flatter."
        for found in map(resolve, checkpoints)
        if not (found.path / SPLIT_FILE).is_file()
    )


def _other_crops(checkpoints: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence for each checkpoint that was trained on whole pictures: all are measured on aligned faces, as the app reads."""
    folders = [resolve(source).path for source in checkpoints]
    records = [
        json.loads((each / "metrics.json").read_text("utf-8")) if is_own_checkpoint(each) else {} for each in folders
    ]
    return tuple(
        f"{folder.name} was trained on whole pictures. It is measured here on aligned faces, as the app reads them, "
        "so its figures differ from its card's."
        for folder, record in zip(folders, records, strict=True)
        if record.get("run", {}).get("crops") == "whole"
    )
