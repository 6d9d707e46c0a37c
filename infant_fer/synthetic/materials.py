"""Give each visible point its material: albedo, gloss and relief of skin, hair, eyes, mouth, clothes and occluders."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from infant_fer.synthetic.camera import Points, look_up, noise_texture, over, rise, spot
from infant_fer.synthetic.infant import Colours, Infant, Mesh
from infant_fer.synthetic.mesh.data import SIDES
from infant_fer.synthetic.mesh.head import EYE, GUM, OCCLUDER, SKIN, TONGUE
from infant_fer.synthetic.occluders import Occluder

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


DULL, MOIST, WET, EYE_SHARP = 14.0, 40.0, 70.0, 200.0  # exponents of highlights
INSIDE, TONGUE_RED, GUM_RED = (0.20, 0.045, 0.04), (0.56, 0.22, 0.21), (0.60, 0.30, 0.29)


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
    albedo, relief = np.zeros((count, 3), np.float32), np.zeros(count, np.float32)
    gloss, sharpness, scatters = np.full(count, 0.03), np.full(count, DULL), np.zeros(count, bool)
    below = _below_neckline(points)
    for chosen, paint in (
        ((points.part == SKIN) & (below < 0.02), _bare_skin),
        ((points.part == SKIN) & (below >= 0), _clothes),
        (points.part == EYE, _eyes),
        (points.part == TONGUE, _tongue),
        (points.part == GUM, _gums),
        (points.part == OCCLUDER, _occluder),
    ):
        if chosen.any():
            painted = paint(points.only(chosen), mesh, occluder)  # the fields of a Surface, arrays or one value for all
            albedo[chosen], gloss[chosen], sharpness[chosen], scatters[chosen], relief[chosen] = painted
    return Surface(albedo, gloss, sharpness, scatters, relief)


# --- the head ---------------------------------------------------------------------------------------------------------

CROWN = np.array([0.0, 8.3, 0.05])  # decimetres on the base mesh: where the strands of hair come from
WHITE = (0.70, 0.71, 0.74)  # of the eyes, a little blue in infants
IRIS, PUPIL = 0.50, 0.21  # radii in those of the eyeball; infants' irises fill the opening


def _bare_skin(points: Points, mesh: Mesh, occluder: Occluder | None) -> tuple:
    infant = mesh.infant
    lips, ears, inside = (points.region(name) for name in ("lips", "ears", "inside-mouth"))
    hair_colour = np.array(infant.colours.hair)
    albedo = over(skin_colour(points, infant, mesh.actions), 0.75 * hair_colour, _brows(points, infant))
    hair, strands = _scalp(points, infant)
    hair = hair * (1 - ears)
    albedo = over(albedo, hair_colour * strands[:, None], hair)
    albedo = over(albedo, INSIDE, rise(inside, 0.25, 0.6))
    tears = tear_film(points, mesh.tears)
    gloss = (0.026 + 0.07 * lips + 0.04 * (inside > 0.5)) * (1 - 0.5 * hair) + 0.30 * tears
    sharpness = np.where(tears > 0.15, 90.0, np.where(inside > 0.5, WET, np.where(lips > 0.3, MOIST, DULL)))
    albedo *= (1 - 0.06 * tears)[:, None]
    relief = (
        fold_depth(points, mesh.actions) - 0.22 * tears + 0.4 * hair * (1 - strands) + 0.012 * points.noise(5, 0.02)
    )
    return albedo, gloss, sharpness, inside < 0.5, relief


def _brows(points: Points, infant: Infant) -> np.ndarray:
    """Return (P,) 0..1: how dense the hairs of the brows are at each point."""
    side, y, z = np.abs(points.at[:, 0]), points.at[:, 1], points.at[:, 2]
    along = np.clip((side - 0.11) / 0.44, 0, 1)
    arch = 7.435 + 0.075 * np.sin(np.pi * (0.22 + 0.55 * along))
    thick = 0.036 * (1.1 - 0.55 * along)
    slant = (side - 0.6 * (y - arch)) * 900
    hairs = np.clip(1 + 0.26 * look_up(noise_texture(6), slant, y * 90), 0.4, 1.6)
    band = np.exp(-(((y - arch) / thick) ** 2)) * rise(side, 0.08, 0.20) * (1 - rise(side, 0.44, 0.60))
    return np.clip(1.1 * infant.brows * band * hairs * rise(z, 0.8, 1.1), 0, 0.8)


def _scalp(points: Points, infant: Infant) -> tuple[np.ndarray, np.ndarray]:
    """Return (P,) 0..1, how dense fine hair is at each point, and (P,) about 1, the light of its strands."""
    side, y, z = np.abs(points.at[:, 0]), points.at[:, 1], points.at[:, 2]
    line = 7.76 + infant.hairline - 0.50 * rise(side, 0.45, 0.85) - 1.0 * rise(-z, -0.75, -0.35)
    strands, wisps = _strands(points, 800, 12, 7), _strands(points, 210, 6, 8)
    edge = y + 0.05 * points.noise(8, 0.20) + 0.015 * strands + 0.012 * wisps
    above = rise(edge, line - 0.15, line + 0.45) ** 1.3
    share = 1.4 * infant.hair * above * (1 + 0.16 * strands + 0.10 * wisps)
    return 0.95 * (1 - np.exp(-np.clip(share, 0, None) * 1.8)), np.clip(1 + 0.22 * strands + 0.10 * wisps, 0.5, 1.7)


def _strands(points: Points, fine: float, along: float, seed: int) -> np.ndarray:
    """Return (P,) of deviation 1: streaks that run from the crown downwards and to the front."""
    away = points.at - CROWN.astype(np.float32)
    angle = np.arctan2(away[:, 0], away[:, 2])
    length = np.linalg.norm(away, axis=1)
    return look_up(noise_texture(seed), angle * fine + 4 * np.sin(length * 5), length * along)


def _eyes(points: Points, mesh: Mesh, occluder: Occluder | None) -> tuple:
    x, y, z = points.on_eye.T
    radius, angle = np.where(z > 0, np.hypot(x, y), 2), np.arctan2(y, x)
    rays = 1 + 0.22 * np.sin(angle * 31 + 3 * np.sin(angle * 7)) * rise(radius, PUPIL, PUPIL + 0.1)
    # Light falls in from above, on the lower half.
    depth = 0.55 + 0.75 * rise(radius, PUPIL, IRIS) + 0.35 * rise(-y, -0.1, 0.4)
    iris = np.array(mesh.infant.colours.iris) * (rays * depth)[:, None]
    white = np.array(WHITE) * (1 - 0.30 * rise(np.abs(x), 0.5, 1.0))[:, None] * [1, 0.97, 0.96]
    eye = over(white, iris, 1 - rise(radius, IRIS - 0.03, IRIS + 0.05))
    eye = over(eye, iris * 0.25, 0.75 * np.exp(-(((radius - IRIS) / 0.05) ** 2)))
    eye = over(eye, (0.003,) * 3, 1 - rise(radius, PUPIL - 0.03, PUPIL + 0.03))
    shaded = eye * (1 - 0.45 * rise(y, 0.15, 0.55))[:, None]  # the lid and its lashes throw a shadow
    return shaded, 0.10, EYE_SHARP, False, 0.0


def _tongue(points: Points, mesh: Mesh, occluder: Occluder | None) -> tuple:
    furrow, rough = np.exp(-((points.at[:, 0] / 0.03) ** 2)), points.noise(16, 0.02)
    return (
        np.array(TONGUE_RED) * (1 + 0.03 * rough - 0.12 * furrow)[:, None],
        0.10,
        WET,
        False,
        0.4 * furrow + 0.05 * rough,
    )


def _gums(points: Points, mesh: Mesh, occluder: Occluder | None) -> tuple:
    return np.array(GUM_RED) * (1 + 0.05 * points.noise(17, 0.05))[:, None], 0.10, WET, False, 0.0


# --- clothes and occluders --------------------------------------------------------------------------------------------

NECKLINE, COLLAR = 5.70, 0.10  # decimetres: where clothes begin, and how broad their edge is


def _below_neckline(points: Points) -> np.ndarray:
    """Return (P,) decimetres below the neckline; negative on bare skin."""
    side, y, z = np.abs(points.at[:, 0]), points.at[:, 1], points.at[:, 2]
    return NECKLINE + 0.35 * np.clip(side - 0.30, 0, 1) + 0.35 * rise(-z, -0.3, 0.3) - y


def _clothes(points: Points, mesh: Mesh, occluder: Occluder | None) -> tuple:
    """Paint cloth with folds and a ribbed collar."""
    below = _below_neckline(points)
    collar = 1 - 0.22 * np.exp(-(((below - COLLAR) / 0.012) ** 2))
    albedo = np.array(mesh.infant.colours.cloth, np.float32) * (collar * (1 + 0.05 * points.noise(11, 0.02)))[:, None]
    ribs = 0.5 + 0.5 * np.sin(np.arctan2(points.at[:, 0], 0.6 + points.at[:, 2]) * 150)
    folds = 1.5 * points.noise(12, 0.6) + 0.25 * points.noise(13, 0.2)
    return albedo, 0.0, DULL, False, np.where(below < COLLAR, 0.35 * ribs - 0.8, folds) * rise(below, 0, 0.02)


def _occluder(points: Points, mesh: Mesh, occluder: Occluder | None) -> tuple:
    assert occluder is not None  # a mesh without one has no point of it
    if occluder.kind == "hand":
        skin = np.array(mesh.infant.colours.skin) * [1.0, 0.90, 0.88]
        return skin * (1 + 0.03 * points.noise(3, 0.5) + 0.03 * points.noise(5, 0.04))[:, None], 0.02, DULL, True, 0.0
    colour = np.array(occluder.colour, np.float32)
    if occluder.kind == "pacifier":
        holes = np.exp(-(((np.abs(points.at[:, 0]) - 0.37) / 0.05) ** 4) - ((points.at[:, 1] / 0.07) ** 4))
        return colour * (1 - 0.8 * holes)[:, None], 0.06, MOIST, False, 0.0
    knit = _knit(points, occluder)
    albedo = colour * (1 + 0.04 * points.noise(14, 0.06) - 0.10 * knit)[:, None]
    return albedo, 0.0, DULL, False, 0.8 * knit + 0.5 * points.noise(15, 0.3)


def _knit(points: Points, occluder: Occluder) -> np.ndarray:
    """Return (P,) 0..1: 1 between the stitches."""
    x, y, z = points.at.T
    across, up = (np.arctan2(x, z - 0.3) * 22, y * 26) if occluder.kind == "hat" else (x * 30, y * 30)
    bend = np.abs((across % 1) - 0.5) * 2
    stitch = np.abs(np.sin(np.pi * (up + 0.5 * bend)))
    return np.clip(1.1 - stitch - 0.7 * np.sin(np.pi * (across % 1)), 0, 1)
