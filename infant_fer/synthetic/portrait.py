"""Light and render a face's mesh in a view: a picture with its true landmarks and a map of the face's parts."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from infant_fer.synthetic.camera import (
    NOTHING,
    Fragments,
    Points,
    compiled,
    depth_map,
    photographed,
    projected,
    rasterise,
    rise,
)
from infant_fer.synthetic.infant import Mesh
from infant_fer.synthetic.materials import EYE_SHARP, Surface, surface
from infant_fer.synthetic.mesh.head import LEVELS, head
from infant_fer.synthetic.mesh.solid import Solid, landmarks, solid
from infant_fer.synthetic.occluders import Occluder
from infant_fer.synthetic.scene import Light, View, background

SHADOW_PX = 160  # side of each light's depth map
REACH = 2.9  # half the side of the map, in distances between the pupils
SOFT, OFFSET = 0.05, 0.03  # over which depth a shadow sets in, and how far points are lifted before they are compared
SCATTER = (0.035, 0.016, 0.010)  # distances between the pupils that red, green, blue travel in skin (d'Eon 2007)
WRAP = np.array([0.35, 0.15, 0.08])  # light that skin carries around the terminator, more of red


def irradiance(solid: Solid, light: Light, casters: Solid) -> np.ndarray:
    """Return the (N, 3) float32 light that arrives at each vertex; `casters` casts the shadows and may be coarser."""
    towards, colour = light.sky()
    near = casters.triangles[(np.abs(casters.vertices[casters.triangles]).max((1, 2)) < 4)]
    total = np.zeros((len(solid.vertices), 3), np.float32)
    lifted = (solid.vertices + OFFSET * solid.normals).astype(np.float32)
    facing = (solid.normals @ towards.T).astype(np.float32)
    for index, direction in enumerate(towards):
        seen = _visible(lifted, casters.vertices, near, direction)
        wrapped = np.maximum(0, (facing[:, index, None] + WRAP) / (1 + WRAP))
        total += (seen[:, None] * wrapped * colour[index]).astype(np.float32)
    for _ in range(3):  # the steps of the few depth maps melt into each other
        total = solid.neighbours @ total
    return total.astype(np.float32)


def _visible(lifted: np.ndarray, vertices: np.ndarray, triangles: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Return (N,) in 0..1: how much of a distant light each lifted vertex sees."""
    right = np.cross([0.0, 1.0, 0.0] if abs(direction[1]) < 0.9 else [1.0, 0.0, 0.0], direction)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(direction, right)], 1)
    nearest = depth_map(_on_map(vertices, axes), -(vertices @ direction), triangles, SHADOW_PX)
    nearest[np.isinf(nearest)] = 1e3
    at, depth = _on_map(lifted, axes) - 0.5, -(lifted @ direction)
    return compiled(_seen)(nearest, at.astype(np.float32), depth.astype(np.float32), np.float32(SOFT))


def _on_map(vertices: np.ndarray, axes: np.ndarray) -> np.ndarray:
    return ((vertices @ axes) / REACH + 1) * (SHADOW_PX / 2)


def _seen(nearest, at, depth, soft):
    side = nearest.shape[0]
    out = np.empty(len(at), np.float32)
    for p in range(len(at)):
        x, y = min(max(int(np.floor(at[p, 0])), 0), side - 2), min(max(int(np.floor(at[p, 1])), 0), side - 2)
        right, low = min(max(at[p, 0] - x, 0.0), 1.0), min(max(at[p, 1] - y, 0.0), 1.0)
        total = 0.0
        for down in range(2):
            for across in range(2):
                weight = (right if across else 1 - right) * (low if down else 1 - low)
                behind = (depth[p] - nearest[y + down, x + across]) / soft
                total += weight * min(max(1 - behind, 0.0), 1.0)
        out[p] = total
    return out


def scattered(arriving: np.ndarray, skin: np.ndarray, covered: np.ndarray, view: View) -> np.ndarray:
    """Blur the arriving light (P, 3) below the skin, red furthest."""
    field, where = np.zeros((*covered.shape, 3), np.float32), np.zeros(covered.shape, np.float32)
    where[covered] = skin
    field[covered] = arriving * skin[:, None]
    px, out = covered.shape[0] * view.zoom, arriving.copy()
    for channel, reach in enumerate(SCATTER):
        light = cv2.GaussianBlur(field[..., channel], (0, 0), reach * px)
        share = cv2.GaussianBlur(where, (0, 0), reach * px)
        out[:, channel] = np.where(skin, (light / np.maximum(share, 1e-3))[covered], arriving[:, channel])
    return out


def highlight(painted: Surface, normal, at, arriving, view: View, light: Light) -> np.ndarray:
    """Return (P,) mirrored light of the key (Blinn 1977); eyes mirror it as a window."""
    to_camera = np.array([0, 0, view.distance], np.float32) - at
    to_camera /= np.linalg.norm(to_camera, axis=1, keepdims=True)
    half = to_camera + light.direction.astype(np.float32)
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    facing = np.clip((normal * half).sum(1), 0, 1)
    shine = 1.6 * painted.gloss * facing**painted.sharpness * arriving.mean(1)
    eye = painted.sharpness == EYE_SHARP
    shine[eye] += _window(normal[eye], to_camera[eye], light) * arriving[eye].mean(1)
    return shine


def _window(normal: np.ndarray, to_camera: np.ndarray, light: Light) -> np.ndarray:
    """Return (E,) 0..1, what eyes mirror: a window with a cross in it towards the key, but not so high that lids hide it."""
    towards = np.clip(light.direction, [-0.5, 0.15, 1.0], [0.5, 0.35, 1.0])
    towards /= np.linalg.norm(towards)
    right = np.cross([0.0, 1.0, 0.0], towards)
    right /= np.linalg.norm(right)
    mirrored = 2 * (normal * to_camera).sum(1, keepdims=True) * normal - to_camera
    across, up, ahead = (mirrored @ np.stack([right, np.cross(towards, right), towards], 1).astype(np.float32)).T
    frame = (1 - rise(np.abs(across), 0.15, 0.25)) * (1 - rise(np.abs(up), 0.2, 0.3))
    bars = rise(np.minimum(np.abs(across), np.abs(up - 0.05)), 0.01, 0.04)
    return np.where(ahead > 0, frame * (0.35 + 0.65 * bars), 0)


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


def render(
    mesh: Mesh,
    view: View,
    light: Light,
    size: int = 512,
    occluder: Occluder | None = None,
    light_at: np.ndarray | None = None,
) -> Portrait:
    """Render a face, with an object before it if `occluder` is given. The same arguments give the same bytes on one machine.

    `light_at` replaces what `arriving_light` returns for the other arguments, and saves its time.
    """
    levels, fine = _levels(size), round(size * FINER)
    whole = solid(head(levels), mesh, view, occluder)
    light_at = arriving_light(mesh, view, light, size, occluder) if light_at is None else light_at
    points_px, depth = projected(whole.vertices, view, fine)
    shown = rasterise(points_px, depth, whole.triangles, fine)
    picture = _shaded(whole, mesh, view, light, occluder, shown, light_at)
    picture = _with_lashes(picture, head(levels).lashes, mesh, shown, points_px, depth, fine)
    return Portrait(
        photographed(picture, view, size), landmarks(mesh, view, size), _part_map(whole, shown, size), mesh.actions
    )


def arriving_light(
    mesh: Mesh, view: View, light: Light, size: int = 512, occluder: Occluder | None = None
) -> np.ndarray:
    """Return the (N, 3) float32 light at each vertex that `render` draws with these arguments."""
    coarse = solid(head(LEVELS - 1), mesh, view, occluder)
    whole = solid(head(_levels(size)), mesh, view, occluder) if _levels(size) != LEVELS - 1 else coarse
    return irradiance(whole, light, coarse)


def _levels(size: int) -> int:
    return LEVELS if size > SMALL_PX else LEVELS - 1


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
