"""How good are a model's answers? Overall, per class and per subgroup, each share with n and a 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from infant_fer import metrics
from infant_fer.errors import DatasetError
from infant_fer.evaluation.predictions import Predictions
from infant_fer.labels import AFFECTS, EMOTION_TO_AFFECT
from infant_fer.metrics import Proportion


def scores(answers: Predictions) -> dict:
    """Every figure of a report, ready for JSON: shares as {"value", "right", "n", "interval95"}, what is undefined as None."""
    truth, probabilities = answers.truth, answers.probabilities
    recalls = [metrics.accuracy(answers.predicted[truth == c], truth[truth == c]) for c in range(len(answers.labels))]
    present = [index for index, share in enumerate(recalls) if share.n]
    values = np.array([recalls[index].value for index in present])
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, answers.predicted, labels=present, average="macro", zero_division=0
    )
    figures = {
        "balanced accuracy": values.mean(),
        "mean over classes": values.mean(),
        "variance over classes": values.var(),
        "macro precision": precision,
        "macro recall": recall,
        "macro F1": f1,
        "negative log-likelihood": metrics.negative_log_likelihood(probabilities, truth),
        "Brier score": metrics.brier_score(probabilities, truth),
        "expected calibration error": metrics.calibration_error(probabilities, truth),
        **affect_aucs(answers),
    }
    return {
        "accuracy": answers.accuracy.to_dict(),
        "right among the two most probable": top_two(answers).to_dict(),
        **{name: _finite(value) for name, value in figures.items()},
        "per class": {name: share.to_dict() for name, share in zip(answers.labels, recalls, strict=True)},
        "per subgroup": {
            column: {value: share.to_dict() for value, share in subgroup_accuracies(answers, column).items()}
            for column in answers.subgroups
        },
    }


def top_two(answers: Predictions) -> Proportion:
    """How often the truth is among the two most probable classes."""
    best = np.argsort(-answers.probabilities, axis=1)[:, :2]
    return Proportion(int((best == answers.truth[:, None]).any(1).sum()), len(answers.truth))


def affect_aucs(answers: Predictions) -> dict[str, float]:
    """AUC of positive against the rest, and of negative against neutral, the hard pair; emotions are summed into affects."""
    affect = [label if label in AFFECTS else EMOTION_TO_AFFECT[label] for label in answers.labels]
    share = {name: answers.probabilities[:, [a == name for a in affect]].sum(1) for name in AFFECTS}
    truth = np.array(affect)[answers.truth]
    pair = truth != "positive"
    odds = np.log(share["negative"][pair].clip(1e-12) / share["neutral"][pair].clip(1e-12))
    return {
        "AUC positive against the rest": metrics.auc(share["positive"], truth == "positive"),
        "AUC negative against neutral": metrics.auc(odds, truth[pair] == "negative"),
    }


def subgroup_accuracies(answers: Predictions, column: str) -> dict[str, Proportion]:
    """Accuracy for each value of a column of the data set, such as source or age group."""
    values = answers.subgroups[column]
    return {
        str(value): metrics.accuracy(answers.predicted[values == value], answers.truth[values == value])
        for value in np.unique(values)
    }


def mcnemar(answers: Predictions, others: dict[str, Predictions]) -> dict[str, float]:
    """Exact McNemar p against other answers for the same pictures. Raises DatasetError when the pictures differ."""
    if any(other.members != answers.members for other in others.values()):
        raise DatasetError("Two checkpoints can be compared only on the same pictures in the same order.")
    right = answers.predicted == answers.truth
    return {name: metrics.mcnemar(right, other.predicted == other.truth) for name, other in others.items()}


def ensemble(parts: Sequence[Predictions], weights: Sequence[float] | None = None) -> Predictions:
    """The (weighted) mean of several models' probabilities for the same pictures, such as weights by dev accuracy.

    Raises DatasetError when classes or pictures differ.
    """
    first = parts[0]
    if any(part.labels != first.labels or part.members != first.members for part in parts):
        raise DatasetError("Only checkpoints with the same classes, asked about the same pictures, can be averaged.")
    return replace(first, probabilities=np.average([part.probabilities for part in parts], axis=0, weights=weights))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
