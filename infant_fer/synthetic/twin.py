"""Render a twin of a face, with its facial actions and head pose, and find the smallest single change that flips the answer.

The twin is no likeness: only movements and pose are taken over, from MediaPipe's blendshapes, which are proxies of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from infant_fer.face import Face
from infant_fer.locales import Message
from infant_fer.synthetic.lab import MAIN, MOVEMENTS, STRONGEST, LabSettings, Movement, portrait

HALVINGS = 4  # of the interval in which the answer flips: to 1/16 of the way
LEAST_CHANGE = 0.1  # a movement nearer than this to its end is not moved there
MOST_YAW, MOST_PITCH = 60.0, 30.0  # degrees; the lab's sliders end there
NO_CHANGE = "No single movement of this rendered infant changes the answer."
NO_ANSWER = "No face was found in the rendered picture, so there is no answer to change."
SIZE_PX = 256  # of the tried pictures

Read = Callable[[np.ndarray], Mapping[str, float] | None]  # (S, S, 3) uint8 to probabilities; None without a face


def twin_of(face: Face, settings: LabSettings) -> LabSettings:
    """Return the settings of a rendered infant with a face's movements and head pose; all else is that of `settings`.

    A movement's weight is its blendshape, or the mean of both sides.
    """
    actions = {each.name: _weight(face.blendshapes, each.name) for each in MOVEMENTS}
    yaw = float(np.clip(face.pose.yaw, -MOST_YAW, MOST_YAW))
    pitch = float(np.clip(-face.pose.pitch, -MOST_PITCH, MOST_PITCH))  # the lab counts down as positive
    return replace(settings, actions=actions, yaw=round(yaw), pitch=round(pitch))


def _weight(blendshapes: Mapping[str, float], name: str) -> float:
    scores = [blendshapes[key] for key in (name, f"{name}Left", f"{name}Right") if key in blendshapes]
    return round(float(np.clip(np.mean(scores), 0, STRONGEST)), 2) if scores else 0.0


@dataclass(frozen=True)
class MovementChange:
    """A change of one movement from weight `before` to `after` with which the answer becomes another."""

    movement: Movement
    before: float
    after: float
    was: str
    becomes: str

    @property
    def size(self) -> float:
        """Return how far the movement goes, in weight."""
        return abs(self.after - self.before)

    @property
    def sentence(self) -> Message:
        """Return the change in words."""
        return Message(
            "With “{movement}” ({unit}) {size:.0%} {more}, from {before:.0%} to {after:.0%}, the expression of this rendered "
            "infant would look {becomes} instead of {was}.",
            movement=(self.movement.words,),
            unit=self.movement.unit,
            size=self.size,
            more=("stronger" if self.after > self.before else "weaker",),
            before=self.before,
            after=self.after,
            becomes=(self.becomes,),
            was=(self.was,),
        )


def changes(
    settings: LabSettings, read: Read, render: Callable[[LabSettings], np.ndarray] | None = None
) -> Iterator[tuple[int, MovementChange | None]]:
    """Yield, after each tried movement, how many of the MAIN ones are tried and the smallest flipping change so far.

    Each movement goes to none and to its strongest; where that flips the answer, the interval is halved HALVINGS times.
    Pictures without a face do not count; where none is found before any change, nothing is yielded. `render` gives an
    (S, S, 3) uint8 picture (default: the lab's portrait).
    """
    draw = render or (lambda each: portrait(each, SIZE_PX).image)

    def label(each: LabSettings) -> str | None:
        probabilities = read(draw(each))
        return max(probabilities, key=probabilities.__getitem__) if probabilities else None

    was, best = label(settings), None
    if was is None:
        return
    for number, movement in enumerate(MOVEMENTS[:MAIN], 1):
        for end in (0.0, STRONGEST):
            found = _flip(settings, movement, end, was, label)
            if found and (best is None or found.size < best.size):
                best = found
        yield number, best


def _flip(
    settings: LabSettings, movement: Movement, end: float, was: str, label: Callable[[LabSettings], str | None]
) -> MovementChange | None:
    """Return the nearest weight towards `end` at which the answer is found to be another; None when it stays."""
    before = settings.actions.get(movement.name, 0.0)
    if abs(end - before) < LEAST_CHANGE:
        return None

    def answer(weight: float) -> str | None:
        return label(replace(settings, actions={**settings.actions, movement.name: weight}))

    near, far, becomes = before, end, answer(end)
    if becomes in (None, was):
        return None
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        found = answer(middle)
        if found in (None, was):
            near = middle
        else:
            far, becomes = middle, found
    return MovementChange(movement, before, far, was, becomes)
