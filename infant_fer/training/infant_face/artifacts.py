"""What does a run of the recipe leave behind? Its figures and settings, and the checkpoint with its card and trust data."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from infant_fer.models.infant_face import InfantFaceModel
from infant_fer.training.infant_face.config import RecipeConfig, RunConfig
from infant_fer.training.infant_face.data import PROCESSOR
from infant_fer.training.infant_face.distillation import TEACHER_SHARE
from infant_fer.training.infant_face.figures import InfantFaceFigures
from infant_fer.training.provenance import accelerator, machine
from infant_fer.training.reports.artifacts import write_checkpoint
from infant_fer.training.reports.card import earlier_test_measurements, infant_face_card
from infant_fer.trust.report import with_trust
from infant_fer.trust.store import TrustData


@dataclass(frozen=True)
class RunRecord:
    """How a checkpoint was trained."""

    command: str
    minutes: list[float]  # of every network; those of a checkpoint to start from are one
    seed: int
    test_measurements: int | None  # how often the test rows were measured, this time included; None: not this time
    start_from: str | None  # name of the checkpoint whose networks were taken
    teacher: str | None
    teacher_share: float  # of the teacher's answer in a target, 0..1
    learning: RecipeConfig
    torch: str  # its version
    machine: str

    @classmethod
    def of(cls, config: RunConfig, minutes: list[float]) -> RunRecord:
        """Describe a finished run whose networks took so many minutes."""
        return cls(
            config.command,
            [round(each, 1) for each in minutes],
            config.seed,
            earlier_test_measurements() + 1 if config.test else None,
            config.start_from.name if config.start_from else None,
            config.teacher.name if config.teacher else None,
            TEACHER_SHARE,
            config.learning,
            torch.__version__,
            machine(accelerator().type),
        )

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        spaced = {"test_measurements": "test measurements", "teacher_share": "teacher share"}
        return {spaced.get(name, name): value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class RunResult:
    """The figures of a run by split, dev and perhaps test, and how they came about."""

    figures: dict[str, InfantFaceFigures]
    run: RunRecord

    def to_dict(self) -> dict:
        """Return plain data for JSON: metrics.json."""
        return {split: each.to_dict() for split, each in self.figures.items()} | {"run": self.run.to_dict()}


def save(model: InfantFaceModel, result: RunResult, output: Path, trust: TrustData | None = None) -> None:
    """Write the checkpoint folder with its figures, card and trust data; in half precision if the recipe says so."""
    text = json.dumps(result.to_dict(), indent=1)

    def write(folder: Path) -> None:
        stored = copy.deepcopy(model).half() if result.run.learning.half else model
        stored.save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR, indent=2), "utf-8")
        (folder / "metrics.json").write_text(text, "utf-8")
        card = infant_face_card(output.name, json.loads(text))
        (folder / "README.md").write_text(with_trust(card, trust) if trust else card, "utf-8")
        if trust:
            trust.save(folder)

    write_checkpoint(output, write)
