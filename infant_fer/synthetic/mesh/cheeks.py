"""Soften the facial actions on the cheeks: infants' fat rounds off the ledges that an adult's actions raise."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import sparse

from infant_fer.synthetic.mesh.data import Offsets, base_mesh, facial_action
from infant_fer.synthetic.mesh.head import quad_neighbours

CENTRE, REACH = (0.54, 6.92), (0.45, 0.35)  # decimetres on the base mesh: the left cheek, from the nostril to the ear
PASSES = 40  # each spreads a movement by about the distance of two vertices
FATTER = 0.72  # share of it that is left


@cache
def soft_action(name: str) -> Offsets:
    """Return a facial action by its ARKit name, with each point of the cheeks moving as far as those around it on average."""
    action = facial_action(name)
    shift = np.zeros_like(base_mesh().vertices)
    shift[action.index] = action.offset
    spread = shift
    for _ in range(PASSES):
        spread = skin_neighbours() @ spread
    shift = shift + _cheeks()[:, None] * (FATTER * spread - shift)
    moving = np.flatnonzero(np.abs(shift).max(1) > 1e-5)
    return Offsets(moving, shift[moving])


@cache
def skin_neighbours() -> sparse.csr_array:
    """Return the (V, V) mean over each vertex of the skin and those of its quads."""
    return quad_neighbours(base_mesh().groups["body"][0], len(base_mesh().vertices))


@cache
def _cheeks() -> np.ndarray:
    """Return (V,): 1 in the middle of a cheek, 0 beyond it."""
    x, y, z = base_mesh().vertices.T
    away = np.hypot((np.abs(x) - CENTRE[0]) / REACH[0], (y - CENTRE[1]) / REACH[1])
    share = np.clip((1.05 - away) / 0.4, 0, 1)
    return share * share * (3 - 2 * share) * (z > 0.3)
