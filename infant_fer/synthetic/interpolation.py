"""Interpolate between two expressions in equal steps, and describe where the answer changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from infant_fer.errors import SyntheticError
from infant_fer.synthetic.lab import SIZE_PX, LabSettings, actions_of, portrait

STEPS = 11  # so that each changes the weights by a tenth


@dataclass(frozen=True, eq=False)
class InterpolationStep:
    """One rendered picture and the answer to it; `number` counts from 1."""

    number: int
    settings: LabSettings
    image: np.ndarray  # (S, S, 3) uint8
    probabilities: Mapping[str, float] | None  # by affect; None where no face was found

    @property
    def label(self) -> str | None:
        """Return the likeliest affect, or None where no face was found."""
        return max(self.probabilities, key=self.probabilities.__getitem__) if self.probabilities else None


@dataclass(frozen=True)
class Flip:
    """A change of the answer between two steps, which are neighbours but for steps in which no face was found."""

    before: int
    after: int
    was: str
    becomes: str


def interpolate(
    settings: LabSettings,
    start: str,
    end: str,
    read: Callable[[np.ndarray], Mapping[str, float] | None],
    steps: int = STEPS,
    size: int = SIZE_PX,
) -> Iterator[InterpolationStep]:
    """Yield pictures of the settings' infant whose actions go in equal steps from one named expression to another.

    `read` gives the probabilities for an (S, S, 3) uint8 picture, or None when it finds no face. Raises SyntheticError.
    """
    if start == end or steps < 2:
        raise SyntheticError("An interpolation needs two different expressions and at least two steps.")
    for number in range(1, steps + 1):
        step = replace(settings, actions=actions_at(start, end, number, steps))
        image = portrait(step, size).image
        yield InterpolationStep(number, step, image, read(image))


def actions_at(start: str, end: str, number: int, steps: int = STEPS) -> dict[str, float]:
    """Return the weight of every movement in a step, the first being 1, between two named expressions."""
    share = (number - 1) / (steps - 1)
    last = actions_of(end)
    return {name: (1 - share) * weight + share * last[name] for name, weight in actions_of(start).items()}


def flips(labels: Sequence[str | None]) -> list[Flip]:
    """Return where the answer changes along the steps."""
    known = [(number, label) for number, label in enumerate(labels, 1) if label is not None]
    return [Flip(before, after, was, becomes) for (before, was), (after, becomes) in pairwise(known) if was != becomes]


def interpolation_sentence(labels: Sequence[str | None]) -> str:
    """Return a sentence that says where the answer changes along the steps, and where no face was found."""
    if not labels:
        return "No picture has been made yet."
    missed = [str(number) for number, label in enumerate(labels, 1) if label is None]
    if len(missed) == len(labels):
        return "No face was found in any picture."
    gaps = f" No face was found in step {', '.join(missed)}." if missed else ""
    changes = flips(labels)
    if not changes:
        return f"The answer stays {next(filter(None, labels))} throughout.{gaps}"
    if len(changes) == 1:
        [flip] = changes
        return f"Between {_place(flip)} the answer changes {_change(flip)}.{gaps}"
    several = "; ".join(f"between {_place(flip)} {_change(flip)}" for flip in changes)
    return f"The answer changes {len(changes)} times: {several}.{gaps}"


def _place(flip: Flip) -> str:
    return f"step {flip.before} and step {flip.after}"


def _change(flip: Flip) -> str:
    return f"from {flip.was} to {flip.becomes}"
