"""Where are tears? A film along the lower lids and runs down the cheeks, on the skin below the eyes only."""

from __future__ import annotations

import numpy as np

from infant_fer.synthetic.shading.points import Points, rise, spot

HIGHEST = 7.24  # decimetres on the base mesh: the lower lid's margin
RUNS = ((0.33, 7.20, 0.40, 6.62, 0.018), (0.24, 7.20, 0.25, 6.86, 0.012))  # from, to, width


def tear_film(points: Points, tears: float) -> np.ndarray:
    """(P,) float32 in 0..1: how much water stands on each point."""
    if tears <= 0:
        return np.zeros(len(points.at), np.float32)
    side, y, z = np.abs(points.at[:, 0]), points.at[:, 1], points.at[:, 2]
    film = 0.7 * spot(side, y, (0.31, 7.20), (0.12, 0.022))
    for number, (x0, y0, x1, y1, width) in enumerate(RUNS):
        reach = y1 + (y0 - y1) * (1 - min(1.0, tears * (1.15 - 0.35 * number)))
        line = x0 + (x1 - x0) * (y0 - y) / (y0 - y1) + 0.010 * np.sin(y * 17 + number * 2)
        broken = 0.75 + 0.25 * np.sin(y * 31 + 2 * number)
        run = broken * np.exp(-(((side - line) / width) ** 2)) * rise(y, reach - 0.02, reach + 0.02)
        film = np.maximum(film, run + np.exp(-(((side - line) ** 2 + (y - reach) ** 2) / (1.4 * width) ** 2)))
    return (
        min(1.0, 1.5 * tears) * np.clip(film, 0, 1) * rise(-y, -HIGHEST, 0.03 - HIGHEST) * rise(z, 0.6, 0.9)
    ).astype(np.float32)
