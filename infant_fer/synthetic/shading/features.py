"""Colour the eyes, the hair and brows, and the inside of the mouth."""

from __future__ import annotations

import numpy as np

from infant_fer.synthetic.infant import Colours, Infant
from infant_fer.synthetic.shading.points import Points, look_up, noise_texture, over, rise

WHITE = (0.70, 0.71, 0.74)  # a little blue in infants
IRIS, PUPIL = 0.50, 0.21  # radii in those of the eyeball; infants' irises fill the opening


def eye_colour(on_eye: np.ndarray, colours: Colours) -> np.ndarray:
    """Return (E, 3) linear RGB for points given as (E, 3) radii of the eyeball, the front at +z."""
    x, y, z = on_eye.T
    radius, angle = np.where(z > 0, np.hypot(x, y), 2), np.arctan2(y, x)
    rays = 1 + 0.22 * np.sin(angle * 31 + 3 * np.sin(angle * 7)) * rise(radius, PUPIL, PUPIL + 0.1)
    depth = (
        0.55 + 0.75 * rise(radius, PUPIL, IRIS) + 0.35 * rise(-y, -0.1, 0.4)
    )  # light falls in from above, on the lower half
    iris = np.array(colours.iris) * (rays * depth)[:, None]
    white = np.array(WHITE) * (1 - 0.30 * rise(np.abs(x), 0.5, 1.0))[:, None] * [1, 0.97, 0.96]
    eye = over(white, iris, 1 - rise(radius, IRIS - 0.03, IRIS + 0.05))
    eye = over(eye, iris * 0.25, 0.75 * np.exp(-(((radius - IRIS) / 0.05) ** 2)))
    eye = over(eye, (0.003,) * 3, 1 - rise(radius, PUPIL - 0.03, PUPIL + 0.03))
    return eye * (1 - 0.45 * rise(y, 0.15, 0.55))[:, None]  # the lid and its lashes throw a shadow


# --- hair --------------------------------------------------------------------------------------------------------------

CROWN = np.array([0.0, 8.3, 0.05])  # decimetres on the base mesh: where the strands come from


def brows(points: Points, infant: Infant) -> np.ndarray:
    """Return (P,) 0..1: how far hairs of the brows cover each point."""
    side, y, z = np.abs(points.at[:, 0]), points.at[:, 1], points.at[:, 2]
    along = np.clip((side - 0.11) / 0.44, 0, 1)
    arch = 7.435 + 0.075 * np.sin(np.pi * (0.22 + 0.55 * along))
    thick = 0.036 * (1.1 - 0.55 * along)
    slant = (side - 0.6 * (y - arch)) * 900
    hairs = np.clip(1 + 0.26 * look_up(noise_texture(6), slant, y * 90), 0.4, 1.6)
    band = np.exp(-(((y - arch) / thick) ** 2)) * rise(side, 0.08, 0.20) * (1 - rise(side, 0.44, 0.60))
    return np.clip(1.1 * infant.brows * band * hairs * rise(z, 0.8, 1.1), 0, 0.8)


def scalp(points: Points, infant: Infant) -> tuple[np.ndarray, np.ndarray]:
    """Return (P,) 0..1, how far fine hair covers each point, and (P,) about 1, the light of its strands."""
    x, y, z = points.at.T
    side = np.abs(x)
    line = 7.76 + infant.hairline - 0.50 * rise(side, 0.45, 0.85) - 1.0 * rise(-z, -0.75, -0.35)
    strands, wisps = _strands(points, 800, 12, 7), _strands(points, 210, 6, 8)
    edge = y + 0.05 * points.noise(8, 0.20) + 0.015 * strands + 0.012 * wisps
    occluder = rise(edge, line - 0.15, line + 0.45) ** 1.3
    share = 1.4 * infant.hair * occluder * (1 + 0.16 * strands + 0.10 * wisps)
    return 0.95 * (1 - np.exp(-np.clip(share, 0, None) * 1.8)), np.clip(1 + 0.22 * strands + 0.10 * wisps, 0.5, 1.7)


def _strands(points: Points, fine: float, along: float, seed: int) -> np.ndarray:
    """Return (P,) of deviation 1: streaks that run from the crown downwards and to the front."""
    away = points.at - CROWN.astype(np.float32)
    angle = np.arctan2(away[:, 0], away[:, 2])
    length = np.linalg.norm(away, axis=1)
    return look_up(noise_texture(seed), angle * fine + 4 * np.sin(length * 5), length * along)


# --- mouth -------------------------------------------------------------------------------------------------------------

INSIDE, TONGUE_RED, GUM_RED = (0.20, 0.045, 0.04), (0.56, 0.22, 0.21), (0.60, 0.30, 0.29)


def tongue_colour(points: Points) -> tuple[np.ndarray, np.ndarray]:
    """Return (P, 3) linear RGB of the tongue, and (P,) how deep each point lies in its furrow."""
    furrow = np.exp(-((points.at[:, 0] / 0.03) ** 2))
    albedo = np.array(TONGUE_RED) * (1 + 0.03 * points.noise(16, 0.02) - 0.12 * furrow)[:, None]
    return albedo, 0.4 * furrow + 0.05 * points.noise(16, 0.02)


def gum_colour(points: Points) -> np.ndarray:
    """Return (P, 3) linear RGB of the gums."""
    return np.array(GUM_RED) * (1 + 0.05 * points.noise(17, 0.05))[:, None]
