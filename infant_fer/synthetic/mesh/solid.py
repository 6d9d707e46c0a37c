"""Pose the refined head and join it with its occluder to one set of triangles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import sparse

from infant_fer.synthetic.infant import Mesh
from infant_fer.synthetic.mesh import head as parts
from infant_fer.synthetic.mesh.data import base_mesh
from infant_fer.synthetic.mesh.head import Head, eye_centres, eye_vertices, mouth_centre
from infant_fer.synthetic.mesh.occluders import OccluderMesh, occluder_mesh
from infant_fer.synthetic.occluders import Occluder
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
    vertices = turned(vertices, topology.canonical[:, 1], view)
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
    """Return (V, 3) about the middle of the face, in distances between the pupils, not turned yet."""
    resting = mesh.infant.shape()  # the frame stays while the face moves
    eyes, mouth = eye_centres(resting), mouth_centre(resting)
    between = np.linalg.norm(eyes[0] - eyes[1])
    middle = eyes.mean(0) * 0.62 + mouth * 0.38 - [0, 0, 0.25 * between]
    return (vertices - middle) / between


def turned(vertices: np.ndarray, height: np.ndarray, view: View) -> np.ndarray:
    """Return (V, 3) in the view's pose; `height` (V,) on the base mesh separates the head from the shoulders."""
    share = np.clip((height - NECK) / (CHIN - NECK), 0, 1)[:, None]
    share = share * share * (3 - 2 * share)
    vertices = vertices + (1 - share) * SHOULDERS
    return share * (vertices @ view.rotation().T) + (1 - share) * vertices


@cache
def on_eyes(topology: Head) -> np.ndarray:
    """Return (R, 3): refined vertices of the eyeballs in radii from their centres; 0 elsewhere."""
    where = np.zeros_like(topology.canonical)
    for side, sign in (("l", 1), ("r", -1)):
        ball = base_mesh().vertices[eye_vertices(side)]
        chosen = (topology.vertex_part == parts.EYE) & (np.sign(topology.canonical[:, 0]) == sign)
        where[chosen] = (topology.canonical[chosen] - (ball.max(0) + ball.min(0)) / 2) / (np.ptp(ball[:, 0]) / 2)
    return where


def _joined(bare: Solid, occluder: OccluderMesh) -> Solid:
    first, count = len(bare.vertices), len(occluder.quads) * 2
    triangles = np.concatenate([occluder.quads[:, [0, 1, 2]], occluder.quads[:, [0, 2, 3]]]) + first
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
