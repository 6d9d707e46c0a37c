"""Build matched sets: renders that differ from their reference in exactly one parameter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from infant_fer.audit.factors import FACTORS, LIGHT, PLAIN, SIZE
from infant_fer.errors import SyntheticError
from infant_fer.synthetic.expressions import EXPRESSIONS, check_expression, sample_expression
from infant_fer.synthetic.infant import Infant, sample_infant
from infant_fer.synthetic.occluders import OCCLUDERS, Occluder, sample_occluder
from infant_fer.synthetic.scene import Light, View

CLEAR = ("neutral", "smile", "open smile", "laugh", "fuss", "cry")  # expressions whose affect few would dispute
FIRST_INFANT, INFANTS_A_SEED = 900_000, 1_000  # far from the seeds that pictures for training are drawn from


@dataclass(frozen=True)
class Scene:
    """All parameters of a render."""

    infant: Infant
    actions: dict[str, float]
    view: View
    light: Light
    occluder: Occluder | None = None
    size: int = SIZE  # px

    def to_dict(self) -> dict:
        """Return every parameter, ready for JSON."""
        return asdict(self)

    def with_changed(self, path: str, value: Any) -> Scene:
        """Return the scene with one field changed, such as "view.yaw"; an occluder is given by its kind and drawn per infant."""
        if path == "occluder":
            random = np.random.default_rng([self.infant.seed, OCCLUDERS.index(value)])
            return replace(self, occluder=sample_occluder(random, value))
        return _replaced(self, path.split("."), value)


@dataclass(frozen=True)
class Picture:
    """One render of a matched set, identified by names."""

    infant: int  # seed
    expression: str
    factor: str = PLAIN
    level: str = PLAIN

    @property
    def reference(self) -> Picture:
        """Return the picture it is compared with: itself, when it is a reference."""
        level = FACTORS[self.factor].reference if self.factor else PLAIN
        return replace(self, factor=self.factor if level else PLAIN, level=level)

    def scene(self) -> Scene:
        """Return what to render; the same picture gives the same scene."""
        random = np.random.default_rng([self.infant, list(EXPRESSIONS).index(self.expression)])
        actions = sample_expression(random, self.expression, intensity=1.0)
        plain = Scene(sample_infant(self.infant), actions, View(background=self.infant), LIGHT)
        return plain.with_changed(*FACTORS[self.factor].levels[self.level]) if self.factor else plain


def infants(count: int, seed: int = 0) -> range:
    """Return the seeds of the audited infants. Raises SyntheticError for fewer than two, which give no interval."""
    if not 2 <= count <= INFANTS_A_SEED:
        raise SyntheticError(f"An audit needs 2 to {INFANTS_A_SEED} infants, not {count}.")
    first = FIRST_INFANT + seed * INFANTS_A_SEED
    return range(first, first + count)


def matched_sets(seeds: Iterable[int], expressions: Iterable[str], factors: Iterable[str]) -> list[Picture]:
    """Return every picture that the factors' levels and their references need, each once, one infant after the other.

    Raises SyntheticError for a name that does not exist.
    """
    factors, expressions = list(factors), list(expressions)
    for name in factors:
        if name not in FACTORS:
            raise SyntheticError(f"There is no factor {name!r}; there are {', '.join(FACTORS)}.")
    for name in expressions:
        check_expression(name)
    chosen = [(name, level) for name in factors for level in FACTORS[name].levels]
    pictures: dict[Picture, None] = {}
    for seed in seeds:
        for expression in expressions:
            for factor, level in chosen:
                picture = Picture(seed, expression, factor, level)
                pictures |= dict.fromkeys((picture.reference, picture))
    return list(pictures)


def _replaced(part: Any, path: list[str], value: object) -> Any:
    first, *rest = path
    return replace(part, **{first: _replaced(getattr(part, first), rest, value) if rest else value})
