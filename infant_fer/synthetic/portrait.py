"""What does the camera see? From a face's mesh, a view and a light to a picture with its true landmarks and parts."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from infant_fer.synthetic import head as parts
from infant_fer.synthetic.head import LEVELS, Head, eye_centres, eye_vertices, head, mouth_centre
from infant_fer.synthetic.infant import Mesh
from infant_fer.synthetic.landmarks import landmark_vertices
from infant_fer.synthetic.lighting import irradiance
from infant_fer.synthetic.mesh_data import base_mesh
from infant_fer.synthetic.rasteriser import NOTHING, Fragments, rasterise
from infant_fer.synthetic.scene import Light, View, background
from infant_fer.synthetic.skin import Points, Surface, surface
from infant_fer.synthetic.wrinkles import relief

FINER = 1.5  # pixels drawn along a side for each that is kept
SMALL_PX = 192  # pictures up to this side show no edge of a mesh refined once less
NECK, CHIN = 5.1, 6.6  # decimetres on the base mesh: the head turns above, the shoulders stay
GUMS_BACK = 0.10  # distances between the pupils; else they come through an infant's small lips
SCATTER = (
    0.035,
    0.016,
    0.010,
)  # distances between the pupils that red, green and blue travel in skin (d'Eon 2007, rounded)
FOLD_SLOPE, FOLD_SHADE = 0.022, 0.10  # how steep a fold is, in distances between the pupils, and how dark
PARTS = ("background", "skin", "eye", "tongue", "gum", "lash")


@dataclass(frozen=True, eq=False)
class Portrait:
    """A rendered picture with what is known of it."""

    image: np.ndarray  # (S, S, 3) uint8 sRGB
    landmarks: dict[str, tuple[float, float]]  # px from the upper left; pixel centres at whole numbers
    parts: np.ndarray  # (S, S) uint8, indices of PARTS
    actions: dict[str, float]


def render(mesh: Mesh, view: View, light: Light, size: int = 512) -> Portrait:
    """Draw a face. The same arguments give the same bytes on one machine."""
    topology, fine = head(LEVELS if size > SMALL_PX else LEVELS - 1), round(size * FINER)
    vertices = _posed(topology, mesh, view)
    normals = topology.normals(vertices)
    solid = topology.triangle_part != parts.LASH
    light_at = irradiance(topology, vertices, normals, light, topology.triangles[solid])
    points_px, depth = _projected(vertices, view, fine)
    shown = rasterise(points_px, depth, topology.triangles[solid], fine)
    picture = _shaded(topology, mesh, view, light, shown, vertices, normals, light_at, solid)
    picture = _with_lashes(picture, topology, mesh, shown, points_px, depth, fine)
    return Portrait(
        _photographed(picture, view, size),
        _landmarks(mesh, view, size),
        _part_map(topology, shown, solid, size),
        mesh.actions,
    )


def _posed(topology: Head, mesh: Mesh, view: View) -> np.ndarray:
    """(R, 3): refined vertices about the middle of the face, in distances between the pupils, turned as the view asks."""
    refined = topology.operator @ _framed(mesh, mesh.vertices)
    mouth = np.isin(topology.vertex_part, (parts.GUM, parts.TONGUE))
    refined[mouth, 2] -= GUMS_BACK
    return _turned(refined, topology.canonical[:, 1], view)


def _framed(mesh: Mesh, vertices: np.ndarray) -> np.ndarray:
    resting = mesh.infant.shape()  # the frame stays while the face moves
    eyes, mouth = eye_centres(resting), mouth_centre(resting)
    between = np.linalg.norm(eyes[0] - eyes[1])
    middle = eyes.mean(0) * 0.62 + mouth * 0.38 - [0, 0, 0.25 * between]
    return (vertices - middle) / between


def _turned(vertices: np.ndarray, height: np.ndarray, view: View) -> np.ndarray:
    share = np.clip((height - NECK) / (CHIN - NECK), 0, 1)[:, None]
    share = share * share * (3 - 2 * share)
    return share * (vertices @ view.rotation().T) + (1 - share) * vertices


def _projected(vertices: np.ndarray, view: View, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) px in a square picture, x right and y down, and (N,) depth before the camera."""
    depth = view.distance - vertices[:, 2]
    scale = size * view.zoom * view.distance / depth
    x = size * (0.5 + view.shift[0]) + vertices[:, 0] * scale
    y = size * (0.5 + view.shift[1]) - vertices[:, 1] * scale
    return np.stack([x, y], 1), depth


def _shaded(topology, mesh, view, light, shown: Fragments, vertices, normals, light_at, solid) -> np.ndarray:
    """(F, F, 3) float32 linear RGB: albedo under scattered light, folds, highlights, on the background."""
    triangles = topology.triangles[solid]
    covered = shown.triangle != NOTHING
    each = shown.triangle[covered]
    at = shown.interpolated(np.hstack([topology.canonical, normals, light_at, vertices, _on_eyes(topology)]), triangles)
    uv = np.einsum("pk,pkc->pc", shown.barycentric[covered], topology.triangle_uv[solid][each])
    points = Points(at[:, :3], at[:, 12:15], topology.triangle_part[solid][each], uv)
    painted = surface(points, mesh.infant, mesh.actions)
    normal, fold = _folded(at[:, 3:6], relief(points, mesh.actions), covered, view)
    arriving = _scattered(at[:, 6:9], painted.skin, covered, view)
    turned = 1 + 0.9 * ((normal - at[:, 3:6]) @ light.direction.astype(np.float32))
    arriving = arriving * np.clip(turned, 0.3, 1.6)[:, None]
    colour = painted.albedo * arriving * (1 - FOLD_SHADE * np.clip(fold, 0, 1.3) * painted.skin)[:, None]
    colour += _highlight(painted, normal, at[:, 9:12], at[:, 6:9], view, light)[:, None]
    picture = background(view, covered.shape[0])
    picture[covered] = colour
    return picture


def _on_eyes(topology: Head) -> np.ndarray:
    """(R, 3): refined vertices of the eyeballs in radii from their centres; 0 elsewhere."""
    where = np.zeros_like(topology.canonical)
    for side, sign in (("l", 1), ("r", -1)):
        ball = base_mesh().vertices[eye_vertices(side)]
        chosen = (topology.vertex_part == parts.EYE) & (np.sign(topology.canonical[:, 0]) == sign)
        where[chosen] = (topology.canonical[chosen] - (ball.max(0) + ball.min(0)) / 2) / (np.ptp(ball[:, 0]) / 2)
    return where


def _folded(normal: np.ndarray, depth: np.ndarray, covered: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals bent by the folds' slopes, and the depth of the folds."""
    unit = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    field = np.zeros(covered.shape, np.float32)
    field[covered] = -depth
    px = covered.shape[0] * view.zoom  # pixels between the pupils
    slope_x = cv2.Sobel(field, cv2.CV_32F, 1, 0, scale=1 / 8)[covered] * px * FOLD_SLOPE
    slope_y = cv2.Sobel(field, cv2.CV_32F, 0, 1, scale=1 / 8)[covered] * px * FOLD_SLOPE
    bent = unit + np.stack([-slope_x, slope_y, np.zeros_like(slope_x)], 1)
    return bent / np.maximum(np.linalg.norm(bent, axis=1, keepdims=True), 1e-6), depth


def _scattered(arriving: np.ndarray, skin: np.ndarray, covered: np.ndarray, view: View) -> np.ndarray:
    """Light blurs below the skin, red furthest."""
    field, where = np.zeros((*covered.shape, 3), np.float32), np.zeros(covered.shape, np.float32)
    where[covered] = skin
    field[covered] = arriving * skin[:, None]
    px, out = covered.shape[0] * view.zoom, arriving.copy()
    for channel, reach in enumerate(SCATTER):
        light = cv2.GaussianBlur(field[..., channel], (0, 0), reach * px)
        share = cv2.GaussianBlur(where, (0, 0), reach * px)
        out[:, channel] = np.where(skin, (light / np.maximum(share, 1e-3))[covered], arriving[:, channel])
    return out


def _highlight(painted: Surface, normal, at, arriving, view: View, light: Light) -> np.ndarray:
    """(P,): mirrored light of the key (Blinn 1977), and the window in the eyes."""
    to_camera = np.array([0, 0, view.distance], np.float32) - at
    to_camera /= np.linalg.norm(to_camera, axis=1, keepdims=True)
    half = to_camera + light.direction.astype(np.float32)
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    facing = np.clip((normal * half).sum(1), 0, 1)
    return 1.6 * painted.gloss * facing**painted.sharpness * arriving.mean(1) * np.where(painted.sharpness > 100, 4, 1)


def _with_lashes(picture, topology: Head, mesh: Mesh, shown: Fragments, points_px, depth, size: int) -> np.ndarray:
    lashes = topology.triangles[topology.triangle_part == parts.LASH]
    drawn = rasterise(points_px, depth, lashes, size, front_only=False)
    seen = ((drawn.triangle != NOTHING) & (drawn.depth < shown.depth + 0.01)).astype(np.float32)
    share = cv2.GaussianBlur(0.3 * seen, (0, 0), size / 900)[..., None]
    return picture * (1 - share) + np.array(mesh.infant.colours.hair, np.float32) * 0.6 * share


def _photographed(linear: np.ndarray, view: View, size: int) -> np.ndarray:
    """(S, S, 3) uint8: smaller, toned, unsharp and grainy as the view's camera is, and through JPEG if it asks for that."""
    picture = cv2.resize(linear, (size, size), interpolation=cv2.INTER_AREA)
    if view.blur > 0:
        picture = cv2.GaussianBlur(picture, (0, 0), max(0.05, view.blur * size / 512))
    picture = picture / (1 + 0.12 * picture)
    encoded = np.where(picture < 0.0031308, 12.92 * picture, 1.055 * np.maximum(picture, 1e-6) ** (1 / 2.4) - 0.055)
    noise = np.random.default_rng(view.background).standard_normal(encoded.shape, np.float32)
    image = (np.clip(encoded + view.grain * noise, 0, 1) * 255 + 0.5).astype(np.uint8)
    if view.jpeg:
        coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, view.jpeg])[1]
        image = np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])
    return image


def _landmarks(mesh: Mesh, view: View, size: int) -> dict[str, tuple[float, float]]:
    named = landmark_vertices()
    index = list(named.values())
    placed = _turned(_framed(mesh, mesh.vertices)[index], base_mesh().vertices[index, 1], view)
    points, _ = _projected(placed, view, size)
    return {
        name: (round(float(x) - 0.5, 2), round(float(y) - 0.5, 2)) for name, (x, y) in zip(named, points, strict=True)
    }


def _part_map(topology: Head, shown: Fragments, solid: np.ndarray, size: int) -> np.ndarray:
    seen = np.where(shown.triangle == NOTHING, 0, topology.triangle_part[solid][shown.triangle] + 1).astype(np.uint8)
    return cv2.resize(seen, (size, size), interpolation=cv2.INTER_NEAREST)
