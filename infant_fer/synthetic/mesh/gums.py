"""Do gums and tongue stay in the mouth? An adult's rows of teeth are too large for infants' jaws and would come through the skin."""

from __future__ import annotations

from functools import cache

import numpy as np

from infant_fer.synthetic.mesh.data import base_mesh
from infant_fer.synthetic.mesh.head import quad_normals
from infant_fer.synthetic.shading.rasteriser import NOTHING, depth_map, rasterise

LOWER = ("helper-lower-teeth",)
GUMS, TONGUE = ("helper-upper-teeth", *LOWER), ("helper-tongue",)
LOW, NARROW = 0.7, 0.88  # an infant's lower gum against an adult's teeth, which stand in a far higher jaw
LIP = 0.02  # decimetres: how thick the skin before them is at least
LOWEST, HIGHEST = 6.0, 7.1  # decimetres on the base mesh: chin and nose
RAYS = 512  # across the base mesh's face
GRID, CELL = 160, 0.01  # cells across the mouth, and their side in decimetres


def kept_inside(vertices: np.ndarray, actions: dict[str, float]) -> np.ndarray:
    """(V, 3): base vertices whose gums lie behind the skin that covers them; so does the tongue unless it is put out."""
    vertices = _low(vertices)
    inside = _vertices(GUMS if actions.get("tongueOut") else GUMS + TONGUE)
    low = vertices[inside, :2].mean(0) - GRID * CELL / 2
    cells = (vertices[:, :2] - low) / CELL
    skin = -depth_map(cells, -vertices[:, 2], _face(), GRID)  # -inf in the mouth's opening
    column, row = cells[inside].astype(int).clip(0, GRID - 1).T
    limit = np.where(np.isfinite(skin), skin - LIP, np.inf)[row, column]
    kept = vertices.copy()
    kept[inside, 2] = np.minimum(vertices[inside, 2], limit)
    return kept


def _low(vertices: np.ndarray) -> np.ndarray:
    """(V, 3): base vertices with a lower and narrower lower gum; its edge stays where it is."""
    gum, adult = _vertices(LOWER), base_mesh().vertices[_vertices(LOWER)]
    size = np.ptp(vertices[gum, 0]) / np.ptp(adult[:, 0])
    lowered = vertices.copy()
    lowered[gum, 1] += (1 - LOW) * size * (adult[:, 1].max() - adult[:, 1])
    lowered[gum, 0] *= NARROW
    return lowered


@cache
def _vertices(groups: tuple[str, ...]) -> np.ndarray:
    return np.unique(np.concatenate([base_mesh().groups[name][0].ravel() for name in groups]))


@cache
def _face() -> np.ndarray:
    """(T, 3): triangles of the lower face that are seen from the front; with the mouth shut these are its outside."""
    mesh = base_mesh()
    quads = mesh.groups["body"][0]
    height = mesh.vertices[quads, 1]
    quads = quads[(height.min(1) > LOWEST) & (height.max(1) < HIGHEST) & (mesh.vertices[quads, 2].min(1) > 0.3)]
    px = (mesh.vertices[:, :2] * [1, -1] + [(HIGHEST - LOWEST) / 2, HIGHEST]) * RAYS / (HIGHEST - LOWEST)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    shown = rasterise(px, -mesh.vertices[:, 2], triangles, RAYS)
    seen = np.unique(shown.triangle[shown.triangle != NOTHING])
    outwards = quad_normals(quads, mesh.vertices)[triangles[seen], 2].min(1) > 0
    return triangles[seen[outwards]]
