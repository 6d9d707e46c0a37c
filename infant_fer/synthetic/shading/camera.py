"""Project points into the picture, and apply the camera's tone curve, blur, noise and JPEG compression."""

from __future__ import annotations

import cv2
import numpy as np

from infant_fer.synthetic.infant import Mesh
from infant_fer.synthetic.mesh.data import base_mesh
from infant_fer.synthetic.mesh.landmarks import landmark_vertices
from infant_fer.synthetic.mesh.solid import framed, turned
from infant_fer.synthetic.scene import View

SHOULDER = 0.5  # linear light above which the sensor's film curve bends


def projected(vertices: np.ndarray, view: View, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 2) px in a square picture, x right and y down, and (N,) depth before the camera."""
    depth = view.distance - vertices[:, 2]
    scale = size * view.zoom * view.distance / depth
    x = size * (0.5 + view.shift[0]) + vertices[:, 0] * scale
    y = size * (0.5 + view.shift[1]) - vertices[:, 1] * scale
    return np.stack([x, y], 1), depth


def landmarks(mesh: Mesh, view: View, size: int) -> dict[str, tuple[float, float]]:
    """Return the true landmarks, px; whole numbers are centres of pixels. Those behind an occluder are included."""
    named = landmark_vertices()
    index = list(named.values())
    placed = turned(framed(mesh, mesh.vertices)[index], base_mesh().vertices[index, 1], view)
    points, _ = projected(placed, view, size)
    return {
        name: (round(float(x) - 0.5, 2), round(float(y) - 0.5, 2)) for name, (x, y) in zip(named, points, strict=True)
    }


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
