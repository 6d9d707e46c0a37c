"""How well does the trust hold on labelled faces? Coverage, risk, calibration and separation, each with n and interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cv2
import numpy as np

from infant_fer import metrics
from infant_fer.alignment import AlignedFace
from infant_fer.classifier import Prediction
from infant_fer.data.labeled_images import AlignedDataset
from infant_fer.face import Face, HeadPose
from infant_fer.labels import AFFECTS
from infant_fer.metrics import Proportion
from infant_fer.trust.assessment import VERDICTS, Assessment
from infant_fer.trust.distance import KINDS, Distance
from infant_fer.trust.figures import GroupFigures, Separation, TrustFigures
from infant_fer.trust.gate import assess
from infant_fer.trust.outputs import FaceOutputs
from infant_fer.trust.rules import findings
from infant_fer.trust.store import TrustData, TrustRows, known

FOLDS = 5
COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0)
OPEN_EYES = {"eyeBlinkLeft": 0.0, "eyeBlinkRight": 0.0}
CHANGED = ("blurred copies", "dark copies")
BLUR, DARK = 0.05, 0.1  # of changed copies: deviation as a share of the crop's side, and factor of the light


@dataclass(frozen=True, eq=False)
class MeasuredFaces:
    """Faces of one kind with a checkpoint's outputs for them."""

    dataset: AlignedDataset
    outputs: FaceOutputs

    def rows(self, chosen: np.ndarray) -> MeasuredFaces:
        """Return some of the faces, by mask or indices."""
        return MeasuredFaces(self.dataset.rows(chosen), self.outputs.rows(chosen))


def assessments(trust: TrustData, faces: MeasuredFaces) -> list[Assessment]:
    """Assess every face as the app does, except for the head's turn and closed eyes, which the face cache does not keep."""
    found = []
    for row in range(len(faces.outputs)):
        prediction = _prediction(faces.outputs, row)
        landmarks = faces.dataset.landmarks_px[row]
        if not faces.dataset.found[row]:
            landmarks = np.array([[0, 0], faces.dataset.crops.shape[1:3]], np.float32)
        face = Face(landmarks, OPEN_EYES, HeadPose(0, 0, 0))
        aligned = AlignedFace(faces.dataset.crops[row], np.eye(2, 3))
        found.append(assess(prediction, findings(face, aligned, prediction), trust))
    return found


def cross_fitted(trust: TrustData, rows: TrustRows, dev: MeasuredFaces) -> list[Assessment]:
    """Assess each held-out face by trust data fitted without its infant, in FOLDS folds; `dev` are the faces of rows.dev."""
    infants, number = np.unique(dev.outputs.subject, return_inverse=True)
    folds = min(FOLDS, len(infants))
    fold = np.random.default_rng(0).permutation(len(infants))[number] % folds
    found: list[Assessment | None] = [None] * len(dev.outputs)
    for each in range(folds):
        without = TrustData.fit(trust.fingerprint, _without(rows, fold != each))
        held_out = np.flatnonzero(fold == each)
        for row, assessment in zip(held_out, assessments(without, dev.rows(held_out)), strict=True):
            found[row] = assessment
    return [each for each in found if each is not None]


def trust_figures(found: Sequence[Assessment], outputs: FaceOutputs) -> TrustFigures:
    """Return every figure of N assessed faces but those of other faces; see `separation`."""
    rated = outputs.truth >= 0
    labelled, found = outputs.rows(rated), [each for each, taken in zip(found, rated, strict=True) if taken]
    truth, right, subject = labelled.truth, labelled.right, labelled.subject
    given = np.array([each.verdict == "answer" for each in found])
    sets = np.array([[affect in each.prediction_set for affect in AFFECTS] for each in found])
    inside, sizes = sets[np.arange(len(truth)), truth], sets.sum(1)
    _, risk = metrics.risk_coverage(labelled.doubt, right)
    groups = {"all": np.ones(len(truth), bool)}
    groups |= {affect: truth == index for index, affect in enumerate(AFFECTS)}
    for name, column in labelled.subgroups.items():
        groups |= {f"{name} {value}": column == value for value in np.unique(column).tolist() if value}
    return TrustFigures(
        n=len(truth),
        verdicts={verdict: sum(each.verdict == verdict for each in found) for verdict in VERDICTS},
        answered=Proportion.of(given, subject),
        right_among_answered=Proportion.of(right[given], subject[given]),
        errors_not_answered=Proportion.of(~given[~right], subject[~right]),
        coverage={name: Proportion.of(inside[rows], subject[rows]) for name, rows in groups.items()},
        mean_set_size={name: float(sizes[rows].mean()) for name, rows in groups.items() if rows.any()},
        calibration_error=metrics.calibration_error(labelled.probabilities, truth),
        calibration_error_of_chance=metrics.calibration_error_of_chance(labelled.probabilities),
        aurc=metrics.area_under_risk_coverage(labelled.doubt, right),
        risk_at_coverage={share: float(risk[int(np.ceil(share * len(risk))) - 1]) for share in COVERAGES},
        error_aurocs=_error_aurocs(labelled, found),
        vote_correlation=_vote_correlation(outputs),
    )


def separation(trust: TrustData, rows: TrustRows, groups: Mapping[str, MeasuredFaces]) -> dict[str, GroupFigures]:
    """Return for each group of other faces how well every score tells it from held-out infants, and how many are answered."""
    train, infants = rows.train.labelled, rows.dev.labelled
    scores: dict[str, Callable[[FaceOutputs], np.ndarray]] = {
        "maximum probability": lambda outputs: 1 - outputs.probabilities.max(1)
    }
    if trust.distance is not None and train.features is not None:
        kinds = {kind: Distance.fit(kind, train.features, train.truth) for kind in KINDS}
        scores |= {name: partial(_distances, kind) for name, kind in kinds.items()}
    if infants.usable is not None:
        scores["usable head"] = lambda outputs: 1 - known(outputs.usable)
    if trust.probe is not None:
        probe = trust.probe
        scores["probe"] = lambda outputs: 1 - probe.of(known(outputs.features))
    table = {}
    for name, group in groups.items():
        other = np.arange(len(infants) + len(group.outputs)) >= len(infants)
        found = {}
        for score, of in scores.items():
            values = np.concatenate([of(infants), of(group.outputs)])
            missed = metrics.false_positive_rate(-values, ~other)
            found[score] = Separation(metrics.auc(values, other), missed)
        given = np.array([each.verdict == "answer" for each in assessments(trust, group)])
        given &= group.dataset.found  # the app says that there is no face
        table[name] = GroupFigures(Proportion.of(given, group.outputs.subject), found)
    return table


def changed_crops(dataset: AlignedDataset) -> dict[str, np.ndarray]:
    """Return (N, S, S, 3) blurred and dark copies of the crops, by name."""
    side = dataset.crops.shape[1]
    blurred = np.stack([cv2.GaussianBlur(crop, (0, 0), BLUR * side) for crop in dataset.crops])
    return dict(zip(CHANGED, (blurred, (dataset.crops * DARK).round().astype(np.uint8)), strict=True))


def _distances(kind: Distance, outputs: FaceOutputs) -> np.ndarray:
    return kind.of(known(outputs.features))


def _prediction(outputs: FaceOutputs, row: int) -> Prediction:
    probabilities = dict(zip(AFFECTS, outputs.probabilities[row].tolist(), strict=True))
    heads = {name: getattr(outputs, name) for name in ("usable", "mouth_covered", "disagreement")}
    optional: dict[str, Any] = {name: float(values[row]) for name, values in heads.items() if values is not None}
    return Prediction(
        max(probabilities, key=probabilities.__getitem__),
        probabilities,
        features=None if outputs.features is None else outputs.features[row],
        **optional,
    )


def _without(rows: TrustRows, kept: np.ndarray) -> TrustRows:
    return replace(rows, dev=rows.dev.rows(kept))


def _error_aurocs(labelled: FaceOutputs, found: Sequence[Assessment]) -> dict[str, float]:
    scores = {"doubt": labelled.doubt}
    if labelled.disagreement is not None:
        scores["disagreement of the members"] = labelled.disagreement
    if all(each.distance is not None for each in found):
        scores["distance"] = np.array([each.distance for each in found])
    return {name: metrics.auc(values, ~labelled.right) for name, values in scores.items()}


def _vote_correlation(outputs: FaceOutputs) -> float | None:
    """Return Spearman's correlation of the doubt with the entropy of the raters' votes; None where either is the same for all."""
    from scipy.stats import spearmanr

    voted = outputs.rows(outputs.votes.sum(1) > 0)
    entropy = metrics.entropy(voted.votes)
    varied = len(voted) and np.ptp(entropy) > 0 and np.ptp(voted.doubt) > 0
    return float(spearmanr(voted.doubt, entropy).statistic) if varied else None
