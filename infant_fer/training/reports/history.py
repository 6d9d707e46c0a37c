"""What does the log of a training tell? Its epochs, the one that was kept, and whether what it learned carries over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from infant_fer.metrics import Proportion

GAP = 0.15  # of accuracy, between train and held-out pictures at the kept epoch; above it the verdict speaks of learning by heart
RISE = 1.1  # a dev loss this many times its least value has diverged


@dataclass(frozen=True)
class Epoch:
    """Scores after one epoch; the train scores are of the pictures as they are, without augmentation.

    A loss is the mean negative log-likelihood of each picture's class, whatever smoothing, weights or teacher the training had.
    """

    epoch: float
    train_loss: float
    train_accuracy: float
    dev_loss: float
    dev_accuracy: float


@dataclass(frozen=True)
class Fold:
    """The training of one fold of a cross-validation, and how well its model reads the pictures that it never saw."""

    history: list[dict]  # what the Trainer logged; its dev chose the epoch, unless the last was kept
    held_out: Proportion  # accuracy on the fold's own pictures, which neither taught nor chose the epoch

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        return {"accuracy": self.held_out.to_dict(), "history": self.history}


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


def runs_of(histories: Iterable[list[dict]], step: str) -> list[list[Epoch]]:
    """Return the epochs of a step, "head" or "whole", of every training that had it."""
    return [found[step] for found in map(steps_of, histories) if step in found]


def mean_epoch(epochs: Sequence[Epoch]) -> Epoch:
    """Return the mean of each score, and of the epochs' numbers, over at least one epoch."""
    return Epoch(**{each.name: float(np.mean([getattr(e, each.name) for e in epochs])) for each in fields(Epoch)})


def mean_curve(runs: Sequence[list[Epoch]]) -> list[Epoch]:
    """Return the mean over several runs after each epoch that all of them had; early stopping ends some before others."""
    return [mean_epoch(epochs) for epochs in zip(*runs, strict=False)]


def kept_epoch(epochs: list[Epoch], keep: str) -> Epoch:
    """Return the epoch that was kept: the last, or the first with the best dev accuracy."""
    return epochs[-1] if keep == "last" else max(epochs, key=lambda epoch: (epoch.dev_accuracy, -epoch.epoch))


def divergence(epochs: list[Epoch]) -> float | None:
    """Return the number of the first epoch whose dev loss has turned upwards; None without one."""
    least = float("inf")
    for epoch in epochs:
        least = min(least, epoch.dev_loss)
        if epoch.dev_loss > RISE * least:
            return epoch.epoch
    return None


def verdict_of_run(epochs: list[Epoch], keep: str = "best") -> str:
    """Judge at least one epoch, by dev pictures that were not trained on."""
    kept, turned = kept_epoch(epochs, keep), divergence(epochs)
    gap = kept.train_accuracy - kept.dev_accuracy
    words = (
        f"At the kept epoch ({kept.epoch:g}) {kept.train_accuracy * 100:.0f} % of train and "
        f"{kept.dev_accuracy * 100:.0f} % of dev pictures are right, a gap of {gap * 100:.0f} points."
    )
    said = "" if turned is None else f" The dev loss turned upwards at epoch {turned:g}."
    return _verdict(words, gap, kept.train_accuracy, said)


def verdict_of_folds(folds: Sequence[Fold], keep: str = "best") -> str:
    """Judge the epochs that at least one fold kept, by the fold's held-out pictures, which chose no epoch.

    Every fold has epochs of the step "whole".
    """
    runs = runs_of([each.history for each in folds], "whole")
    train = np.array([kept_epoch(epochs, keep).train_accuracy for epochs in runs])
    held_out = np.array([each.held_out.value for each in folds])
    gaps = train - held_out
    words = (
        f"At the epochs that the {len(folds)} folds kept, {train.mean() * 100:.0f} % of train pictures are right and "
        f"{held_out.mean() * 100:.0f} % of the fold's held-out pictures, which chose no epoch: a gap of "
        f"{gaps.mean() * 100:.0f} points, {gaps.min() * 100:.0f} to {gaps.max() * 100:.0f} over the folds."
    )
    turned = sum(divergence(epochs) is not None for epochs in runs)
    said = f" The dev loss turned upwards in {turned} of {len(folds)} folds." if turned else ""
    return _verdict(words, float(gaps.mean()), float(train.mean()), said)


def _verdict(words: str, gap: float, train_accuracy: float, turned: str) -> str:
    if gap > GAP:
        return (
            f"{words} The model knows its training pictures much better than new ones.{turned} "
            "More infants would help most."
        )
    if train_accuracy < 0.7:
        return f"{words} The model has not yet learned its training pictures.{turned} More epochs or a larger rate may help."
    return f"{words} What it learned carries over to new pictures.{turned}"
