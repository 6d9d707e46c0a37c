"""What colour is each point? Skin, lips, brows, hair, eyes and cloth, painted in the coordinates of the adult base mesh."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from infant_fer.synthetic.head import EYE, GUM, SKIN, TONGUE
from infant_fer.synthetic.infant import Colours, Infant
from infant_fer.synthetic.mesh_data import mask

NOISE_PX, PATCH_PX = 512, 5  # side of the noise textures, and of a patch in them
REDDER = np.array([1.08, 0.62, 0.60])  # what blood under the skin does to its colour
INSIDE, TONGUE_RED, GUM_RED = (0.26, 0.06, 0.055), (0.50, 0.17, 0.16), (0.54, 0.22, 0.21)
WHITE_OF_EYE, IRIS_RADIUS, PUPIL_RADIUS = (0.74, 0.74, 0.76), 0.47, 0.23  # radii in those of the eyeball
NECKLINE = 5.70  # decimetres


@dataclass(frozen=True, eq=False)
class Points:
    """The P visible points: where on the base mesh, on which part, and under which regions of the texture."""

    at: np.ndarray  # (P, 3) float32 decimetres on the base mesh
    on_eye: np.ndarray  # (P, 3) float32 in radii of the eyeball, the front at +z
    part: np.ndarray  # (P,) SKIN, EYE, ...
    uv: np.ndarray  # (P, 2) float32

    def region(self, name: str) -> np.ndarray:
        """(P,) float32 in 0..1: how far a region of the texture covers each point."""
        texture = mask(name)
        side = texture.shape[0]
        return _looked_up(texture, self.uv[:, 0] * side - 0.5, (1 - self.uv[:, 1]) * side - 0.5)

    def noise(self, seed: int, scale: float) -> np.ndarray:
        """(P,) float32 of deviation 1: smooth noise that stays on the skin when it moves, in patches of `scale` decimetres."""
        at = self.at * (PATCH_PX / scale)
        return _looked_up(_noise(seed), at[:, 0] + 0.6 * at[:, 2], at[:, 1] - 0.4 * at[:, 2])


@dataclass(frozen=True, eq=False)
class Surface:
    """What light does at P points."""

    albedo: np.ndarray  # (P, 3) float32 linear RGB
    gloss: np.ndarray  # (P,) share of mirrored light
    sharpness: np.ndarray  # (P,) exponent of the highlight
    skin: np.ndarray  # (P,) bool: light travels below the surface here


def surface(points: Points, infant: Infant, actions: dict[str, float]) -> Surface:
    """Paint everything."""
    x, y, z = points.at.T
    side, colours = np.abs(x), infant.colours
    lips, ears, inside = points.region("lips"), points.region("ears"), points.region("inside-mouth") > 0.5
    on_skin, inside = points.part == SKIN, inside & (points.part == SKIN)
    albedo = _skin(points, infant, actions, side, y, z, ears)
    albedo = _over(albedo, _lip_colour(colours), 0.75 * lips)
    hair = _hair(points, infant, side, y, z) * (1 - ears) * on_skin
    albedo = _over(albedo, colours.hair, np.clip(_brows(points, infant, side, y, z), 0, 0.85) * on_skin)
    albedo = _over(albedo, colours.hair, hair)
    albedo[inside] = INSIDE
    albedo[points.part == TONGUE], albedo[points.part == GUM] = TONGUE_RED, GUM_RED
    cloth = _cloth(side, y, x) * on_skin
    albedo = _over(albedo, colours.cloth, cloth)
    eye = points.part == EYE
    albedo[eye] = _eye(points.on_eye[eye], colours)
    wet = np.isin(points.part, (TONGUE, GUM))
    gloss = np.where(wet, 0.12, 0.03 + 0.09 * lips) + 0.03 * inside
    gloss = np.where(cloth > 0.5, 0, gloss) * (1 - 0.6 * hair) + 0.10 * eye
    sharpness = np.where(wet | inside, 60.0, np.where(lips > 0.3, 50.0, np.where(eye, 200.0, 16.0)))
    return Surface(albedo, gloss, sharpness, on_skin & ~inside & (cloth < 0.5))


def _skin(points: Points, infant: Infant, actions, side, y, z, ears) -> np.ndarray:
    skin = np.array(infant.colours.skin, np.float32)
    straining = np.clip(
        actions.get("mouthStretchLeft", 0) + actions.get("noseSneerLeft", 0) - 0.6, 0, 1
    )  # crying reddens
    front = _rise(z, 0.5, 1.0)
    red = infant.blush * _spot(side, y, (0.48, 6.98), (0.24, 0.19)) * front
    red += (
        0.45 * _spot(side, y, (0, 6.93), (0.12, 0.09))
        + 0.3 * ears
        + 0.22 * _spot(side, y, (0.15, 7.05), (0.3, 0.3)) * front
    )
    red += (
        straining * 0.5 * (_spot(side, y, (0.2, 7.2), (0.5, 0.5)) * front + _spot(side, y, (0.12, 7.5), (0.25, 0.12)))
    )
    red = red * (1 + 0.35 * points.noise(1, 0.25)) + 0.05 * points.noise(2, 0.09)
    albedo = _over(np.repeat(skin[None], len(y), 0), skin * REDDER, np.clip(red, 0, 1))
    albedo = _over(albedo, skin * np.array([0.86, 0.74, 0.74]), 0.6 * points.region("eyelids"))
    mottle = 1 + 0.05 * points.noise(3, 0.3) + 0.03 * points.noise(4, 0.06) + 0.025 * points.noise(5, 0.018)
    albedo = albedo * mottle[:, None].astype(np.float32)
    nostril = _spot(side, y, (0.085, 6.88), (0.042, 0.026)) * np.exp(-(((z - 1.45) / 0.12) ** 2))
    return _over(albedo, skin * np.array([0.30, 0.16, 0.14]), 0.85 * nostril)


def _brows(points: Points, infant: Infant, side, y, z) -> np.ndarray:
    along = np.clip((side - 0.11) / 0.44, 0, 1)
    arch = 7.435 + 0.075 * np.sin(np.pi * (0.22 + 0.55 * along))
    thick = 0.032 * (1.1 - 0.6 * along)
    hairs = np.clip(1 + 0.45 * points.noise(6, 0.012), 0.2, 1.8)
    band = np.exp(-(((y - arch) / thick) ** 2)) * _rise(side, 0.09, 0.19) * (1 - _rise(side, 0.48, 0.58))
    return infant.brows * band * hairs * _rise(z, 0.8, 1.1)


def _hair(points: Points, infant: Infant, side, y, z) -> np.ndarray:
    """Fine hair that thins towards the forehead; strands follow the skull's crown."""
    line = 7.82 + infant.hairline - 0.55 * _rise(side, 0.45, 0.85) - 1.0 * _rise(-z, -0.75, -0.35)
    at = points.at
    angle = np.arctan2(at[:, 0], at[:, 2] - 0.35) * 90
    strands = _looked_up(_noise(7), angle, at[:, 1] * 9)
    cover = _rise(y + 0.05 * points.noise(8, 0.15) + 0.03 * strands, line - 0.12, line + 0.45)
    return np.clip(infant.hair * cover * (1 + 0.25 * strands), 0, 0.96)


def _eye(on_eye: np.ndarray, colours: Colours) -> np.ndarray:
    x, y, z = on_eye.T
    radius, angle = np.where(z > 0, np.hypot(x, y), 2), np.arctan2(y, x)
    rays = (1 + 0.25 * np.sin(angle * 23 + 3 * np.sin(angle * 7)))[:, None]
    iris = np.array(colours.iris) * rays * (0.6 + 0.9 * _rise(radius, PUPIL_RADIUS, IRIS_RADIUS))[:, None]
    white = np.array(WHITE_OF_EYE) * (1 - 0.25 * _rise(np.abs(x), 0.5, 1.0))[:, None] * [1, 0.97, 0.97]
    eye = _over(white, iris, 1 - _rise(radius, IRIS_RADIUS - 0.03, IRIS_RADIUS + 0.04))
    eye = _over(eye, iris * 0.3, 0.7 * np.exp(-(((radius - IRIS_RADIUS) / 0.05) ** 2)))
    return _over(eye, (0.004,) * 3, 1 - _rise(radius, PUPIL_RADIUS - 0.03, PUPIL_RADIUS + 0.02))


def _cloth(side, y, x) -> np.ndarray:
    return 1 - _rise(y - 0.1 * np.clip(side - 0.45, 0, 2) - 0.05 * np.cos(side * 3), NECKLINE, NECKLINE + 0.03)


def _lip_colour(colours: Colours) -> np.ndarray:
    return np.array(colours.skin) * np.array([0.97, 0.60, 0.61]) + np.array([0.03, 0.0, 0.01])


def _over(below: np.ndarray, colour, share: np.ndarray) -> np.ndarray:
    """Lay a colour over others, by a share for each point."""
    share = np.asarray(share, np.float32)[:, None]
    return (below * (1 - share) + np.asarray(colour, np.float32) * share).astype(np.float32)


def _spot(x, y, centre: tuple[float, float], size: tuple[float, float]) -> np.ndarray:
    return np.exp(-(((x - centre[0]) / size[0]) ** 2) - ((y - centre[1]) / size[1]) ** 2)


def _rise(x, start: float, end: float) -> np.ndarray:
    """0 before `start`, 1 after `end`, smooth between."""
    share = np.clip((x - start) / (end - start), 0, 1)
    return share * share * (3 - 2 * share)


@cache
def _noise(seed: int) -> np.ndarray:
    """(NOISE_PX, NOISE_PX) float32 of deviation 1, without a seam."""
    random = np.random.default_rng(seed)
    field = random.standard_normal((NOISE_PX, NOISE_PX)).astype(np.float32)
    field = cv2.GaussianBlur(np.tile(field, (3, 3)), (0, 0), 2.0)[NOISE_PX : 2 * NOISE_PX, NOISE_PX : 2 * NOISE_PX]
    return (field / field.std()).astype(np.float32)


def _looked_up(texture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(P,) float32: bilinear values at (P,) positions in px, repeating. OpenCV takes 2-D position maps of limited side."""
    count = len(x)
    width = 1024
    padded = np.zeros((-(-count // width)) * width, np.float32), np.zeros((-(-count // width)) * width, np.float32)
    padded[0][:count], padded[1][:count] = x % texture.shape[1], y % texture.shape[0]
    maps = (part.reshape(-1, width) for part in padded)
    return cv2.remap(texture, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP).ravel()[:count]
