"""Describe what may hide part of the face: a hat, a pacifier, a blanket's edge or a hand."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from infant_fer.errors import SyntheticError

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

    def to_dict(self) -> dict:
        """Return every parameter, ready for JSON."""
        return asdict(self)


def sample_occluder(random: np.random.Generator, kind: str | None = None) -> Occluder:
    """Draw an occluder, of a `kind` if one is named. Raises SyntheticError for an unknown kind."""
    drawn = str(random.choice(OCCLUDERS))
    kind = drawn if kind is None else kind
    colours = PLASTICS if kind == "pacifier" else FABRICS
    colour = np.array(colours[random.integers(len(colours))]) * random.uniform(0.8, 1.1)
    red, green, blue = (round(float(channel), 4) for channel in colour)
    return Occluder(kind, (red, green, blue), int(random.integers(2**31)))
