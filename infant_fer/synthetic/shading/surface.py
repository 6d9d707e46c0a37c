"""Give each visible point its material: albedo, gloss, relief of skin, hair, eyes, mouth, clothes and occluders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from infant_fer.synthetic.infant import Mesh
from infant_fer.synthetic.mesh.head import EYE, GUM, OCCLUDER, SKIN, TONGUE
from infant_fer.synthetic.occluders import Occluder
from infant_fer.synthetic.shading.fabrics import cloth_colour, cloth_relief, clothed, occluder_colour, occluder_relief
from infant_fer.synthetic.shading.features import INSIDE, brows, eye_colour, gum_colour, scalp, tongue_colour
from infant_fer.synthetic.shading.points import Points, over, rise
from infant_fer.synthetic.shading.skin import fold_depth, skin_colour, tear_film

DULL, MOIST, WET, EYE_SHARP = 14.0, 40.0, 70.0, 200.0  # exponents of highlights


@dataclass(frozen=True, eq=False)
class Surface:
    """The material at P points."""

    albedo: np.ndarray  # (P, 3) float32 linear RGB
    gloss: np.ndarray  # (P,) share of mirrored light
    sharpness: np.ndarray  # (P,) exponent of the highlight
    skin: np.ndarray  # (P,) bool: light travels below the surface here; not in the mouth, where lit lips would shine in
    relief: np.ndarray  # (P,) float32: how deep each point lies in folds, about 1 in the middle of a deep one


def surface(points: Points, mesh: Mesh, occluder: Occluder | None) -> Surface:
    """Return the material of all points, each kind painted on its own."""
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
        (points.part == OCCLUDER, _occluder),
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
    depth = fold_depth(points, mesh.actions) - 0.22 * tears + 0.4 * hair * (1 - strands) + 0.012 * points.noise(5, 0.02)
    return albedo, gloss, sharpness, inside < 0.5, depth


def _cloth(points: Points, mesh: Mesh, occluder: Occluder | None) -> tuple:
    below = clothed(points)
    return cloth_colour(points, mesh.infant, below), 0.0, DULL, False, cloth_relief(points, below)


def _eye(points: Points, mesh: Mesh, occluder: Occluder | None) -> tuple:
    return eye_colour(points.on_eye, mesh.infant.colours), 0.10, EYE_SHARP, False, 0.0


def _tongue(points: Points, mesh: Mesh, occluder: Occluder | None) -> tuple:
    albedo, depth = tongue_colour(points)
    return albedo, 0.10, WET, False, depth


def _gum(points: Points, mesh: Mesh, occluder: Occluder | None) -> tuple:
    return gum_colour(points), 0.10, WET, False, 0.0


def _occluder(points: Points, mesh: Mesh, occluder: Occluder | None) -> tuple:
    assert occluder is not None  # a mesh without one has no point of it
    gloss, sharpness = (0.06, MOIST) if occluder.kind == "pacifier" else (0.02 * (occluder.kind == "hand"), DULL)
    return (
        occluder_colour(points, occluder, mesh.infant),
        gloss,
        sharpness,
        occluder.kind == "hand",
        occluder_relief(points, occluder),
    )
