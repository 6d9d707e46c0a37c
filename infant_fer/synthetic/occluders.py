"""What may hide part of the face? A hat, a dummy, a blanket's edge or a hand; none of them is part of the infant."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from infant_fer.errors import SyntheticError

COVERS = ("hat", "dummy", "blanket", "hand")
FABRICS = (
    (0.72, 0.68, 0.60), (0.60, 0.50, 0.40), (0.42, 0.50, 0.58), (0.62, 0.42, 0.42), (0.45, 0.52, 0.40), (0.22, 0.26, 0.34),
    (0.75, 0.62, 0.35), (0.80, 0.79, 0.77), (0.52, 0.46, 0.56), (0.30, 0.30, 0.31),
)  # fmt: skip
PLASTICS = ((0.62, 0.72, 0.74), (0.75, 0.60, 0.60), (0.70, 0.70, 0.62), (0.35, 0.50, 0.60), (0.60, 0.66, 0.50))


@dataclass(frozen=True)
class Occluder:
    """Something before the face; its seed settles shape and place."""

    kind: str  # of COVERS
    colour: tuple[float, float, float]  # linear RGB in 0..1; a hand has the infant's skin instead
    seed: int

    def __post_init__(self) -> None:
        if self.kind not in COVERS:
            raise SyntheticError(f"There is no cover {self.kind!r}; there are {', '.join(COVERS)}.")

    def told(self) -> dict:
        """Every parameter, ready for JSON."""
        return asdict(self)


def sample_occluder(random: np.random.Generator, kind: str | None = None) -> Occluder:
    """Draw a cover, of a `kind` if one is named. Raises SyntheticError for an unknown kind."""
    drawn = str(random.choice(COVERS))
    kind = drawn if kind is None else kind
    colours = PLASTICS if kind == "dummy" else FABRICS
    colour = np.array(colours[random.integers(len(colours))]) * random.uniform(0.8, 1.1)
    return Occluder(kind, tuple(round(float(part), 4) for part in colour), int(random.integers(2**31)))
