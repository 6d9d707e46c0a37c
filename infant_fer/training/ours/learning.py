"""What do the networks of the embedded checkpoint learn, and in what order? The settings of the recipe `ours`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass

from infant_fer.training.ours.finetuning import FinetuningSettings
from infant_fer.training.ours.geometry_stream import GeometrySettings
from infant_fer.training.ours.pretraining import PretrainingSettings
from infant_fer.training.recipes import FOLDER, OURS


@dataclass(frozen=True)
class Learning:
    """What each network learns, saved with the run. They differ by their seed: the run's, one more, and so on."""

    members: int
    pretraining: tuple[PretrainingSettings, ...]  # rounds, each from the averaged weights of the one before
    fine_tuning: FinetuningSettings
    geometry: GeometrySettings


def recipe() -> Learning:
    """What the recipe's file says."""
    told = tomllib.loads((FOLDER / f"{OURS}.toml").read_text("utf-8"))
    rounds = [{**each, "stages": tuple(map(tuple, each["stages"]))} for each in told["pretraining"]]
    return Learning(
        told["members"],
        tuple(PretrainingSettings(**each) for each in rounds),
        FinetuningSettings(**told["fine_tuning"]),
        GeometrySettings(**told["geometry"]),
    )
