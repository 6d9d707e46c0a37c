"""Colour clothes and occluders, and give their relief."""

from __future__ import annotations

import numpy as np

from infant_fer.synthetic.infant import Infant
from infant_fer.synthetic.occluders import Occluder
from infant_fer.synthetic.shading.points import Points, rise

NECKLINE, COLLAR = 5.70, 0.10  # decimetres: where clothes begin, and how broad their edge is


def clothed(points: Points) -> np.ndarray:
    """Return (P,) decimetres below the neckline; negative on bare skin."""
    side, y, z = np.abs(points.at[:, 0]), points.at[:, 1], points.at[:, 2]
    return NECKLINE + 0.35 * np.clip(side - 0.30, 0, 1) + 0.35 * rise(-z, -0.3, 0.3) - y


def cloth_colour(points: Points, infant: Infant, below: np.ndarray) -> np.ndarray:
    """Return (P, 3) linear RGB of the infant's clothes, with a ribbed collar."""
    collar = 1 - 0.22 * np.exp(-(((below - COLLAR) / 0.012) ** 2))
    return np.array(infant.colours.cloth, np.float32) * (collar * (1 + 0.05 * points.noise(11, 0.02)))[:, None]


def cloth_relief(points: Points, below: np.ndarray) -> np.ndarray:
    """Return (P,) float32, how deep each point of the clothes lies: folds, and ribs on the collar."""
    ribs = 0.5 + 0.5 * np.sin(np.arctan2(points.at[:, 0], 0.6 + points.at[:, 2]) * 150)
    folds = 1.5 * points.noise(12, 0.6) + 0.25 * points.noise(13, 0.2)
    inside = rise(below, 0, 0.02)
    return (np.where(below < COLLAR, 0.35 * ribs - 0.8, folds) * inside).astype(np.float32)


def occluder_colour(points: Points, occluder: Occluder, infant: Infant) -> np.ndarray:
    """Return (P, 3) linear RGB of the occluder."""
    if occluder.kind == "hand":
        skin = np.array(infant.colours.skin) * [1.0, 0.90, 0.88]
        return skin * (1 + 0.03 * points.noise(3, 0.5) + 0.03 * points.noise(5, 0.04))[:, None]
    colour = np.repeat(np.array(occluder.colour, np.float32)[None], len(points.at), 0)
    if occluder.kind == "pacifier":
        holes = np.exp(-(((np.abs(points.at[:, 0]) - 0.37) / 0.05) ** 4) - ((points.at[:, 1] / 0.07) ** 4))
        return colour * (1 - 0.8 * holes)[:, None]
    return colour * (1 + 0.04 * points.noise(14, 0.06) - 0.10 * _knit(points, occluder))[:, None]


def occluder_relief(points: Points, occluder: Occluder) -> np.ndarray:
    """Return (P,) float32, how deep each point of the occluder lies in its knit or weave."""
    if occluder.kind in ("pacifier", "hand"):
        return np.zeros(len(points.at), np.float32)
    return (0.8 * _knit(points, occluder) + 0.5 * points.noise(15, 0.3)).astype(np.float32)


def _knit(points: Points, occluder: Occluder) -> np.ndarray:
    """Return (P,) 0..1: 1 between the stitches."""
    x, y, z = points.at.T
    across, up = (np.arctan2(x, z - 0.3) * 22, y * 26) if occluder.kind == "hat" else (x * 30, y * 30)
    bend = np.abs((across % 1) - 0.5) * 2
    stitch = np.abs(np.sin(np.pi * (up + 0.5 * bend)))
    return np.clip(1.1 - stitch - 0.7 * np.sin(np.pi * (across % 1)), 0, 1)
