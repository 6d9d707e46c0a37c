"""Train several variants alike, bases or values of one setting, and compare them on dev, or by their averaged folds; the best is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from infant_fer.checkpoints.sources import face_bundle
from infant_fer.classifier import AffectClassifier
from infant_fer.errors import DatasetError
from infant_fer.evaluation.mean_maps import MeanMap, mean_maps
from infant_fer.evaluation.predictions import Predictions, RepeatedAccuracy, RepeatedPredictions, unique_name
from infant_fer.evaluation.scores import figures
from infant_fer.face_detection import FaceDetector
from infant_fer.labels import affect_of
from infant_fer.metrics import Proportion
from infant_fer.training.checks import check
from infant_fer.training.config import (
    ARCHITECTURES,
    ExperimentConfig,
    TrainingConfig,
    balanced,
    changed,
    consistent,
    with_auxiliary,
)
from infant_fer.training.experiment import ExperimentResult, run
from infant_fer.training.pretrained import RANDOM
from infant_fer.training.provenance import publishable
from infant_fer.trust.store import known

# The single figures of the table, and their names in `scores.figures`; macro recall is balanced accuracy.
COLUMNS = {
    "loss": "negative log-likelihood",
    "macro precision": "macro precision",
    "macro recall": "balanced accuracy",
    "macro F1": "macro F1",
}
HEAD = ("", "split", "accuracy with 95 % interval", *COLUMNS, "minutes")
VARIED = ("base", "size", "seed", "teacher", "crops", "balance", "aux")  # what --vary takes beside the settings


@dataclass(frozen=True)
class Candidate:
    """What one variant reached on the rows by which the variants are compared."""

    name: str
    split: str  # "dev", or "cross-validation" where averaged folds have seen dev
    accuracy: Proportion | RepeatedAccuracy
    figures: dict[str, float]  # by COLUMNS; of a cross-validation the mean over its repeats
    minutes: float
    pictures: frozenset[str] = frozenset()  # their members
    histories: Sequence[list[dict]] = ()  # of its training, or of the folds that were averaged, for the curves
    maps: Sequence[MeanMap] = ()  # of its model, over the faces of ExperimentResult.measured

    @property
    def how(self) -> str:
        """Return by which rows it was compared, in words."""
        return f"{'on' if self.split == 'dev' else 'in'} {self.split}"

    @property
    def row(self) -> tuple:
        """Return the cells under HEAD."""
        return (self.name, self.split, self.accuracy, *self.figures.values(), self.minutes)

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        return {"split": self.split, "accuracy": self.accuracy.to_dict(), **self.figures, "minutes": self.minutes}

    @classmethod
    def of(cls, name: str, result: ExperimentResult) -> Candidate:
        """Return a result's figures on dev, or on its cross-validation where the folds were averaged."""
        split = "dev" if "dev" in result.predictions else "cross-validation"
        measured: Predictions | RepeatedPredictions | None = result.predictions.get("dev", result.cross_validation)
        if measured is None:
            raise DatasetError(f"{name} has no dev rows to compare by. Use --split subject.")
        repeats = measured.repeats if isinstance(measured, RepeatedPredictions) else (measured,)
        all_figures = [figures(each) for each in repeats]
        means = {title: float(np.mean([each[key] for each in all_figures])) for title, key in COLUMNS.items()}
        minutes = known(result.provenance.minutes)
        pictures = frozenset(repeats[0].members)
        return cls(name, split, measured.accuracy, means, minutes, pictures, result.histories, maps_of(result))


def different_pictures(candidates: Sequence[Candidate]) -> str:
    """Return a sentence for variants that were not compared on the same pictures; empty where they were."""
    pictures = [each.pictures for each in candidates]
    if len(set(pictures)) < 2:
        return ""
    counts = ", ".join(f"{each.name} on {len(each.pictures)}" for each in candidates)
    return (
        f"The variants were not compared on the same pictures ({counts}; {len(frozenset.intersection(*pictures))} are in all): "
        "part of a difference between them is one of the pictures."
    )


def maps_of(result: ExperimentResult) -> Sequence[MeanMap]:
    """Return the mean map of each affect over faces of `result.measured`; of variants with one split these are the same faces.

    They are computed on the model's own device, unless `result.maps` has them.
    """
    if result.maps is not None:
        return result.maps
    split, measured = result.measured
    affects = np.array([affect_of(label) for label in measured.labels])
    device = str(next(result.base.model.parameters()).device)
    classifier = AffectClassifier(result.base.model, result.base.processor, result.base.name, device=device)
    return mean_maps(classifier, FaceDetector(face_bundle()), result.held_out[split].crops, affects[measured.truth])


def variants(config: ExperimentConfig, bases: Sequence[str], vary: str | None) -> dict[str, ExperimentConfig]:
    """Return the named configurations of `--compare BASE...` or `--vary NAME=A,B,C`. Raises DatasetError.

    Each has a run folder of its own. Those of several seeds have the split and the folds of the config's own seed. For a
    setting that can be empty, such as mixing, "none" is the empty one.
    """
    name, equals, text = ("base", "", "") if bases else (vary or "").partition("=")
    values = list(bases) or [value.strip() for value in text.split(",") if value.strip()]
    if not bases and (not equals or len(values) < 2):
        raise DatasetError(f"{vary!r} names no variants; write NAME=A,B,C with at least two values.")
    found: dict[str, ExperimentConfig] = {}
    for value in values:
        shown = unique_name(f"{name}{equals}{publishable(value)}" if equals else publishable(value), found)
        output = config.output.with_name(f"{config.output.name}-{re.sub(r'[^A-Za-z0-9._=]+', '-', shown)}")
        found[shown] = consistent(replace(_changed(config, name, value), output=output))
    return found


def compare(
    chosen: dict[str, ExperimentConfig], log: Callable[[str], None] = print
) -> tuple[ExperimentResult, list[Candidate]]:
    """Train every variant; return the result with the best accuracy, and all candidates. Raises what `run` does.

    What each variant starts from is checked before the first is trained.
    The accuracy is that on dev, or of the cross-validation where averaged folds have seen dev.
    """
    check(chosen.values())
    results, candidates = [], []
    for name, config in chosen.items():
        log(f"--- {name}")
        results.append(run(config, log))
        candidates.append(Candidate.of(name, results[-1]))
    if caution := different_pictures(candidates):
        log(caution)
    best = max(range(len(candidates)), key=lambda index: candidates[index].accuracy.value)
    return replace(results[best], candidates=candidates, maps=candidates[best].maps), candidates


def _changed(config: ExperimentConfig, name: str, value: str) -> ExperimentConfig:
    if name == "balance":
        return balanced(config, value)
    if name == "aux":
        return with_auxiliary(config, value)
    if name == "crops":
        if value not in ("aligned", "whole"):
            raise DatasetError(f"crops can be aligned or whole; {value!r} was given.")
        return replace(config, data=replace(config.data, crops=value))
    if name == "base":
        return replace(config, base=value)
    if name == "teacher":
        return replace(config, teacher=value)
    if name in ("size", "seed"):
        if not value.isdigit():
            raise DatasetError(f"{name} must be a whole number; {value!r} was given.")
        if name == "size" and not config.base.startswith(RANDOM):
            raise DatasetError(f"The size varies with --base random:NAME alone; {config.base} keeps that of its crops.")
        if name == "size":
            return replace(config, size=int(value))
        return replace(config, seed=int(value), split_seed=config.seed_of_split)
    if name not in {each.name for each in fields(TrainingConfig)}.union(*ARCHITECTURES.values()):
        raise DatasetError(f"--vary cannot change {name!r}; it can change {', '.join(VARIED)} or a setting of --set.")
    return changed(config, [f"{name}={value}"])
