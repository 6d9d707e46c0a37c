"""Should this answer be given, given with caution, or withheld? Join what is known about one face into an Assessment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from infant_fer.locales import Message
from infant_fer.trust.assessment import VERDICTS, Assessment, Reason, SteadinessJSON
from infant_fer.trust.rules import NOT_INFANT, NOT_INFANT_TIP, PERHAPS_NOT_INFANT, Finding, weight

if TYPE_CHECKING:  # loads torch
    from infant_fer.classifier import Prediction
    from infant_fer.trust.store import TrustData

CLEAR_PROBABILITY = 0.65  # below it the answer does not choose between the two most probable affects
STEADY_SHARE = 0.8  # of the changed pictures with the same label; below it caution
SURELY_NONE = 0.5  # probability of an infant's face, by a probe, below which no answer is given
UNDECIDED = Reason("near_tie", "More than one expression is possible; the model cannot tell which.")
LABELS_AGREE = 0.75  # expected agreement of two labels of a face; below it caution


def assess(
    prediction: Prediction,
    found: Sequence[Finding],
    trust: TrustData | None = None,
    steadiness: SteadinessJSON | None = None,
) -> Assessment:
    """Return the assessment of one face by the findings of trust.rules and the checkpoint's trust data.

    The verdict is the strictest that a finding demands. The prediction set is the most probable affect alone if it reaches
    CLEAR_PROBABILITY, else the two most probable ones; with trust data the affects of their set belong to it, too.
    """
    against = [finding for finding in found if finding.verdict != "answer"]
    assessment = Assessment("answer", _most_probable(prediction))
    if trust is not None:
        assessment = _with_statistics(assessment, prediction, trust)
        against += _from_statistics(prediction, trust, assessment)
    if len(assessment.prediction_set) > 1:
        against.append(Finding(UNDECIDED, "caution"))
    if steadiness is not None and steadiness["same"] < STEADY_SHARE * steadiness["n"]:
        text = Message("Small changes of the picture change the answer: it is the same in {same} of {n}.", **steadiness)
        against.append(Finding(Reason("unsteady", text), "caution"))
    codes: dict[str, Finding] = {}
    for finding in sorted(against, key=weight):
        codes.setdefault(finding.reason.code, finding)
    reasons = tuple(codes.values())
    return replace(
        assessment,
        verdict=max((finding.verdict for finding in reasons), key=VERDICTS.index, default=VERDICTS[0]),
        reasons=tuple(finding.reason for finding in reasons),
        tip=next((finding.tip for finding in reasons if finding.tip), None),
        steadiness=steadiness,
    )


def _with_statistics(assessment: Assessment, prediction: Prediction, trust: TrustData) -> Assessment:
    """Return the assessment with the statistics that trust data give, rounded as they are shown."""
    distance = kind = None
    if trust.distance is not None and prediction.features is not None:
        distance = round(trust.distance_rank(float(trust.distance.of(prediction.features[None])[0])), 3)
        kind = trust.distance.kind
    return replace(
        assessment,
        prediction_set=_joined(prediction, trust.sets.of(prediction.probabilities)),
        calibrated=trust.reliability.of(prediction.label, prediction.probabilities[prediction.label]),
        agreement=round(float(trust.expected_agreement(prediction.doubt)), 3),
        distance=distance,
        distance_kind=kind,
    )


def _from_statistics(prediction: Prediction, trust: TrustData, found: Assessment) -> Iterator[Finding]:
    limits, features = trust.limits, prediction.features
    infant = prediction.usable
    if infant is None and trust.probe is not None and features is not None:
        infant = float(trust.probe.of(features[None])[0])
        if infant < min(limits.infant or 0, SURELY_NONE):
            yield Finding(NOT_INFANT, "cannot say", NOT_INFANT_TIP)
    if infant is not None and infant < (limits.infant or 0):
        yield Finding(PERHAPS_NOT_INFANT, "caution", NOT_INFANT_TIP)
    far = False
    if trust.distance is not None and limits.distance is not None and features is not None:
        far = float(trust.distance.of(features[None])[0]) > limits.distance
    if far:
        yield Finding(Reason("unlike_training", "The face is unlike those that the model learnt from."), "caution")
    elif limits.disagreement is not None and (prediction.disagreement or 0) > limits.disagreement:
        yield Finding(
            Reason("unlike_training", "The model's networks disagree: it has seen few faces like this one."), "caution"
        )
    if len(found.prediction_set) == 1 and prediction.doubt > limits.doubt:
        yield Finding(Reason("near_tie", "The model is not sure of this answer."), "caution")
    if found.agreement is not None and found.agreement < LABELS_AGREE:
        yield Finding(Reason("labels_differ", "Labels of faces like this one often differ."), "caution")


def _joined(prediction: Prediction, conformal: tuple[str, ...]) -> tuple[str, ...]:
    """Return a conformal set with the two most probable affects where none is clear; a larger set covers no less.

    The threshold of a class that scores high when it is true would else keep an equally probable one out of the set.
    """
    return tuple(name for name in prediction.ranked if name in conformal or name in _most_probable(prediction))


def _most_probable(prediction: Prediction) -> tuple[str, ...]:
    clear = max(prediction.probabilities.values()) >= CLEAR_PROBABILITY
    return tuple(prediction.ranked[: 1 if clear else 2])
