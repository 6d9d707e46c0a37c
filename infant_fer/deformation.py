"""Which parts of a face are larger or smaller than in an average neutral one? A triangulation of landmarks (iFACE).

It rests on the landmarks alone: no checkpoint has a part in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from infant_fer.alignment import TEMPLATE, aligned_landmarks
from infant_fer.models.geometry import POINTS
from infant_fer.regions import FACE_OVAL, INNER_LIPS

if TYPE_CHECKING:
    from infant_fer.report import Report

LEAST_ANGLE = 5.0  # degrees, in the mean face: of thinner triangles noise moves the angles more than faces do
LEAST_HEIGHT = 0.05  # of a compared triangle in the mean face, in eye-to-mouth distances: 1 px in a face of 48 px
# Compared with the average face: without the face's outline, which slides over the head as it turns, and without the lips'
# inner edges, between which closed lips have next to no area. The mouth is what the lips' outer edge encloses.
COMPARED = tuple(at for at, point in enumerate(POINTS) if point not in {*FACE_OVAL, *INNER_LIPS})
# Degrees of yaw or pitch; measured by evaluation.faces on train and dev rows, figures in docs/studies.md: neutral faces with
# a yaw of 8 to 10 differ less from the average than positive ones that look ahead do, those with 10 to 12 no longer do.
MOST_TURN = 10.0
COLOURS = "PuOr_r"  # violet for smaller, orange for larger, also for colour-blind eyes; matplotlib
FULL_COLOUR = 1.0  # |log₂| of an area over the average's that has the full colour: half or twice as large
CLASS_FULL_COLOUR = 0.3  # the same for the median over many faces, which differs less
DIFFERENCE = (
    "Orange parts are larger than in an average neutral infant's face, violet ones smaller. Every face differs from the "
    "average: by its own shape, by its expression, and also by a slight turn of the head. The picture says nothing about "
    "health, and nothing about what the model used."
)
TURNED = (
    "The head is turned by more than 10 degrees. Such a turn can change the parts of the face as much as an expression "
    "does, so no difference from an average face is drawn."
)
UNCLEAR = "Nothing can be said about this face, so no difference from an average face is drawn."
CUT_OFF = "Part of the face lies outside the photo, so no difference from an average face is drawn."


@dataclass(frozen=True, eq=False)
class FaceTriangles:
    """A Delaunay triangulation of the mean neutral face.

    `neutral` is its (P, 2) points in the frame of alignment.TEMPLATE, `triangles` (T, 3) and `edges` (E, 2) index them.
    """

    neutral: np.ndarray
    triangles: np.ndarray
    edges: np.ndarray

    @classmethod
    def of(cls, neutral: np.ndarray, used: Sequence[int] | None = None, least_height: float = 0.0) -> FaceTriangles:
        """Triangulate the `used` of (P, 2) points, all by default.

        Slivers are left out: triangles with an angle below LEAST_ANGLE, or whose least height is below `least_height`.
        """
        from scipy.spatial import Delaunay

        rows = np.arange(len(neutral)) if used is None else np.array(used)
        triangles = rows[Delaunay(neutral[rows]).simplices]
        angles = np.degrees(_angles(neutral[None], triangles)[0]).min(1)
        sides = [_lengths(neutral[None], triangles[:, [one, (one + 1) % 3]])[0] for one in range(3)]
        heights = 2 * _areas(neutral[None], triangles)[0] / np.max(sides, axis=0)
        triangles = triangles[(angles >= LEAST_ANGLE) & (heights >= least_height)]
        pairs = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        return cls(neutral, triangles, np.unique(pairs, axis=0))

    @classmethod
    def compared(cls, neutral: np.ndarray) -> FaceTriangles:
        """Triangulate what one face's areas are compared on: COMPARED, without triangles lower than LEAST_HEIGHT."""
        return cls.of(neutral, COMPARED, LEAST_HEIGHT)

    def area_changes(self, points: np.ndarray) -> np.ndarray:
        """Return (N, T): log₂ of each triangle's area over that in the neutral face; 1 is twice as large."""
        return np.log2(_areas(points, self.triangles) / _areas(self.neutral[None], self.triangles))

    def folded(self, points: np.ndarray) -> np.ndarray:
        """Return (N, T) bool: which triangles have the other orientation than in the neutral face, so no area to compare."""
        return _signed_areas(points, self.triangles) * _signed_areas(self.neutral[None], self.triangles) <= 0

    def colouring(self, points: np.ndarray) -> np.ndarray:
        """Return (N,): the mean over the triangles not folded of |area_changes|, 1 at FULL_COLOUR or more."""
        shown = ~self.folded(points)
        shares = np.minimum(np.abs(self.area_changes(points)) / FULL_COLOUR, 1)
        return (shares * shown).sum(1) / np.maximum(shown.sum(1), 1)

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
    """Return the compared triangles of the mean of 699 neutral infants' faces.

    They are the research data's train rows of the label "neutral" whose heads are turned by at most MOST_TURN;
    evaluation.faces writes the file.
    """
    text = files("infant_fer").joinpath("neutral_face.csv").read_text("utf-8")
    return FaceTriangles.compared(np.loadtxt(text.splitlines(), delimiter=","))


def why_declined(report: Report, number: int) -> str:
    """Return in English why the difference of face `number` from the average is not drawn; empty when it is."""
    face = report.face(number)
    points, (height, width) = face.face.landmarks_px[[POINTS[at] for at in COMPARED]], report.photo.rgb.shape[:2]
    if face.assessment.verdict == "cannot say":
        return UNCLEAR
    if max(abs(face.face.pose.yaw), abs(face.face.pose.pitch)) > MOST_TURN:
        return TURNED
    if (points < -0.5).any() or (points > (width - 0.5, height - 0.5)).any():  # pixel centres are whole numbers
        return CUT_OFF
    return ""


def differing_triangles(report: Report, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (T, 3, 2) float32 corners in photo pixels and (T,) differences of area as log₂; empty where declined.

    A difference is from the mean neutral face after a similarity on eyes and mouth: size and roll do not matter. Triangles
    that are folded in this face are left out.
    """
    if why_declined(report, number):
        return np.zeros((0, 3, 2), np.float32), np.zeros(0)
    found, landmarks_px = neutral_triangles(), report.face(number).face.landmarks_px
    aligned = aligned_points(landmarks_px[None])
    shown = ~found.folded(aligned)[0]
    return landmarks_px[list(POINTS)][found.triangles[shown]], found.area_changes(aligned)[0, shown]


def difference_words(report: Report, number: int) -> str:
    """Return in English what a drawing of the differences shows, or why there is none."""
    return why_declined(report, number) or DIFFERENCE


def _signed_areas(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[:, triangles[:, corner]] for corner in range(3))
    first, second = b - a, c - a
    return (first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]) / 2


def _areas(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(_signed_areas(points, triangles)), 1e-6)


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
