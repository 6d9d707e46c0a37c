"""How are the three probabilities drawn as lines? In colours and dashes, so that they can be told apart without the colours."""

from __future__ import annotations

from collections.abc import Iterable

from infant_fer.labels import AFFECT_COLOURS, AFFECTS

DASHES = {"positive": "none", "neutral": "2 3", "negative": "8 4"}
KEY_HEIGHT = 20  # of the key, in units of the picture
KEY_SPACING = 92


def line(points: Iterable[tuple[float, float]], affect: str) -> str:
    """An SVG line of an affect through (x, y) points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline fill="none" {_stroke(affect)} points="{path}"/>'


def key(left: float) -> str:
    """The names of the affects beside their lines, in the uppermost KEY_HEIGHT of an SVG picture."""
    entries = "".join(
        f'<line x1="{x}" x2="{x + 24}" y1="11" y2="11" {_stroke(affect)}/><text x="{x + 29}" y="15">{affect}</text>'
        for x, affect in ((left + KEY_SPACING * number, affect) for number, affect in enumerate(AFFECTS))
    )
    return f'<g font-size="12" fill="currentColor">{entries}</g>'


def _stroke(affect: str) -> str:
    return f'stroke="{AFFECT_COLOURS[affect]}" stroke-width="2" stroke-dasharray="{DASHES[affect]}"'
