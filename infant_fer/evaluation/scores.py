"""Score predictions: overall, per class and per subgroup, each proportion with n and a 95 % interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from infant_fer import metrics
from infant_fer.errors import DatasetError
from infant_fer.evaluation.predictions import Predictions, RepeatedPredictions
from infant_fer.labels import AFFECTS, EMOTION_TO_AFFECT
from infant_fer.metrics import Proportion


@dataclass(frozen=True)
class Scores:
    """The scores of one model on one set of images; figures that are undefined there are NaN."""

    accuracy: Proportion
    top_two: Proportion
    figures: dict[str, float]  # balanced accuracy, likelihood, calibration, ranking, ...
    per_class: dict[str, Proportion]  # recall of every class
    per_subgroup: dict[str, dict[str, Proportion]]  # accuracy for every value of every further column

    def to_dict(self) -> dict:
        """Return plain data for JSON, with None for what is undefined."""
        return {
            "accuracy": self.accuracy.to_dict(),
            "right among the two most probable": self.top_two.to_dict(),
            **{name: value if np.isfinite(value) else None for name, value in self.figures.items()},
            "per class": {name: each.to_dict() for name, each in self.per_class.items()},
            "per subgroup": {
                column: {value: each.to_dict() for value, each in groups.items()}
                for column, groups in self.per_subgroup.items()
            },
        }


def scores(predictions: Predictions) -> Scores:
    """Compute every score of a report."""
    return Scores(
        predictions.accuracy,
        top_two(predictions),
        figures(predictions),
        {label: predictions.rows(predictions.truth == c).accuracy for c, label in enumerate(predictions.labels)},
        {column: subgroup_accuracies(predictions, column) for column in predictions.subgroups},
    )


def repeated_scores(predictions: RepeatedPredictions) -> dict:
    """Return the JSON form of a cross-validation's scores: the mean accuracy over the repeats, and each repeat's scores."""
    return {
        "accuracy": predictions.accuracy.to_dict(),
        "repeats": [scores(each).to_dict() for each in predictions.repeats],
    }


def figures(predictions: Predictions) -> dict[str, float]:
    """Return the scores that are single numbers."""
    from sklearn.metrics import precision_recall_fscore_support

    truth, probabilities = predictions.truth, predictions.probabilities
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, predictions.predicted, labels=np.unique(truth), zero_division=0
    )
    return {
        "balanced accuracy": float(recall.mean()),
        "variance over classes": float(recall.var()),
        "macro precision": float(precision.mean()),
        "macro F1": float(f1.mean()),
        "negative log-likelihood": metrics.negative_log_likelihood(probabilities, truth),
        "Brier score": metrics.brier_score(probabilities, truth),
        "expected calibration error": metrics.calibration_error(probabilities, truth),
        **affect_aucs(predictions),
    }


def top_two(predictions: Predictions) -> Proportion:
    """Return how often the truth is among the two most probable classes."""
    best = np.argsort(-predictions.probabilities, axis=1)[:, :2]
    return Proportion.of((best == predictions.truth[:, None]).any(1), predictions.subject)


def affect_aucs(predictions: Predictions) -> dict[str, float]:
    """Return the AUC of positive against the rest, and of negative against neutral, the hard pair; emotions are summed."""
    affect = [label if label in AFFECTS else EMOTION_TO_AFFECT[label] for label in predictions.labels]
    summed = {name: predictions.probabilities[:, [each == name for each in affect]].sum(1) for name in AFFECTS}
    truth = np.array(affect)[predictions.truth]
    pair = truth != "positive"
    log_odds = np.log(summed["negative"][pair].clip(1e-12) / summed["neutral"][pair].clip(1e-12))
    return {
        "AUC positive against the rest": metrics.auc(summed["positive"], truth == "positive"),
        "AUC negative against neutral": metrics.auc(log_odds, truth[pair] == "negative"),
    }


def subgroup_accuracies(predictions: Predictions, column: str) -> dict[str, Proportion]:
    """Return the accuracy for each value of a column of the data set, such as source or age group."""
    values = predictions.subgroups[column]
    return {str(value): predictions.rows(values == value).accuracy for value in np.unique(values)}


def mcnemar(first: Predictions, others: Mapping[str, Predictions]) -> dict[str, float]:
    """Return the exact McNemar p of `first` against others on the same images. Raises DatasetError if the images differ."""
    if any(other.members != first.members for other in others.values()):
        raise DatasetError("Two checkpoints can be compared only on the same images in the same order.")
    right = first.predicted == first.truth
    return {name: metrics.mcnemar(right, other.predicted == other.truth) for name, other in others.items()}
