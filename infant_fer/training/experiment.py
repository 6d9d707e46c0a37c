"""One fine-tuning from data set to checkpoint folder: read, find faces, split, check, train, measure, save, read again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from infant_fer.errors import DatasetError
from infant_fer.training.answers import Answers, answers_of
from infant_fer.training.baselines import fitted
from infant_fer.training.bases import Base, load_base
from infant_fer.training.batches import Crops
from infant_fer.training.cross_validation import CrossValidation, cross_validated
from infant_fer.training.datasets import read_pictures
from infant_fer.training.hardware import machine
from infant_fer.training.leakage import leaks, refuse_leaks, without_leaks
from infant_fer.training.material import Material, found_material, targets
from infant_fer.training.metrics import Share
from infant_fer.training.processes import first_alone
from infant_fer.training.recipes import Settings
from infant_fer.training.rows import grey_crops
from infant_fer.training.splits import check_classes, folds, fraction, split
from infant_fer.training.trainer import fit

Log = Callable[[str], None]
FRACTIONS = (1 / 8, 1 / 4, 1 / 2)  # of the train pictures, for the curve over their number


@dataclass(frozen=True)
class Experiment:
    """What one run is asked for; everything but data, base and output has a default."""

    data: str
    base: str
    output: Path
    settings: Settings = field(default_factory=Settings)
    split: str = "subject"
    folds: int = 0  # of a cross-validation beside the split; its pooled answers go into the report
    repeats: int = 1
    average_folds: bool = False  # the checkpoint is the average of the folds, which never see the test part
    classes: tuple[str, ...] | None = None
    pictures: tuple[Path, ...] = ()  # where a table's pictures lie
    size: int | None = None  # px, for random weights
    teacher: str | None = None
    whole_pictures: bool = False  # use a picture in which no face was found, instead of leaving it out
    drop_leaks: bool = False  # train without pictures whose infant is held out
    allow_leakage: bool = False
    size_curve: bool = False  # train on parts of the train pictures too
    resume: bool = False
    seed: int = 0
    cache: Path = Path("data-cache")
    runs: Path = Path("runs")
    recipe: str = ""
    command: str = ""


@dataclass(frozen=True, eq=False)
class Result:
    """What a run gives: the trained base, the answers for dev and test, the pooled folds, and how it came about."""

    base: Base
    answers: dict[str, Answers]  # dev, test; cross-validation
    history: list[dict]
    provenance: dict
    baselines: dict[str, Answers]
    size_curve: dict[
        int, Share
    ]  # accuracy on the held-out part over the number of train pictures; empty unless asked for
    crops: dict[str, np.ndarray]  # (N, S, S, 3) uint8 of dev and test

    @property
    def measured(self) -> tuple[str, Answers]:
        """The held-out part that the report is about, and the answers for it: test where there is one, else dev."""
        part = "test" if "test" in self.answers else "dev"
        return part, self.answers[part]


def run(asked: Experiment, log: Log = print) -> Result:
    """Train and measure; nothing is written but the run's folder. Raises DatasetError and CheckpointError."""
    start = time.monotonic()
    pictures = read_pictures(asked.data, asked.classes, asked.pictures, asked.cache)
    for sentence in pictures.left_out:
        log(f"left out: {sentence}")
    base = _seeded_base(asked, pictures.labels)
    log(f"base: {base}")
    with first_alone():
        material = found_material(pictures, base.crop, asked.cache, asked.whole_pictures, log)
    parts = split(material.pictures, asked.split, asked.seed)
    parts = without_leaks(material.pictures, parts) if asked.drop_leaks else parts
    _check(material, parts, asked, log)
    seen = material.rows(np.isin(parts, ("train", "dev"))) if asked.average_folds else material
    drawn = list(folds(seen.pictures, asked.folds, asked.repeats, asked.seed)) if asked.folds else []
    history = [] if asked.average_folds else _fitted(base, material, parts, asked, asked.runs / asked.output.name)
    folded = _folded(asked, seen, drawn, log)
    base = folded.average if asked.average_folds else base
    held_out = {name: material.rows(parts == name) for name in ("dev", "test") if (parts == name).any()}
    answers = {name: _answers(base, rows) for name, rows in held_out.items()}
    if folded:
        answers["cross-validation"] = folded.answers
    train, measured = material.rows(parts == "train"), held_out.get("test", held_out.get("dev"))
    provenance = _provenance(asked, base, material, parts, (time.monotonic() - start) / 60)
    curve = _size_curve(asked, material, parts, measured, log) if asked.size_curve else {}
    if curve:
        curve[len(train.pictures)] = answers["test" if "test" in answers else "dev"].accuracy
    crops = {name: rows.crops for name, rows in held_out.items()}
    return Result(base, answers, history, provenance, _baselines(train, measured), curve, crops)


def compare(asked: Experiment, bases: Sequence[str], log: Log = print) -> tuple[Result, dict[str, float]]:
    """Train several bases alike; gives the one with the best dev accuracy, and every base's. Raises what `run` does."""
    results = {}
    for base in bases:
        log(f"--- {base}")
        name = f"{asked.output.name}-{base.replace('/', '-').replace(':', '-')}"
        results[base] = run(replace(asked, base=base, output=asked.output.with_name(name)), log)
        if "dev" not in results[base].answers:
            raise DatasetError(f"The split {asked.split!r} has no dev part to compare by. Use --split subject.")
    scores = {base: result.answers["dev"].accuracy.value for base, result in results.items()}
    return results[max(scores, key=scores.get)], scores


def _seeded_base(asked: Experiment, labels: tuple[str, ...]) -> Base:
    torch.manual_seed(asked.seed)  # new heads and random weights are drawn
    return load_base(asked.base, labels, asked.size)


def _check(material: Material, parts: np.ndarray, asked: Experiment, log: Log) -> None:
    for name in ("train", "dev", "test"):
        log(f"{name}: {material.pictures.rows(parts == name).counts()}")
    check_classes(material.pictures, parts)
    found = leaks(material.pictures, parts, grey_crops(material.crops))
    log(f"across the parts: {found}")
    refuse_leaks(found, asked.allow_leakage or asked.split in ("thesis", "holdout"))


def _fitted(base: Base, material: Material, parts: np.ndarray, asked: Experiment, folder: Path) -> list[dict]:
    """Train on one split; dev chooses the epoch. Without a dev part the train part takes its place: nothing held out may."""
    train, dev = (material.rows(parts == name) for name in ("train", "dev"))
    dev = dev if len(dev.pictures) else train
    target = targets(train, asked.settings.soft_labels, asked.teacher, asked.cache)
    crops = Crops(train.crops, target), Crops(dev.crops, dev.pictures.target)
    return fit(base, *crops, asked.settings, folder, asked.seed, asked.resume)


def _folded(asked: Experiment, material: Material, drawn: list[np.ndarray], log: Log) -> CrossValidation | None:
    def fitted_base(number: int, parts: np.ndarray) -> Base:
        check_classes(material.pictures, parts)
        base = _seeded_base(asked, material.pictures.labels)
        _fitted(base, material, parts, asked, asked.runs / asked.output.name / f"fold-{number}")
        return base

    return cross_validated(material, drawn, fitted_base, _answers, log, asked.average_folds) if drawn else None


def _size_curve(
    asked: Experiment, material: Material, parts: np.ndarray, measured: Material, log: Log
) -> dict[int, Share]:
    curve = {}
    for share in FRACTIONS:
        fewer = fraction(material.pictures, parts, share, asked.seed)
        count = int((fewer == "train").sum())
        log(f"{count} train pictures")
        base = _seeded_base(asked, material.pictures.labels)
        _fitted(base, material, fewer, asked, asked.runs / asked.output.name / f"train-{count}")
        curve[count] = _answers(base, measured).accuracy
    return curve


def _answers(base: Base, rows: Material) -> Answers:
    return answers_of(base.model, base.processor, rows.pictures, rows.crops, rows.geometry, rows.found)


def _baselines(train: Material, measured: Material) -> dict[str, Answers]:
    """What the model must beat, on the same pictures. Needs a face in some train picture."""
    if not train.found.any():
        return {}
    answers = fitted(train.geometry[train.found], train.pictures.truth[train.found], measured.geometry, measured.found)
    rows = measured.pictures
    return {
        name: Answers(rows.labels, probabilities, rows.truth, rows.members, rows.subgroups)
        for name, probabilities in answers.items()
    }


def _provenance(asked: Experiment, base: Base, material: Material, parts: np.ndarray, minutes: float) -> dict:
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
        "seed": asked.seed,
        "settings": asdict(asked.settings),
        "crop": asdict(base.crop),
        "minutes": round(minutes, 1),
        "torch": torch.__version__,
        "machine": machine(),
    }
