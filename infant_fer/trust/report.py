"""How are trust figures shown? The model card's section, a text for the terminal, and blocks of the evaluation's page."""

from __future__ import annotations

from collections.abc import Mapping

from infant_fer.evaluation.report import Block, Section, Table, Text, with_section
from infant_fer.metrics import Proportion
from infant_fer.trust.conformal import COVERAGE
from infant_fer.trust.store import RISK

HEADING = "## When it answers, and how sure it is"
EXPLAINED = (
    "The app answers plainly, answers with caution, or declines. The limits were chosen on the dev rows for "
    f"{RISK * 100:.0f} % errors among the plain answers; prediction sets are to hold the raters' label in "
    f"{COVERAGE * 100:.0f} % of the faces of each class. The dev figures are of trust data fitted without "
    "the face's infant, in five folds. Pictures in which no face is found are left out."
)
COUNTED = {
    "answered": "faces that get a plain answer",
    "right among the answered": "right among these",
    "errors that are not answered": "wrong readings that get no plain answer",
}
NUMBERS = (
    "expected calibration error",
    "the same if perfectly calibrated",
    "AURC",
    "rank correlation of doubt and votes",
)


def trust_section(figures: Mapping[str, dict]) -> str:
    """Return the card's section, with its heading, of the figures by split (trust.figures)."""
    lines = [HEADING, EXPLAINED, ""]
    for split, found in figures.items():
        rows = rows_of(found)
        lines += [
            f"| {split}, n = {found['n']} | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in rows),
            "",
        ]
        if table := found.get("out of distribution"):
            head, body = separation_rows(table)
            lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
            lines += [f"| {' | '.join(row)} |" for row in body]
            lines += [
                "",
                "AUROC against held-out infants, and how many of the group lie below the limit that keeps 95 % of them.",
                "",
            ]
    return "\n".join(lines)


def with_trust(card: str, figures: Mapping[str, dict]) -> str:
    """Return a card's Markdown with the section of its trust data; see `with_section`."""
    return with_section(card, HEADING, trust_section(figures))


def trust_text(figures: Mapping[str, dict]) -> str:
    """Return the same figures as plain lines."""
    lines = []
    for split, found in figures.items():
        lines.append(f"{split}, n = {found['n']}")
        lines += [f"  {name}: {value}" for name, value in rows_of(found)]
        if table := found.get("out of distribution"):
            head, body = separation_rows(table)
            lines += ["  " + " | ".join(row) for row in (head, *body)]
    return "\n".join(lines)


def trust_sections(figures: Mapping[str, dict]) -> list[Section]:
    """Return sections of the evaluation's page."""
    blocks: list[Block] = [Text(EXPLAINED)]
    for split, found in figures.items():
        blocks.append(Table(rows_of(found), (split, f"n = {found['n']}")))
        if table := found.get("out of distribution"):
            head, body = separation_rows(table)
            blocks.append(Table(body, head))
    return [Section(HEADING.removeprefix("## "), blocks)]


def rows_of(found: Mapping) -> list[tuple[str, str]]:
    """Return (name, value with interval and n) for the figures of one split."""
    rows = [(words, Proportion.from_dict(found[name]).short) for name, words in COUNTED.items()]
    for name, share in found["coverage"].items():
        size = found["mean set size"].get(name)
        if size is not None:
            rows.append(
                (f"label in the prediction set, {name}", f"{Proportion.from_dict(share).short}, mean size {size:.2f}")
            )
    rows += [(name, f"{found[name]:.3f}") for name in NUMBERS if found[name] is not None]
    rows += [(f"AUROC of {name} for errors", f"{value:.3f}") for name, value in found["AUROC for errors"].items()]
    curve = ", ".join(
        f"{risk * 100:.1f} % at {float(share) * 100:.0f} %" for share, risk in found["risk at coverage"].items()
    )
    return [*rows, ("errors among the least doubtful", curve)]


def separation_rows(table: Mapping[str, dict]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table of faces that are to be declined."""
    scores = list(next(iter(table.values()))["scores"])
    rows = []
    for group, found in table.items():
        each = (found["scores"][score] for score in scores)
        cells = [f"{one['AUROC']:.3f} / {one['FPR at 95 % TPR'] * 100:.0f} %" for one in each]
        rows.append([group, *cells, Proportion.from_dict(found["answered"]).short])
    return ["AUROC / false positives", *scores, "plainly answered"], rows
