"""What does light do at each point? Skin, hair, eyes, mouth, clothes and covers, laid over each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from infant_fer.synthetic.infant import Mesh
from infant_fer.synthetic.mesh.head import EYE, GUM, SKIN, TONGUE
from infant_fer.synthetic.occluders import Occluder
from infant_fer.synthetic.shading.eyes import eye_colour
from infant_fer.synthetic.shading.fabrics import cloth_colour, cloth_relief, clothed, occluder_colour, occluder_relief
from infant_fer.synthetic.shading.hair import brows, scalp
from infant_fer.synthetic.shading.points import COVER, Points, over, rise
from infant_fer.synthetic.shading.skin import skin_colour
from infant_fer.synthetic.shading.tears import tear_film
from infant_fer.synthetic.shading.wrinkles import relief

INSIDE, TONGUE_RED, GUM_RED = (0.20, 0.045, 0.04), (0.56, 0.22, 0.21), (0.60, 0.30, 0.29)
DULL, MOIST, WET, EYE_SHARP = 14.0, 40.0, 70.0, 200.0  # exponents of highlights


@dataclass(frozen=True, eq=False)
class Surface:
    """What light does at P points."""

    albedo: np.ndarray  # (P, 3) float32 linear RGB
    gloss: np.ndarray  # (P,) share of mirrored light
    sharpness: np.ndarray  # (P,) exponent of the highlight
    skin: np.ndarray  # (P,) bool: light travels below the surface here; not in the mouth, where lit lips would shine in
    relief: np.ndarray  # (P,) float32: how deep each point lies in folds, about 1 in the middle of a deep one


def surface(points: Points, mesh: Mesh, occluder: Occluder | None) -> Surface:
    """Paint everything, each kind of point on its own."""
    count = len(points.part)
    albedo, depth = np.zeros((count, 3), np.float32), np.zeros(count, np.float32)
    gloss, sharpness, scatters = np.full(count, 0.03), np.full(count, DULL), np.zeros(count, bool)
    below = clothed(points)
    for part, paint in (
        ((points.part == SKIN) & (below < 0.02), _bare),
        ((points.part == SKIN) & (below >= 0), _cloth),
        (points.part == EYE, _eye),
        (points.part == TONGUE, _tongue),
        (points.part == GUM, _gum),
        (points.part == COVER, _cover),
    ):
        if part.any():
            albedo[part], gloss[part], sharpness[part], scatters[part], depth[part] = paint(
                points.only(part), mesh, occluder
            )
    return Surface(albedo, gloss, sharpness, scatters, depth)


def _bare(points: Points, mesh: Mesh, occluder: Occluder | None) -> tuple:
    infant = mesh.infant
    lips, ears = points.region("lips"), points.region("ears")
    inside = points.region("inside-mouth")
    albedo = over(
        skin_colour(points, infant, mesh.actions), 0.75 * np.array(infant.colours.hair), brows(points, infant)
    )
    hair, strands = scalp(points, infant)
    hair = hair * (1 - ears)
    albedo = over(albedo, np.array(infant.colours.hair) * strands[:, None], hair)
    albedo = over(albedo, INSIDE, rise(inside, 0.25, 0.6))
    tears = tear_film(points, mesh.tears)
    gloss = (0.026 + 0.07 * lips + 0.04 * (inside > 0.5)) * (1 - 0.5 * hair) + 0.30 * tears
    sharpness = np.where(tears > 0.15, 90.0, np.where(inside > 0.5, WET, np.where(lips > 0.3, MOIST, DULL)))
    albedo *= (1 - 0.06 * tears)[:, None]
    depth = relief(points, mesh.actions) - 0.22 * tears + 0.4 * hair * (1 - strands) + 0.012 * points.noise(5, 0.02)
    return albedo, gloss, sharpness, inside < 0.5, depth


def _cloth(points: Points, mesh: Mesh, occluder: Occluder | None) -> tuple:
    below = clothed(points)
    return cloth_colour(points, mesh.infant, below), 0.0, DULL, False, cloth_relief(points, below)


def _eye(points: Points, mesh: Mesh, occluder: Occluder | None) -> tuple:
    return eye_colour(points.on_eye, mesh.infant.colours), 0.10, EYE_SHARP, False, 0.0


def _tongue(points: Points, mesh: Mesh, occluder: Occluder | None) -> tuple:
    furrow = np.exp(-((points.at[:, 0] / 0.03) ** 2))
    albedo = np.array(TONGUE_RED) * (1 + 0.03 * points.noise(16, 0.02) - 0.12 * furrow)[:, None]
    return albedo, 0.10, WET, False, 0.4 * furrow + 0.05 * points.noise(16, 0.02)


def _gum(points: Points, mesh: Mesh, occluder: Occluder | None) -> tuple:
    return np.array(GUM_RED) * (1 + 0.05 * points.noise(17, 0.05))[:, None], 0.10, WET, False, 0.0


def _cover(points: Points, mesh: Mesh, occluder: Occluder | None) -> tuple:
    gloss, sharpness = (0.06, MOIST) if occluder.kind == "dummy" else (0.02 * (occluder.kind == "hand"), DULL)
    return (
        occluder_colour(points, occluder, mesh.infant),
        gloss,
        sharpness,
        occluder.kind == "hand",
        occluder_relief(points, occluder),
    )
