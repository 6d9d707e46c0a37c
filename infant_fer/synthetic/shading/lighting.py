"""Compute the light that arrives at each vertex from the whole sky, with the shadows that the head casts on itself."""

from __future__ import annotations

import numpy as np

from infant_fer.synthetic.mesh.solid import Solid
from infant_fer.synthetic.scene import Light
from infant_fer.synthetic.shading.rasteriser import compiled, depth_map

SHADOW_PX = 160  # side of each light's depth map
REACH = 2.9  # half the side of the map, in distances between the pupils
SOFT, OFFSET = 0.05, 0.03  # over which depth a shadow sets in, and how far points are lifted before they are compared
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
