"""How is a model trained? Each recipe is a TOML file beside this one: command, expected time and score, settings."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path

from infant_fer.errors import DatasetError
from infant_fer.training.mixing import MIXINGS

FOLDER = Path(__file__).parent / "recipes"
INFANT_FACE = (
    "infant_face"  # several heads and two streams at once: its settings and its road are those of training/infant_face
)
CHOICES = {
    "schedule": ("linear", "cosine", "constant"),
    "sampler": ("plain", "weighted", "undersampled"),
    "augmentation": ("none", "light", "strong"),
    "mixing": ("", *MIXINGS),
    "precision": ("auto", "float32", "bfloat16"),
}


@dataclass(frozen=True)
class TrainingConfig:
    """What a fine-tuning does, saved with the run. The defaults are those of a careful small fine-tuning."""

    epochs: int = 5
    head_epochs: int = 0  # of a first step that trains the head alone, at ten times the rate
    batch: int = 32  # pictures a step and process, before accumulation
    accumulation: int = 1  # steps whose gradients are summed
    auto_batch: bool = False  # halve the batch until it fits into memory
    learning_rate: float = 5e-5
    schedule: str = "linear"
    warmup: float = 0.1  # share of the steps
    weight_decay: float = 0.01
    layer_decay: float = 1.0  # each layer below another learns at this share of its rate (BEiT, Bao et al. 2022)
    label_smoothing: float = 0.0
    soft_labels: bool = True  # votes as targets, where the data has them
    class_weights: bool = False  # rarer classes count more in the loss
    sampler: str = "plain"  # weighted: classes drawn alike; undersampled: as many of each as of the rarest
    augmentation: str = "none"
    mixing: str = ""
    ema: float = 0.0  # decay of the averaged weights; 0 is off
    early_stopping: int = 0  # epochs without a better dev score; 0 is off
    precision: str = "auto"  # bfloat16 where the processor has it


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
    folds: int = 0
    average_folds: bool = False


def recipe_names() -> tuple[str, ...]:
    """The names of all recipes."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.toml")))


def read_recipe(name: str) -> Recipe:
    """Read a recipe by its name. Raises DatasetError for settings it cannot have."""
    told = tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))
    return Recipe(name=name, **{**told, "settings": checked(TrainingConfig(**told["settings"]))})


def changed(settings: TrainingConfig, changes: list[str]) -> TrainingConfig:
    """Apply "name=value" words to settings. Raises DatasetError naming the word that does not fit."""
    types = {field.name: type(getattr(settings, field.name)) for field in fields(TrainingConfig)}
    for change in changes:
        name, equals, value = change.partition("=")
        if name not in types or not equals:
            raise DatasetError(f"{change!r} is no setting; write NAME=VALUE with one of {', '.join(types)}.")
        try:
            read = value.lower() in ("1", "true", "yes") if types[name] is bool else types[name](value)
        except ValueError:
            raise DatasetError(f"{name} must be a {types[name].__name__}; {value!r} was given.") from None
        settings = replace(settings, **{name: read})
    return checked(settings)


def checked(settings: TrainingConfig) -> TrainingConfig:
    """The settings, if they make sense. Raises DatasetError."""
    for name, choices in CHOICES.items():
        if getattr(settings, name) not in choices:
            raise DatasetError(f"{name} is {getattr(settings, name)!r}; it can be {', '.join(map(repr, choices))}.")
    for name in ("epochs", "batch", "accumulation"):
        if getattr(settings, name) < 1:
            raise DatasetError(f"{name} must be at least 1; {getattr(settings, name)} was given.")
    return settings
