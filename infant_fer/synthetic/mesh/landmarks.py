"""Locate landmarks of eyes, brows, nose and mouth as vertices of the base mesh."""

from __future__ import annotations

from functools import cache

import numpy as np

from infant_fer.synthetic.mesh.data import base_mesh, mask
from infant_fer.synthetic.mesh.head import eye_vertices

# Names and, for each, the point of MediaPipe's face mesh that means the same.
MESH_POINTS = {
    "left eye outer corner": 263, "left eye inner corner": 362, "right eye outer corner": 33, "right eye inner corner": 133,
    "nose tip": 1, "left mouth corner": 291, "right mouth corner": 61, "upper lip": 0, "lower lip": 17,
    "left brow middle": 334, "right brow middle": 105,
}  # fmt: skip
BROW_MIDDLE = (0.34, 7.49)  # decimetres; where skin.py paints the arch


@cache
def landmark_vertices() -> dict[str, int]:
    """Return the vertex of the base mesh for each landmark; left and right are the infant's."""
    vertices = base_mesh().vertices
    skin = np.unique(base_mesh().groups["body"][0])
    front = skin[vertices[skin, 2] > 0.9]
    found, lips = {}, lip_vertices()
    for name, letter, sign in (("left", "l", 1), ("right", "r", -1)):
        lids = _lid_margin(letter)
        across = sign * vertices[lids, 0]
        found[f"{name} eye outer corner"] = int(lids[across.argmax()])
        found[f"{name} eye inner corner"] = int(lids[across.argmin()])
        flat = np.abs(vertices[front, :2] - [sign * BROW_MIDDLE[0], BROW_MIDDLE[1]]).sum(1)
        found[f"{name} brow middle"] = int(front[flat.argmin()])
    right = found["right mouth corner"] = int(lips[vertices[lips, 0].argmin()])
    mirrored = np.linalg.norm(vertices[skin] * [-1, 1, 1] - vertices[right], axis=1)
    found["left mouth corner"] = int(skin[mirrored.argmin()])  # the painted lips are not quite symmetric
    middle = front[np.abs(vertices[front, 0]) < 0.02]
    found["nose tip"] = int(middle[vertices[middle, 2].argmax()])
    middle_lips = np.intersect1d(lips, middle)
    found["upper lip"] = int(middle_lips[vertices[middle_lips, 1].argmax()])
    found["lower lip"] = int(middle_lips[vertices[middle_lips, 1].argmin()])
    return {name: found[name] for name in MESH_POINTS}


@cache
def lip_vertices() -> np.ndarray:
    """Return the vertices of the skin that the texture's lips cover."""
    corners, texture = (part.ravel() for part in base_mesh().groups["body"])
    painted, uv = mask("lips"), base_mesh().uv[texture]
    side = painted.shape[0] - 1
    red = painted[((1 - uv[:, 1]) * side).astype(int), (uv[:, 0] * side).astype(int)] > 0.5
    return np.unique(corners[red])


def _lid_margin(letter: str) -> np.ndarray:
    """Return the vertices of the skin that touch an eyeball."""
    vertices, ball = base_mesh().vertices, base_mesh().vertices[eye_vertices(letter)]
    centre, radius = (ball.max(0) + ball.min(0)) / 2, np.ptp(ball[:, 0]) / 2
    skin = np.unique(base_mesh().groups["body"][0])
    away = np.linalg.norm(vertices[skin] - centre, axis=1) / radius
    return skin[(away < 1.12) & (vertices[skin, 2] > centre[2] + 0.3 * radius)]
