"""How did a run come about? What its card tells, what a resumed run must share with it, and which pictures it was trained on."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from infant_fer.data.aligned_dataset import AlignedDataset
from infant_fer.data.labeled_images import LabeledImages
from infant_fer.data.leakage import Leaks, digests
from infant_fer.errors import DatasetError
from infant_fer.training.pretrained import PretrainedModel
from infant_fer.training.runtime import machine

if TYPE_CHECKING:
    from infant_fer.training.experiment import ExperimentConfig

SPLIT_FILE = "split.csv"  # in a checkpoint folder: SHA-256 of every picture's file, and its part
STARTED_FILE = "started.json"  # in a run's folder
HERE_ONLY = ("command", "torch", "machine")  # may differ when a run is gone on with


def provenance(
    asked: ExperimentConfig, base: PretrainedModel, material: AlignedDataset, parts: np.ndarray, across: Leaks
) -> dict:
    """What the card and `metrics.json` tell of a run, known before it trains; `across` are the leaks of its split."""
    listing = "\n".join(f"{part} {member}" for part, member in zip(parts, material.pictures.members, strict=True))
    return {
        "command": asked.command,
        "recipe": asked.recipe,
        "base": str(base),
        "data": Path(asked.data).name,
        "labels": list(material.pictures.labels),
        "split": asked.split,
        "split_sha256": hashlib.sha256(listing.encode()).hexdigest(),
        "counts": {name: material.pictures.rows(parts == name).counts() for name in ("train", "dev", "test")},
        "subjects_known": material.pictures.subjects_known,
        "pairs across the parts": across.counts(),
        "folds": asked.folds,
        "repeats": asked.repeats,
        "teacher": asked.teacher and Path(asked.teacher).name,
        "seed": asked.seed,
        "settings": asdict(asked.settings),
        "crop": asdict(base.crop),
        "torch": torch.__version__,
        "machine": machine(),
    }


def begin(folder: Path, told: dict, resume: bool) -> None:
    """Note what the run in `folder` is; the steps of an older one are deleted, or a later `resume` would take them up.

    Raises DatasetError when the run to go on with was asked for something else.
    """
    file, told = folder / STARTED_FILE, json.loads(json.dumps(told))
    if resume and file.is_file():
        before = json.loads(file.read_text("utf-8"))
        other = [name for name in told if name not in HERE_ONLY and told[name] != before.get(name)]
        if other:
            raise DatasetError(
                f"The run to go on with had another {', another '.join(other)}. Give the same command, or start anew without --resume."
            )
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(told, indent=1), "utf-8")


def write_split(folder: Path, pictures: LabeledImages, parts: np.ndarray) -> None:
    """Write the part of every picture that has one into SPLIT_FILE; pictures are known by their bytes, not by their names."""
    with (folder / SPLIT_FILE).open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(("sha256", "part"))
        rows.writerows(sorted((digest, part) for digest, part in zip(digests(pictures), parts, strict=True) if part))


def read_split(folder: Path, pictures: LabeledImages) -> np.ndarray | None:
    """(N,) str: the parts that these pictures had when the checkpoint in `folder` was trained, "" for others; None when it
    tells no split, or knows none of these pictures.
    """
    if not (folder / SPLIT_FILE).is_file():
        return None
    with (folder / SPLIT_FILE).open(newline="", encoding="utf-8") as stream:
        told = {row["sha256"]: row["part"] for row in csv.DictReader(stream)}
    parts = np.array([told.get(digest, "") for digest in digests(pictures)], dtype="<U5")
    return parts if parts.astype(bool).any() else None
