"""What outline has an open mouth? The facial actions alone open it to a lozenge; a yawn is an O, a laugh a D, a cry a square."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from infant_fer.synthetic.mesh.cheeks import skin_neighbours
from infant_fer.synthetic.mesh.data import base_mesh, facial_action
from infant_fer.synthetic.mesh.landmarks import lip_vertices

STEPS, SMOOTHED = 3, 2
UPPER, LOWER, SQUARER = (
    2.3,
    3.0,
    1.4,
)  # exponents p of |x|^p + |y|^p = 1: 2 is an ellipse, 4 nearly a square; more in a cry
BLUNT = 0.10  # share of the depth by which the middle of the lower lip, which the jaw takes furthest, is kept back
AROUND = np.radians([35, 40, 45, 50, 55])  # directions in which the outline is measured
NEAR_ANGLE = 0.14  # how far aside points still tell, radians
FADE, DEPTH = 0.75, 0.45  # how far beyond the outline (in its radii) and behind the lips (decimetres) the skin follows


@dataclass(frozen=True)
class Rim:
    """Vertices of the base mesh where the lips meet."""

    upper: int
    lower: int
    left: int
    right: int


def reshaped(vertices: np.ndarray, actions: dict[str, float]) -> np.ndarray:
    """(V, 3): base vertices whose mouth, if open, has the outline that the actions (by side) ask for."""
    rim = lip_rim()
    upper, lower, left, right = vertices[[rim.upper, rim.lower, rim.left, rim.right]]
    wide, middle, corner = (left[0] - right[0]) / 2, (left[0] + right[0]) / 2, (left[1] + right[1]) / 2
    opening = upper[1] - lower[1]
    if opening < 0.05 * wide:
        return vertices
    base = min(upper[1], corner)  # raised corners leave the upper lip a straight side: a D
    high, low = max(upper[1] - base, 0.15 * opening), base - lower[1]
    x, y = (vertices[:, 0] - middle) / wide, vertices[:, 1] - base
    y -= (corner - base) * np.minimum(x * x, 1.5)
    y = y / np.where(y > 0, high, low)
    inner = _reach(x, y, np.array([0, np.pi]))  # the corners of the opening lie inside those of the lips
    x, wide = x / inner, wide * inner
    strength = _near(vertices, upper, lower) * min(1.0, opening / (0.5 * wide))
    if corner > upper[1]:
        strength *= np.clip(-y / 0.4, 0, 1)
    new_x, new_y = (
        x,
        y * (1 - BLUNT * strength * np.exp(-((x / 0.25) ** 2) - (np.minimum(y + 1, 0) / FADE) ** 2) * (y < 0)),
    )
    for _ in range(STEPS):
        new_x, new_y = _nearer(new_x, new_y, _squarer(actions), strength)
    moved = np.stack([(new_x - x) * wide, (new_y - y) * np.where(y > 0, high, low), np.zeros_like(x)], 1)
    for _ in range(SMOOTHED):
        moved = skin_neighbours() @ moved
    return vertices + moved * (1 + 0.15 * SMOOTHED)


def _nearer(x: np.ndarray, y: np.ndarray, squarer: float, strength: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One step of lips and skin towards the outline, from its middle outwards; x = -1 and 1, y = -1 and 1 stay."""
    radius, turn = np.hypot(x, y), np.arctan2(np.abs(y), np.abs(x))
    upper, lower = (_measured_exponent(_reach(x, y, sign * np.append(AROUND, np.pi - AROUND))) for sign in (1, -1))
    outline, wanted = (
        _radius(turn, np.where(y > 0, upper, lower)),
        _radius(turn, np.where(y > 0, UPPER, LOWER) + squarer),
    )
    beyond = np.maximum(radius / outline - 1, 0) / FADE
    step = (wanted - outline) * np.minimum(radius / outline, 1) * np.exp(-(beyond**2)) * strength
    step /= np.maximum(radius, 1e-6)
    return x * (1 + step), y * (1 + step)


def _reach(x: np.ndarray, y: np.ndarray, angles: np.ndarray) -> float:
    """How far the opening reaches in some directions, on average: to the nearest lip."""
    lips = lip_vertices()
    aside = np.angle(np.exp(1j * (np.arctan2(y[lips], x[lips]) - angles[:, None]))) / NEAR_ANGLE
    return float((np.hypot(x[lips], y[lips]) + 0.15 * aside**2).min(1).mean())


def _measured_exponent(reach: float) -> float:
    """The p of |x|^p + |y|^p = 1 that reaches so far on the diagonal."""
    return float(np.clip(np.log(2) / np.log(2**0.5 / min(reach, 1.35)), 0.9, 6))


@cache
def lip_rim() -> Rim:
    """Where the lips meet in the middle, told apart by what the jaw takes along, and at the corners."""
    vertices, jaw = base_mesh().vertices, facial_action("jawOpen")
    drop = np.zeros(len(vertices))
    drop[jaw.index] = -jaw.offset[:, 1]
    lips = lip_vertices()
    middle = lips[np.abs(vertices[lips, 0]) < 0.01]
    upper, lower = middle[drop[middle] < 0.1], middle[drop[middle] > 0.2]
    x = vertices[lips, 0]
    return Rim(
        int(upper[vertices[upper, 1].argmin()]),
        int(lower[vertices[lower, 1].argmax()]),
        int(lips[x.argmax()]),
        int(lips[x.argmin()]),
    )


def _squarer(actions: dict[str, float]) -> float:
    stretched = np.mean([actions.get(f"mouthStretch{side}", 0.0) for side in ("Left", "Right")])
    return SQUARER * float(np.clip(stretched, 0, 1))


def _radius(turn: np.ndarray, exponent: np.ndarray | float) -> np.ndarray:
    """How far |x|^p + |y|^p = 1 is from the middle in each direction of the first quadrant."""
    return (np.cos(turn) ** exponent + np.sin(turn) ** exponent) ** (-1 / exponent)


@cache
def _skin() -> np.ndarray:
    skin = np.zeros(len(base_mesh().vertices), bool)
    skin[base_mesh().groups["body"][0]] = True
    return skin


def _near(vertices: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """1 on the lips and the skin about them, 0 behind them."""
    behind = np.minimum(upper[2], lower[2]) - vertices[:, 2]
    return _skin() * np.clip(1 - (behind - 0.15) / DEPTH, 0, 1)
