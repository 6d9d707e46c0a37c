"""Colour the skin in the coordinates of the adult base mesh: blood, pores, lips; folds that actions raise; tears."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from infant_fer.synthetic.infant import Colours, Infant
from infant_fer.synthetic.mesh.data import SIDES
from infant_fer.synthetic.mesh.head import SKIN
from infant_fer.synthetic.shading.points import Points, over, rise, spot

REDDER = np.array([1.05, 0.66, 0.62])  # what blood under the skin does to its colour
VEINS = np.array([0.90, 0.93, 1.02])  # below thin skin, about the temples and under the eyes


def skin_colour(points: Points, infant: Infant, actions: dict[str, float]) -> np.ndarray:
    """Return (P, 3) float32 linear RGB of bare skin with lips."""
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


def _straining(actions: dict[str, float]) -> float:
    """Return 0..1: how hard the face cries, which reddens it."""
    return float(np.clip(actions.get("mouthStretchLeft", 0) + actions.get("noseSneerLeft", 0) - 0.7, 0, 1))


def _blood(points: Points, infant: Infant, actions, side, y, front) -> np.ndarray:
    """Return (P,): how red each point is beyond the skin's own colour."""
    hard, patchy = _straining(actions), 1 + 0.3 * points.noise(1, 0.22)
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
    """Return (P,) about 0: clouds, blotches and pores."""
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


# --- folds -------------------------------------------------------------------------------------------------------------

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


def fold_depth(points: Points, actions: dict[str, float]) -> np.ndarray:
    """Return (P,) float32: how deep each point lies in a fold, 0 on smooth skin, about 1 in the middle of a deep one."""
    x, y, z = points.at.T
    depth = np.zeros(len(x), np.float32)
    for raised_by, line, width in FOLDS:
        fold = np.zeros_like(depth)
        for side, sign in zip(SIDES, (1, -1), strict=True):
            weight = sum(share * max(0.0, _weight(actions, name, side)) for name, share in raised_by.items())
            if weight > 0.02:
                away, along = _nearest(sign * x, y, line)
                ends = 0.35 + 0.65 * np.sin(np.pi * along)
                fold = np.maximum(fold, min(weight, 1.2) * ends * np.exp(-((away / width) ** 2)))
        depth += fold
    return np.where((points.part == SKIN) & (z > 0.6), depth, 0).astype(np.float32)


def _weight(actions: dict[str, float], name: str, side: str) -> float:
    return actions.get(name, actions.get(name + side, 0.0))


def _nearest(x: np.ndarray, y: np.ndarray, line: tuple[tuple[float, float], ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return two (P,): decimetres to the nearest point of a polyline, and how far along it that is, 0..1."""
    nearest, along = np.full(len(x), np.inf, np.float32), np.zeros(len(x), np.float32)
    for number, ((ax, ay), (bx, by)) in enumerate(pairwise(line)):
        length = (bx - ax) ** 2 + (by - ay) ** 2
        share = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0, 1)
        away = np.hypot(x - ax - share * (bx - ax), y - ay - share * (by - ay))
        along = np.where(away < nearest, (number + share) / (len(line) - 1), along)
        nearest = np.minimum(nearest, away)
    return nearest, along


# --- tears -------------------------------------------------------------------------------------------------------------

LOWER_LID = 7.24  # decimetres on the base mesh: the lower lid's margin
TEAR_RUNS = ((0.33, 7.20, 0.40, 6.62, 0.018), (0.24, 7.20, 0.25, 6.86, 0.012))  # from, to, width


def tear_film(points: Points, tears: float) -> np.ndarray:
    """Return (P,) float32 in 0..1: how much water is on each point."""
    if tears <= 0:
        return np.zeros(len(points.at), np.float32)
    side, y, z = np.abs(points.at[:, 0]), points.at[:, 1], points.at[:, 2]
    film = 0.7 * spot(side, y, (0.31, 7.20), (0.12, 0.022))
    for number, (x0, y0, x1, y1, width) in enumerate(TEAR_RUNS):
        reach = y1 + (y0 - y1) * (1 - min(1.0, tears * (1.15 - 0.35 * number)))
        line = x0 + (x1 - x0) * (y0 - y) / (y0 - y1) + 0.010 * np.sin(y * 17 + number * 2)
        broken = 0.75 + 0.25 * np.sin(y * 31 + 2 * number)
        run = broken * np.exp(-(((side - line) / width) ** 2)) * rise(y, reach - 0.02, reach + 0.02)
        film = np.maximum(film, run + np.exp(-(((side - line) ** 2 + (y - reach) ** 2) / (1.4 * width) ** 2)))
    return (
        min(1.0, 1.5 * tears) * np.clip(film, 0, 1) * rise(-y, -LOWER_LID, 0.03 - LOWER_LID) * rise(z, 0.6, 0.9)
    ).astype(np.float32)
