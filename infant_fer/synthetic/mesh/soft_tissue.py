"""Shape what is soft: cheeks that move as a whole, the outline of an open mouth, gums and tongue that stay behind the skin.

Infants' fat rounds off the ledges that an adult's actions raise on the cheeks. The facial actions alone open a mouth to a
lozenge; a yawn is an O, a laugh a D, a cry a square. An adult's rows of teeth are too large for infants' jaws and would come
through the skin.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import sparse

from infant_fer.synthetic.camera import NOTHING, depth_map, rasterise, rise
from infant_fer.synthetic.mesh.data import SIDES, Offsets, base_mesh, facial_action
from infant_fer.synthetic.mesh.head import halves, lip_vertices, quad_neighbours, quad_normals, skin_vertices

CENTRE, REACH = (0.54, 6.92), (0.45, 0.35)  # decimetres on the base mesh: the left cheek, from the nostril to the ear
PASSES = 40  # each spreads a movement by about the distance of two vertices
FATTER = 0.72  # share of it that is left


@cache
def soft_action(name: str) -> Offsets:
    """Return a facial action by its ARKit name, with each point of the cheeks moving as far as those around it on average."""
    action = facial_action(name)
    shift = np.zeros_like(base_mesh().vertices)
    shift[action.index] = action.offset
    spread = shift
    for _ in range(PASSES):
        spread = skin_neighbours() @ spread
    shift = shift + _cheeks()[:, None] * (FATTER * spread - shift)
    moving = np.flatnonzero(np.abs(shift).max(1) > 1e-5)
    return Offsets(moving, shift[moving])


@cache
def skin_neighbours() -> sparse.csr_array:
    """Return the (V, V) mean over each vertex of the skin and those of its quads."""
    return quad_neighbours(base_mesh().groups["body"][0], len(base_mesh().vertices))


@cache
def _cheeks() -> np.ndarray:
    """Return (V,): 1 in the middle of a cheek, 0 beyond it."""
    x, y, z = base_mesh().vertices.T
    away = np.hypot((np.abs(x) - CENTRE[0]) / REACH[0], (y - CENTRE[1]) / REACH[1])
    return rise(1.05 - away, 0, 0.4) * (z > 0.3)


# --- the open mouth ---------------------------------------------------------------------------------------------------

STEPS, SMOOTHED = 3, 2
UPPER, LOWER = 2.3, 3.0  # exponents p of |x|^p + |y|^p = 1: 2 is an ellipse, 4 nearly a square
SQUARER = 1.4  # how much larger they are in a cry
BLUNT = 0.10  # share of the depth by which the middle of the lower lip, which the jaw takes furthest, is kept back
AROUND = np.radians([35, 40, 45, 50, 55])  # directions in which the outline is measured
NEAR_ANGLE = 0.14  # how far aside points still tell, radians
FADE, BEHIND = 0.75, 0.45  # how far beyond the outline (in its radii) and behind the lips (decimetres) the skin follows


@dataclass(frozen=True)
class Rim:
    """Vertices of the base mesh where the lips meet."""

    upper: int
    lower: int
    left: int
    right: int


def open_mouth(vertices: np.ndarray, actions: dict[str, float]) -> np.ndarray:
    """Return (V, 3) base vertices whose mouth, if open, has the outline of the actions (by side)."""
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
    """Move lips and skin one step towards the outline, from its middle outwards; x = -1 and 1, y = -1 and 1 stay."""
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
    """Return how far the opening reaches in some directions, on average: to the nearest lip."""
    lips = lip_vertices()
    aside = np.angle(np.exp(1j * (np.arctan2(y[lips], x[lips]) - angles[:, None]))) / NEAR_ANGLE
    return float((np.hypot(x[lips], y[lips]) + 0.15 * aside**2).min(1).mean())


def _measured_exponent(reach: float) -> float:
    """Return the p of |x|^p + |y|^p = 1 that reaches so far on the diagonal."""
    return float(np.clip(np.log(2) / np.log(2**0.5 / min(reach, 1.35)), 0.9, 6))


@cache
def lip_rim() -> Rim:
    """Return where the lips meet in the middle, distinguished by whether the jaw moves them, and at the corners."""
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
    stretched = np.mean([actions.get(f"mouthStretch{side}", 0.0) for side in SIDES])
    return SQUARER * float(np.clip(stretched, 0, 1))


def _radius(turn: np.ndarray, exponent: np.ndarray | float) -> np.ndarray:
    """Return how far |x|^p + |y|^p = 1 is from the middle in each direction of the first quadrant."""
    return (np.cos(turn) ** exponent + np.sin(turn) ** exponent) ** (-1 / exponent)


def _near(vertices: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Return (V,): 1 on the lips and the skin about them, 0 behind them."""
    behind = np.minimum(upper[2], lower[2]) - vertices[:, 2]
    near = np.zeros(len(vertices))
    near[skin_vertices()] = np.clip(1 - (behind - 0.15) / BEHIND, 0, 1)[skin_vertices()]
    return near


# --- gums and tongue --------------------------------------------------------------------------------------------------

LOWER_GUM = ("helper-lower-teeth",)
GUMS, TONGUE = ("helper-upper-teeth", *LOWER_GUM), ("helper-tongue",)
LOW, NARROW = 0.7, 0.88  # an infant's lower gum against an adult's teeth, which stand in a far higher jaw
LIP = 0.02  # decimetres: how thick the skin before them is at least
LOWEST, HIGHEST = 6.0, 7.1  # decimetres on the base mesh: chin and nose
RAYS = 512  # across the base mesh's face
GRID, CELL = 160, 0.01  # cells across the mouth, and their side in decimetres


def keep_inside_mouth(vertices: np.ndarray, actions: dict[str, float]) -> np.ndarray:
    """Return (V, 3) base vertices whose gums lie behind the skin before them; so does the tongue unless it is put out."""
    vertices = _with_low_gum(vertices)
    inside = _group_vertices(GUMS if actions.get("tongueOut") else GUMS + TONGUE)
    low = vertices[inside, :2].mean(0) - GRID * CELL / 2
    cells = (vertices[:, :2] - low) / CELL
    skin = -depth_map(cells, -vertices[:, 2], _lower_face(), GRID)  # -inf in the mouth's opening
    column, row = cells[inside].astype(int).clip(0, GRID - 1).T
    limit = np.where(np.isfinite(skin), skin - LIP, np.inf)[row, column]
    kept = vertices.copy()
    kept[inside, 2] = np.minimum(vertices[inside, 2], limit)
    return kept


def _with_low_gum(vertices: np.ndarray) -> np.ndarray:
    """Return (V, 3) base vertices with a lower and narrower lower gum; its edge stays where it is."""
    gum, adult = _group_vertices(LOWER_GUM), base_mesh().vertices[_group_vertices(LOWER_GUM)]
    size = np.ptp(vertices[gum, 0]) / np.ptp(adult[:, 0])
    lowered = vertices.copy()
    lowered[gum, 1] += (1 - LOW) * size * (adult[:, 1].max() - adult[:, 1])
    lowered[gum, 0] *= NARROW
    return lowered


@cache
def _group_vertices(groups: tuple[str, ...]) -> np.ndarray:
    return np.unique(np.concatenate([base_mesh().groups[name][0].ravel() for name in groups]))


@cache
def _lower_face() -> np.ndarray:
    """Return (T, 3) triangles of the lower face that are seen from the front; with the mouth shut these are its outside."""
    mesh = base_mesh()
    quads = mesh.groups["body"][0]
    height = mesh.vertices[quads, 1]
    quads = quads[(height.min(1) > LOWEST) & (height.max(1) < HIGHEST) & (mesh.vertices[quads, 2].min(1) > 0.3)]
    px = (mesh.vertices[:, :2] * [1, -1] + [(HIGHEST - LOWEST) / 2, HIGHEST]) * RAYS / (HIGHEST - LOWEST)
    triangles = halves(quads)
    shown = rasterise(px, -mesh.vertices[:, 2], triangles, RAYS)
    seen = np.unique(shown.triangle[shown.triangle != NOTHING])
    outwards = quad_normals(quads, mesh.vertices)[triangles[seen], 2].min(1) > 0
    return triangles[seen[outwards]]
