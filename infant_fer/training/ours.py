"""The recipe `ours`: FER2013 first, then infants, temperature on dev, figures, a card."""

from __future__ import annotations

import json
import platform
import time
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from infant_fer.alignment import CropSpec
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel
from infant_fer.training import metrics
from infant_fer.training.card import model_card
from infant_fer.training.data import Data, load
from infant_fer.training.distillation import mean_weights, remembered, taught
from infant_fer.training.figures import measure
from infant_fer.training.finetuning import FinetuningSettings, finetune
from infant_fer.training.geometry_stream import GeometrySettings, fuse, train_geometry
from infant_fer.training.manifest import UNKNOWN
from infant_fer.training.pretraining import PretrainingSettings, pretrain
from infant_fer.training.recipes import FOLDER, OURS
from infant_fer.training.rows import outputs
from infant_fer.training.saving import write_checkpoint

PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 96, "width": 96},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
HOW = "the image stream with all heads on the infants (raters' votes as soft labels), and the geometry stream by itself"
TAUGHT = "; {} such models taught the released one with their mean answers"


def _told(name: str) -> dict | list:
    """What the recipe's file says."""
    return tomllib.loads((FOLDER / f"{OURS}.toml").read_text("utf-8"))[name]


def _pretraining() -> PretrainingSettings:
    told = _told("pretraining")
    return PretrainingSettings(**{**told, "stages": tuple(map(tuple, told["stages"]))})


@dataclass(frozen=True)
class Run:
    """What one run is asked for."""

    data: Path
    output: Path
    cache: Path
    runs: Path = Path("runs")
    pretrained: Path | None = None  # skip the pretraining
    seed: int = 0
    test: bool = True  # measure on the test rows: once, for a checkpoint that is released
    command: str = ""
    pretraining: PretrainingSettings = field(default_factory=_pretraining)
    # A student of two was as accurate on dev as the better of them, and better in likelihood and all other heads: docs/results.md.
    finetuning: tuple[FinetuningSettings, ...] = field(
        default_factory=lambda: tuple(FinetuningSettings(**told) for told in _told("teachers"))
    )
    # Taught by the fine-tuned models; None takes their mean weights.
    student: FinetuningSettings | None = field(default_factory=lambda: FinetuningSettings(**_told("student")))
    geometry: GeometrySettings = field(default_factory=lambda: GeometrySettings(**_told("geometry")))


def run(asked: Run, log: Callable[[str], None] = print) -> dict:
    """Make and measure a checkpoint folder; gives the figures. An existing output folder is replaced at the very end."""
    start = time.monotonic()
    data = load(asked.data, asked.cache, log)
    model = _finetuned(asked, _pretrained(asked, data, log), data, log)
    dev, test = data.infants.split == "dev", data.infants.split == "test"
    model.config.logit_temperature = _temperature(model, data)
    results = {"dev": measure(model, data, dev)} | ({"test": measure(model, data, test)} if asked.test else {})
    results["run"] = _provenance(asked, (time.monotonic() - start) / 60)
    save(model, results, asked.output)
    for source, share in results["dev"]["accuracy"]["this checkpoint"].items():
        log(f"dev {source}: {share}")
    return results


def save(model: InfantFaceModel, results: dict, output: Path) -> None:
    """Write the checkpoint folder with its figures and card."""

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR, indent=2), "utf-8")
        (folder / "metrics.json").write_text(json.dumps(results, indent=1, default=plain), "utf-8")
        (folder / "README.md").write_text(model_card(output.name, results), "utf-8")

    write_checkpoint(output, write)


def _pretrained(asked: Run, data: Data, log: Callable[[str], None]) -> InfantFaceModel:
    config = InfantFaceConfig(geometry_size=data.infant_faces.geometry.shape[1], face_crop=asdict(CropSpec()))
    if asked.pretrained is None:
        dev, emotion = data.fer.split == "dev", data.fer.emotion
        kept_grey, dev_grey = (data.fer_faces.rows(chosen).grey for chosen in (data.fer_kept, dev))
        model = pretrain(kept_grey, emotion[data.fer_kept], dev_grey, emotion[dev], asked.pretraining, config, log)
        kept = asked.runs / asked.output.name / "pretrained"
        model.save_pretrained(kept)
        log(f"pretrained network kept: --pretrained {kept} goes on from here")
        return model
    model = InfantFaceModel(config)
    found = InfantFaceModel.from_pretrained(asked.pretrained).state_dict()
    model.load_state_dict({**model.state_dict(), **found})
    return model


def _finetuned(asked: Run, start: InfantFaceModel, data: Data, log: Callable[[str], None]) -> InfantFaceModel:
    """Fine-tune once for each setting; the mean weights, or a student that starts there and learns from their mean answers."""
    infants, older, emotions = data.training_faces()
    sets = (infants, older, remembered(start, emotions))
    models = []
    for number, settings in enumerate(asked.finetuning):
        log(f"fine-tuning {number + 1} of {len(asked.finetuning)}")
        model = finetune(start, *sets, settings, asked.seed + number, log)
        models.append(_with_geometry(model, asked, data, number))
    model = mean_weights(models)
    if asked.student is not None:
        log("student")
        model = finetune(model, *(taught(models, faces) for faces in sets), asked.student, asked.seed, log)
    return _with_geometry(model, asked, data, 0).requires_grad_(False)


def _with_geometry(model: InfantFaceModel, asked: Run, data: Data, number: int) -> InfantFaceModel:
    """Give the model a newly trained geometry stream with its share in the fusion."""
    infants = data.infant_faces.rows(data.infants_kept & (data.infants.usable == 1))
    train_geometry(model, infants, asked.geometry, asked.seed + number)
    fuse(model, data.infant_faces.rows(data.infants.split == "dev"))
    return model


def _temperature(model: InfantFaceModel, data: Data) -> float:
    rated = (data.infants.split == "dev") & (data.infants.affect != UNKNOWN)
    logits = outputs(model, data.infant_faces.rows(rated)).logits.numpy()
    return metrics.fit_temperature(logits, data.infants.affect[rated])


def _provenance(asked: Run, minutes: float) -> dict:
    return {
        "command": asked.command,
        "minutes": round(minutes, 1),
        "seed": asked.seed,
        "pretraining": asdict(asked.pretraining),
        "how": HOW + (TAUGHT.format(len(asked.finetuning)) if asked.student else ""),
        "fine-tuning": [asdict(settings) for settings in asked.finetuning],
        "student": asdict(asked.student) if asked.student else None,
        "geometry": asdict(asked.geometry),
        "torch": torch.__version__,
        "machine": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
    }


def plain(share: metrics.Share | np.generic) -> object:
    """What JSON can hold of a figure."""
    if isinstance(share, np.generic):
        return share.item()
    return {"value": share.value, "right": share.right, "n": share.n, "interval95": share.interval}
