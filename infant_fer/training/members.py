"""How does one network of the released model come to be? Pretrained, fine-tuned, perhaps taught by its own fine-tunings."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from infant_fer.alignment import CropSpec
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel
from infant_fer.training.data import Data
from infant_fer.training.distillation import mean_weights, remembered, taught
from infant_fer.training.finetuning import FinetuningSettings, finetune
from infant_fer.training.geometry_stream import GeometrySettings, fuse, train_geometry
from infant_fer.training.pretraining import PretrainingSettings, pretrain

SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class MemberSettings:
    """What makes one member, saved with the run."""

    pretraining: PretrainingSettings = field(default_factory=PretrainingSettings)
    fine_tunings: tuple[FinetuningSettings, ...] = (FinetuningSettings(),)
    student: FinetuningSettings | None = None  # taught by the fine-tunings; None takes their mean weights
    seed: int = 0  # added to the run's

    @classmethod
    def read(cls, told: dict) -> MemberSettings:
        """From a table of the recipe's file."""
        pretraining = {**told["pretraining"], "stages": tuple(map(tuple, told["pretraining"]["stages"]))}
        student = told.get("student")
        return cls(
            PretrainingSettings(**pretraining),
            tuple(FinetuningSettings(**each) for each in told["fine_tunings"]),
            None if student is None else FinetuningSettings(**student),
            told["seed"],
        )


@dataclass(frozen=True, eq=False)
class Making:
    """What all members are made with."""

    data: Data
    geometry: GeometrySettings
    seed: int  # the run's
    folder: Path  # where each is kept
    resume: bool  # use what is kept there, where it was made with the same settings
    log: Callable[[str], None]

    def kept(self, part: str, settings: dict, make: Callable[[], Made]) -> Made:
        """What the folder keeps of an earlier run with the same settings, or what `make` gives, kept there from now on."""
        folder, settings = self.folder / part, json.loads(json.dumps(settings))
        file = folder / SETTINGS_FILE
        if self.resume and file.is_file() and (told := json.loads(file.read_text("utf-8")))["settings"] == settings:
            self.log(f"taken from {folder}")
            return Made(InfantFaceModel.from_pretrained(folder).eval().requires_grad_(False), told["minutes"])
        made = make()
        made.model.save_pretrained(folder)
        file.write_text(json.dumps({"settings": settings, "minutes": made.minutes}, indent=1), "utf-8")
        return made


@dataclass(frozen=True, eq=False)
class Made:
    """A network and how long it took."""

    model: InfantFaceModel
    minutes: float


def member(number: int, settings: MemberSettings, making: Making) -> Made:
    """Make the member of that number; it and its pretrained state are kept."""
    seed = making.seed + settings.seed
    learnt = {"seed": seed, "pretraining": asdict(settings.pretraining)}
    whole = {**asdict(settings), "seed": seed, "geometry": asdict(making.geometry)}

    def pretrained() -> Made:
        start = time.monotonic()
        return Made(_pretrained(settings.pretraining, making, seed), _minutes_since(start))

    def fine_tuned() -> Made:
        first = making.kept(f"member-{number + 1}/pretrained", learnt, pretrained)
        start = time.monotonic()
        return Made(_fine_tuned(first.model, settings, making, seed), first.minutes + _minutes_since(start))

    return making.kept(f"member-{number + 1}/fine-tuned", whole, fine_tuned)


def pupil(number: int, made: list[Made], lesson: FinetuningSettings, making: Making) -> Made:
    """The member of that number, after it has learnt on from the mean answers of all members; kept too."""
    names = [hashlib.sha256(b"".join(_bytes(each.model))).hexdigest() for each in made]
    told = {"lesson": asdict(lesson), "seed": making.seed + number, "members": names}

    def learnt() -> Made:
        start, models = time.monotonic(), [each.model for each in made]
        sets = (taught(models, faces) for faces in making.data.training_faces())
        model = finetune(models[number], *sets, lesson, making.seed + number, making.log)
        return Made(model.requires_grad_(False), made[number].minutes + _minutes_since(start))

    return making.kept(f"member-{number + 1}/taught", told, learnt)


def with_geometry(model: InfantFaceModel, settings: GeometrySettings, data: Data, seed: int) -> InfantFaceModel:
    """Give the model a newly trained geometry stream with its share in the fusion."""
    infants = data.infant_faces.rows(data.infants_kept & (data.infants.usable == 1))
    train_geometry(model, infants, settings, seed)
    fuse(model, data.infant_faces.rows(data.infants.split == "dev"))
    return model.requires_grad_(False)


def _pretrained(settings: PretrainingSettings, making: Making, seed: int) -> InfantFaceModel:
    data = making.data
    config = InfantFaceConfig(geometry_size=data.infant_faces.geometry.shape[1], face_crop=asdict(CropSpec()))
    dev, emotion = data.fer.split == "dev", data.fer.emotion
    kept_grey, dev_grey = (data.fer_faces.rows(chosen).grey for chosen in (data.fer_kept, dev))
    return pretrain(kept_grey, emotion[data.fer_kept], dev_grey, emotion[dev], settings, config, seed, making.log)


def _fine_tuned(start: InfantFaceModel, settings: MemberSettings, making: Making, seed: int) -> InfantFaceModel:
    """Fine-tune once for each setting; the mean weights, or a student that starts there and learns from their mean answers."""
    data, geometry, log = making.data, making.geometry, making.log
    infants, older, emotions = data.training_faces()
    sets = (infants, older, remembered(start, emotions))
    models = []
    for number, each in enumerate(settings.fine_tunings):
        log(f"fine-tuning {number + 1} of {len(settings.fine_tunings)}")
        model = finetune(start, *sets, each, seed + number, log)
        models.append(with_geometry(model, geometry, data, seed + number))
    model = mean_weights(models)
    if settings.student is not None:
        log("student")
        model = finetune(model, *(taught(models, faces) for faces in sets), settings.student, seed, log)
    return with_geometry(model, geometry, data, seed)


def _bytes(model: InfantFaceModel) -> Iterator[bytes]:
    return (value.numpy().tobytes() for value in model.state_dict().values())


def _minutes_since(start: float) -> float:
    return round((time.monotonic() - start) / 60, 1)
