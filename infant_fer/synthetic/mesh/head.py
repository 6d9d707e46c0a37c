"""Build the head's refined topology: its quads, their parts and texture coordinates, the same for every infant."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from scipy import sparse

from infant_fer.synthetic.mesh.data import base_mesh, facial_action
from infant_fer.synthetic.mesh.subdivision import subdivided, subdivided_corners

SKIN, EYE, TONGUE, GUM, LASH, OCCLUDER = range(6)
GROUPS = {
    "body": SKIN,
    "helper-l-eye": EYE,
    "helper-r-eye": EYE,
    "helper-tongue": TONGUE,
    "helper-upper-teeth": GUM,
    "helper-lower-teeth": GUM,
    **{f"helper-{side}-eyelashes-{row}": LASH for side in "lr" for row in (1, 2)},
}
LOWEST, WIDEST = 3.4, 3.2  # decimetres: what of the body a portrait can show
LEVELS = 2  # of subdivision: no edge shows at 512 px


@dataclass(frozen=True, eq=False)
class Head:
    """The refined topology: Q quads over R vertices, from the V vertices of the base mesh."""

    operator: sparse.csr_array  # (R, V)
    quads: np.ndarray  # (Q, 4)
    part: np.ndarray  # (Q,): SKIN, EYE, ...
    uv: np.ndarray  # (Q, 4, 2)

    @cached_property
    def triangles(self) -> np.ndarray:
        """Return (2Q, 3): the first halves of all quads, then the second ones."""
        return np.concatenate([self.quads[:, [0, 1, 2]], self.quads[:, [0, 2, 3]]])

    @cached_property
    def triangle_part(self) -> np.ndarray:
        """Return (2Q,): SKIN, EYE, ..."""
        return np.tile(self.part, 2)

    @cached_property
    def triangle_uv(self) -> np.ndarray:
        """Return (2Q, 3, 2) texture coordinates at the corners."""
        return np.concatenate([self.uv[:, [0, 1, 2]], self.uv[:, [0, 2, 3]]]).astype(np.float32)

    @cached_property
    def lashes(self) -> np.ndarray:
        """Return (L, 3): the triangles of the eyelashes."""
        return self.triangles[self.triangle_part == LASH]

    @cached_property
    def vertex_part(self) -> np.ndarray:
        """Return (R,): the part that each vertex belongs to."""
        part = np.zeros(self.operator.shape[0], int)
        part[self.quads.ravel()] = np.repeat(self.part, 4)
        return part

    @cached_property
    def canonical(self) -> np.ndarray:
        """Return the refined adult base mesh, (R, 3). Skin, hair and brows are painted in its coordinates, whatever the pose."""
        return self.operator @ base_mesh().vertices

    @cached_property
    def neighbours(self) -> sparse.csr_array:
        """Return the (R, R) mean over each vertex and those of its quads."""
        return quad_neighbours(self.quads, len(self.vertex_part))

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """Return (R, 3) unit normals of refined vertices, outwards."""
        return quad_normals(self.quads, vertices)


def quad_neighbours(quads: np.ndarray, count: int) -> sparse.csr_array:
    """Return the (count, count) mean over each vertex and those of its quads."""
    ends = np.stack([quads, np.roll(quads, -1, 1)], 2).reshape(-1, 2)
    ones = np.ones(len(ends))
    links = sparse.csr_array((ones, ends.T), shape=(count, count))
    links = ((links + links.T) > 0).astype(float) + sparse.eye_array(count)
    return (sparse.diags_array(1 / links.sum(1)) @ links).tocsr()


def quad_normals(quads: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Return unit normals of (N, 3) vertices, outwards: the mean over their quads by area."""
    a, b, c, d = (vertices[quads[:, corner]] for corner in range(4))
    face = np.cross(c - a, d - b)
    total = np.stack([np.bincount(quads.ravel(), np.repeat(face[:, k], 4), len(vertices)) for k in range(3)], 1)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


@cache
def head(levels: int = LEVELS) -> Head:
    """Build the head once for each level of refinement."""
    mesh = base_mesh()
    pieces = []
    for group, kind in GROUPS.items():
        vertices, texture = mesh.groups[group]
        low, wide = mesh.vertices[vertices][..., 1].min(1), np.abs(mesh.vertices[vertices][..., 0]).max(1)
        seen = (kind != SKIN) | ((low >= LOWEST) & (wide <= WIDEST))
        pieces.append((vertices[seen], mesh.uv[texture[seen]], np.full(seen.sum(), kind)))
    quads, uv, part = (np.concatenate(each) for each in zip(*pieces, strict=True))
    operator, count = sparse.eye_array(len(mesh.vertices)).tocsr(), len(mesh.vertices)
    for _ in range(levels):
        step, quads = subdivided(quads, count)
        operator, count = (step @ operator).tocsr(), step.shape[0]
        uv, part = subdivided_corners(uv), np.repeat(part, 4)
    used, quads = np.unique(quads, return_inverse=True)
    return Head(operator[used], quads.reshape(-1, 4), part, uv)


@cache
def eye_vertices(side: str) -> np.ndarray:
    """Return the base mesh's vertices that form an eyeball; `side` is "l" (the infant's left, at +x) or "r"."""
    return np.unique(base_mesh().groups[f"helper-{side}-eye"][0])


@cache
def mouth_vertices() -> np.ndarray:
    """Return the base mesh's vertices about the lips: those that puckering moves clearly."""
    pucker = facial_action("mouthPucker")
    return pucker.index[np.linalg.norm(pucker.offset, axis=1) > 0.02]


def eye_centres(vertices: np.ndarray) -> np.ndarray:
    """Return the (2, 3) centres of left and right eyeball of (V, 3) base vertices."""
    return np.stack([vertices[eye_vertices(side)].mean(0) for side in "lr"])


def mouth_centre(vertices: np.ndarray) -> np.ndarray:
    """Return the (3,) middle of the lips of (V, 3) base vertices."""
    return vertices[mouth_vertices()].mean(0)
