"""How is an audit shown? A table for the shell, a plot, and one page with examples of every change."""

from __future__ import annotations

from collections.abc import Iterator

from infant_fer.audit.factors import Factor
from infant_fer.audit.matched import Picture
from infant_fer.audit.movement import Change, Movement
from infant_fer.audit.reading import rendered
from infant_fer.audit.record import CAUTION, Audit
from infant_fer.evaluation.plots import level_panels
from infant_fer.evaluation.report import Figure, Section, Table, Text, report_page
from infant_fer.images import data_url
from infant_fer.metrics import Proportion

HEAD = ("label flips", "change of its probability", "faces lost", "agrees with the rendering")
EXAMPLE_PX = 160  # as wide as shown


def audit_text(audit: Audit) -> str:
    """A table of every level, a block a factor, and the caution."""
    widths = (22, 28, 26, 28, 28)
    lines = [_what_was_read(audit), "", _line(("", *HEAD), widths)]
    for factor, levels in audit.by_factor():
        lines.append(f"{factor.name} (reference: {factor.reference or factor.plain_words})")
        lines += [_line(("  " + each.level, *cells(each, factor)), widths) for each in levels]
    return "\n".join([*lines, "", CAUTION])


def cells(movement: Movement, factor: Factor) -> tuple[str, ...]:
    """A level's figures in the order of HEAD; a dash where there is no case."""
    change = str(movement.change) if movement.change.infants else "–"
    compared = (_counted(movement.flips), change, _counted(movement.lost))
    if movement.level == factor.reference:
        compared = ("reference", "", "")
    return (*compared, _counted(movement.agreement))


def audit_plot(audit: Audit) -> bytes:
    """PNG: one panel a factor with flips, lost faces and the fall of the probability at every level."""
    return level_panels({factor.name: dict(_markers(factor, levels)) for factor, levels in audit.by_factor()})


def audit_page(audit: Audit, example: Picture) -> str:
    """One self-contained page; every level is shown on the example's infant and expression."""
    known = {"checkpoint": audit.checkpoint, "seed": audit.seed, "infants": audit.infants, "pictures": audit.pictures}
    known |= {"pictures without a face": audit.without_face, "plain pictures read as rendered": audit.plain_agreement}
    sections = [
        Section("In short", [Text(CAUTION, warning=True), Table.of(known)]),
        Section("Every factor", [Figure.of_png(audit_plot(audit), "How far the answers move, with 95 % intervals.")]),
    ]
    for factor, levels in audit.by_factor():
        rows = [(each.level, *cells(each, factor), _turns(each)) for each in levels]
        reference = Text(f"Reference: {factor.reference or factor.plain_words}.")
        shown = Table(rows, ("", *HEAD, "flips from → to"))
        sections.append(Section(factor.name.capitalize(), [reference, *_examples(factor, example), shown]))
    return report_page(f"Audit of {audit.checkpoint} with rendered infants", sections)


def _what_was_read(audit: Audit) -> str:
    words = (
        f"{audit.checkpoint}: {audit.pictures} pictures of {audit.infants} rendered infants "
        f"({', '.join(audit.expressions)}; seed {audit.seed}). No face in {audit.without_face.short}."
    )
    plain, strongest = audit.plain_agreement, audit.strongest()
    words += f" Plain pictures read as rendered: {plain.short}." if plain.n else ""
    flips = "; ".join(f"{each.factor}, {each.level}: {each.flips.short}" for each in strongest)
    return words + (f"\nThe label flips most with {flips}." if flips else "\nNo label flips.")


def _counted(share: Proportion) -> str:
    return share.short


def _line(parts: tuple[str, ...], widths: tuple[int, ...]) -> str:
    return "".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()


def _markers(factor: Factor, levels: list[Movement]) -> Iterator[tuple[str, dict]]:
    for each in levels:
        if each.level != factor.reference:
            low, high = each.change.interval
            fall = Change(-each.change.value, (-high, -low), each.change.infants)
            yield each.level, {"label flips": each.flips, "faces lost": each.lost, "fall of probability": fall}


def _turns(movement: Movement) -> str:
    return ", ".join(f"{turn}: {count}" for turn, count in movement.turns.items())


def _examples(factor: Factor, example: Picture) -> Iterator[Figure]:
    chosen = [Picture(example.infant, example.expression, factor.name, level) for level in factor.levels]
    for each in dict.fromkeys([chosen[0].reference, *chosen]):
        yield Figure(data_url(rendered(each.scene()), quality=90), each.level or "reference", EXAMPLE_PX)
