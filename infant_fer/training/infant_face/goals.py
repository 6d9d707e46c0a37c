"""Which figures were wanted of the shipped checkpoints, and which are reached? A section of their cards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infant_fer.evaluation.report import with_section
from infant_fer.metrics import Proportion
from infant_fer.training.infant_face.config import variant_of, variants

HEADING = "## Goals, and what was reached"
NEGATIVE_AND_NEUTRAL = ("negative faces", "neutral faces")  # names of recalls in metrics.json
ALL_AFFECTS = ("positive faces", *NEGATIVE_AND_NEUTRAL)
QUIET_BEFORE, QUIET_GAIN = (
    Proportion(86, 106),
    0.08,
)  # of release 5 (python -m benchmarks.quiet_negatives), and the gain wanted


@dataclass(frozen=True)
class Goal:
    """A limit that one figure must keep, by variant of the recipe; the default's holds for a variant without one."""

    name: str
    figure: tuple[str, ...]  # keys in metrics.json, or "audit", factor and level
    limits: Mapping[str, float]
    at_most: bool = False
    counted: tuple[str, ...] = ()  # recalls that have the cases of a score

    @property
    def is_score(self) -> bool:
        """Tell whether the figure is a number and no proportion."""
        return "heads" in self.figure

    def keeps(self, value: float, limit: float) -> bool:
        """Tell whether a value is on the right side of the limit."""
        return value <= limit if self.at_most else value >= limit


def _accuracy(source: str, small: float, vit: float) -> Goal:
    return Goal(
        f"three affects, {source}", ("test", "accuracy", "this checkpoint", source), {"small": small, "vit": vit}
    )


def _score(name: str, small: float, counted: tuple[str, ...] = ALL_AFFECTS, at_most: bool = False) -> Goal:
    return Goal(name, ("test", "heads", name), {"small": small}, at_most, counted)


def _flips(name: str, factor: str, level: str, small: float) -> Goal:
    return Goal(f"label flips on renders, {name}", ("audit", factor, level), {"small": small}, at_most=True)


SURE, COVERED = "negative answered positive above 0.9", "AUC mouth covered, objects pasted"
GOALS = (
    _accuracy("all", small=0.955, vit=0.945),
    _accuracy("utkface", small=0.965, vit=0.93),
    _accuracy("web", small=0.955, vit=0.93),
    _accuracy("fer2013", small=0.94, vit=0.93),
    _score("balanced accuracy", 0.955),
    Goal("newborns", ("test", "recall", "age group newborn"), {"small": 0.95}),
    _score("AUC negative against neutral", 0.991, NEGATIVE_AND_NEUTRAL),
    _score("negative log-likelihood", 0.150, at_most=True),
    _score("expected calibration error", 0.015, at_most=True),
    Goal("negative called positive above 0.9, dev rows", ("dev", SURE), {"small": 0.0}, at_most=True),
    _score("concordance of valence", 0.94, ()),
    _score("concordance of arousal", 0.86, ()),
    Goal("FER2013 (private test), seven emotions", ("test", "emotions of FER2013"), {"small": 0.72}),
    Goal("FER+ (private test), majority of eight emotions", ("test", "votes of FER+"), {"small": 0.86}),
    Goal("AUC mouth covered, objects pasted, dev rows", ("dev", "heads", COVERED), {"small": 0.97}),
    _flips("dark skin", "skin tone", "dark", 0.06),
    _flips("light from below", "light from", "below", 0.18),
    _flips("head turned by 45°", "head turn", "45° aside", 0.22),
    _flips("pacifier", "occluder", "pacifier", 0.25),
)


@dataclass(frozen=True)
class Outcome:
    """One row of the table; `reached` is None where the figure was not measured."""

    name: str
    wanted: str
    found: str
    reached: bool | None

    @property
    def row(self) -> str:
        """Return the row in Markdown."""
        verdict = {True: "reached", False: "**not reached**", None: "not measured"}[self.reached]
        return f"| {self.name} | {self.wanted} | {self.found} | {verdict} |"


def goals_section(metrics: Mapping[str, Any], audit: Mapping[str, Any] | None = None) -> str:
    """Return the card's section, with its heading, from the content of metrics.json and, where there is one, audit.json."""
    variant, default = variant_of(metrics["run"]["learning"]), variants()[0]
    outcomes = outcomes_of(metrics, audit)
    missed = [each.name for each in outcomes if each.reached is False]
    lines = [
        HEADING,
        "The goals were set before the checkpoint was trained. Figures are of the test rows unless others are named, intervals 95 %; "
        "of a score without one, none was stored.",
    ]
    if variant != default:
        lines.append(
            f'Where "({default})" stands, none was set for this checkpoint; it is compared with the goal of infant-fer-{default}.'
        )
    lines += [
        "",
        f"{sum(each.reached is True for each in outcomes)} of {len(outcomes)} are reached."
        + (f" Not reached: {'; '.join(missed)}." if missed else ""),
        "",
        "| | wanted | this checkpoint | |",
        "|---|---|---|---|",
        *(each.row for each in outcomes),
        "",
        *_quiet_negatives(metrics),
        "How long an answer takes depends on the computer: `docs/results.md` has these goals and times.",
    ]
    return "\n".join(lines) + "\n"


def with_goals(card: str, metrics: Mapping[str, Any], audit: Mapping[str, Any]) -> str:
    """Return a card's Markdown with the section of its goals; see `with_section`."""
    return with_section(card, HEADING, goals_section(metrics, audit))


def outcomes_of(metrics: Mapping[str, Any], audit: Mapping[str, Any] | None = None) -> list[Outcome]:
    """Compare the figures of metrics.json and audit.json with every goal."""
    variant = variant_of(metrics["run"]["learning"])
    factors = (audit or {}).get("factors", [])
    flips = {each["factor"]: {level["level"]: level.get("flips") for level in each["levels"]} for each in factors}
    return [_outcome(goal, variant, {**metrics, "audit": flips}) for goal in GOALS]


def _outcome(goal: Goal, variant: str | None, figures: Mapping[str, Any]) -> Outcome:
    default = variants()[0]
    own = variant if variant in goal.limits else None
    limit = goal.limits[own or default]
    bound = f"{limit:.3f}" if goal.is_score else f"{limit * 100:g} %"
    sign = "" if goal.at_most and not limit else "≤ " if goal.at_most else "≥ "
    wanted = sign + bound + ("" if own else f" ({default})")
    found: Any = figures
    for key in goal.figure:
        found = (found or {}).get(key)
    if found is None:
        return Outcome(goal.name, wanted, "–", None)
    if goal.is_score:
        recalls = figures[goal.figure[0]]["recall"]  # of the classes that have cases
        n = sum(recalls[name]["n"] for name in goal.counted if name in recalls)
        return Outcome(goal.name, wanted, f"{found:.3f}" + (f", n = {n}" if n else ""), goal.keeps(found, limit))
    share = Proportion.from_dict(found)
    return Outcome(goal.name, wanted, share.short, goal.keeps(share.value, limit) if share.n else None)


def _quiet_negatives(metrics: Mapping[str, Any]) -> list[str]:
    """Return a sentence on dev and test together, whose goal is a gain over the checkpoint before."""
    stored = [metrics[split].get("quiet negatives") for split in ("dev", "test") if split in metrics]
    dev_and_test = [Proportion.from_dict(each) for each in stored if each]
    if len(dev_and_test) < 2:
        return []
    right, n = sum(each.right for each in dev_and_test), sum(each.n for each in dev_and_test)
    dev, test = (each.short for each in dev_and_test)
    reached = right / n >= QUIET_BEFORE.value + QUIET_GAIN
    return [
        f"Quiet negatives, dev and test rows together: {right / n * 100:.1f} % ({right} of {n}; dev {dev}; test {test}). Wanted were "
        f"{QUIET_GAIN * 100:.0f} points more than the pair of convolution-transformers before, {QUIET_BEFORE.value * 100:.1f} % "
        f"({QUIET_BEFORE.right} of {QUIET_BEFORE.n}): {'reached' if reached else '**not reached**'}.",
        "",
    ]
