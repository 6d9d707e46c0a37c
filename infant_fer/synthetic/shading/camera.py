"""Photograph a scene: project and rasterise its triangles with a z-buffer, then tone curve, blur, noise and JPEG compression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from infant_fer.errors import SyntheticError
from infant_fer.synthetic.mesh.data import HOW_TO_GET
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
