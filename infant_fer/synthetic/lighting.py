"""How bright is each point of the face? Light from the whole sky, with the shadows that the head throws on itself."""

from __future__ import annotations

import numpy as np

from infant_fer.synthetic.head import Head
from infant_fer.synthetic.rasteriser import depth_map
from infant_fer.synthetic.scene import Light

SHADOW_PX = 160  # side of each light's depth map
REACH = 2.9  # half the side of the map, in distances between the pupils
SOFT, OFFSET = 0.05, 0.03  # over which depth a shadow sets in, and how far points are lifted before they are compared
WRAP = np.array([0.35, 0.15, 0.08])  # light that skin carries around the terminator, more of red


def irradiance(
    head: Head, vertices: np.ndarray, normals: np.ndarray, light: Light, triangles: np.ndarray
) -> np.ndarray:
    """(R, 3) float32: the light that arrives at each vertex; `triangles` are those that throw shadows."""
    towards, colour = light.sky()
    near = triangles[(np.abs(vertices[triangles]).max((1, 2)) < 4)]
    total = np.zeros((len(vertices), 3), np.float32)
    lifted = (vertices + OFFSET * normals).astype(np.float32)
    facing = (normals @ towards.T).astype(np.float32)
    for index, direction in enumerate(towards):
        seen = _visible(lifted, vertices, near, direction)
        wrapped = np.maximum(0, (facing[:, index, None] + WRAP) / (1 + WRAP))
        total += (seen[:, None] * wrapped * colour[index]).astype(np.float32)
    for _ in range(3):  # the steps of the few depth maps melt into each other
        total = head.neighbours @ total
    return total.astype(np.float32)


def _visible(lifted: np.ndarray, vertices: np.ndarray, triangles: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """(R,) in 0..1: how much of a distant light each lifted vertex sees."""
    right = np.cross([0.0, 1.0, 0.0] if abs(direction[1]) < 0.9 else [1.0, 0.0, 0.0], direction)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(direction, right)], 1)
    map_ = depth_map(_on_map(vertices, axes), -(vertices @ direction), triangles, SHADOW_PX)
    map_[np.isinf(map_)] = 1e3
    at, depth = _on_map(lifted, axes) - 0.5, -(lifted @ direction)
    corner = np.clip(np.floor(at).astype(np.int32), 0, SHADOW_PX - 2)
    share = np.clip(at - corner, 0, 1)
    seen = np.zeros(len(lifted), np.float32)
    for down in (0, 1):
        for across in (0, 1):
            weight = (share[:, 0] if across else 1 - share[:, 0]) * (share[:, 1] if down else 1 - share[:, 1])
            nearest = map_[corner[:, 1] + down, corner[:, 0] + across]
            seen += weight * np.clip(1 - (depth - nearest) / SOFT, 0, 1)
    return seen


def _on_map(vertices: np.ndarray, axes: np.ndarray) -> np.ndarray:
    return ((vertices @ axes) / REACH + 1) * (SHADOW_PX / 2)
