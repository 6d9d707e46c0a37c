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
class Made:
    """A network and how long it took."""

    model: InfantFaceModel
    minutes: float


def member(
    settings: MemberSettings,
    geometry: GeometrySettings,
    data: Data,
    seed: int,
    folder: Path,
    resume: bool,
    log: Callable[[str], None],
) -> Made:
    """Make one member and keep it, and its pretrained state, in `folder`; with `resume` what is kept there is used.

    Only what was made with the same settings is used again.
    """
    seed += settings.seed
    learnt = {"seed": seed, "pretraining": asdict(settings.pretraining)}
    whole = {**asdict(settings), "seed": seed, "geometry": asdict(geometry)}

    def pretrained() -> Made:
        start = time.monotonic()
        return Made(_pretrained(settings.pretraining, data, seed, log), _minutes_since(start))

    def fine_tuned() -> Made:
        first = _kept(folder / "pretrained", learnt, pretrained, resume, log)
        start = time.monotonic()
        model = _fine_tuned(first.model, settings, geometry, data, seed, log)
        return Made(model, first.minutes + _minutes_since(start))

    return _kept(folder / "fine-tuned", whole, fine_tuned, resume, log)


def pupil(
    number: int,
    made: list[Made],
    lesson: FinetuningSettings,
    data: Data,
    seed: int,
    folder: Path,
    resume: bool,
    log: Callable[[str], None],
) -> Made:
    """The member of that number, after it has learnt on from the mean answers of all members; kept as `member` keeps."""
    names = [hashlib.sha256(b"".join(_bytes(each.model))).hexdigest() for each in made]
    told = {"lesson": asdict(lesson), "seed": seed + number, "members": names}

    def learnt() -> Made:
        start, models = time.monotonic(), [each.model for each in made]
        sets = (taught(models, faces) for faces in data.training_faces())
        model = finetune(models[number], *sets, lesson, seed + number, log)
        return Made(model.requires_grad_(False), made[number].minutes + _minutes_since(start))

    return _kept(folder, told, learnt, resume, log)


def with_geometry(model: InfantFaceModel, settings: GeometrySettings, data: Data, seed: int) -> InfantFaceModel:
    """Give the model a newly trained geometry stream with its share in the fusion."""
    infants = data.infant_faces.rows(data.infants_kept & (data.infants.usable == 1))
    train_geometry(model, infants, settings, seed)
    fuse(model, data.infant_faces.rows(data.infants.split == "dev"))
    return model.requires_grad_(False)


def _pretrained(settings: PretrainingSettings, data: Data, seed: int, log: Callable[[str], None]) -> InfantFaceModel:
    config = InfantFaceConfig(geometry_size=data.infant_faces.geometry.shape[1], face_crop=asdict(CropSpec()))
    dev, emotion = data.fer.split == "dev", data.fer.emotion
    kept_grey, dev_grey = (data.fer_faces.rows(chosen).grey for chosen in (data.fer_kept, dev))
    return pretrain(kept_grey, emotion[data.fer_kept], dev_grey, emotion[dev], settings, config, seed, log)


def _fine_tuned(
    start: InfantFaceModel,
    settings: MemberSettings,
    geometry: GeometrySettings,
    data: Data,
    seed: int,
    log: Callable[[str], None],
) -> InfantFaceModel:
    """Fine-tune once for each setting; the mean weights, or a student that starts there and learns from their mean answers."""
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


def _kept(folder: Path, settings: dict, make: Callable[[], Made], resume: bool, log: Callable[[str], None]) -> Made:
    """What `folder` keeps of an earlier run with the same settings, or what `make` gives, kept there from now on."""
    file, settings = folder / SETTINGS_FILE, json.loads(json.dumps(settings))
    if resume and file.is_file() and (told := json.loads(file.read_text("utf-8")))["settings"] == settings:
        log(f"taken from {folder}")
        return Made(InfantFaceModel.from_pretrained(folder).eval().requires_grad_(False), told["minutes"])
    made = make()
    made.model.save_pretrained(folder)
    file.write_text(json.dumps({"settings": settings, "minutes": made.minutes}, indent=1), "utf-8")
    return made
