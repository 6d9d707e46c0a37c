"""Define named expressions after Baby FACS as facial actions, each with the affect it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from infant_fer.errors import SyntheticError
from infant_fer.synthetic.mesh.data import SIDES, facial_actions


@dataclass(frozen=True)
class Expression:
    """A named expression: its facial actions at full intensity (without a side both sides act), and its affect."""

    actions: dict[str, float]
    affect: str  # positive, neutral, negative; "mixed" for what raters would not agree on


# Actions by ARKit's names. Which muscles act together follows Oster, Baby FACS (2006), for the cry also Craig et al. 1994.
EXPRESSIONS: Mapping[str, Expression] = MappingProxyType(
    {
        "neutral": Expression({}, "neutral"),
        "interest": Expression({"browInnerUp": 0.35, "browOuterUp": 0.3, "eyeWide": 0.35, "jawOpen": 0.12}, "neutral"),
        "smile": Expression({"mouthSmile": 0.75, "cheekSquint": 0.5, "eyeSquint": 0.25, "mouthDimple": 0.15}, "positive"),
        "open smile": Expression(
            {"mouthSmile": 0.85, "cheekSquint": 0.6, "eyeSquint": 0.35, "jawOpen": 0.4, "mouthUpperUp": 0.3, "mouthLowerDown": 0.2},
            "positive",
        ),
        "laugh": Expression(
            {"mouthSmile": 0.95, "cheekSquint": 0.9, "eyeSquint": 0.65, "jawOpen": 0.75, "mouthUpperUp": 0.5, "mouthStretch": 0.3,
             "mouthLowerDown": 0.5},
            "positive",
        ),
        "fuss": Expression(
            {"browDown": 1.1, "browInnerUp": 0.4, "mouthFrown": 1.2, "mouthStretch": 0.5, "eyeSquint": 0.5, "noseSneer": 0.5,
             "jawOpen": 0.12, "mouthShrugLower": 0.5, "cheekSquint": 0.3},
            "negative",
        ),
        "cry": Expression(
            {"browDown": 1.0, "eyeSquint": 0.8, "eyeBlink": 0.75, "mouthStretch": 1.1, "jawOpen": 0.75, "noseSneer": 1.0,
             "mouthFrown": 0.5, "mouthLowerDown": 0.9, "mouthUpperUp": 0.8, "cheekSquint": 0.9},
            "negative",
        ),
        "pout": Expression(
            {"mouthShrugLower": 1.0, "mouthFrown": 0.9, "browInnerUp": 0.8, "mouthPress": 0.2, "mouthRollUpper": 0.2}, "negative"
        ),
        "surprise": Expression(
            {"eyeWide": 0.9, "browInnerUp": 1.2, "browOuterUp": 0.9, "jawOpen": 0.65, "mouthFunnel": 0.2}, "neutral"
        ),
        "disgust": Expression(
            {"noseSneer": 1.0, "mouthUpperUp": 0.7, "browDown": 0.5, "eyeSquint": 0.5, "mouthShrugLower": 0.4, "tongueOut": 0.25},
            "negative",
        ),
        "yawn": Expression(
            {"jawOpen": 1.0, "eyeBlink": 1.1, "eyeSquint": 0.6, "browInnerUp": 0.3, "mouthStretch": 0.35, "noseSneer": 0.3}, "neutral"
        ),
        "sleep": Expression({"eyeBlink": 1.15}, "neutral"),
    }
)  # fmt: skip
JITTER = 0.12  # of an action's weight


def sample_expression(random: np.random.Generator, name: str, intensity: float | None = None) -> dict[str, float]:
    """Draw the actions of a named expression at an intensity in 0..1 (by default drawn from 0.7 to 1), each varied slightly.

    Raises SyntheticError for an unknown name.
    """
    check_expression(name)
    intensity = float(random.uniform(0.7, 1.0)) if intensity is None else intensity
    full = by_side(EXPRESSIONS[name].actions)
    return {action: round(intensity * weight * float(random.normal(1, JITTER)), 3) for action, weight in full.items()}


def check_expression(name: str) -> None:
    """Raise SyntheticError, which lists the names, unless there is an expression of that name."""
    if name not in EXPRESSIONS:
        raise SyntheticError(f"There is no expression {name!r}; there are {', '.join(EXPRESSIONS)}.")


def by_side(actions: dict[str, float]) -> dict[str, float]:
    """Write "mouthSmile" out as "mouthSmileLeft" and "mouthSmileRight". Raises SyntheticError for unknown actions."""
    known = set(facial_actions())
    written: dict[str, float] = {}
    for name, weight in actions.items():
        names = [name] if name in known else [name + side for side in SIDES]
        if not known.issuperset(names):
            raise SyntheticError(f"There is no facial action {name!r}; there are {', '.join(sorted(known))}.")
        for each in names:
            written[each] = written.get(each, 0.0) + weight
    return written
