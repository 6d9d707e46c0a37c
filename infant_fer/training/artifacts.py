"""What is left behind by a run? The checkpoint folder with its card, metrics.json and report.html, checked by loading it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from infant_fer.checkpoints.face_bundle import face_bundle
from infant_fer.classifier import AffectClassifier
from infant_fer.evaluation import plots
from infant_fer.evaluation.mean_maps import MeanMap, draw_mean_maps, mean_maps
from infant_fer.evaluation.report_page import facts, gallery, picture, report_page, table
from infant_fer.evaluation.scores import repeated_scores, scores
from infant_fer.evaluation.sections import accuracy_table, answer_sections
from infant_fer.face_detection import FaceDetector
from infant_fer.labels import AFFECTS, EMOTION_TO_AFFECT
from infant_fer.training.batches import normalised
from infant_fer.training.card import run_card
from infant_fer.training.experiment import ExperimentResult
from infant_fer.training.learning_curves import epochs_of, overfitting
from infant_fer.training.provenance import write_split
from infant_fer.training.saving import check_saved, write_checkpoint

CHECKED = 8  # faces whose answers are compared after loading
PICTURED = 200  # faces whose pixel values are drawn


def write_artifacts(result: ExperimentResult, output: Path, show_faces: bool = False) -> None:
    """Write `output` whole or not at all; `show_faces` puts misclassified faces into the report. Raises DatasetError."""
    figures = {name: scores(answers).to_dict() for name, answers in result.answers.items()}
    if result.cross_validation:
        figures["cross-validation"] = repeated_scores(result.cross_validation)
    part, measured = result.measured
    curve = {count: share.to_dict() for count, share in result.size_curve.items()}
    metrics = {"figures": figures, "size curve": curve, "run": result.provenance, "history": result.history}

    def write(folder: Path) -> None:
        result.base.model.save_pretrained(folder)
        result.base.processor.save_pretrained(folder)
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=1), "utf-8")
        write_split(folder, result.pictures, result.parts)
        (folder / "README.md").write_text(run_card(output.name, result), "utf-8")
        check_saved(folder, result.crops[part][:CHECKED], measured.probabilities[:CHECKED])
        maps = _maps(folder, result)
        (folder / "report.html").write_text(report(output.name, result, maps, show_faces), "utf-8")

    write_checkpoint(output, write)


def report(name: str, result: ExperimentResult, maps: list[MeanMap], show_faces: bool = False) -> str:
    """The report page of a run."""
    part, measured = result.measured
    run = result.provenance
    sections = [
        ("In short", accuracy_table(measured, result.baselines, part, result.further)),
        *answer_sections(measured),
        ("Training", _training(result)),
        ("Where it looks", _map_section(maps)),
        ("Wrong answers", gallery(measured, result.crops[part]) if show_faces else ""),
        ("The run", facts({key: json.dumps(v) if isinstance(v, dict) else v for key, v in run.items()})),
    ]
    return report_page(f"Evaluation of {name}", sections)


def _training(result: ExperimentResult) -> str:
    epochs = epochs_of(result.history)
    html = picture(plots.class_counts(result.provenance["counts"]), "Pictures of each class in the parts of the split.")
    if len(epochs) > 1:
        html += picture(plots.learning_curves(epochs), "The shaded gap is what does not carry over to new pictures.")
    if epochs:
        html += f"<p>{overfitting(epochs).verdict}</p>"
    part, _ = result.measured
    if result.size_curve:
        html += picture(plots.size_curve(result.size_curve), f"What more pictures bring: accuracy on {part}.")
    pixels = normalised(
        torch.from_numpy(result.crops[part][:PICTURED]).permute(0, 3, 1, 2) / 255, result.base.processor
    )
    return html + picture(plots.pixel_values(pixels.numpy()), "What the model is fed, after normalisation.")


def _map_section(maps: list[MeanMap]) -> str:
    if not maps:
        return ""
    rows = [(part, *(each.shares[part] for each in maps)) for part in maps[0].shares]
    shares = table(("share of the map", *(each.affect for each in maps)), rows)
    return picture(draw_mean_maps(maps), "Mean SmoothGrad map of each affect over the mean face.") + shares


def _maps(folder: Path, result: ExperimentResult) -> list[MeanMap]:
    part, measured = result.measured
    affects = np.array([label if label in AFFECTS else EMOTION_TO_AFFECT[label] for label in measured.labels])
    classifier = AffectClassifier.from_pretrained(folder, device="cpu")
    return mean_maps(classifier, FaceDetector(face_bundle()), result.crops[part], affects[measured.truth])
