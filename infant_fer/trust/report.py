"""How are trust figures shown? The model card's section, a text for the terminal, and blocks of the evaluation's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan

from infant_fer.evaluation import plots
from infant_fer.evaluation.report import Block, Figure, Section, Table, Text, with_section
from infant_fer.metrics import Proportion
from infant_fer.trust.calibration import Reliability
from infant_fer.trust.conformal import COVERAGE
from infant_fer.trust.figures import GroupFigures, TrustFigures
from infant_fer.trust.store import RISK, TrustData

HEADING = "## When it answers, and how sure it is"
LIMITS = (
    "The app answers plainly, answers with caution, or declines. The limits were chosen on the dev rows for "
    f"{RISK * 100:.0f} % errors among the plain answers; prediction sets are to hold the label in "
    f"{COVERAGE * 100:.0f} % of the faces of each class."
)
CROSS_FITTED = "The dev figures are of trust data fitted without the face's infant, in five folds."
IN_SAMPLE = (
    "The limits may have been chosen on these very rows, and their figures then flatter; the checkpoint's card has dev figures "
    "of trust data fitted without the face's infant."
)
LEFT_OUT = (
    "Infants in whose picture no face is found are left out. The head's turn, closed eyes and the "
    "steadiness of an answer are not part of these figures: with them the app answers plainly less often."
)
CURVE = "Errors among the least doubtful answers (risk and coverage)"
SEPARATION = (
    "AUROC against held-out infants, and how many of the group lie below the limit that keeps 95 % of the infants. Of unusable "
    "rows and of faces of other ages only pictures with a face that is found count. Of a further group, a picture without one "
    "is scored whole, and counts as not answered, since the app finds nothing to read."
)
RELIABILITY = (
    "What became of the held-out faces by answer and probability; the page says it in words. Intervals are Wilson's over the "
    "faces. The bins are the steps of an isotonic "
    "regression on the same faces, so the highest one flatters: read the lower end of its interval."
)
AURC = "AURC"


def trust_section(trust: TrustData) -> str:
    """Return the card's section, with its heading, of trust data and their figures by split."""
    lines = [HEADING, _explained(CROSS_FITTED), ""]
    for split, found in trust.figures.items():
        lines += [*_markdown((f"{split}, n = {found.n}", ""), rows_of(found)), ""]
        lines += [
            *_markdown(*curve_rows(found)),
            "",
            f"{CURVE}, {split}; {AURC} is the area under the whole curve.",
            "",
        ]
        if table := found.out_of_distribution:
            lines += [*_markdown(*separation_rows(table)), "", SEPARATION, ""]
    lines += [*_markdown(*reliability_rows(trust.reliability)), "", RELIABILITY, ""]
    return "\n".join(lines)


def with_trust(card: str, trust: TrustData) -> str:
    """Return a card's Markdown with the section of its trust data; see `with_section`."""
    return with_section(card, HEADING, trust_section(trust))


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def trust_text(figures: Mapping[str, TrustFigures]) -> str:
    """Return the same figures as plain lines."""
    lines = []
    for split, found in figures.items():
        lines.append(f"{split}, n = {found.n}")
        lines += [f"  {name}: {value}" for name, value in rows_of(found)]
        if table := found.out_of_distribution:
            head, body = separation_rows(table)
            lines += ["  " + " | ".join(row) for row in (head, *body)]
    return "\n".join(lines)


def trust_sections(figures: Mapping[str, TrustFigures], of_dev: str = CROSS_FITTED) -> list[Section]:
    """Return sections of a page; `of_dev` is what is said of the dev rows, CROSS_FITTED, IN_SAMPLE or nothing."""
    blocks: list[Block] = [Text(_explained(of_dev))]
    for split, found in figures.items():
        blocks.append(Table(rows_of(found), (split, f"n = {found.n}")))
        blocks.append(
            Figure.of_png(plots.risk_coverage(list(found.risk_at_coverage.items()), found.aurc), f"{CURVE}, {split}.")
        )
        if table := found.out_of_distribution:
            head, body = separation_rows(table)
            blocks.append(Table(body, head))
    return [Section(HEADING.removeprefix("## "), blocks)]


def _explained(of_dev: str) -> str:
    return " ".join(filter(None, (LIMITS, of_dev, LEFT_OUT)))


def rows_of(found: TrustFigures) -> list[tuple[str, str]]:
    """Return (name, value with interval and n) for the figures of one split."""
    rows = [
        ("faces that get a plain answer", found.answered.short),
        ("right among these", found.right_among_answered.short),
        ("wrong readings that get no plain answer", found.errors_not_answered.short),
    ]
    for name, share in found.coverage.items():
        if size := found.mean_set_size.get(name):
            rows.append((f"label in the prediction set, {name}", f"{share.short}, mean size {size:.2f}"))
    numbers = {
        "expected calibration error": found.calibration_error,
        "the same if perfectly calibrated": found.calibration_error_of_chance,
        AURC: found.aurc,
        "rank correlation of doubt and votes": found.vote_correlation,
    }
    rows += [(name, f"{value:.3f}") for name, value in numbers.items() if value is not None]
    rows += [(f"AUROC of {name} for errors", _score(value)) for name, value in found.error_aurocs.items()]
    return rows


def curve_rows(found: TrustFigures) -> tuple[list[str], list[list[str]]]:
    """Return head and the one row of the errors among the least doubtful answers."""
    curve = found.risk_at_coverage
    return ["answered", *(f"{share * 100:.0f} %" for share in curve)], [
        ["wrong of these", *(f"{risk * 100:.1f} %" for risk in curve.values())]
    ]


def reliability_rows(reliability: Reliability) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of how often held-out answers were right, by label and probability."""
    rows = []
    for label, bins in reliability.bins.items():
        ends = [*(each.low for each in bins[1:]), 1.0]
        for each, end in zip(bins, ends, strict=True):
            share = Proportion(each.right, each.n)
            rows.append([label, f"{each.low:.2f} to {end:.2f}", f"{each.right} of {each.n}", share.short])
    return ["answer", "probability", "right", "share"], rows


def separation_rows(table: Mapping[str, GroupFigures]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table of faces that are to be declined."""
    scores = list(next(iter(table.values())).scores)
    rows = []
    for group, found in table.items():
        each = (found.scores[score] for score in scores)
        cells = [f"{_score(one.auroc)} / {_score(one.false_positive_rate * 100, 0)} %" for one in each]
        rows.append([group, *cells, found.answered.short])
    return ["AUROC / false positives", *scores, "plainly answered"], rows


def _score(value: float, digits: int = 3) -> str:
    """Return a number for a table; a dash for NaN."""
    return "–" if isnan(value) else f"{value:.{digits}f}"
