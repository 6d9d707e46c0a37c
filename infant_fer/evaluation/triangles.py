"""Which parts of many faces moved? A classifier on the triangles of deformation.FaceTriangles, and their drawing by class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from infant_fer.data.labeled_images import AlignedDataset
from infant_fer.deformation import FaceTriangles, aligned_points
from infant_fer.evaluation.plots import png
from infant_fer.evaluation.predictions import Predictions

SHOWN_CHANGE = 0.3  # |log₂| of an area's change at the ends of the colour scale


def triangle_predictions(train: AlignedDataset, measured: AlignedDataset) -> tuple[FaceTriangles, Predictions]:
    """Fit a logistic regression on the triangles of the train faces; return the triangles and its answers for `measured`.

    All faces must have been found. The neutral face is the mean of the train faces of the label "neutral".
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    seen = aligned_points(train.landmarks_px)
    triangles = FaceTriangles.of(seen[train.images.truth == train.images.labels.index("neutral")].mean(0))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=2000))
    model.fit(triangles.features(seen), train.images.truth)
    given = model.predict_proba(triangles.features(aligned_points(measured.landmarks_px)))
    return triangles, Predictions.of(measured.images, given)


def draw_triangles(triangles: FaceTriangles, points: np.ndarray, classes: np.ndarray, labels: Sequence[str]) -> bytes:
    """Draw, for each class of (N, P, 2) points, which triangles grew and shrank (median); no photograph is in it."""
    shown = [index for index in range(len(labels)) if (classes == index).any()]
    figure = Figure(figsize=(2.9 * len(shown), 3.2), layout="constrained")
    for axes, index in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        those = points[classes == index]
        change = np.median(triangles.area_changes(those), axis=0)
        drawn = axes.tripcolor(
            *those.mean(0).T, triangles.triangles, facecolors=change, cmap="PuOr_r", vmin=-SHOWN_CHANGE,
            vmax=SHOWN_CHANGE, edgecolors="#888888", linewidth=0.3,
        )  # fmt: skip
        axes.set(title=f"{labels[index]} (n = {len(those)})", aspect="equal")
        axes.invert_yaxis()
        axes.set_axis_off()
    figure.colorbar(drawn, ax=figure.axes, label="log₂ of the area over the neutral face's", shrink=0.8)
    return png(figure)
