"""What colour is hair? Down on the skull and brows, as strands of noise that follow the skull."""

from __future__ import annotations

import numpy as np

from infant_fer.synthetic.infant import Infant
from infant_fer.synthetic.shading.points import Points, looked_up, noise_texture, rise

CROWN = np.array([0.0, 8.3, 0.05])  # decimetres on the base mesh: where the strands come from


def brows(points: Points, infant: Infant) -> np.ndarray:
    """(P,) 0..1: how far hairs of the brows cover each point."""
    side, y, z = np.abs(points.at[:, 0]), points.at[:, 1], points.at[:, 2]
    along = np.clip((side - 0.11) / 0.44, 0, 1)
    arch = 7.435 + 0.075 * np.sin(np.pi * (0.22 + 0.55 * along))
    thick = 0.036 * (1.1 - 0.55 * along)
    slant = (side - 0.6 * (y - arch)) * 900
    hairs = np.clip(1 + 0.26 * looked_up(noise_texture(6), slant, y * 90), 0.4, 1.6)
    band = np.exp(-(((y - arch) / thick) ** 2)) * rise(side, 0.08, 0.20) * (1 - rise(side, 0.44, 0.60))
    return np.clip(1.1 * infant.brows * band * hairs * rise(z, 0.8, 1.1), 0, 0.8)


def scalp(points: Points, infant: Infant) -> tuple[np.ndarray, np.ndarray]:
    """(P,) 0..1: how far fine hair covers each point, thinning towards the forehead; and (P,) about 1: its strands' light."""
    x, y, z = points.at.T
    side = np.abs(x)
    line = 7.76 + infant.hairline - 0.50 * rise(side, 0.45, 0.85) - 1.0 * rise(-z, -0.75, -0.35)
    strands, wisps = _strands(points, 800, 12, 7), _strands(points, 210, 6, 8)
    edge = y + 0.05 * points.noise(8, 0.20) + 0.015 * strands + 0.012 * wisps
    occluder = rise(edge, line - 0.15, line + 0.45) ** 1.3
    share = 1.4 * infant.hair * occluder * (1 + 0.16 * strands + 0.10 * wisps)
    return 0.95 * (1 - np.exp(-np.clip(share, 0, None) * 1.8)), np.clip(1 + 0.22 * strands + 0.10 * wisps, 0.5, 1.7)


def _strands(points: Points, fine: float, along: float, seed: int) -> np.ndarray:
    """(P,) of deviation 1: streaks that run from the crown downwards and to the front."""
    away = points.at - CROWN.astype(np.float32)
    angle = np.arctan2(away[:, 0], away[:, 2])
    length = np.linalg.norm(away, axis=1)
    return looked_up(noise_texture(seed), angle * fine + 4 * np.sin(length * 5), length * along)
