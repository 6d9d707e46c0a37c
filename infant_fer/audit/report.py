"""Report an audit: a table for the terminal, a section of a model card, a plot, and a page with examples of every change."""

from __future__ import annotations

from collections.abc import Iterator

from infant_fer.audit.effects import Audit, FactorEffect, LevelEffect, MeanChange
from infant_fer.audit.matched import FACTORS, Picture
from infant_fer.evaluation.plots import level_panels
from infant_fer.evaluation.report import Block, Figure, Section, Table, Text, report_page, with_section
from infant_fer.images import data_url

EXAMPLE_PX = 160  # width at which an example is shown
JPEG_QUALITY = 90

HEAD = ("label flips", "change of its probability", "faces lost", "agrees with the rendering")
WIDTHS = (22, 28, 26, 28, 28)  # characters of the columns of the text
HEADING = "## Audit with rendered infants"


def audit_text(audit: Audit) -> str:
    """Return a table of every level, one block for each factor, and the caution."""
    without, plain = audit.without_face.short, audit.plain_agreement
    lines = [
        f"{audit.checkpoint}: {audit.pictures} pictures of {audit.infants} rendered infants "
        f"({', '.join(audit.expressions)}; seed {audit.seed}). No face in {without}."
        + (f" Plain pictures read as rendered: {plain.short}." if plain.n else "")
    ]
    strongest = "; ".join(f"{factor}, {level.level}: {level.flips.short}" for factor, level in audit.strongest())
    lines += [f"The label flips most with {strongest}." if strongest else "No label flips.", "", _line(("", *HEAD))]
    for each in audit.factors:
        lines.append(f"{each.factor} (reference: {each.reference})")
        lines += [_line(("  " + level.level, *cells(level))) for level in each.levels]
    return "\n".join([*lines, "", audit.caution])


def cells(level: LevelEffect) -> tuple[str, ...]:
    """Return a level's figures in the order of HEAD; a dash where there is no case."""
    if level.is_reference:
        return "reference", "", "", level.agreement.short
    return level.flips.short, level.change.short, level.lost.short, level.agreement.short


def with_audit(card: str, audit: Audit) -> str:
    """Return the card's Markdown with the audit's section; see `with_section`."""
    return with_section(card, HEADING, _section(audit))


def _section(audit: Audit) -> str:
    strongest = "; ".join(f"{factor}, {level.level}" for factor, level in audit.strongest())
    lines = [
        HEADING,
        audit.caution,
        "",
        f"`python -m infant_fer.audit`, seed {audit.seed}: {audit.pictures} pictures of {audit.infants} infants "
        f"({', '.join(audit.expressions)}); no face was found in {audit.without_face.right}. "
        + (f"The label flips most with {strongest}." if strongest else "No label flips.")
        + " Every figure is in `audit.json`.",
        "",
        f"| changed | {' | '.join(HEAD)} |",
        "|---|---|---|---|---|",
    ]
    for each in audit.factors:
        lines.append(f"| **{each.factor}**, reference: {each.reference} | | | | |")
        lines += [f"| {level.level} | {' | '.join(cells(level))} |" for level in each.levels]
    return "\n".join(lines) + "\n"


def _line(columns: tuple[str, ...]) -> str:
    return "".join(column.ljust(width) for column, width in zip(columns, WIDTHS, strict=True)).rstrip()


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
        rows = [(level.level, *cells(level), _changes(level)) for level in each.levels]
        blocks: list[Block] = [Text(f"Reference: {each.reference}."), *_examples(each.factor, example)]
        sections.append(Section(each.factor.capitalize(), [*blocks, Table(rows, ("", *HEAD, "flips from → to"))]))
    return report_page(f"Audit of {audit.checkpoint} with rendered infants", sections)


def _markers(effect: FactorEffect) -> dict[str, dict]:
    markers = {}
    for level in effect.compared:
        low, high = level.change.interval
        fall = MeanChange(-level.change.value, (-high, -low), level.change.infants)
        markers[level.level] = {"label flips": level.flips, "faces lost": level.lost, "fall of probability": fall}
    return markers


def _changes(level: LevelEffect) -> str:
    return ", ".join(f"{labels}: {count}" for labels, count in (level.turns or {}).items())


def _examples(factor: str, example: Picture) -> Iterator[Figure]:
    pictures = [Picture(example.infant, example.expression, factor, level) for level in FACTORS[factor].levels]
    for each in dict.fromkeys([pictures[0].reference, *pictures]):
        source = data_url(each.scene().render(), quality=JPEG_QUALITY)
        yield Figure(source, each.level or "reference", EXAMPLE_PX)
