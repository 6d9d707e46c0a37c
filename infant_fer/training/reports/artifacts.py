"""What does a run write? A checkpoint folder with card, metrics and report, whole or not at all, checked by loading it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from infant_fer.checkpoints.loading import load_checkpoint
from infant_fer.data.labeled_images import AlignedDataset
from infant_fer.data.splits import SPLIT_FILE, write_split
from infant_fer.errors import DatasetError
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
from infant_fer.evaluation.scores import scores
from infant_fer.files import check_output_folder, filled_folder
from infant_fer.images import data_url
from infant_fer.training.batches import normalised
from infant_fer.training.experiment import ExperimentResult
from infant_fer.training.provenance import written
from infant_fer.training.reports.card import experiment_card
from infant_fer.training.reports.history import (
    Epoch,
    kept_epoch,
    mean_curve,
    mean_epoch,
    runs_of,
    verdict_of_folds,
    verdict_of_run,
)
from infant_fer.training.reports.watching import animated, still_strip
from infant_fer.training.variants import HEAD, Candidate, different_pictures, maps_of
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
STEPS = {"head": "The head alone", "whole": "Every layer"}


def write_checkpoint(output: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder, then give it the name `output`; on any failure an earlier checkpoint stays as it was.

    Of an earlier checkpoint only OWN_FILES are replaced. Raises OutputError when `output` holds other files or cannot be
    written, for example on a full disk.
    """
    check_output_folder(output)
    with written(output), filled_folder(output, lambda _: OWN_FILES) as partial:
        write(partial)


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
    if result.cross_validation_scores:
        figures["cross-validation"] = result.cross_validation_scores.to_dict()
    split, measured = result.measured
    curve = {count: share.to_dict() for count, share in result.size_curve.items()}
    metrics = {"figures": figures, "size curve": curve, "run": result.record, "history": result.history}
    if result.folds:
        metrics["folds"] = [each.to_dict() for each in result.folds]

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
        *(Section(f"Compared {each.how}", _compared(result.candidates)) for each in result.candidates[:1]),
        Section("Where each variant looks", _compared_maps(result.candidates)),
        *prediction_sections(measured),
        *(trust_sections(result.trust.figures) if result.trust else ()),
        Section("Cross-validation", _cross_validation(result)),
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
    caution = different_pictures(candidates)
    blocks: list[Block] = [Text(caution, warning=True)] if caution else []
    blocks.append(Table([each.row for each in candidates], HEAD))
    runs = {each.name: mean_curve(runs_of(each.histories, "whole")) for each in candidates}
    if max(map(len, runs.values())) > 1:
        of_folds = " Of each, the mean over its folds." if max(len(each.histories) for each in candidates) > 1 else ""
        caption = f"Dev accuracy of all variants while they learned.{of_folds}"
        blocks.append(Figure.of_png(plots.accuracy_curves(runs), caption))
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


def _cross_validation(result: ExperimentResult) -> list[Block]:
    """Return the accuracy of every fold, and its spread over folds, repeats and draws of 25 pictures; empty without folds."""
    found, folds, count = result.cross_validation_scores, result.folds, result.provenance.folds
    if not found or not folds:
        return []
    several = len(found.repeats) > 1
    rows = [
        (f"repeat {index // count + 1}, " * several + f"fold {index % count + 1}", each.held_out)
        for index, each in enumerate(folds)
    ]
    spread = {f"the {len(folds)} folds": np.array([each.held_out.value for each in folds])}
    if several:
        spread[f"the {len(found.repeats)} repeats"] = np.array(found.accuracy.values)
    table: list[tuple] = [
        (f"over {name}", *map(_percent, (each.mean(), each.std(ddof=1), each.min(), each.max())))
        for name, each in spread.items()
    ]
    if drawn := found.spread:
        name = f"over {drawn.splits} draws of {drawn.test_pictures} of these predictions, of whole infants"
        table.append((name, *map(_percent, (drawn.mean, drawn.deviation, drawn.lowest, drawn.highest))))
    watched = "chose the epoch" if result.keep == "best" else "was watched and not trained on"
    words = f"Each fold was read by a model that saw none of its infants; a tenth of the others {watched}."
    head = ("spread of the accuracy", "mean", "standard deviation", "lowest", "highest")
    return [Text(words), Table(rows, ("", "accuracy with 95 % interval")), Table(table, head)]


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _training(result: ExperimentResult) -> list[Block]:
    counts = plots.class_counts(result.provenance.counts)
    blocks: list[Block] = [
        Figure.of_png(counts, "Images of each class in every split."),
        *_learning(result.histories),
    ]
    whole = runs_of(result.histories, "whole")
    if whole:
        verdict = (
            verdict_of_run(whole[0], result.keep) if result.history else verdict_of_folds(result.folds, result.keep)
        )
        blocks += [*_stages(result.histories, result.keep), Text(verdict)]
    split, _ = result.measured
    if result.size_curve:
        size_curve = plots.size_curve(result.size_curve)
        blocks.append(Figure.of_png(size_curve, f"What more images bring: accuracy on {split}."))
    pixels = normalised(
        torch.from_numpy(result.held_out[split].crops[:SHOWN_FACES]).permute(0, 3, 1, 2) / 255, result.base.processor
    )
    return [*blocks, Figure.of_png(plots.pixel_values(pixels.numpy()), "The model's input after normalisation.")]


def _learning(histories: Sequence[list[dict]]) -> list[Block]:
    """Return a figure of each step of more than one epoch; several trainings are the folds whose models were averaged."""
    blocks: list[Block] = []
    for step, title in STEPS.items():
        runs = runs_of(histories, step)
        if max(map(len, runs), default=0) < 2:
            continue
        caption = f"{title}. The shaded gap is what does not carry over to new images."
        if len(runs) > 1:
            caption += (
                f" Thick: the mean over {len(runs)} folds, as far as all go; thin: each fold, with a dev of its own."
            )
        blocks.append(Figure.of_png(plots.learning_curves(mean_curve(runs), runs if len(runs) > 1 else ()), caption))
    return blocks


def _stages(histories: Sequence[list[dict]], keep: str) -> list[Block]:
    """Return train and dev scores at the stages of a run: where each step began and ended, its least loss, what was kept.

    Of several trainings, the folds, each score is the mean over each one's own stage.
    """
    head, whole = (runs_of(histories, step) for step in ("head", "whole"))
    stages: dict[str, list[Epoch]] = {f"{STEPS['head']}, its last epoch": [epochs[-1] for epochs in head]}
    stages |= {
        "early: the first epoch": [epochs[0] for epochs in whole],
        "the least dev loss": [min(epochs, key=lambda epoch: epoch.dev_loss) for epochs in whole],
        f"kept ({keep})": [kept_epoch(epochs, keep) for epochs in whole],
        "the last epoch": [epochs[-1] for epochs in whole],
    }
    means = {name: mean_epoch(epochs) for name, epochs in stages.items() if epochs}
    rows = [
        (name, f"{each.epoch:g}", each.train_accuracy, each.dev_accuracy, each.train_loss, each.dev_loss)
        for name, each in means.items()
    ]
    table = Table(rows, ("", "epoch", "train accuracy", "dev accuracy", "train loss", "dev loss"))
    words = f"Each number is the mean over {len(whole)} folds, of each fold's own epoch of that name."
    return [Text(words), table] if len(whole) > 1 else [table]


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
