"""Pose the refined head with its landmarks, and join it with its occluder to one set of triangles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import sparse

from infant_fer.synthetic.camera import projected, rise
from infant_fer.synthetic.infant import Mesh
from infant_fer.synthetic.mesh import head as parts
from infant_fer.synthetic.mesh.data import base_mesh
from infant_fer.synthetic.mesh.head import Head, eye_centres, eyeball, halves, lip_vertices, mouth_centre, skin_vertices
from infant_fer.synthetic.occluders import Occluder, OccluderMesh, occluder_mesh
from infant_fer.synthetic.scene import View

NECK, CHIN = 5.1, 6.6  # decimetres on the base mesh: the head turns above, the shoulders stay
GUMS_BACK = 0.10  # distances between the pupils; else they come through an infant's small lips
# How far the shoulders are drawn up, in distances between the pupils: infants' necks are short.
SHOULDERS = np.array([0.0, 0.30, 0.10])


@dataclass(frozen=True, eq=False)
class Solid:
    """N vertices and T triangles, posed: lengths in distances between the pupils, x right, y up, z to the camera."""

    vertices: np.ndarray  # (N, 3)
    normals: np.ndarray  # (N, 3) outwards
    triangles: np.ndarray  # (T, 3), without the lashes
    part: np.ndarray  # (T,) SKIN, EYE, ... OCCLUDER
    uv: np.ndarray  # (T, 3, 2) float32
    at: np.ndarray  # (N, 3) where on the base mesh, decimetres; on an occluder, where on it
    on_eye: np.ndarray  # (N, 3) in radii from the eyeball's centre; 0 elsewhere
    neighbours: sparse.csr_array  # (N, N) the mean over each vertex and those about it


def solid(topology: Head, mesh: Mesh, view: View, occluder: Occluder | None) -> Solid:
    """Pose the head as in the view and place its occluder."""
    based = framed(mesh, mesh.vertices)
    vertices = topology.operator @ based
    mouth = np.isin(topology.vertex_part, (parts.GUM, parts.TONGUE))
    vertices[mouth, 2] -= GUMS_BACK
    vertices = posed(vertices, topology.canonical[:, 1], view)
    shown = topology.triangle_part != parts.LASH
    bare = Solid(
        vertices,
        topology.normals(vertices),
        topology.triangles[shown],
        topology.triangle_part[shown],
        topology.triangle_uv[shown],
        topology.canonical,
        on_eyes(topology),
        topology.neighbours,
    )
    return bare if occluder is None else _joined(bare, occluder_mesh(occluder, topology, based, vertices, view))


def framed(mesh: Mesh, vertices: np.ndarray) -> np.ndarray:
    """Return (V, 3) about the middle of the face, in distances between the pupils, before the head turns."""
    resting = mesh.infant.resting  # the frame stays while the face moves
    eyes, mouth = eye_centres(resting), mouth_centre(resting)
    between = np.linalg.norm(eyes[0] - eyes[1])
    middle = eyes.mean(0) * 0.62 + mouth * 0.38 - [0, 0, 0.25 * between]
    return (vertices - middle) / between


def posed(vertices: np.ndarray, height: np.ndarray, view: View) -> np.ndarray:
    """Return (V, 3) in the view's pose; `height` (V,) on the base mesh separates the head from the shoulders."""
    share = rise(height, NECK, CHIN)[:, None]
    vertices = vertices + (1 - share) * SHOULDERS
    return share * (vertices @ view.rotation().T) + (1 - share) * vertices


@cache
def on_eyes(topology: Head) -> np.ndarray:
    """Return (R, 3): refined vertices of the eyeballs in radii from their centres; 0 elsewhere."""
    where = np.zeros_like(topology.canonical)
    for side, sign in (("l", 1), ("r", -1)):
        centre, radius = eyeball(side)
        chosen = (topology.vertex_part == parts.EYE) & (np.sign(topology.canonical[:, 0]) == sign)
        where[chosen] = (topology.canonical[chosen] - centre) / radius
    return where


def _joined(bare: Solid, occluder: OccluderMesh) -> Solid:
    first, count = len(bare.vertices), len(occluder.quads) * 2
    triangles = halves(occluder.quads) + first
    return Solid(
        np.concatenate([bare.vertices, occluder.vertices]),
        np.concatenate([bare.normals, occluder.normals()]),
        np.concatenate([bare.triangles, triangles]),
        np.concatenate([bare.part, np.full(count, parts.OCCLUDER)]),
        np.concatenate([bare.uv, np.zeros((count, 3, 2), np.float32)]),
        np.concatenate([bare.at, occluder.at]),
        np.concatenate([bare.on_eye, np.zeros_like(occluder.vertices)]),
        sparse.block_diag([bare.neighbours, occluder.neighbours()], "csr"),
    )


# --- landmarks --------------------------------------------------------------------------------------------------------

# Names and, for each, the point of MediaPipe's face mesh that means the same.
MESH_POINTS = {
    "left eye outer corner": 263, "left eye inner corner": 362, "right eye outer corner": 33, "right eye inner corner": 133,
    "nose tip": 1, "left mouth corner": 291, "right mouth corner": 61, "upper lip": 0, "lower lip": 17,
    "left brow middle": 334, "right brow middle": 105,
}  # fmt: skip
BROW_MIDDLE = (0.34, 7.49)  # decimetres; where materials.py paints the arch


def landmarks(mesh: Mesh, view: View, size: int) -> dict[str, tuple[float, float]]:
    """Return the true landmarks, px; whole numbers are centres of pixels. Those behind an occluder are included.

    They are vertices of the mesh before it is refined for drawing: at 512 px the eyes' inner corners lie about 2 px, and the
    lower lip of an open mouth up to 2.5 px, beside the drawn ones.
    """
    named = landmark_vertices()
    index = list(named.values())
    placed = posed(framed(mesh, mesh.vertices)[index], base_mesh().vertices[index, 1], view)
    points, _ = projected(placed, view, size)
    return {
        name: (round(float(x) - 0.5, 2), round(float(y) - 0.5, 2)) for name, (x, y) in zip(named, points, strict=True)
    }


@cache
def landmark_vertices() -> dict[str, int]:
    """Return the vertex of the base mesh for each landmark; left and right are the infant's."""
    vertices, skin = base_mesh().vertices, skin_vertices()
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


def _lid_margin(letter: str) -> np.ndarray:
    """Return the vertices of the skin that touch an eyeball."""
    vertices, (centre, radius) = base_mesh().vertices, eyeball(letter)
    skin = skin_vertices()
    away = np.linalg.norm(vertices[skin] - centre, axis=1) / radius
    return skin[(away < 1.12) & (vertices[skin, 2] > centre[2] + 0.3 * radius)]
