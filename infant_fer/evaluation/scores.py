"""How good are predictions? Every score of a model on N images, of a cross-validation, and of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from infant_fer import metrics
from infant_fer.errors import DatasetError
from infant_fer.evaluation.predictions import Predictions, RepeatedAccuracy, RepeatedPredictions, class_f1
from infant_fer.labels import AFFECTS, affect_of
from infant_fer.metrics import Proportion

SPREAD = "spread over thesis splits"  # the name of thesis_spread's figures in a JSON file


@dataclass(frozen=True)
class Scores:
    """The scores of one model on one set of images; figures that are undefined there are NaN."""

    accuracy: Proportion
    top_two: Proportion
    figures: dict[str, float]  # balanced accuracy, likelihood, calibration, ranking, ...
    per_class: dict[str, Proportion]  # recall of every class
    f1: dict[str, float]  # of every class
    per_subgroup: dict[str, dict[str, Proportion]]  # accuracy for every value of every further column

    def to_dict(self) -> dict:
        """Return plain data for JSON, with None for what is undefined."""
        return {
            "accuracy": self.accuracy.to_dict(),
            "right among the two most probable": self.top_two.to_dict(),
            **{name: value if np.isfinite(value) else None for name, value in self.figures.items()},
            "per class": {name: each.to_dict() for name, each in self.per_class.items()},
            "F1 per class": self.f1,
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
        dict(zip(predictions.labels, class_f1(predictions).tolist(), strict=True)),
        {column: subgroup_accuracies(predictions, column) for column in predictions.subgroups},
    )


@dataclass(frozen=True)
class RepeatedScores:
    """The scores of a cross-validation: those of every repeat, the mean accuracy over them, and the first one's spread."""

    accuracy: RepeatedAccuracy
    repeats: tuple[Scores, ...]
    spread: ThesisSpread | None

    def to_dict(self) -> dict:
        """Return plain data for JSON, with None for what is undefined."""
        return {
            "accuracy": self.accuracy.to_dict(),
            "repeats": [each.to_dict() for each in self.repeats],
            SPREAD: self.spread and self.spread.to_dict(),
        }


def repeated_scores(predictions: RepeatedPredictions) -> RepeatedScores:
    """Compute the scores of a cross-validation."""
    repeats = predictions.repeats
    return RepeatedScores(predictions.accuracy, tuple(scores(each) for each in repeats), thesis_spread(repeats[0]))


def figures(predictions: Predictions) -> dict[str, float]:
    """Return the scores that are single numbers; balanced accuracy is the mean of the recall over the classes, Top-1."""
    from sklearn.metrics import precision_recall_fscore_support

    truth, probabilities = predictions.truth, predictions.probabilities
    among_two = _among_best(predictions, 2)
    top_two_by_class = np.array([among_two[truth == index].mean() for index in np.unique(truth)])
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, predictions.predicted, labels=np.unique(truth), zero_division=0
    )
    return {
        "balanced accuracy": float(recall.mean()),
        "variance over classes": float(recall.var()),
        "Top-2, mean over classes": float(top_two_by_class.mean()),
        "Top-2, variance over classes": float(top_two_by_class.var()),
        "macro precision": float(precision.mean()),
        "macro F1": float(f1.mean()),
        "negative log-likelihood": metrics.negative_log_likelihood(probabilities, truth),
        "Brier score": metrics.brier_score(probabilities, truth),
        "expected calibration error": metrics.calibration_error(probabilities, truth),
        **affect_aucs(predictions),
    }


def top_two(predictions: Predictions) -> Proportion:
    """Return how often the truth is among the two most probable classes."""
    return Proportion.of(_among_best(predictions, 2), predictions.subject)


def _among_best(predictions: Predictions, count: int) -> np.ndarray:
    """Return the (N,) bool mask of the images whose truth is among the `count` most probable classes."""
    best = np.argsort(-predictions.probabilities, axis=1)[:, :count]
    return (best == predictions.truth[:, None]).any(1)


def affect_aucs(predictions: Predictions) -> dict[str, float]:
    """Return the AUC of positive against the rest, and of negative against neutral, the hard pair; emotions are summed."""
    affect = [affect_of(label) for label in predictions.labels]
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


def mcnemar_caution(accuracy: Proportion) -> str:
    """Return a sentence to show beside McNemar's p for the images of an accuracy: "" where each is another infant's."""
    if accuracy.infants is None:
        return ""
    return (
        f"McNemar's test counts the {accuracy.n} pictures as independent, but they are of {accuracy.infants} infants: p is too small. "
        "The intervals are over infants."
    )


@dataclass(frozen=True)
class ThesisSpread:
    """The accuracies over the test parts of several thesis splits, each 0..1."""

    splits: int
    test_pictures: int  # in each part
    mean: float
    deviation: float  # standard
    lowest: float
    highest: float

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        names = {"test_pictures": "test pictures", "deviation": "standard deviation"}
        return {names.get(name, name): value for name, value in vars(self).items()}


def thesis_spread(predictions: Predictions, draws: int = 50) -> ThesisSpread | None:
    """Return what 25 test pictures can tell: the spread of the accuracy over the test parts of `draws` thesis splits.

    Each part has 25 pictures in the data set's proportions of the classes, as `exact_split` draws them: every picture has
    about the same chance, so that the mean is about the accuracy. All are of the same predictions, so the spread is that of
    the draw alone. None where no such split exists: for fewer than 150 pictures, or infants with too many each.
    """
    from infant_fer.data.splits import THESIS_SIZES, exact_split

    if len(predictions.truth) < sum(THESIS_SIZES.values()):
        return None
    right = predictions.predicted == predictions.truth
    try:
        splits = [exact_split(predictions.truth, predictions.subject, THESIS_SIZES, seed) for seed in range(draws)]
    except DatasetError:
        return None
    drawn = [each == "test" for each in splits]
    accuracies = np.array([right[rows].mean() for rows in drawn])
    return ThesisSpread(
        splits=draws,
        test_pictures=THESIS_SIZES["test"],
        mean=float(accuracies.mean()),
        deviation=float(accuracies.std(ddof=1)),
        lowest=float(accuracies.min()),
        highest=float(accuracies.max()),
    )
