"""Write an audit as text for the terminal and as a section of a model card."""

from __future__ import annotations

import re

from infant_fer.audit.effects import Audit, LevelEffect

HEAD = ("label flips", "change of its probability", "faces lost", "agrees with the rendering")
WIDTHS = (22, 28, 26, 28, 28)  # characters of the columns of the text
HEADING, NEXT = "## Audit with rendered infants", "## Data and licence"
OLDER = re.compile(rf"^{HEADING}$.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


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
    """Return the card's Markdown with the audit's section in the place of an older one.

    A card without one gets it before its data section, or at its end when it has none.
    """
    section, rest = _section(audit), OLDER.sub("", card)
    place = re.search(rf"^{NEXT}$", rest, re.MULTILINE)
    if place:
        return f"{rest[: place.start()]}{section}\n{rest[place.start() :]}"
    return f"{rest.rstrip()}\n\n{section}".lstrip()


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
