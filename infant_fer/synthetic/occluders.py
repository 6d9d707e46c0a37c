"""Describe what may hide part of the face, a hat, a pacifier, a blanket's edge or a hand, and build its mesh before the head."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import sparse

from infant_fer.errors import SyntheticError
from infant_fer.synthetic.camera import depth_map, rise
from infant_fer.synthetic.mesh.head import SKIN, Head, mouth_vertices, quad_neighbours, quad_normals
from infant_fer.synthetic.scene import View

OCCLUDERS = ("hat", "pacifier", "blanket", "hand")
FABRICS = (
    (0.72, 0.68, 0.60), (0.60, 0.50, 0.40), (0.42, 0.50, 0.58), (0.62, 0.42, 0.42), (0.45, 0.52, 0.40), (0.22, 0.26, 0.34),
    (0.75, 0.62, 0.35), (0.80, 0.79, 0.77), (0.52, 0.46, 0.56), (0.30, 0.30, 0.31),
)  # fmt: skip
PLASTICS = ((0.62, 0.72, 0.74), (0.75, 0.60, 0.60), (0.70, 0.70, 0.62), (0.35, 0.50, 0.60), (0.60, 0.66, 0.50))


@dataclass(frozen=True)
class Occluder:
    """An object before the face; its seed determines shape and place. Raises SyntheticError for an unknown kind."""

    kind: str  # of OCCLUDERS
    colour: tuple[float, float, float]  # linear RGB in 0..1; a hand has the infant's skin instead
    seed: int

    def __post_init__(self) -> None:
        if self.kind not in OCCLUDERS:
            raise SyntheticError(f"There is no occluder {self.kind!r}; there are {', '.join(OCCLUDERS)}.")


def sample_occluder(random: np.random.Generator, kind: str | None = None) -> Occluder:
    """Draw an occluder, of a `kind` if one is named. Raises SyntheticError for an unknown kind."""
    drawn = str(random.choice(OCCLUDERS))
    kind = drawn if kind is None else kind
    colours = PLASTICS if kind == "pacifier" else FABRICS
    colour = np.array(colours[random.integers(len(colours))]) * random.uniform(0.8, 1.1)
    red, green, blue = (round(float(channel), 4) for channel in colour)
    return Occluder(kind, (red, green, blue), int(random.integers(2**31)))


# --- meshes -----------------------------------------------------------------------------------------------------------

FABRIC = 0.06  # how thick cloth is; lengths are in distances between the pupils where nothing else is said
HAT_LINE = 7.74  # decimetres on the base mesh, in the middle of the forehead
DRAPE_PX, DRAPE_REACH = 96, 3.2  # the map of what a blanket lies on: its side, and half of that


@dataclass(frozen=True, eq=False)
class OccluderMesh:
    """An occluder's mesh, posed like the head."""

    vertices: np.ndarray  # (C, 3)
    quads: np.ndarray  # (K, 4)
    at: np.ndarray  # (C, 3): where each vertex is on the occluder itself, for its pattern

    def normals(self) -> np.ndarray:
        """Return (C, 3) unit normals, outwards."""
        return quad_normals(self.quads, self.vertices)

    def neighbours(self) -> sparse.csr_array:
        """Return the (C, C) mean over each vertex and those of its quads."""
        return quad_neighbours(self.quads, len(self.vertices))


def occluder_mesh(
    occluder: Occluder, topology: Head, framed: np.ndarray, posed: np.ndarray, view: View
) -> OccluderMesh:
    """Place the occluder; `framed` (V, 3) are base vertices before the head turns, `posed` (R, 3) the refined ones after."""
    random = np.random.default_rng(occluder.seed)
    if occluder.kind == "hat":
        return _hat(topology, posed, random)
    if occluder.kind == "pacifier":
        return _pacifier(framed[mouth_vertices()], random, view)
    if occluder.kind == "blanket":
        return _blanket(posed, topology.triangles, random)
    return _hand(framed, random, view)


def _hat(topology: Head, posed: np.ndarray, random: np.random.Generator) -> OccluderMesh:
    """Lift the skull's own skin; below the hat's line it sinks into the head, so that the edge is smooth."""
    x, y, z = topology.canonical.T
    line = HAT_LINE + random.uniform(-0.12, 0.12) + 0.10 * np.abs(x) - 0.45 * rise(-z, -0.75, 0.2)
    above = y - line
    quads = topology.quads[(topology.part == SKIN) & (above[topology.quads] > -0.15).all(1)]
    used, quads = np.unique(quads, return_inverse=True)
    above = above[used]
    brim = 0.05 * (1 - rise(above, 0.16, 0.21))
    slack = random.uniform(0.05, 0.2) * rise(y[used], 7.9, 8.5)
    lift = np.minimum(FABRIC + brim + slack, 2.5 * above)
    normals = topology.normals(posed)[used]
    return OccluderMesh(posed[used] + lift[:, None] * normals, quads.reshape(-1, 4), np.column_stack([x, y, z])[used])


def _pacifier(lips: np.ndarray, random: np.random.Generator, view: View) -> OccluderMesh:
    """Build a shield that bends about the mouth, with a knob or a ring."""
    u, v = np.meshgrid(np.linspace(-0.75, 0.75, 130), np.linspace(0.6, -0.6, 104))
    wide, high = random.uniform(0.54, 0.64), random.uniform(0.36, 0.42)
    notch = 0.07 * np.exp(-((u / 0.22) ** 2)) * (v > 0)
    outline = (np.abs(u) / wide) ** 2.5 + ((np.abs(v) + notch) / (high - 0.06 * (u / wide) ** 2)) ** 2.5
    z = 0.07 * np.sqrt(np.clip(1 - outline, 0, 1)) - 0.35 * u**2
    away = np.hypot(u, v)
    z += 0.13 * (1 - rise(away, 0.19, 0.23)) + 0.03 * np.sqrt(np.clip(1 - (away / 0.2) ** 2, 0, 1))
    if random.random() < 0.5:
        ring = np.hypot(u, (v + 0.16) / 1.1)
        z = np.maximum(
            z, np.where(np.abs(ring - 0.27) < 0.055, 0.18 + np.sqrt(np.clip(0.055**2 - (ring - 0.27) ** 2, 0, 1)), -9)
        )
    z = np.where(outline < 1, z, z - 0.14)
    middle = lips.mean(0)
    shield = np.stack([u + middle[0], v + middle[1], z + lips[:, 2].max() + 0.02], 2)
    return _sheet(shield @ view.rotation().T, np.stack([u, v, z], 2), outline < 1.12)


def _blanket(posed: np.ndarray, triangles: np.ndarray, random: np.random.Generator) -> OccluderMesh:
    """Build cloth that lies over the chin and one cheek; its rows follow its edge."""
    x, depth = np.meshgrid(np.linspace(-3, 3, 180), np.append(np.linspace(-0.03, 0.2, 24), np.linspace(0.22, 3.2, 110)))
    side, phase = random.choice((-1.0, 1.0)), random.uniform(0, 6.3, 4)
    edge = random.uniform(-0.85, -0.5) + side * random.uniform(0.1, 0.35) * x
    edge = edge + 0.05 * np.sin(3.1 * x + phase[0]) + 0.03 * np.sin(7.3 * x + phase[1])
    y = edge - depth
    folds = 0.07 * np.sin(2.2 * x - side * 3.0 * y + phase[2]) + 0.04 * np.sin(6 * x + 2.5 * side * y + phase[3])
    hem = 0.045 * np.sqrt(np.clip(1 - ((depth - 0.06) / 0.06) ** 2, 0, 1)) - 0.15 * (1 - rise(depth, -0.03, 0.0))
    z = _draped(posed, triangles, x, y) + FABRIC + (folds + 0.1) * rise(depth, 0, 0.5) + hem
    return _sheet(np.stack([x, y, z], 2), np.stack([x, depth, z], 2), np.ones_like(x, bool))


def _draped(posed: np.ndarray, triangles: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return how far towards the camera a cloth at (x, y) lies on the posed head: a smooth map of what is foremost."""
    on_map = (posed[:, :2] * [1, -1] / DRAPE_REACH + 1) * DRAPE_PX / 2
    height = -depth_map(on_map, -posed[:, 2], triangles, DRAPE_PX)
    height = np.where(np.isinf(height), -0.9, height).astype(np.float32)
    height = cv2.GaussianBlur(cv2.dilate(height, np.ones((9, 9))), (0, 0), 2.2)
    at = ((np.stack([x, -y]) / DRAPE_REACH + 1) * DRAPE_PX / 2 - 0.5).astype(np.float32)
    return cv2.remap(height, at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _hand(framed: np.ndarray, random: np.random.Generator, view: View) -> OccluderMesh:
    """Build a small fist with the forearm below it, before one side of the mouth."""
    side = random.choice((-1.0, 1.0))
    beside = np.array([side * random.uniform(0.1, 0.3), random.uniform(-0.05, 0.2), 0])
    target = framed[mouth_vertices()].mean(0) + beside
    near = framed[np.hypot(*(framed[:, :2] - target[:2]).T) < 0.6, 2].max() + 0.12
    place = np.array([target[0], target[1], near])
    rods = [_rod(np.array(start) * [side, 1, 1], np.array(end) * [side, 1, 1], radii) for start, end, radii in _fist()]
    first = np.cumsum([0, *(len(rod.vertices) for rod in rods[:-1])])
    vertices = np.concatenate([rod.vertices for rod in rods])
    quads = np.concatenate([rod.quads + start for rod, start in zip(rods, first, strict=True)])
    return OccluderMesh((vertices + place) @ view.rotation().T, quads, vertices)


def _fist() -> tuple:
    """Return rods (from, to, radii), seen from the back of the hand: four fingers of two joints, thumb, palm, forearm."""
    knuckles = [(-0.24 + 0.155 * k, 0.20 - 0.02 * abs(k - 1.3), 0.17) for k in range(4)]
    roots = [(x - 0.01, y - 0.04, 0.02) for x, y, _ in knuckles]
    tips = [(0.9 * x + 0.006, -0.06, 0.20) for x, _, _ in knuckles]
    return (
        *((root, knuckle, (0.115, 0.105)) for root, knuckle in zip(roots, knuckles, strict=True)),
        *((knuckle, tip, (0.105, 0.085)) for knuckle, tip in zip(knuckles, tips, strict=True)),
        ((-0.34, -0.16, 0.04), (-0.20, 0.02, 0.25), (0.12, 0.085)),
        ((-0.10, -0.06, 0.0), (0.14, -0.08, 0.0), (0.29, 0.27)),
        ((0.02, -0.22, -0.06), (0.10, -0.46, -0.08), (0.25, 0.20)),
        ((0.10, -0.46, -0.08), (0.95, -2.5, -0.30), (0.25, 0.36)),
    )


def _rod(start: np.ndarray, end: np.ndarray, radii: tuple[float, float]) -> OccluderMesh:
    """Build a rod with round ends, of one radius at each."""
    along = (end - start) / np.linalg.norm(end - start)
    right = np.cross(along, [0.31, 0.2, 0.93])
    right /= np.linalg.norm(right)
    up = np.cross(along, right)
    polar = np.linspace(0, np.pi, 18)
    turn, tip = np.meshgrid(np.linspace(0, 2 * np.pi, 25), polar)
    last = tip > np.pi / 2
    radius = np.where(last, radii[1], radii[0])[..., None]
    ring = np.sin(tip)[..., None] * (np.cos(turn)[..., None] * right + np.sin(turn)[..., None] * up)
    points = (np.where(last[..., None], end, start) + radius * (ring - np.cos(tip)[..., None] * along))[:, ::-1]
    return _sheet(points, points, np.ones_like(turn, bool))


def _sheet(points: np.ndarray, at: np.ndarray, inside: np.ndarray) -> OccluderMesh:
    """Build the quads of a grid, rows down and columns to the right, where all four corners are inside."""
    number = np.arange(inside.size).reshape(inside.shape)
    quads = np.stack([number[1:, :-1], number[1:, 1:], number[:-1, 1:], number[:-1, :-1]], 2).reshape(-1, 4)
    quads = quads[inside.ravel()[quads].all(1)]
    used, quads = np.unique(quads, return_inverse=True)
    return OccluderMesh(points.reshape(-1, 3)[used], quads.reshape(-1, 4), at.reshape(-1, 3)[used])
