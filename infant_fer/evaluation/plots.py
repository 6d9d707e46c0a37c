"""What is easier seen than read? Each function draws one figure and gives it as PNG bytes."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from infant_fer.evaluation.predictions import Predictions
from infant_fer.metrics import Proportion
from infant_fer.training.learning_curves import Epoch

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#767676"  # Okabe and Ito
BINS = 10


def confusion_matrix(answers: Predictions) -> bytes:
    """Rows are true classes, columns answers; shade and number are shares of the row, counts stand below."""
    count = len(answers.labels)
    table = np.zeros((count, count), int)
    np.add.at(table, (answers.truth, answers.predicted), 1)
    shares = table / table.sum(1, keepdims=True).clip(1)
    figure, axes = _figure(1.6 + 0.75 * count, 1.3 + 0.75 * count)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(count, count):
        text = f"{shares[row, column] * 100:.0f} %\n{table[row, column]}"
        axes.text(column, row, text, ha="center", va="center", color="white" if shares[row, column] > 0.6 else "black")
    axes.set_xticks(range(count), answers.labels, rotation=35, ha="right")
    axes.set_yticks(range(count), answers.labels)
    axes.set(xlabel="answer", ylabel="truth")
    return _png(figure)


def reliability_diagram(answers: Predictions) -> bytes:
    """How often answers of a confidence are right, with the share of answers that have it; on the diagonal is calibrated."""
    confidence, right = answers.probabilities.max(1), answers.predicted == answers.truth
    which = np.minimum((confidence * BINS).astype(int), BINS - 1)
    figure, axes = _figure(4.6, 4.2)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="calibrated")
    axes.bar(
        (np.arange(BINS) + 0.5) / BINS,
        np.bincount(which, minlength=BINS) / len(which),
        1 / BINS,
        color=GREY,
        alpha=0.3,
        label="share of answers",
    )
    used = np.unique(which)
    shares = [Proportion(int(right[which == b].sum()), int((which == b).sum())) for b in used]
    _with_intervals(axes, [confidence[which == b].mean() for b in used], shares, BLUE, "right")
    axes.set(xlabel="probability of the answer", ylabel="share", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="upper left", frameon=False)
    return _png(figure)


def accuracy_bars(shares: dict[str, Proportion]) -> bytes:
    """One point with its 95 % interval for each name: models, classes or subgroups."""
    figure, axes = _figure(5.2, 0.9 + 0.36 * len(shares))
    places = np.arange(len(shares))[::-1]
    _along(axes, places, list(shares.values()), BLUE, "o")
    axes.set_yticks(places, [f"{name} (n = {share.n})" for name, share in shares.items()])
    axes.set(xlabel="accuracy with 95 % interval", xlim=(0, 1.02), ylim=(-0.6, len(shares) - 0.4))
    axes.grid(axis="x", alpha=0.3)
    return _png(figure)


def learning_curves(epochs: list[Epoch]) -> bytes:
    """Loss and accuracy of train and dev over the epochs; the shaded gap is what does not carry over."""
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    steps = [epoch.epoch for epoch in epochs]
    for axes, kind in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        train, dev = ([getattr(epoch, f"{part}_{kind}") for epoch in epochs] for part in ("train", "dev"))
        axes.plot(steps, train, color=BLUE, marker="o", markersize=3, label="train")
        axes.plot(steps, dev, color=ORANGE, marker="s", markersize=3, label="dev")
        axes.fill_between(steps, train, dev, color=GREY, alpha=0.15)
        axes.set(xlabel="epoch", ylabel=kind)
        axes.legend(frameon=False)
    return _png(figure)


def class_counts(counts: dict[str, dict[str, int]]) -> bytes:
    """How many pictures of each class every part of the split has."""
    figure, axes = _figure(5.2, 3.0)
    parts = [part for part, classes in counts.items() if sum(classes.values())]
    labels = list(counts[parts[0]])
    for index, part in enumerate(parts):
        places = np.arange(len(labels)) + (index - (len(parts) - 1) / 2) * 0.27
        bars = axes.bar(
            places, [counts[part][name] for name in labels], 0.25, label=part, color=(BLUE, ORANGE, GREY)[index]
        )
        axes.bar_label(bars, fontsize=8)
    axes.set_xticks(range(len(labels)), labels)
    axes.set(ylabel="pictures")
    axes.legend(frameon=False)
    return _png(figure)


def pixel_values(pixels: np.ndarray) -> bytes:
    """The distribution of normalised input values, (N, 3, S, S), per channel; it should lie about 0 with a spread near 1."""
    figure, axes = _figure(5.2, 2.8)
    for channel, (name, colour) in enumerate(zip(("red", "green", "blue"), (ORANGE, "#009E73", BLUE), strict=True)):
        values = pixels[:, channel].ravel()
        axes.hist(values, 60, histtype="step", density=True, color=colour, label=f"{name}, mean {values.mean():.2f}")
    axes.set(xlabel="normalised pixel value", ylabel="density")
    axes.legend(frameon=False)
    return _png(figure)


def size_curve(shares: dict[int, Proportion]) -> bytes:
    """Accuracy on the same held-out pictures over the number of training pictures, with 95 % intervals."""
    figure, axes = _figure(5.2, 3.0)
    _with_intervals(axes, list(shares), list(shares.values()), BLUE, "held out")
    axes.plot(list(shares), [share.value for share in shares.values()], color=BLUE, linewidth=1)
    axes.set(xlabel="training pictures", ylabel="accuracy", xscale="log")
    axes.grid(alpha=0.3)
    return _png(figure)


def level_panels(panels: dict[str, dict[str, dict[str, Proportion]]]) -> bytes:
    """One panel a factor, one line a level, one marker a quantity with its 95 % interval: {factor: {level: {quantity: ...}}}.

    Anything with a `value` and an `interval` may stand for a Share.
    """
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.7 * columns, 0.5 + 2.4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, (factor, levels) in zip(grid, panels.items(), strict=False):
        places = np.arange(len(levels))[::-1]
        for index, name in enumerate(next(iter(levels.values()))):
            marks = [quantities[name] for quantities in levels.values()]
            _along(axes, places + 0.22 * (1 - index), marks, (BLUE, ORANGE, GREY)[index], "osD"[index], name)
        axes.set_yticks(places, list(levels))
        axes.set(title=factor, xlim=(-0.25, 1.02), ylim=(-0.6, len(levels) - 0.4))
        axes.grid(axis="x", alpha=0.3)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return _png(figure)


def _along(axes, places: np.ndarray, shares: list[Proportion], colour: str, marker: str, label: str = "") -> None:
    """Points from left to right, each with its interval, on lines at `places`."""
    values = np.array([share.value for share in shares])
    axes.errorbar(values, places, xerr=_reach(shares), fmt=marker, color=colour, capsize=3, markersize=5, label=label)


def _with_intervals(axes, places: list[float], shares: list[Proportion], colour: str, label: str) -> None:
    values = np.array([share.value for share in shares])
    axes.errorbar(places, values, yerr=_reach(shares), fmt="o", color=colour, capsize=3, label=label)


def _reach(shares: list[Proportion]) -> np.ndarray:
    """(2, N): how far the intervals reach below and above the shares."""
    values = np.array([share.value for share in shares])
    low, high = np.array([share.interval for share in shares]).T
    return np.maximum([values - low, high - values], 0)  # at 0 and 1 rounding may leave less than nothing


def _figure(width: float, height: float):
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=120, facecolor="white")
    return stream.getvalue()
