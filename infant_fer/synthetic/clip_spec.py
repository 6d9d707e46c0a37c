"""Describe clips of rendered infants: who acts when, behind what, and where; and a few scenes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from infant_fer.errors import SyntheticError
from infant_fer.synthetic.expressions import check_expression
from infant_fer.synthetic.occluders import OCCLUDERS

CLOTH = "cloth"  # an occluder that hides the whole face; OCCLUDERS hide a part of it
ADULT_AGE = 1 / 3  # the oldest face of the mesh: an adult-like second person
RAMP_S = 0.4  # an expression rises and falls within this time, centred on its onset and its offset


@dataclass(frozen=True)
class Act:
    """One expression of an actor; its intensity passes half the peak at `onset_s` and at `offset_s`."""

    onset_s: float
    offset_s: float
    expression: str  # of EXPRESSIONS
    peak: float = 1.0

    def intensity(self, time_s: float) -> float:
        """Return the intensity in 0..peak at a time: rises and falls smoothly within RAMP_S."""
        return self.peak * ramp(time_s - self.onset_s, RAMP_S) * ramp(self.offset_s - time_s, RAMP_S)


@dataclass(frozen=True)
class Occlusion:
    """Something before the face from `onset_s` to `offset_s`: CLOTH hides all of it, each of OCCLUDERS a part."""

    onset_s: float
    offset_s: float
    kind: str = CLOTH

    def __post_init__(self) -> None:
        if self.kind not in (CLOTH, *OCCLUDERS):
            raise SyntheticError(f"There is no occluder {self.kind!r}; there are {', '.join((CLOTH, *OCCLUDERS))}.")


@dataclass(frozen=True)
class Actor:
    """A person in a clip. `path` has (time_s, x, y): the middle of the face, in shares of the panel's width and height."""

    seed: int
    acts: tuple[Act, ...] = ()
    occlusions: tuple[Occlusion, ...] = ()
    path: tuple[tuple[float, float, float], ...] = ((0.0, 0.5, 0.5),)
    size: float = 1.3  # side of the portrait in panel heights; the face is a third of it
    sway: float = 6.0  # degrees by which the head turns to and fro
    age: float | None = None  # as in Infant; None draws it
    panel: int = 0  # of a split screen, from the left


@dataclass(frozen=True)
class ClipSpec:
    """Everything that determines a clip. Panels stand side by side, each with a background of its own."""

    actors: tuple[Actor, ...]  # a later one stands before an earlier one
    seconds: float = 8.0
    fps: float = 25.0
    size_wh: tuple[int, int] = (480, 360)
    panels: int = 1
    seed: int = 0
    events: tuple[tuple[str, float, float], ...] = ()  # name, onset_s, offset_s

    def __post_init__(self) -> None:
        width, height = self.size_wh
        if (
            self.fps <= 0
            or self.seconds * self.fps < 1
            or min(width, height) < 32
            or width % (2 * self.panels)
            or height % 2
        ):
            raise SyntheticError("A clip needs at least one frame and even sides of at least 32 px.")
        if not all(0 <= actor.panel < self.panels for actor in self.actors):
            raise SyntheticError(f"Every actor needs a panel of 0 to {self.panels - 1}.")
        for act in (act for actor in self.actors for act in actor.acts):
            check_expression(act.expression)

    @classmethod
    def from_dict(cls, plain: dict) -> ClipSpec:
        """Read what `dataclasses.asdict` and JSON made of a spec."""
        actors = tuple(
            Actor(**{**each, "acts": tuple(Act(**act) for act in each["acts"]),
                     "occlusions": tuple(Occlusion(**other) for other in each["occlusions"]), "path": tuple(map(tuple, each["path"]))})
            for each in plain["actors"]
        )  # fmt: skip
        return cls(**{**plain, "actors": actors, "size_wh": tuple(plain["size_wh"]),
                      "events": tuple(map(tuple, plain["events"]))})  # fmt: skip


def ramp(elapsed: float, length: float) -> float:
    """Return how far a smooth step of a `length` has risen, 0..1; it is half-way at 0."""
    share = min(max(elapsed / length + 0.5, 0.0), 1.0)
    return share * share * (3 - 2 * share)


# --- scenes -------------------------------------------------------------------------------------------------------------


def _one(seconds: float, seed: int) -> Actor:
    """Return an infant that smiles, rests, cries, is covered and laughs, in shares of the clip."""
    acts = ((0.12, 0.32, "open smile"), (0.42, 0.62, "cry"), (0.84, 0.97, "laugh"))
    return Actor(
        seed,
        tuple(Act(start * seconds, end * seconds, name) for start, end, name in acts),
        (Occlusion(0.68 * seconds, 0.80 * seconds),),
    )


def one_infant(seconds: float, seed: int) -> ClipSpec:
    """Return a clip of one infant whose face is covered for a while."""
    return ClipSpec((_one(seconds, seed),), seconds, seed=seed)


def two_faces(seconds: float, seed: int) -> ClipSpec:
    """Return a clip in which an adult-like person passes before an infant, twice."""
    infant = replace(_one(seconds, seed), occlusions=(), path=((0, 0.27, 0.5), (seconds, 0.33, 0.5)), size=1.0)
    path = tuple(
        (share * seconds, x, 0.45) for share, x in ((0, 0.78), (0.3, 0.78), (0.5, -0.1), (0.6, -0.1), (0.8, 0.78))
    )
    adult = Actor(seed + 1, (Act(0.1 * seconds, 0.25 * seconds, "smile"),), path=path, size=1.1, age=ADULT_AGE)
    return ClipSpec((infant, adult), seconds, seed=seed, size_wh=(640, 360))


def split_screen(seconds: float, seed: int) -> ClipSpec:
    """Return a split screen, the infant left and an adult-like person right."""
    adult = Actor(seed + 1, (Act(0.1 * seconds, 0.5 * seconds, "smile"),), age=ADULT_AGE, panel=1)
    return ClipSpec((_one(seconds, seed), adult), seconds, seed=seed, size_wh=(640, 360), panels=2)


def still_face(seconds: float, seed: int) -> ClipSpec:
    """Return play, still face and reunion of equal length: smiles, then neutral and fussing, then mixed (Tronick et al. 1978)."""
    random, third = np.random.default_rng(seed), seconds / 3
    named = (("open smile", 0.15, 0.75), ("cry", 0.45, 0.9), ("smile", 0.5, 0.9))
    acts = tuple(
        Act((i + start + random.uniform(-0.1, 0.1)) * third, (i + end + random.uniform(-0.05, 0.05)) * third, name)
        for i, (name, start, end) in enumerate(named)
    )
    events = tuple((name, i * third, (i + 1) * third) for i, name in enumerate(("play", "still face", "reunion")))
    return ClipSpec((Actor(seed, acts),), seconds, seed=seed, events=events)


SCENES: dict[str, Callable[[float, int], ClipSpec]] = {
    "one": one_infant,
    "two": two_faces,
    "split": split_screen,
    "still-face": still_face,
}
