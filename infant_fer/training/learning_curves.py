"""Did the model learn the pictures by heart? The gap between train and dev over the epochs, and a verdict in words."""

from __future__ import annotations

from dataclasses import dataclass

GAP = 0.15  # of accuracy, between train and dev at the kept epoch; above it the verdict speaks of learning by heart
RISE = 1.1  # a dev loss this many times its least value has diverged


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


def epochs_of(history: list[dict]) -> list[Epoch]:
    """The epochs of the last step of a run, from the entries that the Trainer logged."""
    step = history[-1].get("step_of_two") if history else None
    entries: dict[float, dict] = {}
    for entry in history:
        if entry.get("step_of_two") == step and any(key.startswith("eval_") for key in entry):
            entries.setdefault(entry["epoch"], {}).update(entry)
    names = {"train_loss": "eval_train_loss", "train_accuracy": "eval_train_accuracy"}
    names |= {"dev_loss": "eval_dev_loss", "dev_accuracy": "eval_dev_accuracy"}
    whole = [entry for entry in entries.values() if all(key in entry for key in names.values())]
    return [Epoch(entry["epoch"], **{name: entry[key] for name, key in names.items()}) for entry in whole]


def overfitting(epochs: list[Epoch]) -> Overfitting:
    """Judge at least one epoch; the kept one is the first with the best dev accuracy."""
    kept = max(epochs, key=lambda epoch: (epoch.dev_accuracy, -epoch.epoch))
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
