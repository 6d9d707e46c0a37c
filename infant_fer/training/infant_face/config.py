"""What do the networks of the embedded checkpoint learn, and in what order? Settings of the recipe infant_face."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from infant_fer.training.config import INFANT_FACE, RECIPES


@dataclass(frozen=True)
class PretrainingConfig:
    """One round of pretraining on FER2013, saved with the run."""

    # (epochs, side of the crops in px): small crops first, as an epoch of them takes less than half the time.
    stages: tuple[tuple[int, int], ...] = ((24, 64), (8, 96))
    mild: float = 0.0  # fraction of each batch that is augmented weakly, the rest strongly
    batch: int = 128
    learning_rate: float = 4e-3  # OneCycle's peak
    weight_decay: float = 0.05  # on matrices only
    label_smoothing: float = 0.1  # FER2013's labels are about 65 % agreed
    ema: float = 0.998
    warmup: float = 0.2


@dataclass(frozen=True)
class FinetuningConfig:
    """The fine-tuning on infants, saved with the run."""

    epochs: int = 10  # of the infants' rows; half a minute each on two cores
    infants: int = 80  # pictures of each kind in a batch
    older: int = 16  # for the age and usable heads
    emotions: int = 64  # of FER2013, so that the seven emotions are not forgotten
    learning_rate: float = 1e-3  # the peak, then down along a cosine
    mild: float = 0.0  # fraction of each batch that is augmented weakly, the rest strongly
    weight_decay: float = 0.05
    ema: float = 0.99
    warmup: float = 0.1
    valence_weight: float = 0.5
    emotion_weight: float = 0.5
    other_weight: float = 0.3  # age, usable, eyes closed, mouth covered
    rare_weight: float = 3.0  # how much more often infants' rows are drawn that are unusable or have the mouth covered


@dataclass(frozen=True)
class GeometryConfig:
    """The training of the geometry stream, seconds on one core; saved with the run."""

    epochs: int = 30
    batch: int = 128
    learning_rate: float = 2e-3  # OneCycle's peak
    weight_decay: float = 0.3
    noise: float = 0.15  # in standard deviations of each feature


@dataclass(frozen=True)
class RecipeConfig:
    """All settings of the recipe, saved with the run. Members differ by their seed: the run's, one more, and so on."""

    members: int
    pretraining: tuple[PretrainingConfig, ...]  # rounds, each from the averaged weights of the one before
    fine_tuning: FinetuningConfig
    geometry: GeometryConfig


def recipe() -> RecipeConfig:
    """Read the recipe's file."""
    table = tomllib.loads((RECIPES / f"{INFANT_FACE}.toml").read_text("utf-8"))
    rounds = [{**each, "stages": tuple(map(tuple, each["stages"]))} for each in table["pretraining"]]
    return RecipeConfig(
        table["members"],
        tuple(PretrainingConfig(**each) for each in rounds),
        FinetuningConfig(**table["fine_tuning"]),
        GeometryConfig(**table["geometry"]),
    )


@dataclass(frozen=True)
class RunConfig:
    """One run of the recipe."""

    data: Path
    output: Path
    cache: Path
    runs: Path = Path("runs")  # finished members are kept here
    resume: bool = False  # take from there what was trained with the same settings
    seed: int = 0
    test: bool = True  # measure on the test rows, for a checkpoint that is released
    command: str = ""
    learning: RecipeConfig = field(default_factory=recipe)
