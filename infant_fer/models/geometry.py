"""Which geometric features of a face does a model get? Blendshapes, aligned landmarks, edge lengths and head pose."""

from __future__ import annotations

import numpy as np

from infant_fer.alignment import TEMPLATE, aligned_landmarks
from infant_fer.face import BLENDSHAPE_COUNT, BLENDSHAPES, Face
from infant_fer.regions import INNER_LIPS, LEFT_BROW, LEFT_EYE, NOSTRILS, OUTER_LIPS, RIGHT_BROW, RIGHT_EYE

POINTS = (
    *RIGHT_BROW, *LEFT_BROW, *RIGHT_EYE, *LEFT_EYE, *OUTER_LIPS, *INNER_LIPS, *NOSTRILS,
    152, 10, 234, 454, 50, 280, 205, 425,
)  # fmt: skip
# Distances that facial actions change: lip opening, mouth width, lid openings, brow to eye, brow to brow, lip to nose.
EDGES = (
    (13, 14), (61, 291), (78, 308), (159, 145), (386, 374), (105, 159), (334, 386),
    (107, 336), (0, 2), (17, 152), (61, 33), (291, 263), (50, 61), (280, 291),
)  # fmt: skip
POSE_UNIT = 30.0  # degrees
GEOMETRY_SIZE = BLENDSHAPE_COUNT + 2 * len(POINTS) + len(EDGES) + 2


def geometry_features(face: Face) -> np.ndarray:
    """Return (G,) float32: blendshapes, landmarks in units of the eye-to-mouth distance in the crop's frame, edges, pose.

    The frame is that of alignment.TEMPLATE, so place, size and roll of the face in the photo do not matter.
    """
    (points,) = aligned_landmarks(face.landmarks_px[None], TEMPLATE)
    edges = [np.linalg.norm(points[a] - points[b]) for a, b in EDGES]
    pose = np.array([face.pose.yaw, face.pose.pitch]) / POSE_UNIT
    shapes = [face.blendshapes[name] for name in BLENDSHAPES]  # by name: another detector may give another order
    return np.concatenate([shapes, points[list(POINTS)].ravel(), edges, pose]).astype(np.float32)
