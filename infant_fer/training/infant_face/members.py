"""How are the ensemble's members trained? Side by side, one process each: pretrained on FER2013, then fine-tuned on infants."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cache
from itertools import repeat
from pathlib import Path

import torch

from infant_fer.alignment import CropSpec
from infant_fer.errors import TrainingError
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel
from infant_fer.training.infant_face.config import RecipeConfig
from infant_fer.training.infant_face.data import RecipeData, load
from infant_fer.training.infant_face.finetuning import distill_emotions, finetune
from infant_fer.training.infant_face.pretraining import emotion_set, pretrain
from infant_fer.training.runtime import accelerator

SETTINGS_FILE = "settings.json"


@dataclass(frozen=True, eq=False)
class TrainedMember:
    """A network and the minutes that its training took."""

    model: InfantFaceModel
    minutes: float


@dataclass(frozen=True)
class TrainingContext:
    """What all members are trained with, and where every step of each is kept."""

    data: Path
    cache: Path  # of the data's faces
    digest: str  # of the training rows
    learning: RecipeConfig
    seed: int  # the run's
    folder: Path
    resume: bool  # reuse steps of an earlier run with the same settings and data

    def reused_or_trained(self, step: str, settings: dict, train: Callable[[], TrainedMember]) -> TrainedMember:
        """Return the step of an earlier run with the same settings, or train and keep it."""
        file, settings = self.folder / step / SETTINGS_FILE, json.loads(json.dumps(settings))
        if not self.resume or not file.is_file() or json.loads(file.read_text("utf-8"))["settings"] != settings:
            file.unlink(missing_ok=True)  # weights without it are not reused
            member = train()
            member.model.save_pretrained(file.parent)
            file.write_text(json.dumps({"settings": settings, "minutes": member.minutes}, indent=1), "utf-8")
        return self.read(step)

    def read(self, step: str) -> TrainedMember:
        """Return a step that the folder keeps."""
        record = json.loads((self.folder / step / SETTINGS_FILE).read_text("utf-8"))
        model = InfantFaceModel.from_pretrained(self.folder / step)
        return TrainedMember(model.eval().requires_grad_(False), record["minutes"])


def train_members(context: TrainingContext) -> list[TrainedMember]:
    """Train all members side by side with an equal share of the cores each; the faces must be in the cache already.

    Raises TrainingError when one of the processes dies.
    """
    numbers = range(context.learning.members)
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(len(numbers), spawn, _share_cores, (len(numbers),)) as pool:
            list(pool.map(_train_member, numbers, repeat(context)))
    except BrokenProcessPool as error:
        raise TrainingError(
            "The process of a network ended without a word, for example because memory ran out. "
            "The same command with --resume goes on from the finished steps."
        ) from error
    return [context.read(_step(number)) for number in numbers]


def _share_cores(processes: int) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))


@cache
def _load_once(data: Path, faces: Path) -> RecipeData:
    return load(data, faces, log=lambda _: None)


def _train_member(number: int, context: TrainingContext) -> None:
    learning, seed = context.learning, context.seed + number

    def fine_tune() -> TrainedMember:
        start = _pretrained(number, len(learning.pretraining), context)
        began, network = time.monotonic(), start.model.to(accelerator())
        infants, older, emotions = _load_once(context.data, context.cache).training_sets()
        sets = infants, older, distill_emotions(network, emotions)
        model = finetune(network, *sets, learning.fine_tuning, seed, _log_for(number), number)
        return TrainedMember(model, start.minutes + _minutes_since(began))

    settings = {
        "data": context.digest,
        "seed": seed,
        "pretraining": [asdict(each) for each in learning.pretraining],
        "fine_tuning": asdict(learning.fine_tuning),
    }
    context.reused_or_trained(_step(number), settings, fine_tune)


def _pretrained(number: int, rounds: int, context: TrainingContext) -> TrainedMember:
    """Return the member after so many rounds on FER2013; 0 rounds give random weights."""
    seed, data = context.seed + number, _load_once(context.data, context.cache)
    finished = context.learning.pretraining[:rounds]
    if not finished:
        torch.manual_seed(seed)
        sizes = {"geometry_size": data.infants.geometry.shape[1], "face_crop": asdict(CropSpec())}
        return TrainedMember(InfantFaceModel(InfantFaceConfig(**sizes)), 0.0)

    def train_round() -> TrainedMember:
        start, began = _pretrained(number, rounds - 1, context), time.monotonic()
        dev = data.fer.pictures.split == "dev"
        train_set, dev_set = (emotion_set(data.fer.rows(rows)) for rows in (data.fer_kept, dev))
        network = start.model.to(accelerator())
        model = pretrain(network, train_set, dev_set, finished[-1], seed, _log_for(number), number)
        return TrainedMember(model, start.minutes + _minutes_since(began))

    settings = {"data": context.digest, "seed": seed, "pretraining": [asdict(each) for each in finished]}
    return context.reused_or_trained(_step(number, f"pretrained-{rounds}"), settings, train_round)


def _step(number: int, name: str = "fine-tuned") -> str:
    return f"member-{number + 1}/{name}"


def _log_for(number: int) -> Callable[[str], None]:
    return lambda message: print(f"member {number + 1}: {message}", flush=True)


def _minutes_since(start: float) -> float:
    return round((time.monotonic() - start) / 60, 1)
