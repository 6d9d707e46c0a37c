"""Render a face's mesh in a view and a light: a picture with its true landmarks and a map of the face's parts."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from infant_fer.synthetic.infant import Mesh
from infant_fer.synthetic.mesh.head import LEVELS, head
from infant_fer.synthetic.mesh.solid import Solid, landmarks, solid
from infant_fer.synthetic.occluders import Occluder
from infant_fer.synthetic.scene import Light, View, background
from infant_fer.synthetic.shading.camera import NOTHING, Fragments, photographed, projected, rasterise
from infant_fer.synthetic.shading.lighting import highlight, irradiance, scattered
from infant_fer.synthetic.shading.materials import surface
from infant_fer.synthetic.shading.points import Points

FINER = 1.5  # pixels drawn along a side for each that is kept
SMALL_PX = 192  # pictures up to this side show no edge of a mesh refined once less
FOLD_SLOPE, FOLD_SHADE = 0.022, 0.10  # how steep a fold is, in distances between the pupils, and how dark
PARTS = ("background", "skin", "eye", "tongue", "gum", "lash", "occluder")


@dataclass(frozen=True, eq=False)
class Portrait:
    """A rendered picture with its true landmarks, segmentation and actions."""

    image: np.ndarray  # (S, S, 3) uint8 sRGB
    landmarks: dict[str, tuple[float, float]]  # px from the upper left; pixel centres at whole numbers
    parts: np.ndarray  # (S, S) uint8, indices of PARTS
    actions: dict[str, float]


def render(mesh: Mesh, view: View, light: Light, size: int = 512, occluder: Occluder | None = None) -> Portrait:
    """Render a face, with an object before it if `occluder` is given. The same arguments give the same bytes on one machine."""
    levels, fine = LEVELS if size > SMALL_PX else LEVELS - 1, round(size * FINER)
    coarse = solid(head(LEVELS - 1), mesh, view, occluder)
    whole = solid(head(levels), mesh, view, occluder) if levels != LEVELS - 1 else coarse
    light_at = irradiance(whole, light, coarse)
    points_px, depth = projected(whole.vertices, view, fine)
    shown = rasterise(points_px, depth, whole.triangles, fine)
    picture = _shaded(whole, mesh, view, light, occluder, shown, light_at)
    picture = _with_lashes(picture, head(levels).lashes, mesh, shown, points_px, depth, fine)
    return Portrait(
        photographed(picture, view, size), landmarks(mesh, view, size), _part_map(whole, shown, size), mesh.actions
    )


def _shaded(whole: Solid, mesh, view, light, occluder, shown: Fragments, light_at) -> np.ndarray:
    """Return (F, F, 3) float32 linear RGB: albedo under scattered light, folds, highlights, on the background."""
    covered = shown.triangle != NOTHING
    each = shown.triangle[covered]
    at = shown.interpolated(
        np.hstack([whole.at, whole.normals, light_at, whole.vertices, whole.on_eye]), whole.triangles
    )
    uv = np.einsum("pk,pkc->pc", shown.barycentric[covered], whole.uv[each])
    points = Points(at[:, :3], at[:, 12:15], whole.part[each], uv)
    painted = surface(points, mesh, occluder)
    normal = _folded(at[:, 3:6], painted.relief, covered, view)
    arriving = scattered(at[:, 6:9], painted.skin, covered, view)
    bent = 1 + 0.9 * ((normal - at[:, 3:6]) @ light.direction.astype(np.float32))
    arriving = arriving * np.clip(bent, 0.3, 1.6)[:, None]
    colour = painted.albedo * arriving * (1 - FOLD_SHADE * np.clip(painted.relief, 0, 1.3) * painted.skin)[:, None]
    colour += highlight(painted, normal, at[:, 9:12], at[:, 6:9], view, light)[:, None]
    picture = background(view, covered.shape[0])
    picture[covered] = colour
    return picture


def _folded(normal: np.ndarray, depth: np.ndarray, covered: np.ndarray, view: View) -> np.ndarray:
    """Return (P, 3) unit normals bent by the slopes of folds of a depth (P,)."""
    unit = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    field = np.zeros(covered.shape, np.float32)
    field[covered] = -depth
    px = covered.shape[0] * view.zoom  # pixels between the pupils
    slope_x = cv2.Sobel(field, cv2.CV_32F, 1, 0, scale=1 / 8)[covered] * px * FOLD_SLOPE
    slope_y = cv2.Sobel(field, cv2.CV_32F, 0, 1, scale=1 / 8)[covered] * px * FOLD_SLOPE
    bent = unit + np.stack([-slope_x, slope_y, np.zeros_like(slope_x)], 1)
    return bent / np.maximum(np.linalg.norm(bent, axis=1, keepdims=True), 1e-6)


def _with_lashes(picture, lashes, mesh: Mesh, shown: Fragments, points_px, depth, size: int) -> np.ndarray:
    drawn = rasterise(points_px, depth, lashes, size, front_only=False)
    seen = ((drawn.triangle != NOTHING) & (drawn.depth < shown.depth + 0.01)).astype(np.float32)
    share = cv2.GaussianBlur(0.14 * seen, (0, 0), size / 900)[..., None]
    return picture * (1 - share) + np.array(mesh.infant.colours.hair, np.float32) * 0.6 * share


def _part_map(whole: Solid, shown: Fragments, size: int) -> np.ndarray:
    seen = np.where(shown.triangle == NOTHING, 0, whole.part[shown.triangle] + 1).astype(np.uint8)
    return cv2.resize(seen, (size, size), interpolation=cv2.INTER_NEAREST)
