"""Hold the probabilities of a model, an ensemble or a baseline for N images beside the truth; `scores` beside scores them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import TypedDict

import numpy as np
import torch

from infant_fer import metrics
from infant_fer.classifier import forward_crops
from infant_fer.data.labeled_images import AlignedDataset, LabeledImages, relative_parts
from infant_fer.errors import DatasetError
from infant_fer.face import BLENDSHAPE_COUNT
from infant_fer.metrics import Proportion
from infant_fer.models.ensemble import temperature_of
from infant_fer.models.infant_face import luminance_crops

ENSEMBLE = "ensemble"  # the name of a vote beside those of its members


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's probabilities for N images beside the truth."""

    labels: tuple[str, ...]
    probabilities: np.ndarray  # (N, C) float64, rows sum to 1
    truth: np.ndarray  # (N,) int
    members: tuple[str, ...]  # names of the images
    subject: np.ndarray  # (N,): the infant in each image
    subgroups: dict[str, np.ndarray]  # further columns, (N,) str each

    @classmethod
    def of(cls, images: LabeledImages, probabilities: np.ndarray) -> Predictions:
        """Join (N, C) probabilities with the labels of the N images they are for."""
        return cls(images.labels, probabilities, images.truth, images.members, images.subject, images.subgroups)

    def rows(self, chosen: np.ndarray) -> Predictions:
        """Select images by (N,) bool mask."""
        return replace(
            self,
            probabilities=self.probabilities[chosen],
            truth=self.truth[chosen],
            members=tuple(member for member, taken in zip(self.members, chosen, strict=True) if taken),
            subject=self.subject[chosen],
            subgroups={name: values[chosen] for name, values in self.subgroups.items()},
        )

    @property
    def predicted(self) -> np.ndarray:
        """Return the most probable class, (N,) int."""
        return self.probabilities.argmax(1)

    @property
    def accuracy(self) -> Proportion:
        """Return the proportion of correct predictions."""
        return metrics.accuracy(self.predicted, self.truth, self.subject)


@dataclass(frozen=True)
class RepeatedAccuracy:
    """The mean accuracy of several models over the same `n` images; the 95 % interval is a bootstrap over infants."""

    values: tuple[float, ...]  # one accuracy per repeat
    n: int
    interval: tuple[float, float]

    @property
    def value(self) -> float:
        """Return the mean over the repeats."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float | None:
        """Return the standard deviation over the repeats, None for a single one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        return {
            "value": self.value,
            "n": self.n,
            "interval95": list(self.interval),
            "per repeat": list(self.values),
            "standard deviation over repeats": self.deviation,
        }

    @property
    def short(self) -> str:
        """Return one table cell: mean, interval, n and the spread over the repeats."""
        low, high = self.interval
        words = f"{self.value * 100:.1f} % ({low * 100:.0f}–{high * 100:.0f}), n = {self.n}"
        if self.deviation is None:
            return words
        return f"{words}, mean of {len(self.values)} repeats, standard deviation {self.deviation * 100:.1f}"

    def __str__(self) -> str:
        return self.short


@dataclass(frozen=True, eq=False)
class RepeatedPredictions:
    """Predictions for the same images by each repeat of a cross-validation. Repeats are scored singly, never averaged."""

    repeats: tuple[Predictions, ...]

    @property
    def accuracy(self) -> RepeatedAccuracy:
        """Return the accuracy of a single model: the mean over the repeats, with their spread."""
        right = np.stack([each.predicted == each.truth for each in self.repeats])  # (R, N)
        interval = metrics.cluster_interval(right.mean(0), self.repeats[0].subject)
        return RepeatedAccuracy(tuple(right.mean(1).tolist()), right.shape[1], interval)


def predict(model: torch.nn.Module, processor, dataset: AlignedDataset) -> Predictions:
    """Return a model's calibrated probabilities for aligned faces; see `forward_crops`."""
    heads = forward_crops(model, processor, dataset.crops, dataset.geometry, dataset.found)
    return predictions_of(model, heads["logits"], dataset.images)


def predictions_of(model: torch.nn.Module, logits: torch.Tensor, images: LabeledImages) -> Predictions:
    """Return the calibrated probabilities of (N, C) logits that `forward_crops` gave."""
    temperature = temperature_of(model.config)
    return Predictions.of(images, (logits.double() / temperature).softmax(1).numpy())


def ensemble(members: Sequence[Predictions], weights: np.ndarray | None = None) -> Predictions:
    """Return the mean of several models' probabilities for the same images, weighted by model and class.

    `weights` are (M,) or (M, C), as `class_weights` gives them; rows are divided by their sum again. Raises DatasetError
    when classes or images differ.
    """
    first = members[0]
    if any(each.labels != first.labels or each.members != first.members for each in members):
        raise DatasetError("Only checkpoints with the same classes, measured on the same images, can be averaged.")
    given = np.ones(len(members)) if weights is None else np.asarray(weights, float)
    shares = given.reshape(len(members), 1, -1)
    summed = (np.stack([each.probabilities for each in members]) * shares).sum(0)
    return replace(first, probabilities=summed / summed.sum(1, keepdims=True))


def class_weights(members: Sequence[Predictions]) -> np.ndarray:
    """Return (M, C) weights of a vote: each model's F1 for each class on these images, which should be dev's.

    Galagain (2023) weighs each sentiment by each model's score for it. A class that no model names gets equal weights.
    """
    found = np.stack([class_f1(each) for each in members])
    return np.where(found.sum(0) > 0, found, 1.0)


def check_vote(names: Sequence[str], dev: np.ndarray, kind: str) -> None:
    """Raise DatasetError for checkpoints of these names, or (N,) dev rows, of which there is no vote with weights of a `kind`."""
    if ENSEMBLE in names:
        raise DatasetError(f"A checkpoint's folder is called {ENSEMBLE!r}, as the vote will be; rename it.")
    if kind != "mean" and not dev.any():
        raise DatasetError("Weights of a vote need a dev split; there is none. Use --ensemble mean.")


def vote_weights(predictions: Mapping[str, Predictions], dev: np.ndarray, kind: str) -> np.ndarray | None:
    """Return the weights of a vote from the (N,) mask of dev rows: one a model, one a model and class, or None for "mean".

    Raises DatasetError as `check_vote` does.
    """
    check_vote(tuple(predictions), dev, kind)
    if kind == "mean":
        return None
    rows = [each.rows(dev) for each in predictions.values()]
    return class_weights(rows) if kind == "classes" else np.array([each.accuracy.value for each in rows])


def class_f1(predictions: Predictions) -> np.ndarray:
    """Return the (C,) F1 of every class; 0 for one that is never named, or never there."""
    from sklearn.metrics import f1_score

    labels = range(len(predictions.labels))
    return f1_score(predictions.truth, predictions.predicted, labels=labels, average=None, zero_division=0)


class Votes(TypedDict):
    """What several models named one picture."""

    picture: str  # its file name, without folders
    truth: str
    named: dict[str, str]  # by model


def votes(models: Mapping[str, Predictions]) -> list[Votes]:
    """Return what each model named the pictures, which are the same and in one order for all."""
    first = next(iter(models.values()))
    return [
        {
            "picture": relative_parts(member)[-1],
            "truth": first.labels[first.truth[index]],
            "named": {name: each.labels[each.predicted[index]] for name, each in models.items()},
        }
        for index, member in enumerate(first.members)
    ]


def baselines(train: AlignedDataset, measured: AlignedDataset) -> dict[str, Predictions]:
    """Return the predictions of four baselines for `measured`, by name, fitted on the faces found in `train`.

    They are the majority class, logistic regression and boosted trees on blendshapes, and the label of the train face whose
    thumbnail correlates most: thumbnails resemble each other by infant more than by expression, so the last does well where
    frames of one infant are in both. Where no face was found in `measured`, all give the frequencies of the classes. Where a
    class has no face to fit on, as in whole pictures, the majority class is the only one; empty where a class has no picture.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from infant_fer.data.leakage import thumbnails

    regression = LogisticRegression(C=0.3, max_iter=2000)
    trees = HistGradientBoostingClassifier(max_iter=200, learning_rate=0.06, random_state=0)
    truth, classes = train.images.truth[train.found], len(measured.images.labels)
    fitted = len(np.unique(truth)) == classes
    counted = truth if fitted else train.images.truth
    if len(np.unique(counted)) < classes:
        return {}
    frequencies = np.bincount(counted) / len(counted)
    probabilities = {"majority class": np.tile(frequencies, (len(measured), 1))}
    if not fitted:
        return {name: Predictions.of(measured.images, each) for name, each in probabilities.items()}
    seen, new = train.geometry[train.found, :BLENDSHAPE_COUNT], measured.geometry[:, :BLENDSHAPE_COUNT]
    for name, model in (("logistic regression", make_pipeline(StandardScaler(), regression)), ("boosted trees", trees)):
        given = model.fit(seen, truth).predict_proba(new).astype(float)
        given /= given.sum(1, keepdims=True)  # rounded to float32 inside
        probabilities[f"{name} on blendshapes"] = np.where(measured.found[:, None], given, frequencies)
    seen_faces, new_faces = (thumbnails(luminance_crops(crops)) for crops in (train.crops[train.found], measured.crops))
    copied = np.eye(len(frequencies))[truth[(new_faces @ seen_faces.T).argmax(1).numpy()]]
    probabilities["most alike train face"] = np.where(measured.found[:, None], copied, frequencies)
    return {name: Predictions.of(measured.images, each) for name, each in probabilities.items()}


def unique_name(name: str, taken: Iterable[str]) -> str:
    """Return `name`, or, if it is in `taken`, the first free one of "name (2)", "name (3)", ...

    Two checkpoints' folders may have one name, and paths are not published.
    """
    used = set(taken)
    numbered = (f"{name} ({number})" for number in count(2))
    return next(each for each in chain([name], numbered) if each not in used)
