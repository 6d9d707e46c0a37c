"""Which parts of a face are larger or smaller than in an average neutral one? A triangulation of landmarks (iFACE).

It rests on the landmarks alone: no checkpoint has a part in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from infant_fer.alignment import TEMPLATE, aligned_landmarks
from infant_fer.face import Face
from infant_fer.models.geometry import POINTS

LEAST_ANGLE = 5.0  # degrees, in the mean face: of thinner triangles noise moves the angles more than faces do
# Degrees of yaw or pitch. Half of the triangles of neutral research faces (train and dev, pitch below 10) differ by
# 0.21 (yaw below 5, n = 558), 0.33 (10 to 15, n = 116) and 0.42 (15 to 20, n = 51) or more, as |log₂|; those of negative
# faces that look ahead by 0.30 (n = 500). Beyond it the turn weighs more than an expression.
MOST_TURN = 15.0
CHANGE = (
    "Orange parts are larger than in an average neutral infant's face, violet ones smaller. This shows how the face "
    "differs from that average, by its own shape and by its expression, not what the model used."
)
TURNED = (
    "The head is turned by more than 15 degrees. The turn then changes the parts of the face more than an expression "
    "does, so no change from a neutral face is drawn."
)


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
        from scipy.spatial import Delaunay

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


@cache
def neutral_triangles() -> FaceTriangles:
    """Return the triangulation of the mean of 944 neutral infants' faces.

    They are the research data's train rows of the label "neutral" whose heads are turned by at most MOST_TURN.
    """
    text = files("infant_fer").joinpath("neutral_face.csv").read_text("utf-8")
    return FaceTriangles.of(np.loadtxt(text.splitlines(), delimiter=","))


def is_turned(face: Face) -> bool:
    """Return whether the head is turned too far for its triangles to be compared with those of the mean neutral face."""
    return max(abs(face.pose.yaw), abs(face.pose.pitch)) > MOST_TURN


def changed_triangles(face: Face) -> tuple[np.ndarray, np.ndarray]:
    """Return (T, 3, 2) float32 corners in photo pixels and (T,) changes of area as log₂; empty where `is_turned`.

    A change is against the mean neutral face after a similarity on eyes and mouth: size and roll do not matter.
    """
    if is_turned(face):
        return np.zeros((0, 3, 2), np.float32), np.zeros(0)
    found = neutral_triangles()
    corners = face.landmarks_px[list(POINTS)][found.triangles]
    return corners, found.area_changes(aligned_points(face.landmarks_px[None]))[0]


def change_words(face: Face) -> str:
    """Return in English what a drawing of the changes shows, or why there is none."""
    return TURNED if is_turned(face) else CHANGE


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
