"""Build matched sets: renders that differ from their reference in exactly one parameter, a level of a factor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from infant_fer.errors import SyntheticError
from infant_fer.synthetic.expressions import EXPRESSIONS, check_expression, sample_expression
from infant_fer.synthetic.infant import Infant, sample_infant
from infant_fer.synthetic.lab import TONES as LAB_TONES
from infant_fer.synthetic.occluders import OCCLUDERS, Occluder, sample_occluder
from infant_fer.synthetic.portrait import render
from infant_fer.synthetic.scene import Light, View

PLAIN = ""  # the factor and the level of the picture in which nothing was changed
SIZE = 192  # px: the face's crop is then about as large as the input of small models
LIGHT = Light(key=(6.0, 6.0, 6.0), sharpness=7.0, room=(0.25, 0.25, 0.25))  # a lamp, so that its direction shows
CLEAR = ("neutral", "smile", "open smile", "laugh", "fuss", "cry")  # expressions whose affect few would dispute
FIRST_INFANT, INFANTS_A_SEED = 900_000, 1_000  # far from the seeds that pictures for training are drawn from
TONES = dict(zip(("very light", "light", "intermediate", "tan", "brown", "dark"), LAB_TONES.tolist(), strict=True))


@dataclass(frozen=True)
class Factor:
    """One thing that changes. Its reference is one of its own levels, or the plain picture."""

    name: str
    levels: dict[str, tuple[str, object]]  # name: the field that changes (as in Scene.with_changed), and its value
    reference: str = PLAIN
    plain_words: str = ""  # what the plain picture shows of this


FACTORS: dict[str, Factor] = {
    factor.name: factor
    for factor in (
        Factor("skin tone", {name: ("infant.colours.skin", tuple(rgb)) for name, rgb in TONES.items()}, "intermediate"),
        Factor(
            "light from",
            {"the left": ("light.azimuth", -80.0), "the right": ("light.azimuth", 80.0),
             "above": ("light.elevation", 85.0), "below": ("light.elevation", -30.0)},
            plain_words=f"the front, {LIGHT.azimuth:.0f}° to the right, {LIGHT.elevation:.0f}° up",
        ),
        Factor(
            "brightness",
            {"very dim": ("light.exposure", 0.12), "dim": ("light.exposure", 0.4), "glaring": ("light.exposure", 2.6)},
            plain_words=f"{LIGHT.exposure} (very dim is 0.12, dim 0.4, glaring 2.6)",
        ),
        Factor(
            "head turn",
            {**{f"{degrees}° aside": ("view.yaw", float(degrees)) for degrees in (15, 30, 45)},
             "20° up": ("view.pitch", -20.0), "20° down": ("view.pitch", 20.0), "tilted 45°": ("view.roll", 45.0)},
            plain_words="upright, towards the camera",
        ),
        Factor(
            "age",
            {"newborn": ("infant.age", -0.3), "young baby": ("infant.age", -0.15), "baby": ("infant.age", 0.0),
             "toddler": ("infant.age", 0.12)},
            "baby",
        ),
        Factor("occluder", {kind: ("occluder", kind) for kind in OCCLUDERS}, plain_words="nothing"),
        Factor(
            "blur",
            {f"{px} px": ("view.blur", float(px)) for px in (2, 4, 8)},
            plain_words="0 px (deviation, in px of a 512 px picture)",
        ),
        Factor(
            "noise",
            {"5 %": ("view.grain", 0.05), "10 %": ("view.grain", 0.1)},
            plain_words=f"{View().grain * 100:g} % (deviation, of the full range)",
        ),
        Factor("JPEG quality", {"30": ("view.jpeg", 30), "10": ("view.jpeg", 10)}, plain_words="not compressed"),
        Factor(
            "picture size",
            {f"{px} px": ("size", px) for px in (96, 64, 48)},
            plain_words=f"{SIZE} px, pupils {SIZE * View().zoom:.0f} px apart",
        ),
        Factor(
            "background",
            {"another": ("view.background", 1), "a third": ("view.background", 2)},
            plain_words="the infant's own (on the face only the grain changes: what any other picture would do)",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """All parameters of a render."""

    infant: Infant
    actions: dict[str, float]
    view: View
    light: Light
    occluder: Occluder | None = None
    size: int = SIZE  # px

    def render(self) -> np.ndarray:
        """Return the picture as (S, S, 3) uint8 sRGB."""
        return render(self.infant.express(self.actions), self.view, self.light, self.size, self.occluder).image

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


def _replaced(node: Any, path: list[str], value: object) -> Any:
    first, *rest = path
    return replace(node, **{first: _replaced(getattr(node, first), rest, value) if rest else value})
