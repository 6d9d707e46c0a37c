"""From a photo to a report: composes detection, alignment, classification and explanation; owns no pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from infant_fer.alignment import AlignedFace, CropSpec, align_face
from infant_fer.checkpoints.sources import face_bundle
from infant_fer.classifier import AffectClassifier, Prediction
from infant_fer.explain import METHODS, Method, Score
from infant_fer.face import Face
from infant_fer.face_detection import MAX_FACES, FaceDetector
from infant_fer.face_search import SearchBudget
from infant_fer.images import Photo, load_photo
from infant_fer.regions import density_ratio_per_part, part_map, share_per_part
from infant_fer.report import Explanation, FaceReport, Report
from infant_fer.trust.gate import assess
from infant_fer.trust.rules import findings, photo_notes
from infant_fer.trust.steadiness import steadiness, views
from infant_fer.trust.store import TrustData


@dataclass(frozen=True)
class ExplanationSettings:
    """Settings of one explanation."""

    method: str | Method = "smoothgrad"  # a key of explain.METHODS, or a method with its own options
    target: str | None = None  # affect; None is the predicted one
    versus: str | None = None  # affect; explains why the target rather than this
    samples: int = 50  # the original work's n; the map hardly changes beyond it
    noise: float = 0.15  # of the input's range; Smilkov et al. 2017 find 0.1 to 0.2 best
    seed: int = 0


class Detector(Protocol):
    """Find faces in a photo; `FaceDetector` is the project's own."""

    def find(self, photo_rgb: np.ndarray, thorough: bool = True, budget: SearchBudget | None = None) -> list[Face]:
        """Find faces in an (H, W, 3) uint8 photo, the one most likely meant first; `thorough` may take two seconds."""

    def find_others(self, photo_rgb: np.ndarray, known: list[Face], budget: SearchBudget | None = None) -> list[Face]:
        """Find faces beside the `known` ones."""


class Classifier(Protocol):
    """Classify aligned faces; `AffectClassifier` is the project's own."""

    name: str
    card: str
    crop: CropSpec
    trust: TrustData | None

    def predict(self, aligned: AlignedFace, face: Face | None = None) -> Prediction:
        """Classify one aligned face."""

    def predict_batch(self, aligned: Sequence[AlignedFace], faces: Sequence[Face]) -> list[Prediction]:
        """Classify many aligned faces; an empty sequence gives an empty list."""

    def view_labels(self, crops: np.ndarray, face: Face | None = None) -> np.ndarray:
        """Return the (N,) str affect of each of N changed crops of one face, (N, S, S, 3) uint8."""

    def pixel_values(self, aligned: AlignedFace) -> torch.Tensor:
        """Return (1, 3, S, S) float32: the crop as the model takes it."""

    def score_of(self, affect: str, aligned: AlignedFace, face: Face | None = None, versus: str | None = None) -> Score:
        """Return the differentiable score of one affect that is explained, or of its distance from another one."""


class Analyzer:
    """Read the expression of every face in a photo. Thread-safe if its parts are, and usable in a forked process.

    >>> report = Analyzer.from_pretrained().analyze("photo.jpg")
    >>> [face.sentence for face in report.faces]
    """

    def __init__(self, face_detector: Detector, classifier: Classifier):
        self.face_detector = face_detector
        self.classifier = classifier
        self._pid = os.getpid()

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | Path | None = None,
        revision: str | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> Analyzer:
        """Load a checkpoint (folder or Hub id; default: infant-fer-small) and the face detector.

        Raises CheckpointError or FaceModelError with what to do next.
        """
        return cls(
            FaceDetector(face_bundle()), AffectClassifier.from_pretrained(checkpoint, revision, device, precision)
        )

    def analyze(
        self,
        photo: str | Path | bytes | np.ndarray | Photo,
        thorough: bool = True,
        budget: SearchBudget | None = None,
    ) -> Report:
        """Find and read every face of one photo; a photo without a face gives a report without faces.

        `thorough` also searches for lying, small and noisy faces when the plain detection finds none, or no infant's.
        `budget` limits that search, and a note says when it stopped early; without one the report does not depend on the
        computer's speed. Raises ImageError.
        """
        self._adapt_to_fork()
        decoded = load_photo(photo)
        faces = self.face_detector.find(decoded.rgb, thorough, budget)
        read = [self._read(decoded, face) for face in faces]
        if thorough and read and not any(face.prediction.infant for face in read):
            others = self.face_detector.find_others(decoded.rgb, faces, budget)
            read += [face for face in (self._read(decoded, other) for other in others) if face.prediction.infant]
        read = sorted(read, key=lambda face: not face.prediction.infant)[:MAX_FACES]
        reports = tuple(replace(face, number=number) for number, face in enumerate(read, 1))
        notes = photo_notes(len(reports), budget is not None and budget.exhausted)
        sha256 = getattr(self.classifier, "weights_sha256", "")
        return Report(decoded, reports, notes, self.classifier.name, sha256)

    def check_steadiness(self, report: Report, face: int = 1) -> Report:
        """Return the report with one face's assessment that also says how steady the answer is under small changes."""
        self._adapt_to_fork()
        chosen = report.face(face)
        labels = self.classifier.view_labels(views(report.photo.rgb, chosen.aligned), chosen.face)
        found = findings(chosen.face, chosen.aligned, chosen.prediction)
        counted = steadiness(labels, chosen.prediction.label)
        return report.with_assessment(face, assess(chosen.prediction, found, self.classifier.trust, counted))

    def explain(self, report: Report, face: int = 1, settings: ExplanationSettings = ExplanationSettings()) -> Report:
        """Return the report with a complete explanation of one face."""
        *_, last = self.explain_steps(report, face, settings)
        return last

    def explain_steps(
        self, report: Report, face: int = 1, settings: ExplanationSettings = ExplanationSettings()
    ) -> Iterator[Report]:
        """Yield the report with a map of more and more samples; close the iterator to stop the work."""
        self._adapt_to_fork()
        score, pixel_values, method, parts = self.map_inputs(report.face(face), settings)
        for saliency in method.maps(score, pixel_values):
            shares, ratios = share_per_part(saliency.values, parts), density_ratio_per_part(saliency.values, parts)
            yield report.with_explanation(face, Explanation(saliency, shares, ratios))

    def explain_with_steadiness(
        self, report: Report, face: int = 1, settings: ExplanationSettings = ExplanationSettings()
    ) -> Iterator[Report]:
        """Yield the reports of `explain_steps`; the last one also says how steady the answer is, which its verdict counts."""
        for step in self.explain_steps(report, face, settings):
            explained = step.face(face)
            complete = explained.explanation is not None and explained.explanation.complete
            if complete and explained.assessment.steadiness is None:
                step = self.check_steadiness(step, face)
            yield step

    def map_inputs(
        self, face: FaceReport, settings: ExplanationSettings
    ) -> tuple[Score, torch.Tensor, Method, np.ndarray]:
        """Return what a map of a face is computed from: score, (1, 3, S, S) crop, method, and the crop's (S, S) part map."""
        target = settings.target or face.prediction.label
        score = self.classifier.score_of(target, face.aligned, face.face, settings.versus)
        parts = part_map(face.aligned.to_crop(face.face.landmarks_px), face.aligned.crop_rgb.shape[0])
        method = settings.method
        if not isinstance(method, Method):
            method = METHODS[method].from_options(
                samples=settings.samples, noise=settings.noise, seed=settings.seed, parts=parts
            )
        return score, self.classifier.pixel_values(face.aligned), method, parts

    def _adapt_to_fork(self) -> None:
        """Compute with one thread in a forked process: OpenMP's others stayed in the parent, and torch would wait for them."""
        if self._pid != os.getpid():
            torch.set_num_threads(1)
            self._pid = os.getpid()

    def read_aligned(self, faces: Sequence[Face], aligned: Sequence[AlignedFace]) -> list[FaceReport]:
        """Read faces that are found and aligned already (alignment.align_face) in one forward pass; each has the number 1."""
        self._adapt_to_fork()
        predictions = self.classifier.predict_batch(aligned, faces)
        return [self._report(*each) for each in zip(faces, aligned, predictions, strict=True)]

    def _read(self, photo: Photo, face: Face) -> FaceReport:
        aligned = align_face(photo.rgb, face, self.classifier.crop)
        return self._report(face, aligned, self.classifier.predict(aligned, face))

    def _report(self, face: Face, aligned: AlignedFace, prediction: Prediction) -> FaceReport:
        found = findings(face, aligned, prediction)
        assessment = assess(prediction, found, self.classifier.trust)
        remarks = (finding.reason.text for finding in found if finding.verdict == "answer")
        notes = (*(reason.text for reason in assessment.reasons), *remarks)
        return FaceReport(1, face, aligned, prediction, notes, assessment)
