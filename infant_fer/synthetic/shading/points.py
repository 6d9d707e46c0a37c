"""Describe the visible points, with noise that stays on the skin, and blend colours over each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import cv2
import numpy as np

from infant_fer.synthetic.mesh.data import mask
from infant_fer.synthetic.mesh.head import OCCLUDER
from infant_fer.synthetic.shading.camera import compiled

HEAD_FROM = 6.0  # decimetres on the base mesh
NOISE_PX, PATCH_PX = 512, 5  # side of the noise textures, and of a patch in them


@dataclass(frozen=True, eq=False)
class Points:
    """The P visible points: where on the base mesh, on which part, and under which regions of the texture."""

    at: np.ndarray  # (P, 3) float32 decimetres on the base mesh; on an occluder, where on it
    on_eye: np.ndarray  # (P, 3) float32 in radii of the eyeball, the front at +z
    part: np.ndarray  # (P,) SKIN, EYE, ...
    uv: np.ndarray  # (P, 2) float32

    def only(self, chosen: np.ndarray) -> Points:
        """Return the points of a mask (P,)."""
        return Points(self.at[chosen], self.on_eye[chosen], self.part[chosen], self.uv[chosen])

    def region(self, name: str) -> np.ndarray:
        """Return (P,) float32 in 0..1: how far each point lies in a region of the texture."""
        texture = mask(name)
        side = texture.shape[0]
        return look_up(texture, self.uv[:, 0] * side - 0.5, (1 - self.uv[:, 1]) * side - 0.5)

    @cached_property
    def flat(self) -> tuple[np.ndarray, np.ndarray]:
        """Return two (P,) coordinates around the head and up it, decimetres; on clothes and occluders straight across."""
        x, y, z = self.at.T
        on_head = (self.part != OCCLUDER) & (y > HEAD_FROM)
        return np.where(on_head, 0.85 * np.arctan2(x, z - 0.1), x + 0.3 * z), y - 0.5 * z

    def noise(self, seed: int, scale: float) -> np.ndarray:
        """Return (P,) float32 of deviation 1: smooth noise that moves with the skin, in patches of `scale` decimetres."""
        across, up = self.flat
        return look_up(noise_texture(seed), across * (PATCH_PX / scale), up * (PATCH_PX / scale))


def look_up(texture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return (P,) float32 bilinear values at (P,) positions in px, repeating beyond the texture."""
    return compiled(_bilinear)(texture, x.astype(np.float32), y.astype(np.float32))


def over(below: np.ndarray, colour, share: np.ndarray) -> np.ndarray:
    """Blend a colour over (P, 3) others, by a share for each point."""
    share = np.asarray(share, np.float32)[:, None]
    return below + (np.asarray(colour, np.float32) - below) * share


def spot(x, y, centre: tuple[float, float], size: tuple[float, float]) -> np.ndarray:
    """Return a Gaussian bell: 1 in the centre."""
    return np.exp(-(((x - centre[0]) / size[0]) ** 2) - ((y - centre[1]) / size[1]) ** 2)


def rise(x, start: float | np.ndarray, end: float | np.ndarray) -> np.ndarray:
    """Return 0 before `start`, 1 after `end`, smooth between."""
    share = np.clip((x - start) / (end - start), 0, 1)
    return share * share * (3 - 2 * share)


@cache
def noise_texture(seed: int) -> np.ndarray:
    """Return (NOISE_PX, NOISE_PX) float32 of deviation 1, without a seam."""
    random = np.random.default_rng(seed)
    field: np.ndarray = random.standard_normal((NOISE_PX, NOISE_PX)).astype(np.float32)
    field = cv2.GaussianBlur(np.tile(field, (3, 3)), (0, 0), 2.0)[NOISE_PX : 2 * NOISE_PX, NOISE_PX : 2 * NOISE_PX]
    return np.ascontiguousarray(field / field.std(), np.float32)


def _bilinear(texture, x, y):
    high, wide = texture.shape
    out = np.empty(len(x), np.float32)
    for p in range(len(x)):
        left, top = np.floor(x[p]), np.floor(y[p])
        right_share, low_share = x[p] - left, y[p] - top
        x0, y0 = int(left) % wide, int(top) % high
        x1, y1 = (x0 + 1) % wide, (y0 + 1) % high
        upper = texture[y0, x0] * (1 - right_share) + texture[y0, x1] * right_share
        lower = texture[y1, x0] * (1 - right_share) + texture[y1, x1] * right_share
        out[p] = upper * (1 - low_share) + lower * low_share
    return out
