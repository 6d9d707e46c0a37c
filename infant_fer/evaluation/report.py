"""Lay out an evaluation as one self-contained HTML page of tables and figures; training and the audit use its blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import cv2
import numpy as np
from markupsafe import Markup

from infant_fer.evaluation import plots
from infant_fer.evaluation.predictions import Predictions, RepeatedPredictions, class_f1, votes
from infant_fer.evaluation.scores import figures, mcnemar, mcnemar_caution, subgroup_accuracies, top_two
from infant_fer.images import data_url
from infant_fer.templates import render

if TYPE_CHECKING:
    from infant_fer.evaluation.comparison import Evaluation  # loads scikit-learn, which the audit does without

GALLERY_SIZE = 24  # faces that are shown with wrong answers, and with right ones
FACE_SIZE = 128  # px
DATA_HEADING = "## Data and licence"  # of a model card; further sections come before it
CAUTION = (
    "Labels are judgements of a picture, by people or by a model; the infant could not say. Not a medical device. Below a few "
    "hundred held-out infants the interval says more than the figure."
)
PRIVATE = "These are pictures of the data set. Do not publish this page."


@dataclass(frozen=True)
class Text:
    """A paragraph, set off if it is a `warning`."""

    kind: ClassVar[str] = "text"
    words: str
    warning: bool = False


BEST, WORST = "best", "worst"  # marks of a MarkedScore, as words and as CSS classes
OVER_CLASSES = {  # rows of class_table, and their names in scores.figures
    "Top-1, mean over classes": "balanced accuracy",
    "Top-1, variance over classes": "variance over classes",
    "Top-2, mean over classes": "Top-2, mean over classes",
    "Top-2, variance over classes": "Top-2, variance over classes",
}


@dataclass(frozen=True)
class MarkedScore:
    """A number in a table, marked if it is the BEST or the WORST of its row."""

    value: float
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of strings, numbers, marked scores, proportions or None; the first cell names the row."""

    kind: ClassVar[str] = "table"
    rows: Sequence[Sequence[object]]
    head: Sequence[str] = ()

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Table:
        """Return a table of names and values."""
        return cls(tuple(values.items()))

    @property
    def cells(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Return (name, [(text, CSS classes), ...]) for each row."""
        return [(str(name), [_cell(value) for value in values]) for name, *values in self.rows]


@dataclass(frozen=True)
class Figure:
    """A picture, as a data URL, with its caption; shown `width` px wide, or as large as it is."""

    kind: ClassVar[str] = "figure"
    source: str
    caption: str
    width: int | None = None

    @classmethod
    def of_png(cls, png: bytes, caption: str) -> Figure:
        """Embed a plot."""
        return cls(plots.png_url(png), caption)


Block = Text | Table | Figure


@dataclass(frozen=True)
class Section:
    """A heading with its blocks; a section without blocks is left out of the page."""

    heading: str
    blocks: Sequence[Block]


def report_page(title: str, sections: Iterable[Section]) -> Markup:
    """Render the sections as an HTML document that loads nothing."""
    return render("evaluation.html.j2", title=title, sections=[each for each in sections if each.blocks])


def evaluation_page(evaluation: Evaluation, show_faces: bool = False, further: Iterable[Section] = ()) -> Markup:
    """Render one page about the first checkpoint, compared with the others and the baselines, with `further` sections."""
    from infant_fer.trust.report import IN_SAMPLE, trust_sections  # its blocks are this module's

    (name, first), *others = evaluation.predictions.items()
    trust = evaluation.trust.get(name)
    of_dev = "" if evaluation.split == "test" else IN_SAMPLE
    missed = [Text(evaluation.missed)] if evaluation.missed else []
    warnings = [Text(sentence, warning=True) for sentence in evaluation.warnings]
    short = accuracy_blocks(first, dict(others), evaluation.split)
    sections = [
        Section("In short", [*short, *missed, *warnings, _cost_table(evaluation)]),
        Section("Classes by model", class_blocks(evaluation.models)),
        *prediction_sections(first),
        *(trust_sections({evaluation.split: trust}, of_dev) if trust else ()),
        *further,
        *(galleries(first, evaluation.crops, evaluation.models) if show_faces else ()),
    ]
    return report_page(f"Evaluation of {name}", sections)


def class_blocks(models: Mapping[str, Predictions]) -> list[Block]:
    """Return F1 by class and model with the best and the worst of each class marked, and Top-1 and Top-2 over the classes.

    Empty for a single model. A class on which all are alike has no mark.
    """
    if len(models) < 2:
        return []
    scores = np.stack([class_f1(each) for each in models.values()])  # (M, C)
    rows: list[tuple] = []
    for label, values in zip(next(iter(models.values())).labels, scores.T, strict=True):
        marks = {values.max(): BEST, values.min(): WORST} if np.ptp(values) else {}
        rows.append((label, *(MarkedScore(float(each), marks.get(each, "")) for each in values)))
    singles = [figures(each) for each in models.values()]
    rows += [(title, *(each[name] for each in singles)) for title, name in OVER_CLASSES.items()]
    words = (
        "F1 of each class, where 1 is perfect; below, how often the truth is the most probable class (Top-1), or one "
        "of the two most probable ones (Top-2), over the classes."
    )
    return [Text(words), Table(rows, ("", *models))]


def accuracy_blocks(
    first: Predictions,
    others: Mapping[str, Predictions],
    split: str,
    further: Mapping[str, Predictions | RepeatedPredictions] | None = None,
) -> list[Block]:
    """Return a table of accuracies with intervals; `others` are for the same images and are compared, `further` are not."""
    p_values = mcnemar(first, others)
    rows: list[tuple] = [(f"{split}, this checkpoint", first.accuracy, None)]
    rows += [(f"{split}, {name}", other.accuracy, p_values[name]) for name, other in others.items()]
    rows += [(name, predictions.accuracy, None) for name, predictions in (further or {}).items()]
    table = Table(rows, ("", "accuracy with 95 % interval", "McNemar p against this checkpoint"))
    caution = mcnemar_caution(first.accuracy) if others else ""
    return [Text(CAUTION), table, *([Text(caution)] if caution else [])]


def _cost_table(evaluation: Evaluation) -> Table:
    rows = [(name, f"{cost.parameters:,}", f"{cost.milliseconds:.1f}") for name, cost in evaluation.costs.items()]
    return Table(rows, ("", "parameters", "ms for one crop on this computer"))


def prediction_sections(measured: Predictions) -> list[Section]:
    """Return confusion, calibration, classes, subgroups and single figures of one model's predictions."""
    recalls = {
        label: measured.rows(measured.truth == index).accuracy
        for index, label in enumerate(measured.labels)
        if (measured.truth == index).any()
    }
    groups = [Figure.of_png(plots.accuracy_bars(recalls), "Right answers by true class.")]
    for column, values in measured.subgroups.items():
        if len(np.unique(values)) > 1:
            bars = plots.accuracy_bars(subgroup_accuracies(measured, column))
            groups.append(Figure.of_png(bars, f"Right answers by {column}."))
    calibration = "Is an answer of 80 % right in 80 %? Points on the line say yes."
    answers = [
        Figure.of_png(plots.confusion_matrix(measured), "Truth and answers."),
        Figure.of_png(plots.reliability_diagram(measured), calibration),
    ]
    numbers = Table.of({"right among the two most probable": top_two(measured), **figures(measured)})
    return [
        Section("Answers", answers),
        Section("Classes and subgroups", groups),
        Section("Further figures", [numbers]),
    ]


def galleries(
    measured: Predictions, crops: np.ndarray, models: Mapping[str, Predictions] | None = None
) -> list[Section]:
    """Return the most confident wrong answers and the most confident right ones with their (N, S, S, 3) faces.

    They are for the owner of the pictures only. Of several `models` each face has the votes.
    """
    right = measured.predicted == measured.truth
    return [
        Section(
            f"{kind.capitalize()} answers",
            _gallery(measured, crops, rows, models or {}) or [Text(f"No answer was {kind}.")],
        )
        for kind, rows in (("wrong", ~right), ("right", right))
    ]


def _gallery(
    measured: Predictions, crops: np.ndarray, rows: np.ndarray, models: Mapping[str, Predictions]
) -> list[Block]:
    chosen = np.flatnonzero(rows)
    blocks: list[Block] = [Text(PRIVATE, warning=True)] if len(chosen) else []
    named = votes(models) if len(models) > 1 else None
    for index in chosen[np.argsort(-measured.probabilities[chosen].max(1))][:GALLERY_SIZE]:
        truth, answer = (measured.labels[each[index]] for each in (measured.truth, measured.predicted))
        face = cv2.resize(crops[index], (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_AREA)
        caption = f"labelled {truth}, read as {answer} ({measured.probabilities[index].max() * 100:.0f} %)"
        if named:
            caption += ". " + ", ".join(f"{model}: {label}" for model, label in named[index]["named"].items())
        blocks.append(Figure(data_url(face, quality=85), caption))
    return blocks


def with_section(card: str, heading: str, section: str) -> str:
    """Return a card's Markdown with a section (its `heading` first) in the place of an older one with that heading.

    A card without one gets it before its data section, or at its end when it has none.
    """
    older = re.search(rf"^{re.escape(heading)}$.*?(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)
    if older:
        rest = card[older.end() :]
        return card[: older.start()] + section + ("\n" + rest if rest else "")
    place = re.search(rf"^{DATA_HEADING}$", card, re.MULTILINE)
    if place:
        return f"{card[: place.start()]}{section}\n{card[place.start() :]}"
    return f"{card.rstrip()}\n\n{section}".lstrip()


def _cell(value: object) -> tuple[str, str]:
    if isinstance(value, MarkedScore):
        return f"{value.value:.3f} {value.mark}".rstrip(), f"number {value.mark}".rstrip()
    if hasattr(value, "short"):  # Proportion, RepeatedAccuracy
        return value.short, "number"
    if isinstance(value, float):
        return f"{value:.3f}", "number"
    return "–" if value is None else str(value), ""
