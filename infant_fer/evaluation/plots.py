"""Draw the figures of an evaluation; each function returns one figure as PNG bytes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from infant_fer import metrics
from infant_fer.evaluation.predictions import Predictions
from infant_fer.locales import translator
from infant_fer.metrics import Proportion

if TYPE_CHECKING:
    from infant_fer.training.reports.history import Epoch

BLUE, ORANGE, GRAY = "#0072B2", "#D55E00", "#767676"  # Okabe and Ito
BINS = 10


def confusion_matrix(predictions: Predictions) -> bytes:
    """Draw true classes as rows and predicted classes as columns, with the share of the row and the count in each cell."""
    count = len(predictions.labels)
    table = metrics.confusion(predictions.predicted, predictions.truth, count)
    row_shares = table / table.sum(1, keepdims=True).clip(1)
    figure, axes = _figure(1.6 + 0.75 * count, 1.3 + 0.75 * count)
    axes.imshow(row_shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(count, count):
        text = f"{row_shares[row, column] * 100:.0f} %\n{table[row, column]}"
        colour = "white" if row_shares[row, column] > 0.6 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour)
    axes.set_xticks(range(count), predictions.labels, rotation=35, ha="right")
    axes.set_yticks(range(count), predictions.labels)
    axes.set(xlabel="answer", ylabel="truth")
    return png(figure)


def reliability_diagram(predictions: Predictions) -> bytes:
    """Draw accuracy over confidence, with the share of predictions in each bin; calibrated ones are on the diagonal."""
    confidence, right = predictions.probabilities.max(1), predictions.predicted == predictions.truth
    number = np.minimum((confidence * BINS).astype(int), BINS - 1)
    used, bin_shares = np.unique(number), np.bincount(number, minlength=BINS) / len(number)
    figure, axes = _figure(4.6, 4.2)
    axes.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=1, label="calibrated")
    axes.bar((np.arange(BINS) + 0.5) / BINS, bin_shares, 1 / BINS, color=GRAY, alpha=0.3, label="share of answers")
    accuracies = [Proportion.of(right[number == each], predictions.subject[number == each]) for each in used]
    _over(axes, [confidence[number == each].mean() for each in used], accuracies, BLUE, "right")
    axes.set(xlabel="probability of the answer", ylabel="share", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="upper left", frameon=False)
    return png(figure)


def risk_coverage(curve: Sequence[tuple[float, float]], area: float) -> bytes:
    """Draw the share of errors (0..1) among the answers over the share of faces (0..1) that get one, the least doubtful first."""
    figure, axes = _figure(4.6, 3.2)
    coverage, risk = zip(*curve, strict=True)
    axes.plot([100 * each for each in coverage], [100 * each for each in risk], color=BLUE, marker="o", markersize=3)
    axes.set(xlabel="% of the faces answered", ylabel="% of these answers wrong", ylim=(0, None))
    axes.set_title(f"AURC {area:.4f}", fontsize=9)
    axes.grid(alpha=0.3)
    return png(figure)


def accuracy_bars(accuracies: dict[str, Proportion]) -> bytes:
    """Draw one point with its 95 % interval for each name: models, classes or subgroups."""
    figure, axes = _figure(5.2, 0.9 + 0.36 * len(accuracies))
    places = np.arange(len(accuracies))[::-1]
    _along(axes, places, list(accuracies.values()), BLUE, "o")
    axes.set_yticks(places, [f"{name} (n = {each.n})" for name, each in accuracies.items()])
    axes.set(xlabel="accuracy with 95 % interval", xlim=(0, 1.02), ylim=(-0.6, len(accuracies) - 0.4))
    axes.grid(axis="x", alpha=0.3)
    return png(figure)


def learning_curves(epochs: list[Epoch], runs: Sequence[list[Epoch]] = ()) -> bytes:
    """Draw loss and accuracy of train and dev over the epochs; the shaded gap does not carry over to new images.

    `runs`, of which `epochs` are the mean, are drawn thin behind it.
    """
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    steps = [epoch.epoch for epoch in epochs]
    for axes, kind in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split, colour, marker in (("train", BLUE, "o"), ("dev", ORANGE, "s")):
            values = [getattr(epoch, f"{split}_{kind}") for epoch in epochs]
            axes.plot(steps, values, color=colour, marker=marker, markersize=3, label=split)
            for run in runs:
                thin = [getattr(epoch, f"{split}_{kind}") for epoch in run]
                axes.plot([epoch.epoch for epoch in run], thin, color=colour, linewidth=0.7, alpha=0.4, zorder=1)
        train, dev = ([getattr(epoch, f"{split}_{kind}") for epoch in epochs] for split in ("train", "dev"))
        axes.fill_between(steps, train, dev, color=GRAY, alpha=0.15)
        axes.set(xlabel="epoch", ylabel=kind)
        axes.legend(frameon=False)
    return png(figure)


def accuracy_curves(runs: dict[str, list[Epoch]]) -> bytes:
    """Draw the dev accuracy of several runs over their epochs in one plot."""
    figure, axes = _figure(6.4, 3.6)
    for (name, epochs), style in zip(runs.items(), cycle(("-", "--", ":", "-.")), strict=False):
        steps = [each.epoch for each in epochs]
        axes.plot(steps, [each.dev_accuracy for each in epochs], style, marker="o", markersize=3, label=name)
    axes.set(xlabel="epoch", ylabel="dev accuracy", ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize=8)
    return png(figure)


def class_counts(counts: dict[str, dict[str, int]]) -> bytes:
    """Draw how many images of each class every split has."""
    figure, axes = _figure(5.2, 3.0)
    splits = [split for split, classes in counts.items() if sum(classes.values())]
    labels = list(counts[splits[0]])
    for index, split in enumerate(splits):
        places = np.arange(len(labels)) + (index - (len(splits) - 1) / 2) * 0.27
        heights, colour = [counts[split][name] for name in labels], (BLUE, ORANGE, GRAY)[index]
        axes.bar_label(axes.bar(places, heights, 0.25, label=split, color=colour), fontsize=8)
    axes.set_xticks(range(len(labels)), labels)
    axes.set(ylabel="images")
    axes.legend(frameon=False)
    return png(figure)


def pixel_values(pixels: np.ndarray) -> bytes:
    """Draw the distribution of normalised input values, (N, 3, S, S), per channel; it should centre on 0 with a spread near 1."""
    figure, axes = _figure(5.2, 2.8)
    for channel, (name, colour) in enumerate(zip(("red", "green", "blue"), (ORANGE, "#009E73", BLUE), strict=True)):
        values = pixels[:, channel].ravel()
        axes.hist(values, 60, histtype="step", density=True, color=colour, label=f"{name}, mean {values.mean():.2f}")
    axes.set(xlabel="normalised pixel value", ylabel="density")
    axes.legend(frameon=False)
    return png(figure)


def size_curve(accuracies: dict[int, Proportion]) -> bytes:
    """Draw accuracy on the same held-out images over the number of training images, with 95 % intervals."""
    figure, axes = _figure(5.2, 3.0)
    _over(axes, list(accuracies), list(accuracies.values()), BLUE, "held out")
    axes.plot(list(accuracies), [each.value for each in accuracies.values()], color=BLUE, linewidth=1)
    axes.set(xlabel="training images", ylabel="accuracy", xscale="log")
    axes.grid(alpha=0.3)
    return png(figure)


def level_panels(panels: dict[str, dict[str, dict[str, Proportion]]]) -> bytes:
    """Draw one panel per factor, one line per level, one marker with its 95 % interval per quantity.

    `panels` is {factor: {level: {quantity: ...}}}; anything with a `value` and an `interval` may stand for a Proportion.
    """
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.7 * columns, 0.5 + 2.4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, (factor, levels) in zip(grid, panels.items(), strict=False):
        places = np.arange(len(levels))[::-1]
        for index, name in enumerate(next(iter(levels.values()))):
            marks = [quantities[name] for quantities in levels.values()]
            _along(axes, places + 0.22 * (1 - index), marks, (BLUE, ORANGE, GRAY)[index], "osD"[index], name)
        axes.set_yticks(places, list(levels))
        axes.set(title=factor, xlim=(-0.25, 1.02), ylim=(-0.6, len(levels) - 0.4))
        axes.grid(axis="x", alpha=0.3)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return png(figure)


def deletion_curves(curves: dict[str, tuple[np.ndarray, np.ndarray]], target: str, language: str = "en") -> bytes:
    """Draw answers over the hidden share for each name: (K,) shares and (K,) probabilities of `target`, both 0..1."""
    _ = translator(language)
    figure, axes = _figure(5.2, 3.6)
    styles = ((BLUE, "-"), ("#009E73", "-"), (GRAY, "--"), (ORANGE, ":"))
    for (name, (shares, answers)), (colour, line) in zip(curves.items(), styles, strict=False):
        area = np.trapezoid(answers, shares)
        axes.plot(
            shares * 100,
            answers,
            color=colour,
            linestyle=line,
            linewidth=2,
            label=_("{name}, area {area:.2f}", name=_(name), area=area),
        )
    axes.set(xlabel=_("per cent of the picture hidden or shown"), ylim=(0, 1.02))
    axes.set(ylabel=_("probability of {target}", target=_(target)))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=2)
    return png(figure)


def png_url(png: bytes) -> str:
    """Return a figure as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _along(axes, places: np.ndarray, marks: list[Proportion], colour: str, marker: str, label: str = "") -> None:
    """Draw values along x with their intervals, on lines at `places`."""
    values, reach = _values(marks)
    axes.errorbar(values, places, xerr=reach, fmt=marker, color=colour, capsize=3, markersize=5, label=label)


def _over(axes, places: list[float], marks: list[Proportion], colour: str, label: str) -> None:
    """Draw values along y with their intervals, over `places`."""
    values, reach = _values(marks)
    axes.errorbar(places, values, yerr=reach, fmt="o", color=colour, capsize=3, label=label)


def _values(marks: list[Proportion]) -> tuple[np.ndarray, np.ndarray]:
    """Return (N,) values and (2, N) how far the intervals reach below and above them."""
    values = np.array([each.value for each in marks])
    low, high = np.array([each.interval for each in marks]).T
    return values, np.maximum([values - low, high - values], 0)  # rounding may leave less than 0 at 0 and 1


def _figure(width: float, height: float):
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    FigureCanvasAgg(figure)
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=120, facecolor="white")
    return stream.getvalue()
