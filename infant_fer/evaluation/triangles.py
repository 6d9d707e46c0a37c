"""Which parts of many faces moved? A classifier on the triangles of deformation.FaceTriangles, and their drawing by class."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure

from infant_fer.data.labeled_images import AlignedDataset, LabeledImages
from infant_fer.deformation import CLASS_FULL_COLOUR, COLOURS, MOST_TURN, FaceTriangles, aligned_points
from infant_fer.errors import DatasetError
from infant_fer.evaluation.plots import png
from infant_fer.evaluation.predictions import Predictions
from infant_fer.metrics import Mean
from infant_fer.models.geometry import POSE_UNIT

TURN_BINS = (0, 4, 8, 10, 12, 15, 20)  # degrees of yaw or pitch
AHEAD = 8  # degrees of the other of the two at most
NEUTRAL = "neutral"
LEAST_INFANTS = 10  # of an average face; fewer could be recognised in it


def triangle_predictions(train: AlignedDataset, measured: AlignedDataset) -> tuple[FaceTriangles, Predictions]:
    """Fit a logistic regression on the triangles of the train faces; return the triangles and its answers for `measured`.

    All faces must have been found. The neutral face is the mean of the train faces of the label "neutral". Raises
    DatasetError when a label has no train face.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    neutral, labels = neutral_rows(train.images), train.images.labels
    if len(found := np.unique(train.images.truth)) < len(labels):
        missing = next(label for index, label in enumerate(labels) if index not in found)
        raise DatasetError(f"No face was found in a train picture of the label {missing!r}.")
    seen = aligned_points(train.landmarks_px)
    triangles = FaceTriangles.of(seen[neutral].mean(0))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=2000))
    model.fit(triangles.features(seen), train.images.truth)
    given = model.predict_proba(triangles.features(aligned_points(measured.landmarks_px)))
    return triangles, Predictions.of(measured.images, given)


def neutral_rows(images: LabeledImages) -> np.ndarray:
    """Return the (N,) bool mask of the label "neutral". Raises DatasetError when no image has it."""
    if NEUTRAL not in images.labels or not (rows := images.truth == images.labels.index(NEUTRAL)).any():
        raise DatasetError(f"Faces are compared with a neutral one, and no train picture has the label {NEUTRAL!r}.")
    return rows


def neutral_face(train: AlignedDataset) -> np.ndarray:
    """Return (P, 2): the mean of aligned_points over the faces of the label "neutral" turned by at most MOST_TURN.

    Raises DatasetError where they are of fewer than LEAST_INFANTS; equal files and near-duplicates should be joined before.
    """
    turns = np.abs(_poses(train)).max(1)
    rows = neutral_rows(train.images) & (turns <= MOST_TURN)
    infants = len(np.unique(train.images.subject[rows]))
    if infants < LEAST_INFANTS:
        raise DatasetError(
            f"An average face needs neutral faces of {LEAST_INFANTS} infants that look ahead; there are {rows.sum()} of {infants}."
        )
    return aligned_points(train.landmarks_px[rows]).mean(0)


def typical_differences(faces: AlignedDataset, neutral: np.ndarray) -> dict[str, Mean]:
    """Return how strongly faces are coloured against `neutral`, FaceTriangles.colouring, by the turn of the head and by label.

    Faces of the label "neutral" by yaw, and by pitch, where the other is below AHEAD; the other labels where neither is
    above MOST_TURN. Intervals are over infants; a group without a face is left out.
    """
    colouring = FaceTriangles.compared(neutral).colouring(aligned_points(faces.landmarks_px))
    turns, labels, groups = np.abs(_poses(faces)), faces.images.labels, {}
    is_neutral = faces.images.truth == labels.index("neutral")
    for axis, name in enumerate(("yaw", "pitch")):
        for low, high in pairwise(TURN_BINS):
            those = (turns[:, axis] >= low) & (turns[:, axis] < high) & (turns[:, 1 - axis] < AHEAD)
            groups[f"neutral, {name} {low} to {high} degrees"] = is_neutral & those
    for index, label in enumerate(labels):
        groups[f"{label}, ahead"] = (faces.images.truth == index) & (turns.max(1) <= MOST_TURN)
    return {
        name: Mean.of(list(colouring[rows]), faces.images.subject[rows]) for name, rows in groups.items() if rows.any()
    }


def draw_triangles(triangles: FaceTriangles, points: np.ndarray, classes: np.ndarray, labels: Sequence[str]) -> bytes:
    """Draw, for each class of (N, P, 2) points, which triangles grew and shrank (median); no photograph is in it."""
    shown = [index for index in range(len(labels)) if (classes == index).any()]
    figure = Figure(figsize=(2.9 * len(shown), 3.2), layout="constrained")
    for axes, index in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        those = points[classes == index]
        change = np.median(triangles.area_changes(those), axis=0)
        drawn = axes.tripcolor(
            *those.mean(0).T, triangles.triangles, facecolors=change, cmap=COLOURS, vmin=-CLASS_FULL_COLOUR,
            vmax=CLASS_FULL_COLOUR, edgecolors="#888888", linewidth=0.3,
        )  # fmt: skip
        axes.set(title=f"{labels[index]} (n = {len(those)})", aspect="equal")
        axes.invert_yaxis()
        axes.set_axis_off()
    figure.colorbar(drawn, ax=figure.axes, label="log₂ of the area over the neutral face's", shrink=0.8)
    return png(figure)


def _poses(faces: AlignedDataset) -> np.ndarray:
    """Return (N, 2) yaw and pitch in degrees: the last two of geometry.geometry_features."""
    return faces.geometry[:, -2:] * POSE_UNIT
