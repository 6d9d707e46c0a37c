"""What do the networks of the embedded checkpoint learn, and in what order? The settings of the recipe `ours`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass

from infant_fer.training.config import FOLDER, INFANT_FACE
from infant_fer.training.infant_face.finetuning import FinetuningConfig
from infant_fer.training.infant_face.geometry_stream import GeometryConfig
from infant_fer.training.infant_face.pretraining import PretrainingConfig


@dataclass(frozen=True)
class RecipeConfig:
    """What each network learns, saved with the run. They differ by their seed: the run's, one more, and so on."""

    members: int
    pretraining: tuple[PretrainingConfig, ...]  # rounds, each from the averaged weights of the one before
    fine_tuning: FinetuningConfig
    geometry: GeometryConfig


def recipe() -> RecipeConfig:
    """What the recipe's file says."""
    told = tomllib.loads((FOLDER / f"{INFANT_FACE}.toml").read_text("utf-8"))
    rounds = [{**each, "stages": tuple(map(tuple, each["stages"]))} for each in told["pretraining"]]
    return RecipeConfig(
        told["members"],
        tuple(PretrainingConfig(**each) for each in rounds),
        FinetuningConfig(**told["fine_tuning"]),
        GeometryConfig(**told["geometry"]),
    )
