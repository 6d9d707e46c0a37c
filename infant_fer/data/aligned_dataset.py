"""What is there to train on? The pictures of a data set that are used, with their faces and targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from infant_fer.alignment import CropSpec
from infant_fer.data.face_cache import face_table
from infant_fer.data.labeled_images import LabeledImages
from infant_fer.data.near_duplicates import near_pairs
from infant_fer.data.splits import joined_subjects
from infant_fer.errors import DatasetError
from infant_fer.evaluation.predictions import predict
from infant_fer.models.luminance import luminance_crops
from infant_fer.training.pretrained import load_pretrained

NAMED = 10  # pictures without a face that the log names
TEACHING = 0.5  # share of the teacher's answers in a target


@dataclass(frozen=True, eq=False)
class AlignedDataset:
    """N pictures and their aligned faces."""

    pictures: LabeledImages
    crops: np.ndarray  # (N, S, S, 3) uint8
    geometry: np.ndarray  # (N, G) float32, 0 where no face was found
    found: np.ndarray  # (N,) bool

    def rows(self, chosen: np.ndarray) -> AlignedDataset:
        """Some of them, by mask."""
        return AlignedDataset(self.pictures.rows(chosen), self.crops[chosen], self.geometry[chosen], self.found[chosen])


def aligned_dataset(
    pictures: LabeledImages, spec: CropSpec, cache: Path, whole_pictures: bool, log: Callable[[str], None]
) -> AlignedDataset:
    """Find the faces; pictures without one are named and left out, or used whole. Near-duplicates become one subject.

    Raises DatasetError when no face is found at all.
    """
    table = face_table(pictures, spec, cache)
    if lacking := [member for member, found in zip(pictures.members, table.found, strict=True) if not found]:
        what = "used whole" if whole_pictures else "left out"
        names = ", ".join(lacking[:NAMED]) + " ..." * (len(lacking) > NAMED)
        log(f"no face in {len(lacking)} of {len(pictures)} pictures, {what}: {names}")
    kept = table.found | whole_pictures
    if not kept.any():
        raise DatasetError("No face was found in any picture. Use --whole-pictures if they are faces cut out already.")
    if not pictures.subjects_known:
        log("the data set does not tell its infants apart: only near-duplicates are kept together")
    rows = pictures.rows(kept)
    rows = replace(rows, subject=joined_subjects(rows.subject, near_pairs(luminance_crops(table.crops[kept]))))
    return AlignedDataset(rows, table.crops[kept], table.geometry[kept], table.found[kept])


def targets(train: AlignedDataset, soft: bool, teacher: str | None, cache: Path) -> np.ndarray:
    """(N, C) targets: votes or plain classes, mixed with a teacher's answers when one is named.

    The teacher is a checkpoint with the same classes; it sees its own crops. Raises CheckpointError and DatasetError.
    """
    pictures = train.pictures
    target = pictures.target if soft else np.eye(len(pictures.labels), dtype=np.float32)[pictures.truth]
    if teacher is None:
        return target
    loaded = load_pretrained(teacher, pictures.labels)
    if not loaded.whole:
        raise DatasetError(f"The teacher {loaded.name} has other classes than {', '.join(pictures.labels)}.")
    crops = train.crops if loaded.crop.size == train.crops.shape[1] else face_table(pictures, loaded.crop, cache).crops
    taught = predict(loaded.model, loaded.processor, pictures, crops).probabilities
    return ((1 - TEACHING) * target + TEACHING * taught).astype(np.float32)
