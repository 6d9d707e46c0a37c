"""Which folds does an expression raise? Fine relief that the mesh is too coarse for, driven by the facial actions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from infant_fer.synthetic.mesh.head import SKIN
from infant_fer.synthetic.shading.points import Points

# Each fold: the actions that raise it with their weights; a line (decimetres on the base mesh, x from the midline), its width.
FOLDS = (
    ({"browDown": 1.0}, ((0.06, 7.40), (0.075, 7.52)), 0.036),
    ({"noseSneer": 0.7}, ((0.0, 7.335), (0.10, 7.31)), 0.030),
    ({"noseSneer": 0.5}, ((0.03, 7.26), (0.11, 7.225)), 0.030),
    ({"browInnerUp": 0.35, "browOuterUp": 0.2}, ((0.02, 7.67), (0.30, 7.67)), 0.034),
    ({"browInnerUp": 0.3, "browOuterUp": 0.25}, ((0.02, 7.77), (0.30, 7.78)), 0.034),
    ({"mouthSmile": 0.8, "noseSneer": 0.6, "mouthUpperUp": 0.3}, ((0.17, 6.96), (0.26, 6.85), (0.31, 6.72)), 0.05),
    ({"mouthFrown": 0.6}, ((0.27, 6.63), (0.30, 6.54)), 0.04),
    ({"cheekSquint": 0.6, "eyeSquint": 0.4}, ((0.19, 7.16), (0.30, 7.12), (0.42, 7.16)), 0.028),
    ({"mouthShrugLower": 0.6}, ((0.02, 6.46), (0.14, 6.44)), 0.045),
)


def relief(points: Points, actions: dict[str, float]) -> np.ndarray:
    """(P,) float32: how deep each point lies in a fold, 0 on smooth skin; about 1 in the middle of a deep one."""
    x, y, z = points.at.T
    depth = np.zeros(len(x), np.float32)
    for raised_by, line, width in FOLDS:
        fold = np.zeros_like(depth)
        for side, sign in (("Left", 1), ("Right", -1)):
            weight = sum(part * max(0.0, _weight(actions, name, side)) for name, part in raised_by.items())
            if weight > 0.02:
                away, along = _nearest(sign * x, y, line)
                ends = 0.35 + 0.65 * np.sin(np.pi * along)
                fold = np.maximum(fold, min(weight, 1.2) * ends * np.exp(-((away / width) ** 2)))
        depth += fold
    return np.where((points.part == SKIN) & (z > 0.6), depth, 0).astype(np.float32)


def _weight(actions: dict[str, float], name: str, side: str) -> float:
    return actions.get(name, actions.get(name + side, 0.0))


def _nearest(x: np.ndarray, y: np.ndarray, line: tuple[tuple[float, float], ...]) -> tuple[np.ndarray, np.ndarray]:
    """Two (P,): decimetres to the nearest point of a line of straight pieces, and how far along the line that is, 0..1."""
    nearest, along = np.full(len(x), np.inf, np.float32), np.zeros(len(x), np.float32)
    for number, ((ax, ay), (bx, by)) in enumerate(pairwise(line)):
        length = (bx - ax) ** 2 + (by - ay) ** 2
        share = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0, 1)
        away = np.hypot(x - ax - share * (bx - ax), y - ay - share * (by - ay))
        along = np.where(away < nearest, (number + share) / (len(line) - 1), along)
        nearest = np.minimum(nearest, away)
    return nearest, along
