"""Which steps of a run are finished? Every trained network is kept in the run's folder with the settings that it depends on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from infant_fer.checkpoints.loading import weights_sha256
from infant_fer.files import write_atomically
from infant_fer.models.infant_face import InfantFaceModel
from infant_fer.training.config import run_folder
from infant_fer.training.infant_face.config import FinetuningConfig, MemberConfig, RunConfig
from infant_fer.training.provenance import GOES_ON, written

SETTINGS_FILE = "settings.json"  # of a finished step
BASES = "bases"  # folder of the research data


class StepSettings(TypedDict, total=False):
    """What the weights of a step depend on, as its settings.json has it: each step those of its kind."""

    data: str  # digest of the training sets
    seed: int
    member: dict[str, object]  # fine-tuned: its MemberConfig without the refinement
    network: list[object]  # pretrained: family, base, drop_path, input_side
    pretraining: list[dict[str, object]]  # the PretrainingConfig of every round so far
    student: dict[str, object]  # the StudentConfig
    teacher: str  # weights_digest
    ensemble: str  # refined: weights_digest of what it learns from
    start: str  # refined: weights_digest of the network itself, which the ensemble says nothing of where a teacher stands in for it
    refinement: dict[str, object]  # the FinetuningConfig
    base: str  # name of another folder than the research data's
    base_sha256: str  # of its weights
    occluders: int  # renders from which they are cut out
    weights: str  # "random" instead of the backbone's


@dataclass(frozen=True, eq=False)
class TrainedMember:
    """A network and the minutes that its training took."""

    model: InfantFaceModel
    minutes: float


@dataclass(frozen=True)
class TrainingContext:
    """What all members are trained with, and where every step of each is kept."""

    config: RunConfig

    @property
    def folder(self) -> Path:
        """Return the folder of the run's finished steps."""
        return run_folder(self.config.runs, self.config.output)

    @property
    def start(self) -> StepSettings:
        """Return what a step depends on besides the recipe: where the backbones of this run come from."""
        base = self.config.base
        named: StepSettings = {"base": base.name, "base_sha256": weights_sha256(base)} if base else {}
        return {**named, "weights": "random"} if self.config.random_weights else named

    def occluders_of(self, settings: FinetuningConfig) -> StepSettings:
        """Return what a step with these settings depends on besides them: how many occluders it may draw, if any."""
        return {"occluders": self.config.learning.occluders} if settings.covered_share > 0 else {}

    def base_of(self, member: MemberConfig) -> Path | None:
        """Return the folder of the pretrained backbone that a member starts from; None: random weights."""
        return None if member.base is None else self.config.base or self.config.data / BASES / member.base

    def is_kept(self, step: str, settings: StepSettings) -> bool:
        """Return whether the step of an earlier run may be reused: the run is to be resumed, and the settings are the same."""
        file = self.folder / step / SETTINGS_FILE
        if not self.config.resume or not file.is_file():
            return False
        return json.loads(file.read_text("utf-8"))["settings"] == json.loads(json.dumps(settings))

    def reused_or_trained(self, step: str, settings: StepSettings, train: Callable[[], TrainedMember]) -> TrainedMember:
        """Return the step of an earlier run with the same settings, or train and keep it. Raises OutputError."""
        if not self.is_kept(step, settings):
            file = self.folder / step / SETTINGS_FILE
            file.unlink(missing_ok=True)  # weights without it are not reused
            member = train()
            with written(file.parent, GOES_ON):
                member.model.save_pretrained(file.parent)
            write_atomically(file, json.dumps({"settings": settings, "minutes": member.minutes}, indent=1))
        return self.read(step)

    def read(self, step: str) -> TrainedMember:
        """Return a step that the folder keeps."""
        record = json.loads((self.folder / step / SETTINGS_FILE).read_text("utf-8"))
        model = InfantFaceModel.from_pretrained(self.folder / step)
        return TrainedMember(model.eval().requires_grad_(False), record["minutes"])


def step_name(number: int, name: str = "fine-tuned") -> str:
    """Return the folder of a step of member `number`, from 0."""
    return f"member-{number + 1}/{name}"


def log_for(number: int) -> Callable[[str], None]:
    """Return what prints a line of member `number`, from 0."""
    return lambda message: print(f"member {number + 1}: {message}", flush=True)


def minutes_since(start: float) -> float:
    """Return the minutes since a value of `time.monotonic`, in tenths."""
    return round((time.monotonic() - start) / 60, 1)


def weights_digest(model: InfantFaceModel) -> str:
    """Return a SHA-256 of all weights: a step that learns from a model depends on it."""
    return hashlib.sha256(b"".join(value.cpu().numpy().tobytes() for value in model.state_dict().values())).hexdigest()
