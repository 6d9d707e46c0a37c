"""Should this answer be given, given with caution, or withheld? Join what is known about one face into an Assessment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from infant_fer.trust.assessment import VERDICTS, Assessment
from infant_fer.trust.rules import Finding

if TYPE_CHECKING:  # loads torch
    from infant_fer.classifier import Prediction

COVERAGE = 0.95  # of prediction sets


def assess(prediction: Prediction, found: Sequence[Finding]) -> Assessment:
    """Return the assessment of one face by the findings of trust.rules, in order of weight.

    The verdict is the strictest that a finding demands. Without trust data the prediction set has as many of the most
    probable affects as reach COVERAGE.
    """
    against = [finding for finding in found if finding.verdict != "answer"]
    verdict = max((finding.verdict for finding in against), key=VERDICTS.index, default=VERDICTS[0])
    return Assessment(
        verdict=verdict,
        prediction_set=_most_probable(prediction),
        reasons=tuple(finding.reason for finding in against),
        tip=next((finding.tip for finding in against if finding.tip), None),
    )


def _most_probable(prediction: Prediction) -> tuple[str, ...]:
    chosen: list[str] = []
    total = 0.0
    for name, share in sorted(prediction.probabilities.items(), key=lambda item: -item[1]):
        chosen.append(name)
        total += share
        if total >= COVERAGE:
            break
    return tuple(chosen)
