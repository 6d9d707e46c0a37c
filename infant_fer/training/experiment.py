"""One fine-tuning from data set to checkpoint folder: read, find faces, split, check, train, measure, save, read again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from infant_fer.data.aligned_dataset import AlignedDataset, aligned_dataset, targets
from infant_fer.data.datasets import read_labeled_images
from infant_fer.data.labeled_images import LabeledImages
from infant_fer.data.leakage import Leaks, leaks, refuse_leaks, without_leaks
from infant_fer.data.splits import check_classes, folds, fraction, split
from infant_fer.errors import DatasetError
from infant_fer.evaluation.baselines import baseline_probabilities
from infant_fer.evaluation.predictions import Predictions, RepeatedPredictions, predict
from infant_fer.metrics import Proportion
from infant_fer.models.ensemble import MOST_MEMBERS
from infant_fer.models.luminance import luminance_crops
from infant_fer.training.batches import Crops
from infant_fer.training.config import TrainingConfig
from infant_fer.training.cross_validation import CrossValidation, cross_validate
from infant_fer.training.pretrained import PretrainedModel, load_pretrained
from infant_fer.training.provenance import begin, provenance
from infant_fer.training.runtime import is_main_process, main_process_first
from infant_fer.training.trainer import fit

Log = Callable[[str], None]
FRACTIONS = (1 / 8, 1 / 4, 1 / 2)  # of the train pictures, for the curve over their number


@dataclass(frozen=True)
class ExperimentConfig:
    """What one run is asked for; everything but data, base and output has a default."""

    data: str
    base: str
    output: Path
    settings: TrainingConfig = field(default_factory=TrainingConfig)
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

    @property
    def folder(self) -> Path:
        """Where the run keeps its steps."""
        return self.runs / self.output.name


@dataclass(frozen=True, eq=False)
class ExperimentResult:
    """What a run gives: the trained base, the answers for dev and test, the pooled folds, and how it came about."""

    base: PretrainedModel
    answers: dict[str, Predictions]  # dev, test
    cross_validation: RepeatedPredictions | None
    history: list[dict]
    provenance: dict
    baselines: dict[str, Predictions]
    # Accuracy on the held-out part over the number of train pictures; empty unless asked for.
    size_curve: dict[int, Proportion]
    crops: dict[str, np.ndarray]  # (N, S, S, 3) uint8 of dev and test
    pictures: LabeledImages  # all that were used
    parts: np.ndarray  # (N,) str: their parts; what averaged folds call dev is train

    @property
    def measured(self) -> tuple[str, Predictions]:
        """The held-out part that the report is about, and the answers for it: test where there is one, else dev."""
        part = "test" if "test" in self.answers else "dev"
        return part, self.answers[part]

    @property
    def further(self) -> dict[str, Predictions | RepeatedPredictions]:
        """Return the predictions for other images than those of `measured`."""
        others = {name: answers for name, answers in self.answers.items() if name != self.measured[0]}
        return others | ({"cross-validation": self.cross_validation} if self.cross_validation else {})


def run(asked: ExperimentConfig, log: Log = print) -> ExperimentResult:
    """Train and measure; nothing is written but the run's folder. Raises DatasetError and CheckpointError."""
    start = time.monotonic()
    pictures = read_labeled_images(asked.data, asked.classes, asked.pictures, asked.cache)
    for sentence in pictures.left_out:
        log(f"left out: {sentence}")
    base = _seeded_base(asked, pictures.labels)
    log(f"base: {base}")
    with main_process_first():
        material = aligned_dataset(pictures, base.crop, asked.cache, asked.whole_pictures, log)
    parts, across = _parted(material, asked, log)
    seen = material.rows(np.isin(parts, ("train", "dev"))) if asked.average_folds else material
    drawn = _drawn_folds(seen.pictures, asked)
    fewer = [fraction(material.pictures, parts, share, asked.seed) for share in FRACTIONS if asked.size_curve]
    told = provenance(asked, base, material, parts, across)
    with main_process_first():  # the others must not write before the folder is empty
        if is_main_process():
            begin(asked.folder, told, asked.resume)
    history = [] if asked.average_folds else _fitted(base, material, parts, asked, asked.folder)
    folded = _folded(asked, seen, drawn, log)
    base = folded.average if asked.average_folds else base
    names = ("test",) if asked.average_folds else ("dev", "test")  # the folds were trained on dev
    held_out = {name: material.rows(parts == name) for name in names if (parts == name).any()}
    answers = {name: _answers(base, rows) for name, rows in held_out.items()}
    train, measured = material.rows(parts == "train"), held_out.get("test", held_out.get("dev"))
    told["minutes"] = round((time.monotonic() - start) / 60, 1)
    curve = _size_curve(asked, material, fewer, measured, log)
    if curve:
        curve[len(train.pictures)] = answers["test" if "test" in answers else "dev"].accuracy
    crops = {name: rows.crops for name, rows in held_out.items()}
    baselines = _baselines(train, measured)
    parts = np.where((parts == "dev") & asked.average_folds, "train", parts)
    repeated = folded and folded.predictions
    return ExperimentResult(base, answers, repeated, history, told, baselines, curve, crops, material.pictures, parts)


def compare(
    asked: ExperimentConfig, bases: Sequence[str], log: Log = print
) -> tuple[ExperimentResult, dict[str, float]]:
    """Train several bases alike; gives the one with the best dev accuracy, and every base's. Raises what `run` does.

    Averaged folds have seen the dev part; they are compared by the cross-validation.
    """
    results = {}
    for base in bases:
        log(f"--- {base}")
        name = f"{asked.output.name}-{base.replace('/', '-').replace(':', '-')}"
        results[base] = run(replace(asked, base=base, output=asked.output.with_name(name)), log)
        if not asked.average_folds and "dev" not in results[base].answers:
            raise DatasetError(f"The split {asked.split!r} has no dev part to compare by. Use --split subject.")
    scores = {
        base: (result.cross_validation if asked.average_folds else result.answers["dev"]).accuracy.value
        for base, result in results.items()
    }
    return results[max(scores, key=scores.get)], scores


def _seeded_base(asked: ExperimentConfig, labels: tuple[str, ...]) -> PretrainedModel:
    torch.manual_seed(asked.seed)  # new heads and random weights are drawn
    return load_pretrained(asked.base, labels, asked.size)


def _parted(material: AlignedDataset, asked: ExperimentConfig, log: Log) -> tuple[np.ndarray, Leaks]:
    """(N,) str: the checked parts of the split, and what lies across them all the same."""
    parts = split(material.pictures, asked.split, asked.seed)
    parts = without_leaks(material.pictures, parts) if asked.drop_leaks else parts
    for name in ("train", "dev", "test"):
        log(f"{name}: {material.pictures.rows(parts == name).counts()}")
    check_classes(material.pictures, parts)
    if asked.average_folds and not (parts == "test").any():
        raise DatasetError(
            f"The split {asked.split!r} has no test part, and averaged folds have seen the rest. Use --split subject."
        )
    found = leaks(material.pictures, parts, luminance_crops(material.crops))
    log(f"across the parts: {found}")
    refuse_leaks(found, asked.allow_leakage or asked.split in ("thesis", "holdout"))
    return parts, found


def _drawn_folds(pictures: LabeledImages, asked: ExperimentConfig) -> list[np.ndarray]:
    """The splits of the cross-validation; what is wrong with them is told before anything is trained."""
    if asked.average_folds and asked.folds * asked.repeats > MOST_MEMBERS:
        raise DatasetError(
            f"{asked.folds} folds {asked.repeats} times are more than the {MOST_MEMBERS} models that can be averaged."
        )
    drawn = list(folds(pictures, asked.folds, asked.repeats, asked.seed)) if asked.folds else []
    for parts in drawn:
        check_classes(pictures, parts)
    return drawn


def _fitted(
    base: PretrainedModel, material: AlignedDataset, parts: np.ndarray, asked: ExperimentConfig, folder: Path
) -> list[dict]:
    """Train on one split; dev chooses the epoch. Without a dev part the train part takes its place: nothing held out may."""
    train, dev = (material.rows(parts == name) for name in ("train", "dev"))
    dev = dev if len(dev.pictures) else train
    target = targets(train, asked.settings.soft_labels, asked.teacher, asked.cache)
    crops = Crops(train.crops, target), Crops(dev.crops, dev.pictures.target)
    return fit(base, *crops, asked.settings, folder, asked.seed, asked.resume)


def _folded(
    asked: ExperimentConfig, material: AlignedDataset, drawn: list[np.ndarray], log: Log
) -> CrossValidation | None:
    def fitted_base(number: int, parts: np.ndarray) -> PretrainedModel:
        base = _seeded_base(asked, material.pictures.labels)
        _fitted(base, material, parts, asked, asked.folder / f"fold-{number}")
        return base

    def held_out_predictions(base: PretrainedModel, held_out: np.ndarray) -> Predictions:
        return _answers(base, material.rows(held_out))

    if not drawn:
        return None
    return cross_validate(material.pictures, drawn, fitted_base, held_out_predictions, log, asked.average_folds)


def _size_curve(
    asked: ExperimentConfig, material: AlignedDataset, fewer: list[np.ndarray], measured: AlignedDataset, log: Log
) -> dict[int, Proportion]:
    curve = {}
    for parts in fewer:
        count = int((parts == "train").sum())
        log(f"{count} train pictures")
        base = _seeded_base(asked, material.pictures.labels)
        _fitted(base, material, parts, asked, asked.folder / f"train-{count}")
        curve[count] = _answers(base, measured).accuracy
    return curve


def _answers(base: PretrainedModel, rows: AlignedDataset) -> Predictions:
    return predict(base.model, base.processor, rows.pictures, rows.crops, rows.geometry, rows.found)


def _baselines(train: AlignedDataset, measured: AlignedDataset) -> dict[str, Predictions]:
    """What the model must beat, on the same pictures. Needs a face of every class in the train pictures."""
    rows = measured.pictures
    seen = train.geometry[train.found], train.pictures.truth[train.found]
    answers = baseline_probabilities(*seen, len(rows.labels), measured.geometry, measured.found)
    return {name: Predictions.of(rows, probabilities) for name, probabilities in answers.items()}
