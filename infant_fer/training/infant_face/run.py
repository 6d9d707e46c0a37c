"""How is the embedded checkpoint made? Train the members, fit geometry and temperature, measure, and write the folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infant_fer import metrics
from infant_fer.data.labeled_images import UNKNOWN
from infant_fer.models.infant_face import InfantFaceModel, joined
from infant_fer.training.artifacts import write_checkpoint
from infant_fer.training.card import earlier_test_measurements, infant_face_card
from infant_fer.training.config import run_folder
from infant_fer.training.infant_face.config import RunConfig
from infant_fer.training.infant_face.data import RecipeData, load
from infant_fer.training.infant_face.figures import measure
from infant_fer.training.infant_face.geometry_stream import fuse, train_geometry
from infant_fer.training.infant_face.members import TrainingContext, train_members
from infant_fer.training.infant_face.rows import PROCESSOR, outputs
from infant_fer.training.runtime import machine


def run(config: RunConfig, log: Callable[[str], None] = print) -> dict:
    """Train, measure and write a checkpoint; return its figures. Raises InfantFERError with one sentence."""
    data = load(config.data, config.cache, log)
    folder = run_folder(config.runs, config.output)
    context = TrainingContext(
        config.data, config.cache, data.digest(), config.learning, config.seed, folder, config.resume
    )
    members = train_members(context)
    model = joined([each.model for each in members])
    dev, test = data.infants.pictures.split == "dev", data.infants.pictures.split == "test"
    usable = data.infants_kept & (data.infants.pictures.heads["usable"] == 1)
    train_geometry(model, data.infants.rows(usable), config.learning.geometry, config.seed)
    fuse(model, data.infants.rows(dev))
    model.requires_grad_(False)
    model.config.logit_temperature = _temperature(model, data)
    results: dict[str, Any] = {"dev": measure(model, data, dev)} | (
        {"test": measure(model, data, test)} if config.test else {}
    )
    results["run"] = _provenance(config, [each.minutes for each in members])
    save(model, results, config.output)
    for source, share in results["dev"]["accuracy"]["this checkpoint"].items():
        log(f"dev {source}: {share}")
    return results


def save(model: InfantFaceModel, results: dict, output: Path) -> None:
    """Write the checkpoint folder with its figures and card."""
    text = json.dumps(results, indent=1, default=plain)

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR, indent=2), "utf-8")
        (folder / "metrics.json").write_text(text, "utf-8")
        (folder / "README.md").write_text(infant_face_card(output.name, json.loads(text)), "utf-8")

    write_checkpoint(output, write)


def _temperature(model: InfantFaceModel, data: RecipeData) -> float:
    rated = (data.infants.pictures.split == "dev") & (data.infants.pictures.truth != UNKNOWN)
    logits = outputs(model, data.infants.rows(rated)).logits.numpy()
    return metrics.fit_temperature(logits, data.infants.pictures.truth[rated])


def _provenance(config: RunConfig, minutes: list[float]) -> dict:
    return {
        "command": config.command,
        "minutes": [round(each, 1) for each in minutes],
        "seed": config.seed,
        "test measurements": earlier_test_measurements() + 1 if config.test else None,
        "learning": asdict(config.learning),
        "torch": torch.__version__,
        "machine": machine(),
    }


def plain(figure: metrics.Proportion | np.generic) -> object:
    """Return what JSON can hold of a figure."""
    return figure.item() if isinstance(figure, np.generic) else figure.to_dict()
