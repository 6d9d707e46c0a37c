"""Draw an audit as a plot, and as one HTML page with examples of every change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from infant_fer.audit.effects import Audit, Change, FactorEffect
from infant_fer.audit.factors import FACTORS
from infant_fer.audit.matched import Picture
from infant_fer.audit.reading import rendered
from infant_fer.audit.report import HEAD, cells
from infant_fer.evaluation.plots import level_panels
from infant_fer.evaluation.report import Block, Figure, Section, Table, Text, report_page
from infant_fer.images import data_url

EXAMPLE_PX = 160  # width at which an example is shown
JPEG_QUALITY = 90


def audit_plot(audit: Audit) -> bytes:
    """Return a PNG: one panel for each factor with flips, lost faces and the fall of the probability at every level."""
    return level_panels({each.factor: _markers(each) for each in audit.factors})


def audit_page(audit: Audit, example: Picture) -> str:
    """Return one self-contained HTML page; every level is shown on the example's infant and expression."""
    facts = {"checkpoint": audit.checkpoint, "seed": audit.seed, "infants": audit.infants, "pictures": audit.pictures}
    facts |= {"pictures without a face": audit.without_face, "plain pictures read as rendered": audit.plain_agreement}
    plot = Figure.of_png(audit_plot(audit), "Changes of the answers, with 95 % intervals.")
    sections = [
        Section("In short", [Text(audit.caution, warning=True), Table.of(facts)]),
        Section("Every factor", [plot]),
    ]
    for each in audit.factors:
        rows = [(level.level, *cells(level), _turns(level.turns or {})) for level in each.levels]
        blocks: list[Block] = [Text(f"Reference: {each.reference}."), *_examples(each.factor, example)]
        sections.append(Section(each.factor.capitalize(), [*blocks, Table(rows, ("", *HEAD, "flips from → to"))]))
    return report_page(f"Audit of {audit.checkpoint} with rendered infants", sections)


def _markers(effect: FactorEffect) -> dict[str, dict]:
    markers = {}
    for level in effect.compared:
        low, high = level.change.interval
        fall = Change(-level.change.value, (-high, -low), level.change.infants)
        markers[level.level] = {"label flips": level.flips, "faces lost": level.lost, "fall of probability": fall}
    return markers


def _turns(turns: Mapping[str, int]) -> str:
    return ", ".join(f"{turn}: {count}" for turn, count in turns.items())


def _examples(factor: str, example: Picture) -> Iterator[Figure]:
    pictures = [Picture(example.infant, example.expression, factor, level) for level in FACTORS[factor].levels]
    for each in dict.fromkeys([pictures[0].reference, *pictures]):
        source = data_url(rendered(each.scene()), quality=JPEG_QUALITY)
        yield Figure(source, each.level or "reference", EXAMPLE_PX)
