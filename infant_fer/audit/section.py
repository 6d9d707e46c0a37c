"""How does an audit come into a model card? A section between two headings, which a later audit replaces."""

from __future__ import annotations

import re

from infant_fer.audit.report import HEAD
from infant_fer.metrics import Proportion

HEADING, NEXT = "## Audit with rendered infants", "## Data and licence"
OLDER = re.compile(rf"^{HEADING}$.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def with_audit(card: str, audit: dict) -> str:
    """The card's text with the section of an audit (the content of `audit.json`) in the place of an older one.

    A card without one gets it before its data section, or at its end when it has none.
    """
    section, rest = _section(audit), OLDER.sub("", card)
    place = re.search(rf"^{NEXT}$", rest, re.MULTILINE)
    if place:
        return f"{rest[: place.start()]}{section}\n{rest[place.start() :]}"
    return f"{rest.rstrip()}\n\n{section}".lstrip()


def _section(audit: dict) -> str:
    lines = [
        HEADING,
        audit["caution"],
        "",
        f"`python -m infant_fer.audit`, seed {audit['seed']}: {audit['pictures']} pictures of {audit['infants']} infants "
        f"({', '.join(audit['expressions'])}); no face was found in {audit['without_face']['count']}. "
        f"{_most(audit)} Every figure is in `audit.json`.",
        "",
        f"| changed | {' | '.join(HEAD)} |",
        "|---|---|---|---|---|",
    ]
    for factor in audit["factors"]:
        lines.append(f"| **{factor['factor']}**, reference: {factor['reference']} | | | | |")
        lines += [_row(level) for level in factor["levels"]]
    return "\n".join(lines) + "\n"


def _most(audit: dict) -> str:
    words = "; ".join(f"{factor}, {level}" for factor, level in audit["most_flips"])
    return f"The label flips most with {words}." if words else "No label flips."


def _row(level: dict) -> str:
    compared = ["reference", "", ""]
    if not level["is_reference"]:
        mean, (low, high) = level["change"]["mean"], level["change"]["interval"]
        change = "–" if mean is None else f"{mean:+z.2f} ({low:+z.2f} to {high:+z.2f})"
        compared = [_counted(level["flips"]), change, _counted(level["lost"])]
    return f"| {level['level']} | {' | '.join(compared)} | {_counted(level['agreement'])} |"


def _counted(share: dict) -> str:
    return Proportion(share["count"], share["n"]).short
