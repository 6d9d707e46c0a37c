"""What colour is skin? Blood below it, pores, lips and nostrils, painted in the coordinates of the adult base mesh."""

from __future__ import annotations

import numpy as np

from infant_fer.synthetic.infant import Colours, Infant
from infant_fer.synthetic.shading.points import Points, over, rise, spot

REDDER = np.array([1.05, 0.66, 0.62])  # what blood under the skin does to its colour
VEINS = np.array([0.90, 0.93, 1.02])  # below thin skin, about the temples and under the eyes


def skin_colour(points: Points, infant: Infant, actions: dict[str, float]) -> np.ndarray:
    """(P, 3) float32 linear RGB: bare skin with lips, for every point."""
    side, y, z = np.abs(points.at[:, 0]), points.at[:, 1], points.at[:, 2]
    skin, front = np.array(infant.colours.skin, np.float32), rise(z, 0.5, 1.0)
    red = _blood(points, infant, actions, side, y, front)
    albedo = over(np.repeat(skin[None], len(y), 0), skin * REDDER, np.clip(red, 0, 0.9))
    albedo = over(albedo, skin * VEINS, 0.35 * spot(side, y, (0.30, 7.10), (0.15, 0.05)) * front)
    albedo = over(albedo, skin * np.array([0.88, 0.78, 0.77]), 0.2 * points.region("eyelids"))
    albedo *= (1 + _mottle(points))[:, None]
    albedo = over(albedo, _lip_colour(infant.colours), 0.8 * _lips(points))
    nostril = spot(side, y, (0.085, 6.88), (0.042, 0.026)) * np.exp(-(((z - 1.45) / 0.12) ** 2))
    return over(albedo, skin * np.array([0.30, 0.16, 0.14]), 0.8 * nostril)


def straining(actions: dict[str, float]) -> float:
    """0..1: how hard the face cries, which reddens it."""
    return float(np.clip(actions.get("mouthStretchLeft", 0) + actions.get("noseSneerLeft", 0) - 0.7, 0, 1))


def _blood(points: Points, infant: Infant, actions, side, y, front) -> np.ndarray:
    """(P,): how red each point is beyond the skin's own colour."""
    hard, patchy = straining(actions), 1 + 0.3 * points.noise(1, 0.22)
    cheeks = 0.75 * infant.blush * spot(side, y, (0.47, 6.97), (0.26, 0.20)) * front
    nose = 0.35 * spot(side, y, (0, 6.93), (0.12, 0.10)) * front
    about_eyes = 0.18 * spot(side, y, (0.28, 7.25), (0.22, 0.14)) * front
    chin = 0.22 * spot(side, y, (0, 6.42), (0.18, 0.10)) * front
    crying = hard * (0.42 + 0.25 * spot(side, y, (0.25, 7.25), (0.35, 0.25))) * rise(y, 6.0, 6.7) * rise(-y, -8.4, -7.8)
    return (
        (cheeks + nose + about_eyes + chin + crying) * patchy
        + 0.35 * points.region("ears")
        + 0.04 * points.noise(2, 0.08)
    )


def _mottle(points: Points) -> np.ndarray:
    """(P,) about 0: clouds, blotches and pores."""
    return (
        0.028 * points.noise(3, 0.30)
        + 0.020 * points.noise(4, 0.07)
        + 0.022 * points.noise(5, 0.020)
        + 0.018 * points.noise(9, 0.009)
    ).astype(np.float32)


def _lips(points: Points) -> np.ndarray:
    return points.region("lips") * np.clip(1 + 0.10 * points.noise(10, 0.03), 0, 1.25)


def _lip_colour(colours: Colours) -> np.ndarray:
    return np.array(colours.skin) * np.array([0.92, 0.56, 0.56]) + np.array([0.035, 0.0, 0.008])
