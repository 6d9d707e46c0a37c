"""Rasterise a scene's triangles with a z-buffer, describe the visible points, and photograph them: tone curve, blur, noise, JPEG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import cv2
import numpy as np

from infant_fer.errors import SyntheticError
from infant_fer.synthetic.mesh.data import HOW_TO_GET, mask
from infant_fer.synthetic.mesh.head import OCCLUDER
from infant_fer.synthetic.scene import View

NOTHING = -1  # where no triangle is
SHOULDER = 0.5  # linear light above which the sensor's film curve bends


@dataclass(frozen=True, eq=False)
class Fragments:
    """The (H, W) z-buffer: the nearest triangle of each pixel, where in it the pixel lies, and how far it is."""

    triangle: np.ndarray  # (H, W) int32, or NOTHING
    barycentric: np.ndarray  # (H, W, 3) float32
    depth: np.ndarray  # (H, W) float32, or infinite

    def interpolated(self, values: np.ndarray, triangles: np.ndarray) -> np.ndarray:
        """Return (P, C) float32: per-vertex values (V, C) at the pixels with a triangle, row by row."""
        covered = self.triangle != NOTHING
        corners = triangles[self.triangle[covered]]
        return compiled(_mixed)(values.astype(np.float32), corners, self.barycentric[covered])


def projected(vertices: np.ndarray, view: View, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 2) px in a square picture, x right and y down, and (N,) depth before the camera."""
    depth = view.distance - vertices[:, 2]
    scale = size * view.zoom * view.distance / depth
    x = size * (0.5 + view.shift[0]) + vertices[:, 0] * scale
    y = size * (0.5 + view.shift[1]) - vertices[:, 1] * scale
    return np.stack([x, y], 1), depth


def rasterise(
    points_px: np.ndarray, depth: np.ndarray, triangles: np.ndarray, size: int, front_only: bool = True
) -> Fragments:
    """Draw triangles (T, 3) over points (V, 2), x right and y down, into a square; smaller depth (V,) is nearer.

    With `front_only`, triangles that face away, that is, run clockwise on the page, are left out.
    """
    shown = Fragments(
        np.full((size, size), NOTHING, np.int32),
        np.zeros((size, size, 3), np.float32),
        np.full((size, size), np.inf, np.float32),
    )
    corners = np.ascontiguousarray(triangles, np.int32)
    compiled(_fill)(
        np.ascontiguousarray(points_px, np.float32), np.ascontiguousarray(depth, np.float32), corners, front_only,
        shown.triangle, shown.barycentric, shown.depth,
    )  # fmt: skip
    return shown


def depth_map(points_px: np.ndarray, depth: np.ndarray, triangles: np.ndarray, size: int) -> np.ndarray:
    """Return the (S, S) float32 nearest depth of each pixel, from both sides of the triangles."""
    return rasterise(points_px, depth, triangles, size, front_only=False).depth


def photographed(linear: np.ndarray, view: View, size: int) -> np.ndarray:
    """Return (S, S, 3) uint8 sRGB: downsampled, tone-mapped, blurred, noisy and JPEG-compressed as the view says."""
    picture = cv2.resize(linear, (size, size), interpolation=cv2.INTER_AREA)
    if view.blur > 0:
        picture = cv2.GaussianBlur(picture, (0, 0), max(0.05, view.blur * size / 512))
    picture = np.where(picture < SHOULDER, picture, 1 - (1 - SHOULDER) * np.exp((SHOULDER - picture) / (1 - SHOULDER)))
    encoded = np.where(picture < 0.0031308, 12.92 * picture, 1.055 * np.maximum(picture, 1e-6) ** (1 / 2.4) - 0.055)
    noise = np.random.default_rng(view.background).standard_normal(encoded.shape, np.float32)
    image = (np.clip(encoded + view.grain * noise, 0, 1) * 255 + 0.5).astype(np.uint8)
    if view.jpeg:
        coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, view.jpeg])[1]
        image = np.ascontiguousarray(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))[..., ::-1])
    return image


@cache
def compiled(function: Callable) -> Callable:
    """Compile a function with numba, cached on disk where a file may be written. Raises SyntheticError without numba."""
    try:
        from numba import njit
    except ImportError:
        raise SyntheticError(HOW_TO_GET) from None
    try:
        return njit(cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return njit(function)


def _fill(points, depth, triangles, front_only, index, barycentric, nearest):
    size = index.shape[0]
    for t in range(len(triangles)):
        a, b, c = triangles[t]
        ax, ay, bx, by, cx, cy = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9 or (front_only and area > 0):
            continue
        left, right = max(0, int(np.ceil(min(ax, bx, cx) - 0.5))), min(size - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        top, bottom = max(0, int(np.ceil(min(ay, by, cy) - 0.5))), min(size - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                px, py = x + 0.5, y + 0.5
                second = ((px - ax) * (cy - ay) - (py - ay) * (cx - ax)) / area
                third = ((bx - ax) * (py - ay) - (by - ay) * (px - ax)) / area
                first = 1 - second - third
                if first < -1e-5 or second < -1e-5 or third < -1e-5:
                    continue
                z = first * depth[a] + second * depth[b] + third * depth[c]
                if z < nearest[y, x]:
                    nearest[y, x] = z
                    index[y, x] = t
                    barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2] = first, second, third


def _mixed(values, corners, weights):
    out = np.empty((len(corners), values.shape[1]), np.float32)
    for p in range(len(corners)):
        for c in range(values.shape[1]):
            out[p, c] = (
                weights[p, 0] * values[corners[p, 0], c]
                + weights[p, 1] * values[corners[p, 1], c]
                + weights[p, 2] * values[corners[p, 2], c]
            )
    return out


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
