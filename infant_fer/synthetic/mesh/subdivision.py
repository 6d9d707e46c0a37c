"""Subdivide a mesh by Catmull and Clark's rules (1978), as one sparse matrix that applies to any pose."""

from __future__ import annotations

import numpy as np
from scipy import sparse


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
