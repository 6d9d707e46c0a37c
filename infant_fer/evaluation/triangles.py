"""Which parts of the face moved? Areas, angles and edges of a triangulation, against the mean neutral face (iFACE)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from scipy.spatial import Delaunay

from infant_fer.alignment import TEMPLATE, aligned_landmarks
from infant_fer.data.labeled_images import AlignedDataset
from infant_fer.evaluation.plots import png
from infant_fer.evaluation.predictions import Predictions
from infant_fer.models.geometry import POINTS

SHOWN_CHANGE = 0.3  # |log₂| of an area's change at the ends of the colour scale
LEAST_ANGLE = 5.0  # degrees, in the mean face: of thinner triangles noise moves the angles more than faces do


@dataclass(frozen=True, eq=False)
class FaceTriangles:
    """A Delaunay triangulation of the mean neutral face.

    `neutral` is its (P, 2) points in the frame of alignment.TEMPLATE, `triangles` (T, 3) and `edges` (E, 2) index them.
    """

    neutral: np.ndarray
    triangles: np.ndarray
    edges: np.ndarray

    @classmethod
    def of(cls, neutral: np.ndarray) -> FaceTriangles:
        """Triangulate (P, 2) points; slivers at the border are left out."""
        triangles = Delaunay(neutral).simplices
        triangles = triangles[np.degrees(_angles(neutral[None], triangles)[0]).min(1) >= LEAST_ANGLE]
        pairs = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        return cls(neutral, triangles, np.unique(pairs, axis=0))

    def area_changes(self, points: np.ndarray) -> np.ndarray:
        """Return (N, T): log₂ of each triangle's area over that in the neutral face; 1 is twice as large."""
        return np.log2(_areas(points, self.triangles) / _areas(self.neutral[None], self.triangles))

    def features(self, points: np.ndarray) -> np.ndarray:
        """Return (N, 4 T + E) for (N, P, 2) points: changes of areas and edges as log₂, of angles in radians."""
        angles = _angles(points, self.triangles) - _angles(self.neutral[None], self.triangles)
        edges = np.log2(_lengths(points, self.edges) / _lengths(self.neutral[None], self.edges))
        return np.concatenate([self.area_changes(points), angles.reshape(len(points), -1), edges], axis=1)


def aligned_points(landmarks_px: np.ndarray) -> np.ndarray:
    """Return (N, P, 2): geometry.POINTS of (N, 478, 2) landmarks, moved into the frame of alignment.TEMPLATE."""
    return aligned_landmarks(landmarks_px, TEMPLATE)[:, list(POINTS)]


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


def _areas(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[:, triangles[:, corner]] for corner in range(3))
    first, second = b - a, c - a
    twice = np.abs(first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0])
    return np.maximum(twice / 2, 1e-6)


def _lengths(points: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.maximum(np.linalg.norm(points[:, edges[:, 0]] - points[:, edges[:, 1]], axis=-1), 1e-6)


def _angles(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return (N, T, 3) radians at the three corners."""
    corners = [points[:, triangles[:, corner]] for corner in range(3)]
    found = []
    for at in range(3):
        here, one, other = (corners[(at + step) % 3] for step in range(3))
        u, v = one - here, other - here
        found.append(np.arctan2(np.abs(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]), (u * v).sum(-1)))
    return np.stack(found, axis=-1)
