"""The way from a photo to a report: composes finding, aligning, classifying and explaining; owns no pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from infant_fer.alignment import align_face
from infant_fer.checkpoints.face_bundle import face_bundle
from infant_fer.classifier import AffectClassifier
from infant_fer.explain import METHODS
from infant_fer.face import Face
from infant_fer.face_detection import MAX_FACES, FaceDetector
from infant_fer.images import Photo, load_photo
from infant_fer.regions import density_ratio_per_part, part_map, share_per_part
from infant_fer.report import Explanation, FaceReport, Report
from infant_fer.trust.notes import face_notes, photo_notes


@dataclass(frozen=True)
class ExplanationSettings:
    """How to explain one answer."""

    method: str = "smoothgrad"  # a key of explain.METHODS
    target: str | None = None  # affect; None is the predicted one
    samples: int = 50  # the original work's n; the map hardly changes beyond it
    noise: float = 0.15  # of the input's range; Smilkov et al. 2017 find 0.1 to 0.2 best
    seed: int = 0


class Analyzer:
    """Read the expression of every face in a photo.

    >>> report = Analyzer.from_pretrained().analyze("photo.jpg")
    >>> report.faces[0].sentence
    """

    def __init__(self, face_detector: FaceDetector, classifier: AffectClassifier):
        self.face_detector = face_detector
        self.classifier = classifier

    @classmethod
    def from_pretrained(
        cls, checkpoint: str | Path | None = None, revision: str | None = None, device: str = "auto"
    ) -> Analyzer:
        """Load a checkpoint (folder or Hub id; default: the embedded one) and the face finder.

        Raises CheckpointError or FaceModelError with what to do next.
        """
        return cls(
            FaceDetector(face_bundle()), AffectClassifier.from_pretrained(checkpoint, revision=revision, device=device)
        )

    def analyze(self, photo: str | Path | bytes | np.ndarray | Photo, thorough: bool = True) -> Report:
        """Find and read every face of one photo; a photo without a face gives a report without faces.

        `thorough` also searches lying, small and noisy faces when a plain look finds none, or no infant's. Raises ImageError.
        """
        decoded = load_photo(photo)
        faces = self.face_detector.find(decoded.rgb, thorough=thorough)
        read = [self._read(decoded, face) for face in faces]
        if thorough and read and not any(face.prediction.infant for face in read):
            others = (self._read(decoded, face) for face in self.face_detector.find_others(decoded.rgb, faces))
            read += [face for face in others if face.prediction.infant]
        read = sorted(read, key=lambda face: not face.prediction.infant)[:MAX_FACES]
        reports = tuple(replace(face, number=number) for number, face in enumerate(read, 1))
        return Report(decoded, reports, photo_notes(len(reports)), self.classifier.name)

    def explain(self, report: Report, face: int = 1, settings: ExplanationSettings = ExplanationSettings()) -> Report:
        """The report with a complete explanation of one face."""
        *_, last = self.explain_steps(report, face, settings)
        return last

    def explain_steps(
        self, report: Report, face: int = 1, settings: ExplanationSettings = ExplanationSettings()
    ) -> Iterator[Report]:
        """Yield the report with a map of more and more samples; close the iterator to stop the work."""
        chosen = report.face(face)
        target = settings.target or chosen.prediction.label
        score = self.classifier.score_of(target, chosen.aligned, chosen.face)
        maps = METHODS[settings.method].run(
            score,
            self.classifier.pixel_values(chosen.aligned),
            target=target,
            n=settings.samples,
            noise=settings.noise,
            seed=settings.seed,
        )
        size = chosen.aligned.crop_rgb.shape[0]
        parts = part_map(chosen.aligned.to_crop(chosen.face.landmarks_px), size)
        for saliency in maps:
            shares, emphasis = share_per_part(saliency.values, parts), density_ratio_per_part(saliency.values, parts)
            yield report.with_explanation(face, Explanation(saliency, shares, emphasis))

    def _read(self, photo: Photo, face: Face) -> FaceReport:
        aligned = align_face(photo.rgb, face, self.classifier.crop)
        prediction = self.classifier.predict(aligned, face)
        return FaceReport(1, face, aligned, prediction, face_notes(face, aligned, prediction))
