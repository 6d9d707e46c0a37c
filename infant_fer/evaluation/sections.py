"""The report of an evaluation, and the sections that it shares with the report of a training run."""

from __future__ import annotations

import numpy as np

from infant_fer.evaluation import plots
from infant_fer.evaluation.comparison import Evaluation
from infant_fer.evaluation.predictions import Predictions
from infant_fer.evaluation.report_page import facts, gallery, picture, report_page, table
from infant_fer.evaluation.scores import figures, mcnemar, subgroup_accuracies, top_two

CAUTION = (
    "Labels are what people saw in a picture; nobody asked the infant. Not a medical device. Below a few hundred held-out "
    "infants the interval tells more than the figure."
)


def evaluation_page(found: Evaluation, show_faces: bool = False) -> str:
    """One page about the first checkpoint, compared with the others and the baselines."""
    (name, first), *others = found.answers.items()
    sections = [
        ("In short", accuracy_table(first, dict(others), found.part)),
        *answer_sections(first),
        ("Wrong answers", gallery(first, found.crops) if show_faces else ""),
    ]
    return report_page(f"Evaluation of {name}", sections)


def accuracy_table(
    first: Predictions, others: dict[str, Predictions], part: str, further: dict[str, Predictions] | None = None
) -> str:
    """Accuracies with intervals; `others` answer the same pictures and are compared, `further` ones do not."""
    against = mcnemar(first, others)
    rows = [(f"{part}, this checkpoint", first.accuracy, None)]
    rows += [(f"{part}, {name}", other.accuracy, against[name]) for name, other in others.items()]
    rows += [(name, answers.accuracy, None) for name, answers in (further or {}).items()]
    return f"<p>{CAUTION}</p>" + table(("", "accuracy with 95 % interval", "McNemar p against this checkpoint"), rows)


def answer_sections(measured: Predictions) -> list[tuple[str, str]]:
    """Confusion, calibration, classes, subgroups and figures of one model's answers."""
    shown = picture(plots.confusion_matrix(measured), "Truth and answers.") + picture(
        plots.reliability_diagram(measured), "Is an answer of 80 % right in 80 %? Points on the line say yes."
    )
    measures = facts({"right among the two most probable": top_two(measured), **figures(measured)})
    return [("Answers", shown), ("Classes and subgroups", _subgroups(measured)), ("Further figures", measures)]


def _subgroups(measured: Predictions) -> str:
    classes = {
        name: measured.rows(measured.truth == index).accuracy
        for index, name in enumerate(measured.labels)
        if (measured.truth == index).any()
    }
    html = picture(plots.accuracy_bars(classes), "Right answers by true class.")
    for column in (name for name, values in measured.subgroups.items() if len(np.unique(values)) > 1):
        html += picture(plots.accuracy_bars(subgroup_accuracies(measured, column)), f"Right answers by {column}.")
    return html
