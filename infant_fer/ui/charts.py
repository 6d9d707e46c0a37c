"""How are the three probabilities drawn as lines? As SVG, in colours and dashes, distinct without the colours too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from markupsafe import Markup, escape

from infant_fer.labels import AFFECT_COLOURS, AFFECTS
from infant_fer.locales import Translate, translator
from infant_fer.ui.sessions import LiveReading

DASHES = {"positive": "none", "neutral": "2 3", "negative": "8 4"}
KEY_HEIGHT = 20  # of the key, in units of the picture
KEY_SPACING = 92
LIVE_WIDTH, LIVE_HEIGHT = 300, 80


def line(points: Iterable[tuple[float, float]], affect: str) -> str:
    """Return an SVG line of an affect through (x, y) points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline fill="none" {_stroke(affect)} points="{path}"/>'


def key(left: float, _: Translate) -> str:
    """Return the names of the affects beside their lines, in the uppermost KEY_HEIGHT of an SVG picture."""
    entries = "".join(
        f'<line x1="{x}" x2="{x + 24}" y1="11" y2="11" {_stroke(affect)}/><text x="{x + 29}" y="15">{_(affect)}</text>'
        for x, affect in ((left + KEY_SPACING * number, affect) for number, affect in enumerate(AFFECTS))
    )
    return f'<g font-size="12" fill="currentColor">{entries}</g>'


def live_chart(readings: Sequence[LiveReading], now: float, seconds: float, _: Translate = translator()) -> Markup:
    """Return three lines as SVG: time from left (`seconds` ago) to right (now), probability from bottom to top.

    They have a gap where frames have no face.
    """
    bottom = KEY_HEIGHT + LIVE_HEIGHT

    def point(reading: LiveReading, affect: str) -> tuple[float, float]:
        age = (now - reading.at) / seconds
        return LIVE_WIDTH * (1 - age), bottom - LIVE_HEIGHT * reading.probabilities[affect]

    runs = [list(run) for seen, run in groupby(readings, lambda reading: bool(reading.probabilities)) if seen]
    lines = "".join(line([point(reading, affect) for reading in run], affect) for affect in AFFECTS for run in runs)
    label = escape(_("Probabilities of the three classes over time"))
    return Markup(
        f'<svg viewBox="0 0 {LIVE_WIDTH} {bottom + 2}" width="100%" role="img" aria-label="{label}">{key(0, _)}<rect x="0" '
        f'y="{KEY_HEIGHT}" width="{LIVE_WIDTH}" height="{LIVE_HEIGHT}" fill="none" stroke="currentColor" opacity=".35"/>{lines}</svg>'
    )


def _stroke(affect: str) -> str:
    return f'stroke="{AFFECT_COLOURS[affect]}" stroke-width="2" stroke-dasharray="{DASHES[affect]}"'
