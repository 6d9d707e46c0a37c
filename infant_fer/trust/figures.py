"""What are the figures of a checkpoint's trust data? The measured values of one split, and their form in trust.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan, nan

from infant_fer.metrics import Proportion
from infant_fer.trust.assessment import VERDICTS, Verdict

OUT_OF_DISTRIBUTION = "out of distribution"


@dataclass(frozen=True)
class Separation:
    """How well one score tells a group of other faces from the held-out infants."""

    auroc: float  # 1: every other face scores above every infant; NaN without one of both
    false_positive_rate: float  # share of the group below the limit that keeps 95 % of the infants, 0..1; NaN likewise


@dataclass(frozen=True)
class GroupFigures:
    """What becomes of a group of faces that are to be declined."""

    answered: Proportion  # plainly; a picture without a face is not answered
    scores: Mapping[str, Separation]  # by the name of the score

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        scores = {
            name: {"AUROC": _defined(each.auroc), "FPR at 95 % TPR": _defined(each.false_positive_rate)}
            for name, each in self.scores.items()
        }
        return {"answered": self.answered.to_dict(), "scores": scores}

    @classmethod
    def from_dict(cls, plain: Mapping) -> GroupFigures:
        """Read what `to_dict` wrote."""
        scores = {
            name: Separation(_number(each["AUROC"]), _number(each["FPR at 95 % TPR"]))
            for name, each in plain["scores"].items()
        }
        return cls(Proportion.from_dict(plain["answered"]), scores)


@dataclass(frozen=True)
class TrustFigures:
    """How far the trust holds on the `n` faces of one split that have a known affect; intervals are those of Proportion.

    coverage, mean_set_size: by "all", by affect, and by column and value of the table, such as "source web".
    """

    n: int
    verdicts: Mapping[Verdict, int]  # faces with each
    answered: Proportion  # plainly
    right_among_answered: Proportion
    errors_not_answered: Proportion  # of the faces whose most probable affect is wrong
    coverage: Mapping[str, Proportion]  # the prediction set holds the label
    mean_set_size: Mapping[str, float]  # affects in a prediction set; without the groups that have no face
    calibration_error: float  # expected, 0..1
    calibration_error_of_chance: float  # the mean of perfectly calibrated probabilities, 0..1
    aurc: float  # area under risk and coverage, 0..1
    risk_at_coverage: Mapping[float, float]  # share of errors among the least doubtful answers, by their share of all
    error_aurocs: Mapping[str, float]  # of doubt, disagreement and distance for errors; NaN without an error
    vote_correlation: (
        float | None
    )  # Spearman's, of doubt and entropy of votes, over all voted faces; None if either is the same for all
    out_of_distribution: Mapping[str, GroupFigures] | None = None  # by group; None where not measured

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        plain = {
            "n": self.n,
            "verdicts": dict(self.verdicts),
            "answered": self.answered.to_dict(),
            "right among the answered": self.right_among_answered.to_dict(),
            "errors that are not answered": self.errors_not_answered.to_dict(),
            "coverage": {name: each.to_dict() for name, each in self.coverage.items()},
            "mean set size": dict(self.mean_set_size),
            "expected calibration error": self.calibration_error,
            "the same if perfectly calibrated": self.calibration_error_of_chance,
            "AURC": self.aurc,
            "risk at coverage": {f"{share:g}": risk for share, risk in self.risk_at_coverage.items()},
            "AUROC for errors": {name: _defined(value) for name, value in self.error_aurocs.items()},
            "rank correlation of doubt and votes": self.vote_correlation,
        }
        if self.out_of_distribution is not None:
            plain[OUT_OF_DISTRIBUTION] = {name: each.to_dict() for name, each in self.out_of_distribution.items()}
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping) -> TrustFigures:
        """Read what `to_dict` wrote. Raises KeyError, TypeError, ValueError or AttributeError where something does not fit."""
        correlation, groups = plain["rank correlation of doubt and votes"], plain.get(OUT_OF_DISTRIBUTION)
        return cls(
            n=int(plain["n"]),
            verdicts={verdict: int(plain["verdicts"][verdict]) for verdict in VERDICTS},
            answered=Proportion.from_dict(plain["answered"]),
            right_among_answered=Proportion.from_dict(plain["right among the answered"]),
            errors_not_answered=Proportion.from_dict(plain["errors that are not answered"]),
            coverage={name: Proportion.from_dict(each) for name, each in plain["coverage"].items()},
            mean_set_size={name: float(size) for name, size in plain["mean set size"].items()},
            calibration_error=float(plain["expected calibration error"]),
            calibration_error_of_chance=float(plain["the same if perfectly calibrated"]),
            aurc=float(plain["AURC"]),
            risk_at_coverage={float(share): float(risk) for share, risk in plain["risk at coverage"].items()},
            error_aurocs={name: _number(value) for name, value in plain["AUROC for errors"].items()},
            vote_correlation=None if correlation is None else float(correlation),
            out_of_distribution=groups and {name: GroupFigures.from_dict(each) for name, each in groups.items()},
        )


def _defined(value: float) -> float | None:
    """Return what JSON can hold: None for NaN."""
    return None if isnan(value) else value


def _number(plain: float | None) -> float:
    """Read what `_defined` returned."""
    return nan if plain is None else float(plain)
