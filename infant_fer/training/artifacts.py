"""What does a run write? A checkpoint folder with card, metrics and report, whole or not at all, checked by loading it."""

from __future__ import annotations

import base64
import json
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from infant_fer.checkpoints.loading import load_checkpoint
from infant_fer.data.labeled_images import AlignedDataset
from infant_fer.data.splits import SPLIT_FILE, write_split
from infant_fer.errors import DatasetError, OutputError
from infant_fer.evaluation import plots
from infant_fer.evaluation.mean_maps import MeanMap, draw_mean_maps
from infant_fer.evaluation.predictions import predict
from infant_fer.evaluation.report import (
    PRIVATE,
    Block,
    Figure,
    Section,
    Table,
    Text,
    accuracy_blocks,
    galleries,
    prediction_sections,
    report_page,
)
from infant_fer.evaluation.scores import repeated_scores, scores
from infant_fer.files import check_output_folder, replace_folder
from infant_fer.images import data_url
from infant_fer.training.batches import normalised
from infant_fer.training.card import experiment_card
from infant_fer.training.experiment import ExperimentResult
from infant_fer.training.variants import HEAD, Candidate, maps_of
from infant_fer.training.watching import animated, still_strip
from infant_fer.trust.report import trust_sections, with_trust
from infant_fer.trust.store import SETTINGS, TENSORS

# Files of a checkpoint that belong to its weights: a new checkpoint replaces or removes them, and nothing else.
OWN_FILES = (
    *("config.json", "preprocessor_config.json", "model*.safetensors", "model.safetensors.index.json"),
    *("README.md", "metrics.json", "audit.json", "maps.json", "report.html", SPLIT_FILE, SETTINGS, TENSORS),
)
MAX_PROBABILITY_CHANGE = 1e-4  # that saving and loading may cause
CHECKED_FACES = 8  # whose predictions are compared after loading
SHOWN_FACES = 200  # whose pixel values are drawn
GAP = 0.15  # of accuracy, between train and dev at the kept epoch; above it the verdict speaks of learning by heart
STEPS = {"head": "The head alone", "whole": "Every layer"}
RISE = 1.1  # a dev loss this many times its least value has diverged


def write_checkpoint(output: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder, then give it the name `output`; on any failure an earlier checkpoint stays as it was.

    Of an earlier checkpoint only OWN_FILES are replaced. Raises OutputError when `output` holds other files or cannot be
    written, for example on a full disk.
    """
    check_output_folder(output)
    partial = output.with_name(f".{secrets.token_hex(8)}.part")
    try:
        partial.mkdir(parents=True)
        write(partial)
        for file in filter(
            Path.is_file, partial.rglob("*")
        ):  # safetensors makes its files readable by their owner alone
            file.chmod(partial.stat().st_mode & 0o666)
        replace_folder(partial, output, OWN_FILES)
    except OSError as error:
        raise OutputError(f"{output} could not be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # it has another name when all went well


def check_saved(folder: Path, faces: AlignedDataset, probabilities: np.ndarray) -> None:
    """Load the folder as the app does and predict N faces again, with their landmarks where the model reads them.

    Raises DatasetError when a probability differs from (N, C) `probabilities` by more than MAX_PROBABILITY_CHANGE.
    """
    loaded = load_checkpoint(folder)
    again = predict(loaded.model, loaded.processor, faces).probabilities
    changed = np.abs(again - probabilities).max(1)
    if changed.max() > MAX_PROBABILITY_CHANGE:
        worst = changed.argmax()
        raise DatasetError(
            f"The saved model predicts {again[worst]} instead of {probabilities[worst]}; {folder} is not kept."
        )


def write_artifacts(result: ExperimentResult, output: Path, show_faces: bool = False) -> None:
    """Write `output` whole or not at all; `show_faces` puts faces with wrong and right answers into the report. Raises DatasetError."""
    figures = {name: scores(predictions).to_dict() for name, predictions in result.predictions.items()}
    if result.cross_validation:
        figures["cross-validation"] = repeated_scores(result.cross_validation).to_dict()
    split, measured = result.measured
    curve = {count: share.to_dict() for count, share in result.size_curve.items()}
    metrics = {"figures": figures, "size curve": curve, "run": result.record, "history": result.history}

    def write(folder: Path) -> None:
        result.base.model.save_pretrained(folder)
        result.base.processor.save_pretrained(folder)
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=1), "utf-8")
        write_split(folder, result.images, result.splits)
        card = experiment_card(output.name, result)
        (folder / "README.md").write_text(with_trust(card, result.trust) if result.trust else card, "utf-8")
        if result.trust:
            result.trust.save(folder)
        check_saved(
            folder,
            result.held_out[split].rows(np.arange(len(measured.truth)) < CHECKED_FACES),
            measured.probabilities[:CHECKED_FACES],
        )
        (folder / "report.html").write_text(report(output.name, result, maps_of(result), show_faces), "utf-8")

    write_checkpoint(output, write)


def report(name: str, result: ExperimentResult, maps: Sequence[MeanMap], show_faces: bool = False) -> str:
    """Return the report page of a run."""
    split, measured = result.measured
    sections = [
        Section("In short", accuracy_blocks(measured, result.baselines, split, result.further)),
        Section("Compared on dev", _compared(result.candidates)),
        Section("Where each variant looks", _compared_maps(result.candidates)),
        *prediction_sections(measured),
        *(trust_sections(result.trust.figures) if result.trust else ()),
        Section("Training", _training(result)),
        Section("While it learned", _frame_blocks(result.frames)),
        Section("Where it looks", _map_blocks(maps)),
        *(galleries(measured, result.held_out[split].crops) if show_faces else ()),
        Section(
            "The run",
            [Table.of({key: json.dumps(v) if isinstance(v, dict) else v for key, v in result.record.items()})],
        ),
    ]
    return report_page(f"Evaluation of {name}", sections)


def _compared(candidates: Sequence[Candidate]) -> list[Block]:
    """Return the table of the variants and, where they were trained for more than one epoch, their curves in one plot."""
    if not candidates:
        return []
    blocks: list[Block] = [Table([each.row for each in candidates], HEAD)]
    runs = {each.name: steps_of(list(each.history)).get("whole", []) for each in candidates}
    if max(map(len, runs.values())) > 1:
        blocks.append(Figure.of_png(plots.accuracy_curves(runs), "Dev accuracy of all variants while they learned."))
    return blocks


def _compared_maps(candidates: Sequence[Candidate]) -> list[Block]:
    """Return the mean maps of all variants in one figure, and the share of each part of the face in a table."""
    found = {each.name: each.maps for each in candidates if each.maps}
    if not found:
        return []
    picture = draw_mean_maps(*found.values(), names=tuple(found))
    rows = [(f"{name}, {each.affect}", *each.shares.values()) for name, maps in found.items() for each in maps]
    parts = next(iter(found.values()))[0].shares
    caption = "Mean SmoothGrad map of each affect by each variant, over the same faces where their splits are the same."
    return [Figure.of_png(picture, caption), Table(rows, ("share of the map", *parts))]


def _training(result: ExperimentResult) -> list[Block]:
    steps = steps_of(result.history)
    counts = plots.class_counts(result.provenance.counts)
    blocks: list[Block] = [Figure.of_png(counts, "Images of each class in every split.")]
    for step, epochs in steps.items():
        if len(epochs) > 1:
            caption = f"{STEPS[step]}. The shaded gap is what does not carry over to new images."
            blocks.append(Figure.of_png(plots.learning_curves(epochs), caption))
    if "whole" in steps:
        blocks += [_stages(steps, result.keep), Text(overfitting(steps["whole"], result.keep).verdict)]
    split, _ = result.measured
    if result.size_curve:
        size_curve = plots.size_curve(result.size_curve)
        blocks.append(Figure.of_png(size_curve, f"What more images bring: accuracy on {split}."))
    pixels = normalised(
        torch.from_numpy(result.held_out[split].crops[:SHOWN_FACES]).permute(0, 3, 1, 2) / 255, result.base.processor
    )
    return [*blocks, Figure.of_png(plots.pixel_values(pixels.numpy()), "The model's input after normalisation.")]


def _stages(steps: dict[str, list[Epoch]], keep: str) -> Table:
    """Return train and dev scores at the stages of a run: where each step began and ended, its least loss, what was kept."""
    whole = steps["whole"]
    stages = {f"{STEPS['head']}, its last epoch": steps["head"][-1]} if steps.get("head") else {}
    stages |= {
        "early: the first epoch": whole[0],
        "the least dev loss": min(whole, key=lambda epoch: epoch.dev_loss),
        f"kept ({keep})": kept_epoch(whole, keep),
        "the last epoch": whole[-1],
    }
    rows = [
        (name, f"{each.epoch:g}", each.train_accuracy, each.dev_accuracy, each.train_loss, each.dev_loss)
        for name, each in stages.items()
    ]
    return Table(rows, ("", "epoch", "train accuracy", "dev accuracy", "train loss", "dev loss"))


def _frame_blocks(frames: Sequence[np.ndarray]) -> list[Block]:
    if not frames:
        return []
    moving = "data:image/webp;base64," + base64.b64encode(animated(frames)).decode()
    captions = ("One picture for each epoch.", "The same epochs, from the first to the last.")
    stills = data_url(still_strip(frames), quality=85)
    return [Text(PRIVATE, warning=True), Figure(moving, captions[0]), Figure(stills, captions[1])]


def _map_blocks(maps: Sequence[MeanMap]) -> list[Block]:
    if not maps:
        return []
    rows = [(part, *(each.shares[part] for each in maps)) for part in maps[0].shares]
    shares = Table(rows, ("share of the map", *(each.affect for each in maps)))
    return [Figure.of_png(draw_mean_maps(maps), "Mean SmoothGrad map of each affect over the mean face."), shares]


@dataclass(frozen=True)
class Epoch:
    """Scores after one epoch; the train scores are of the pictures as they are, without augmentation."""

    epoch: float
    train_loss: float
    train_accuracy: float
    dev_loss: float
    dev_accuracy: float


@dataclass(frozen=True)
class Overfitting:
    """`gap` is train minus dev accuracy at the kept epoch; `divergence` the first epoch whose dev loss has turned upwards."""

    gap: float
    kept_epoch: float
    divergence: float | None
    verdict: str


def steps_of(history: list[dict]) -> dict[str, list[Epoch]]:
    """Return the epochs of each step of a run, "head" and "whole", from the entries that the Trainer logged."""
    entries: dict[str, dict[float, dict]] = {}
    for entry in history:
        if any(key.startswith("eval_") for key in entry):
            step = entries.setdefault(entry.get("step_of_two", "whole"), {})
            step.setdefault(entry["epoch"], {}).update(entry)
    names = {"train_loss": "eval_train_loss", "train_accuracy": "eval_train_accuracy"}
    names |= {"dev_loss": "eval_dev_loss", "dev_accuracy": "eval_dev_accuracy"}
    steps = {
        step: [
            Epoch(entry["epoch"], **{name: entry[key] for name, key in names.items()})
            for entry in epochs.values()
            if all(key in entry for key in names.values())
        ]
        for step, epochs in entries.items()
    }
    return {step: epochs for step, epochs in steps.items() if epochs}


def kept_epoch(epochs: list[Epoch], keep: str) -> Epoch:
    """Return the epoch that was kept: the last, or the first with the best dev accuracy."""
    return epochs[-1] if keep == "last" else max(epochs, key=lambda epoch: (epoch.dev_accuracy, -epoch.epoch))


def overfitting(epochs: list[Epoch], keep: str = "best") -> Overfitting:
    """Judge at least one epoch, by dev pictures that were not trained on."""
    kept = kept_epoch(epochs, keep)
    gap, least = kept.train_accuracy - kept.dev_accuracy, float("inf")
    divergence = None
    for epoch in epochs:
        least = min(least, epoch.dev_loss)
        if divergence is None and epoch.dev_loss > RISE * least:
            divergence = epoch.epoch
    return Overfitting(gap, kept.epoch, divergence, _verdict(gap, divergence, kept))


def _verdict(gap: float, divergence: float | None, kept: Epoch) -> str:
    words = (
        f"At the kept epoch ({kept.epoch:g}) {kept.train_accuracy * 100:.0f} % of train and "
        f"{kept.dev_accuracy * 100:.0f} % of dev pictures are right, a gap of {gap * 100:.0f} points. "
    )
    turned = "" if divergence is None else f" The dev loss turned upwards at epoch {divergence:g}."
    if gap > GAP:
        return f"{words}The model knows its training pictures much better than new ones.{turned} More infants would help most."
    if kept.train_accuracy < 0.7:
        return f"{words}The model has not yet learned its training pictures.{turned} More epochs or a larger rate may help."
    return f"{words}What it learned carries over to new pictures.{turned}"
