"""How does a finished checkpoint do on a data set? Any checkpoint that the app loads, on any data that training reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from infant_fer.checkpoints.loading import load_checkpoint
from infant_fer.checkpoints.sources import resolve
from infant_fer.data.aligned_dataset import AlignedDataset
from infant_fer.data.face_cache import align_images
from infant_fer.data.labeled_images import LabeledImages
from infant_fer.data.splits import split
from infant_fer.errors import DatasetError
from infant_fer.evaluation.baselines import baseline_probabilities
from infant_fer.evaluation.predictions import Predictions, ensemble, predict
from infant_fer.labels import AFFECTS, EMOTION_TO_AFFECT, canonical_label
from infant_fer.training.provenance import read_split

PARTS = ("test", "dev", "train", "all")
SEEN_BEFORE = {"test": ("train", "dev"), "dev": ("train",), "train": ()}  # no picture of a part may be from those


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What several models answered about the same pictures. `crops` are those of the first checkpoint."""

    answers: dict[str, Predictions]  # the first checkpoint's come first, the baselines' last
    crops: np.ndarray
    part: str


def evaluate(
    checkpoints: Sequence[str], pictures: LabeledImages, part: str, cache: Path, method: str = "", averaged: str = ""
) -> Evaluation:
    """Ask checkpoints about one of PARTS of a data set; pictures without a face are left out.

    Without a `method` of splits.METHODS the parts are those of the first checkpoint's training, or else the data's own.
    `averaged` adds an ensemble of all: "mean", or "accuracy" to weigh by dev accuracy. Baselines are fitted on the
    train part where there is one. Raises CheckpointError and DatasetError; also for a part that a checkpoint has seen.
    """
    parts = np.full(len(pictures), "all") if part == "all" else _parts(checkpoints, pictures, part, method)
    pictures = replace(pictures, split=parts)
    answers, datasets = {}, []
    for source in checkpoints:
        checkpoint = load_checkpoint(source)
        model, processor, spec, name = checkpoint.model, checkpoint.processor, checkpoint.crop, checkpoint.name
        dataset = align_images(pictures, spec, cache)
        parts = dataset.pictures.split  # of the pictures that can be read
        if not ((parts == part) & dataset.found).any():
            raise DatasetError(f"No picture with a face is in the part {part!r}.")
        labelled = _as_labelled(dataset.pictures, model)
        everything = predict(model, processor, labelled, dataset.crops, dataset.geometry, dataset.found)
        answers[name if name not in answers else f"{name} ({source})"] = _in_terms_of(dataset.pictures, everything)
        datasets.append(dataset)
    first = datasets[0]
    chosen = (parts == part) & first.found
    if averaged:
        weights = _dev_accuracies(answers, parts) if averaged == "accuracy" else None
        answers["ensemble"] = ensemble(list(answers.values()), weights)
    answers |= _baselines(first)
    return Evaluation({name: each.rows(chosen) for name, each in answers.items()}, first.crops[chosen], part)


def _parts(checkpoints: Sequence[str], pictures: LabeledImages, part: str, method: str) -> np.ndarray:
    """(N,) str: the part of every picture, none of which a checkpoint has been trained on if `part` is held out."""
    trained = {source: read_split(resolve(source).path, pictures) for source in checkpoints}
    own = trained[checkpoints[0]]
    parts = own if own is not None and not method else split(pictures, method or "given")
    for source, theirs in trained.items():
        seen = (parts == part) & np.isin(theirs, SEEN_BEFORE[part]) if theirs is not None else np.zeros(1, bool)
        if seen.any():
            raise DatasetError(
                f"{source} was trained on {seen.sum()} of the {(parts == part).sum()} pictures of the part {part!r}. "
                "Without --split the parts are those of the first checkpoint's training."
            )
    return parts


def _as_labelled(pictures: LabeledImages, model) -> LabeledImages:
    labels = tuple(canonical_label(model.config.id2label[index]) for index in sorted(model.config.id2label))
    return replace(pictures, labels=labels)


def _in_terms_of(pictures: LabeledImages, answers: Predictions) -> Predictions:
    """The answers in the data set's classes: the same in another order, or emotions summed into affects."""
    probabilities = np.zeros((len(pictures), len(pictures.labels)))
    affects = set(pictures.labels) <= set(AFFECTS)
    for index, label in enumerate(answers.labels):
        name = EMOTION_TO_AFFECT.get(label, label) if affects and label not in pictures.labels else label
        if name in pictures.labels:
            probabilities[:, pictures.labels.index(name)] += answers.probabilities[:, index]
    if not (probabilities.sum(0) > 0).all():
        raise DatasetError(f"The checkpoint's classes {answers.labels} do not answer for {pictures.labels}.")
    shares = probabilities / probabilities.sum(1, keepdims=True)
    return replace(answers, labels=pictures.labels, probabilities=shares)


def _dev_accuracies(answers: dict[str, Predictions], parts: np.ndarray) -> list[float]:
    if not (parts == "dev").any():
        raise DatasetError("Weights by accuracy need a dev part; this split has none. Use --ensemble mean.")
    return [each.rows(parts == "dev").accuracy.value for each in answers.values()]


def _baselines(dataset: AlignedDataset) -> dict[str, Predictions]:
    pictures, train = dataset.pictures, (dataset.pictures.split == "train") & dataset.found
    shares = baseline_probabilities(
        dataset.geometry[train], pictures.truth[train], len(pictures.labels), dataset.geometry, dataset.found
    )
    return {name: Predictions.of(pictures, each) for name, each in shares.items()}
