"""What is an assessment? The verdict on one face's answer, its reasons and its statistics, as the page and the files give it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

Verdict = Literal["answer", "caution", "cannot say"]
VERDICTS: tuple[Verdict, ...] = ("answer", "caution", "cannot say")
# The codes of reasons, and of remarks that do not speak against an answer, by weight; a stricter verdict comes first.
CODES = (
    *("not_infant", "few_pixels", "blurred", "dark", "turned", "covered", "unlike_training", "near_tie"),
    *("labels_differ", "unsteady", "tilted", "eyes_closed"),
)

DISTANCE_WORDS = {  # by trust.distance.KINDS
    "mahalanobis++": "Mahalanobis++ distance",
    "relative mahalanobis": "relative Mahalanobis distance",
    "mahalanobis": "Mahalanobis distance",
}


class CalibratedJSON(TypedDict):
    """How often the labels agreed with such an answer: `right` of `n` held-out faces that the checkpoint scored alike."""

    label: str
    value: float
    right: int
    n: int
    interval95: list[float]


class SteadinessJSON(TypedDict):
    """In how many of `n` slightly changed copies of the crop the label stays the same."""

    same: int
    n: int


class ReasonJSON(TypedDict):
    """The JSON of a reason."""

    code: str
    text: str


class AssessmentJSON(TypedDict):
    """The JSON of an assessment."""

    verdict: Verdict
    prediction_set: list[str]
    reasons: list[ReasonJSON]
    tip: str | None
    calibrated: CalibratedJSON | None
    agreement: float | None
    distance: float | None
    distance_kind: str | None
    steadiness: SteadinessJSON | None


@dataclass(frozen=True)
class Reason:
    """Why an answer is withheld or given with caution: `code` for programs, `text` a sentence for people."""

    code: str
    text: str


@dataclass(frozen=True)
class Assessment:
    """Whether one face's answer holds. Statistics are None where the checkpoint has no trust data, or they were not computed.

    verdict: "cannot say" when the picture or the face allows no answer; "caution" when there is a reason for doubt.
    prediction_set: the affects that the face may show, the most probable first, between which the answer does not choose;
    with trust data it holds the label of 95 % of the faces of each class.
    reasons: in order of weight, empty with the verdict "answer". tip: how a better photo would look.
    agreement: the chance that two labels drawn from those of such a face, with replacement, name the same affect, 0..1.
    distance: the share of held-out infants that are nearer to the training faces, 0..1, by `distance_kind`, a key of
    DISTANCE_WORDS.
    """

    verdict: Verdict
    prediction_set: tuple[str, ...]
    reasons: tuple[Reason, ...] = ()
    tip: str | None = None
    calibrated: CalibratedJSON | None = None
    agreement: float | None = None
    distance: float | None = None
    distance_kind: str | None = None
    steadiness: SteadinessJSON | None = None

    @property
    def distance_words(self) -> str:
        """Return the name of the distance for people, in English; empty without one."""
        return DISTANCE_WORDS[self.distance_kind] if self.distance_kind else ""

    @property
    def label(self) -> str | None:
        """Return the affect that the answer names; None where it does not choose between several."""
        return self.prediction_set[0] if len(self.prediction_set) == 1 else None

    def to_dict(self) -> AssessmentJSON:
        """Return plain data for JSON."""
        return {
            "verdict": self.verdict,
            "prediction_set": list(self.prediction_set),
            "reasons": [{"code": reason.code, "text": reason.text} for reason in self.reasons],
            "tip": self.tip,
            "calibrated": self.calibrated,
            "agreement": self.agreement,
            "distance": self.distance,
            "distance_kind": self.distance_kind,
            "steadiness": self.steadiness,
        }
