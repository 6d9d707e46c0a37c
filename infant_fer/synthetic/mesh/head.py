"""Build the head's topology, the same for every infant: its quads, refined by Catmull and Clark's rules (1978), and named vertices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from scipy import sparse

from infant_fer.synthetic.mesh.data import base_mesh, facial_action, mask

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
        return halves(self.quads)

    @cached_property
    def triangle_part(self) -> np.ndarray:
        """Return (2Q,): SKIN, EYE, ..."""
        return np.tile(self.part, 2)

    @cached_property
    def triangle_uv(self) -> np.ndarray:
        """Return (2Q, 3, 2) texture coordinates at the corners."""
        return halves(self.uv).astype(np.float32)

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


def halves(quads: np.ndarray) -> np.ndarray:
    """Split (Q, 4, ...) corners of quads into those of (2Q, 3, ...) triangles: the first halves of all quads, then the second."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


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


# --- subdivision ------------------------------------------------------------------------------------------------------


def subdivided(quads: np.ndarray, count: int) -> tuple[sparse.csr_array, np.ndarray]:
    """Refine (Q, 4) quads over `count` vertices once; return the (V', V) operator on vertices and the (4Q, 4) new quads.

    The four quads of quad q are rows 4q to 4q + 3, each beginning at its old corner. Open borders follow the border alone.
    """
    corners = np.sort(np.stack([quads, np.roll(quads, -1, 1)], 2).reshape(-1, 2), 1)
    edges, edge_of, uses = np.unique(corners, axis=0, return_inverse=True, return_counts=True)
    edge_of = edge_of.reshape(-1, 4)
    face_points = _matrix(np.repeat(np.arange(len(quads)), 4), quads.ravel(), 0.25, (len(quads), count))
    middles = _matrix(np.repeat(np.arange(len(edges)), 2), edges.ravel(), 0.5, (len(edges), count))
    edge_faces = _matrix(edge_of.ravel(), np.repeat(np.arange(len(quads)), 4), 0.25, (len(edges), len(quads)))
    inner = uses == 2
    edge_points = _scaled(np.where(inner, 0.5, 1.0), middles) + _scaled(inner * 1.0, edge_faces @ face_points)
    vertex_points = _vertex_points(quads, count, edges, inner, face_points, middles)
    operator = sparse.vstack([vertex_points, edge_points, face_points]).tocsr()
    centre = (count + len(edges) + np.arange(len(quads)))[:, None]
    new = [quads, count + edge_of, np.repeat(centre, 4, 1), count + np.roll(edge_of, 1, 1)]
    return operator, np.stack(new, 2).reshape(-1, 4)


def subdivided_corners(values: np.ndarray) -> np.ndarray:
    """Refine (Q, 4, C) values that each quad has at its corners, such as texture coordinates; return (4Q, 4, C)."""
    following, before = (values + np.roll(values, -1, 1)) / 2, (values + np.roll(values, 1, 1)) / 2
    centre = np.repeat(values.mean(1, keepdims=True), 4, 1)
    return np.stack([values, following, centre, before], 2).reshape(-1, 4, values.shape[2])


def _vertex_points(quads, count, edges, inner, face_points, middles) -> sparse.csr_array:
    """Move an old vertex to (F + 2 E + (n - 3) V) / n; on a border to 3/4 V + 1/8 of each border neighbour."""
    touching = _matrix(quads.ravel(), np.repeat(np.arange(len(quads)), 4), 1.0, (count, len(quads)))
    meeting = _matrix(edges.ravel(), np.repeat(np.arange(len(edges)), 2), 1.0, (count, len(edges)))
    n = np.maximum(touching.sum(1), 1)
    inside = (
        _scaled(1 / n**2, touching @ face_points)
        + _scaled(2 / (np.maximum(meeting.sum(1), 1) * n), meeting @ middles)
        + sparse.diags_array((n - 3) / n)
    )
    open_ = edges[~inner]
    neighbours = _matrix(open_.ravel(), open_[:, ::-1].ravel(), 0.125, (count, count))
    on_border, used = np.zeros(count, bool), touching.sum(1) > 0
    on_border[open_.ravel()] = True
    border = neighbours + 0.75 * sparse.eye_array(count)
    still = sparse.diags_array(~used * 1.0)
    return _scaled((used & ~on_border) * 1.0, inside) + _scaled((used & on_border) * 1.0, border) + still


def _matrix(rows, columns, value: float, shape: tuple[int, int]) -> sparse.csr_array:
    return sparse.csr_array((np.full(len(rows), value), (rows, columns)), shape=shape)


def _scaled(weights: np.ndarray, matrix) -> sparse.csr_array:
    return sparse.diags_array(weights) @ matrix


# --- named vertices ---------------------------------------------------------------------------------------------------


@cache
def skin_vertices() -> np.ndarray:
    """Return the base mesh's vertices of the skin of the whole body."""
    return np.unique(base_mesh().groups["body"][0])


@cache
def eye_vertices(side: str) -> np.ndarray:
    """Return the base mesh's vertices that form an eyeball; `side` is "l" (the infant's left, at +x) or "r"."""
    return np.unique(base_mesh().groups[f"helper-{side}-eye"][0])


def eyeball(side: str) -> tuple[np.ndarray, float]:
    """Return the (3,) centre of an eyeball of the base mesh, and its radius; `side` as in `eye_vertices`."""
    ball = base_mesh().vertices[eye_vertices(side)]
    return (ball.max(0) + ball.min(0)) / 2, float(np.ptp(ball[:, 0]) / 2)


@cache
def mouth_vertices() -> np.ndarray:
    """Return the base mesh's vertices about the lips: those that puckering moves clearly."""
    pucker = facial_action("mouthPucker")
    return pucker.index[np.linalg.norm(pucker.offset, axis=1) > 0.02]


@cache
def lip_vertices() -> np.ndarray:
    """Return the base mesh's vertices of the skin on which the texture has lips."""
    corners, texture = (each.ravel() for each in base_mesh().groups["body"])
    painted, uv = mask("lips"), base_mesh().uv[texture]
    side = painted.shape[0] - 1
    red = painted[((1 - uv[:, 1]) * side).astype(int), (uv[:, 0] * side).astype(int)] > 0.5
    return np.unique(corners[red])


def eye_centres(vertices: np.ndarray) -> np.ndarray:
    """Return the (2, 3) centres of left and right eyeball of (V, 3) base vertices."""
    return np.stack([vertices[eye_vertices(side)].mean(0) for side in "lr"])


def mouth_centre(vertices: np.ndarray) -> np.ndarray:
    """Return the (3,) middle of the lips of (V, 3) base vertices."""
    return vertices[mouth_vertices()].mean(0)
