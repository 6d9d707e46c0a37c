"""How do the networks of the released model come to be? Side by side, each pretrained and then fine-tuned."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from itertools import repeat
from pathlib import Path

import torch

from infant_fer.alignment import CropSpec
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel
from infant_fer.training.infant_face.config import RecipeConfig
from infant_fer.training.infant_face.data import Data, load
from infant_fer.training.infant_face.distillation import distill_emotions
from infant_fer.training.infant_face.finetuning import finetune
from infant_fer.training.infant_face.pretraining import pretrain
from infant_fer.training.runtime import accelerator

SETTINGS_FILE = "settings.json"


@dataclass(frozen=True, eq=False)
class TrainedMember:
    """A network and how long it took."""

    model: InfantFaceModel
    minutes: float


@dataclass(frozen=True)
class TrainingContext:
    """What all members are made from, and where every step of each is kept."""

    data: Path
    cache: Path  # of the data's faces
    digest: str  # of what the data teach
    learning: RecipeConfig
    seed: int  # the run's
    folder: Path
    resume: bool  # use what the folder keeps of an earlier run with the same settings and data

    def kept(self, part: str, settings: dict, make: Callable[[], TrainedMember]) -> TrainedMember:
        """What the folder keeps of an earlier run with the same settings, or what `make` gives, kept there from now on."""
        file, settings = self.folder / part / SETTINGS_FILE, json.loads(json.dumps(settings))
        if not self.resume or not file.is_file() or json.loads(file.read_text("utf-8"))["settings"] != settings:
            made = make()
            made.model.save_pretrained(file.parent)
            file.write_text(json.dumps({"settings": settings, "minutes": made.minutes}, indent=1), "utf-8")
        return self.read(part)

    def read(self, part: str) -> TrainedMember:
        """What the folder keeps of that name."""
        told = json.loads((self.folder / part / SETTINGS_FILE).read_text("utf-8"))
        model = InfantFaceModel.from_pretrained(self.folder / part)
        return TrainedMember(model.eval().requires_grad_(False), told["minutes"])


def networks(making: TrainingContext) -> list[TrainedMember]:
    """Make all members side by side, a process and an equal share of the cores each; the data's faces were found before."""
    numbers = range(making.learning.members)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(numbers), spawn, _share_the_cores, (len(numbers),)) as pool:
        list(pool.map(_member, numbers, repeat(making)))
    return [making.read(_part(number)) for number in numbers]


def _share_the_cores(processes: int) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))


@cache
def _loaded(data: Path, faces: Path) -> Data:
    """The data, read once in each process."""
    return load(data, faces, log=lambda _: None)


def _member(number: int, making: TrainingContext) -> None:
    """Pretrain and fine-tune the member of that number."""
    learning, seed = making.learning, making.seed + number

    def fine_tuned() -> TrainedMember:
        start = _pretrained(number, len(learning.pretraining), making)
        began, network = time.monotonic(), start.model.to(accelerator())
        infants, older, emotions = _loaded(making.data, making.cache).training_faces()
        sets = infants, older, distill_emotions(network, emotions)
        model = finetune(network, *sets, learning.fine_tuning, seed, _say(number), number)
        return TrainedMember(model, start.minutes + _minutes_since(began))

    rounds = [asdict(each) for each in learning.pretraining]
    told = {"data": making.digest, "seed": seed, "pretraining": rounds, "fine_tuning": asdict(learning.fine_tuning)}
    making.kept(_part(number), told, fine_tuned)


def _pretrained(number: int, rounds: int, making: TrainingContext) -> TrainedMember:
    """The member after so many rounds on FER2013; none gives random weights."""
    seed, data, done = making.seed + number, _loaded(making.data, making.cache), making.learning.pretraining[:rounds]
    if not done:
        torch.manual_seed(seed)
        sizes = {"geometry_size": data.infant_faces.geometry.shape[1], "face_crop": asdict(CropSpec())}
        return TrainedMember(InfantFaceModel(InfantFaceConfig(**sizes)), 0.0)

    def learnt() -> TrainedMember:
        start, began = _pretrained(number, rounds - 1, making), time.monotonic()
        dev, emotion = data.fer.split == "dev", data.fer.emotion
        taught_on, held_out = ((data.fer_faces.rows(chosen).grey, emotion[chosen]) for chosen in (data.fer_kept, dev))
        network = start.model.to(accelerator())
        model = pretrain(network, *taught_on, *held_out, done[-1], seed, _say(number), number)
        return TrainedMember(model, start.minutes + _minutes_since(began))

    told = {"data": making.digest, "seed": seed, "pretraining": [asdict(each) for each in done]}
    return making.kept(_part(number, f"pretrained-{rounds}"), told, learnt)


def _part(number: int, step: str = "fine-tuned") -> str:
    return f"member-{number + 1}/{step}"


def _say(number: int) -> Callable[[str], None]:
    return lambda sentence: print(f"member {number + 1}: {sentence}", flush=True)


def _minutes_since(start: float) -> float:
    return round((time.monotonic() - start) / 60, 1)
