"""How is a model trained? Settings and recipes; each recipe is a TOML file: command, expected time and score, settings."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from math import inf
from pathlib import Path
from typing import Any

from infant_fer.errors import DatasetError
from infant_fer.labels import canonical_label
from infant_fer.training.batches import AUGMENTATIONS, MIXINGS

RECIPES = Path(__file__).parent / "recipes"
INFANT_FACE = "infant_face"  # trains several heads and two streams at once, see training/infant_face
RECIPE_ALIASES = {"ours": INFANT_FACE}  # the recipe's earlier name
CHOICES = {
    "schedule": ("linear", "cosine", "constant"),
    "sampler": ("plain", "weighted", "undersampled"),
    "augmentation": ("none", *AUGMENTATIONS),
    "mixing": ("", *MIXINGS),
    "colour": ("", "jitter", "grey", "both"),
    "keep": ("best", "last"),
    "precision": ("auto", "float32", "bfloat16"),
}


@dataclass(frozen=True)
class Range:
    """The values that a number may have; infinity and NaN are in no range."""

    low: float
    high: float = inf
    with_low: bool = True
    with_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value >= self.low if self.with_low else value > self.low
        return above and (value <= self.high if self.with_high else value < self.high)

    def __str__(self) -> str:
        low = f"{'at least' if self.with_low else 'above'} {self.low:g}"
        return low if self.high == inf else f"{low} and {'at most' if self.with_high else 'below'} {self.high:g}"


RANGES = {
    **dict.fromkeys(("epochs", "batch", "accumulation"), Range(1)),
    **dict.fromkeys(("head_epochs", "early_stopping", "weight_decay"), Range(0)),
    "learning_rate": Range(0, with_low=False),
    "layer_decay": Range(0, 1, with_low=False, with_high=True),
    **dict.fromkeys(("warmup", "label_smoothing", "ema"), Range(0, 1)),
}
# What --set and --vary change of the architecture of a base with random weights, beside the settings.
ARCHITECTURES: dict[str, dict[str, tuple[type, Range]]] = {
    "random:part-tokens": {
        "filters": (int, Range(0, 256, with_high=True)),
        "enlarged": (float, Range(0, 4, with_low=False, with_high=True)),
    }
}
BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}  # of --set
AUXILIARY_TASKS = ("none", "action-units")  # what --aux takes
BALANCES = {  # what --balance sets
    "none": {"sampler": "plain", "class_weights": False},
    "weighted": {"sampler": "weighted", "class_weights": False},
    "undersampled": {"sampler": "undersampled", "class_weights": False},
    "loss": {"sampler": "plain", "class_weights": True},
}

FILLED_WITH = {"synthetic": "rendered", "warped": "warped"}  # fields of ExperimentConfig, by what --balance says


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one fine-tuning, saved with the run; the defaults suit a small data set."""

    epochs: int = 5
    # Of a first step that trains the head alone, at ten times the rate. The running statistics of batch normalization below it
    # adapt to the pictures in that step, too.
    head_epochs: int = 0
    batch: int = 32  # pictures a step and process, before accumulation
    accumulation: int = 1  # steps whose gradients are summed
    auto_batch: bool = False  # reduce the batch by a tenth until it fits into memory
    learning_rate: float = 5e-5
    schedule: str = "linear"
    warmup: float = 0.1  # fraction of the steps
    weight_decay: float = 0.01
    layer_decay: float = 1.0  # factor on the rate from one layer to the next below (BEiT, Bao et al. 2022)
    label_smoothing: float = 0.0
    soft_labels: bool = True  # votes as targets, where the data has them
    class_weights: bool = False  # rarer classes count more in the loss
    sampler: str = "plain"  # --balance weighted: classes drawn alike; undersampled: as many of each as of the rarest
    augmentation: str = "none"
    mixing: str = ""  # of each batch's pictures; all: by cutout, mixup, cutmix or fmix, drawn for each batch
    colour: str = (
        ""  # of training pictures: jitter changes saturation and hue, grey removes colour, both from one in two
    )
    keep: str = "best"  # the epoch with the best dev accuracy, or the last, as the thesis did
    ema: float = 0.0  # decay of the averaged weights; 0 is off
    early_stopping: int = 0  # epochs without a better dev score; 0 is off
    precision: str = "auto"  # bfloat16 where the processor has it


@dataclass(frozen=True)
class DataConfig:
    """Which pictures are used, and how they are split."""

    source: str  # folder, archive, table or Hub id
    classes: tuple[str, ...] | None = None
    pictures: tuple[Path, ...] = ()  # where the pictures of a table are
    split: str = "subject"
    crops: str = "aligned"  # faces as the app aligns them, or the "whole" picture, resized
    whole_pictures: bool = False  # use a picture in which no face was found, instead of leaving it out
    drop_leaks: bool = False  # train without pictures whose infant is held out
    allow_leakage: bool = False
    cache: Path = Path("data-cache")


@dataclass(frozen=True)
class FoldsConfig:
    """The cross-validation beside the split; `count` 0 is none."""

    count: int = 0
    repeats: int = 1
    average: bool = False  # the checkpoint is the average of the folds, which never see the test split


@dataclass(frozen=True)
class ExperimentConfig:
    """One run of `experiment.run`; everything but data, base and output has a default."""

    data: DataConfig
    base: str
    output: Path
    settings: TrainingConfig = field(default_factory=TrainingConfig)
    folds: FoldsConfig = field(default_factory=FoldsConfig)
    architecture: tuple[tuple[str, float], ...] = ()  # what ARCHITECTURES lets a command line change of the base
    size: int | None = None  # side of the crops in px, for random weights
    teacher: str | None = None  # checkpoint whose probabilities become half of each target
    rendered: str = ""  # a class whose train pictures renders bring to the median of the other classes
    warped: str = ""  # such a class, filled with other train faces that the mesh has warped towards it
    aux: str = ""  # a second task that is learned beside the classes: "action-units"
    size_curve: bool = False  # also train on fractions of the train pictures
    watch: tuple[Path, ...] = ()  # pictures whose maps are drawn after every epoch
    resume: bool = False
    seed: int = 0
    split_seed: int | None = None  # draws split and folds where variants have seeds of their own; None: `seed` does
    runs: Path = Path("runs")
    recipe: str = ""
    command: str = ""

    @property
    def seed_of_split(self) -> int:
        """What draws the split, the folds and the fractions of a size curve."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def run_folder(self) -> Path:
        """Where the run keeps its steps."""
        return run_folder(self.runs, self.output)


@dataclass(frozen=True)
class Recipe:
    """A named way of training, with what to expect of it."""

    name: str
    command: str
    expected_time: str
    expected_score: str
    base: str
    split: str
    settings: TrainingConfig
    crops: str = "aligned"
    size: int | None = None  # of the crops in px, for random weights
    folds: int = 0
    average_folds: bool = False


def run_folder(runs: Path, output: Path) -> Path:
    """Return the folder for the steps of a run, one for each absolute output."""
    return runs / f"{output.name}-{hashlib.sha256(str(output.resolve()).encode('utf-8', 'replace')).hexdigest()[:8]}"


def recipe_names() -> tuple[str, ...]:
    """Return the names of all recipes."""
    return tuple(sorted(file.stem for file in RECIPES.glob("*.toml")))


def read_recipe(name: str) -> Recipe:
    """Read a recipe by its name. Raises DatasetError for settings it cannot have."""
    table = tomllib.loads((RECIPES / f"{name}.toml").read_text("utf-8"))
    return Recipe(name=name, **{**table, "settings": validated(TrainingConfig(**table["settings"]))})


def with_changes(settings: TrainingConfig, changes: Sequence[str]) -> TrainingConfig:
    """Return settings with "name=value" changes. Raises DatasetError naming the change that does not fit."""
    types = {each.name: type(getattr(settings, each.name)) for each in fields(TrainingConfig)}
    for change in changes:
        name, equals, text = change.partition("=")
        if name not in types or not equals:
            raise DatasetError(f"{change!r} is no setting; write NAME=VALUE with one of {', '.join(types)}.")
        settings = replace(settings, **{name: _value(name, types[name], text)})
    return validated(settings)


def changed(config: ExperimentConfig, changes: Sequence[str]) -> ExperimentConfig:
    """Return the config with "name=value" changes of its settings and of its base's architecture. Raises DatasetError."""
    own, architecture, others = ARCHITECTURES.get(config.base, {}), dict(config.architecture), []
    for change in changes:
        name, equals, text = change.partition("=")
        if name not in own or not equals:
            others.append(change)
            continue
        kind, values = own[name]
        architecture[name] = _value(name, kind, text)
        if architecture[name] not in values:
            raise DatasetError(f"{name} must be {values}; {architecture[name]} was given.")
    for name in (change.partition("=")[0] for change in others):
        _check_architecture(config.base, name)
    settings = with_changes(config.settings, others)
    return replace(config, settings=settings, architecture=tuple(architecture.items()))


def _check_architecture(base: str, name: str) -> None:
    """Raise DatasetError for a name of ARCHITECTURES that another base has."""
    bases = [each for each, names in ARCHITECTURES.items() if name in names]
    if bases and base not in bases:
        raise DatasetError(f"{name} is a setting of --base {' or '.join(bases)}; the base is {base}.")


def _value(name: str, kind: type, text: str) -> Any:
    """Return the value of a setting that a command line gives; "none" empties what can be empty. Raises DatasetError."""
    if text == "none" and "" in CHOICES.get(name, ()):
        return ""
    try:
        return BOOLEANS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise DatasetError(f"{name} must be a {kind.__name__}; {text!r} was given.") from None


def balanced(config: ExperimentConfig, how: str) -> ExperimentConfig:
    """Return the config with classes balanced as BALANCES says, or by FILLED_WITH, such as synthetic:CLASS. Raises DatasetError.

    An earlier filling of a class is gone.
    """
    config = replace(config, **dict.fromkeys(FILLED_WITH.values(), ""))  # type: ignore[arg-type]
    kind, _, label = how.partition(":")
    if kind in FILLED_WITH and label:
        return consistent(replace(config, **{FILLED_WITH[kind]: canonical_label(label)}))  # type: ignore[arg-type]
    if how not in BALANCES:
        filled = " and ".join(f"{kind}:CLASS" for kind in FILLED_WITH)
        raise DatasetError(f"There is no balance {how!r}; there are {', '.join(BALANCES)}, {filled}.")
    return consistent(replace(config, settings=replace(config.settings, **BALANCES[how])))  # type: ignore[arg-type]


def with_auxiliary(config: ExperimentConfig, task: str) -> ExperimentConfig:
    """Return the config with a second task of AUXILIARY_TASKS, or none. Raises DatasetError."""
    if task not in AUXILIARY_TASKS:
        raise DatasetError(f"There is no second task {task!r}; there are {', '.join(AUXILIARY_TASKS)}.")
    return consistent(replace(config, aux="" if task == "none" else task))


def consistent(config: ExperimentConfig) -> ExperimentConfig:
    """Return the config unchanged. Raises DatasetError when its parts exclude each other."""
    settings, folds = config.settings, config.folds
    for name, _ in config.architecture:
        _check_architecture(config.base, name)
    if folds.count < 0 or folds.count == 1 or folds.repeats < 1:
        raise DatasetError("--folds needs at least 2 folds, and --repeats at least 1.")
    if folds.repeats > 1 and not folds.count:
        raise DatasetError("--repeats is of the cross-validation: add --folds.")
    for kind, field_name in FILLED_WITH.items():
        if getattr(config, field_name) and (folds.count or config.data.crops == "whole"):
            raise DatasetError(
                f"--balance {kind} adds aligned faces to train alone: add --crops aligned and --folds 0."
            )
    if config.aux and (settings.mixing or settings.sampler != "plain" or folds.count or config.size_curve):
        raise DatasetError(
            "--aux adds renders without a class to train: add --set mixing=none sampler=plain and --folds 0, and leave out "
            "--size-curve."
        )
    if config.aux and config.data.crops == "whole":
        raise DatasetError("--aux measures the action units of the faces that are found: add --crops aligned.")
    if config.size_curve and folds.average:
        raise DatasetError(
            "--size-curve compares single networks, and averaged folds are several: leave out --size-curve or the folds (--folds 0)."
        )
    return config


def validated(settings: TrainingConfig) -> TrainingConfig:
    """Return the settings unchanged. Raises DatasetError for a value out of CHOICES or RANGES, and for a contradiction."""
    for name, choices in CHOICES.items():
        if getattr(settings, name) not in choices:
            raise DatasetError(f"{name} is {getattr(settings, name)!r}; it can be {', '.join(map(repr, choices))}.")
    for name, values in RANGES.items():
        if getattr(settings, name) not in values:
            raise DatasetError(f"{name} must be {values}; {getattr(settings, name)} was given.")
    if settings.keep == "last" and settings.early_stopping:
        raise DatasetError("keep=last keeps the last of all epochs; it excludes early_stopping. Set early_stopping=0.")
    return settings
