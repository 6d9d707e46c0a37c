"""Light the face: what arrives from the whole sky past the head's own shadows, how skin scatters it, and what is mirrored."""

from __future__ import annotations

import cv2
import numpy as np

from infant_fer.synthetic.mesh.solid import Solid
from infant_fer.synthetic.scene import Light, View
from infant_fer.synthetic.shading.camera import compiled, depth_map
from infant_fer.synthetic.shading.materials import EYE_SHARP, Surface
from infant_fer.synthetic.shading.points import rise

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
