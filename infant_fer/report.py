"""How is a result said? The typed answer for one photo, its sentence and its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from infant_fer.alignment import AlignedFace
from infant_fer.classifier import Prediction
from infant_fer.explain.saliency import SaliencyMap
from infant_fer.face import Face
from infant_fer.images import Photo
from infant_fer.regions import PART_WORDS
from infant_fer.trust.notes import CLEAR_PROBABILITY

LIMITS = (
    "The model names what an expression looks like in one picture. It does not know what an infant feels or needs. "
    "It is not a medical device, it errs, and it errs more on small, covered, turned or unusual faces."
)
OUTSIDE_WARNING = "Much of the map lies outside the face: the model may have looked at something else."
OUTSIDE_SHARE = 0.4


def clear_label(probabilities: Mapping[str, float]) -> str | None:
    """The affect likely enough to be named alone; None when the expression is not clear."""
    label = max(probabilities, key=probabilities.get)
    return label if probabilities[label] >= CLEAR_PROBABILITY else None


@dataclass(frozen=True, eq=False)
class Explanation:
    """A saliency map of one face; per face part (regions.PARTS) its share, and that share over the part's share of the area."""

    saliency: SaliencyMap
    shares: dict[str, float]  # sums to 1
    density_ratio: dict[str, float]  # 1 is the crop's mean

    @property
    def complete(self) -> bool:
        """Whether the map holds every requested sample."""
        return self.saliency.samples >= self.saliency.requested_samples

    def top_parts(self) -> list[str]:
        """The two face parts where the map is brightest; by share alone the large cheeks would always win."""
        inside = [part for part in self.density_ratio if part != "outside"]
        return sorted(inside, key=lambda part: -self.density_ratio[part])[:2]


@dataclass(frozen=True, eq=False)
class FaceReport:
    """The answer for one face; `number` counts from 1, the face most likely meant: an infant's, large and central."""

    number: int
    face: Face
    aligned: AlignedFace
    prediction: Prediction
    notes: tuple[str, ...]
    explanation: Explanation | None = None

    @property
    def sentence(self) -> str:
        """One plain sentence for a person without any knowledge of the model."""
        label = clear_label(self.prediction.probabilities)
        start = f"The expression looks {label}" if label else _unclear(self.prediction)
        if self.explanation is None:
            return start + "."
        first, second = (PART_WORDS[part] for part in self.explanation.top_parts())
        target = self.explanation.saliency.target
        weighed = f"{first} and {second} weighed most for their size"
        return f"{start}; {weighed}." if target == self.prediction.label else f"{start}; for {target}, {weighed}."


def _unclear(prediction: Prediction) -> str:
    first, second = sorted(prediction.probabilities, key=lambda label: -prediction.probabilities[label])[:2]
    return f"The expression is not clear: it may look {first} or {second}"


@dataclass(frozen=True, eq=False)
class Report:
    """The answer for one photo: its faces, the one most likely meant first; `notes` concern the whole photo."""

    photo: Photo
    faces: tuple[FaceReport, ...]
    notes: tuple[str, ...]
    checkpoint: str

    def face(self, number: int) -> FaceReport:
        """The face with this number, from 1; raises IndexError when there is none."""
        if not 1 <= number <= len(self.faces):
            raise IndexError(f"The photo has {len(self.faces)} faces; there is no face {number}.")
        return self.faces[number - 1]

    def with_explanation(self, number: int, explanation: Explanation | None) -> Report:
        """The same report in which one face carries an explanation."""
        faces = tuple(replace(face, explanation=explanation) if face.number == number else face for face in self.faces)
        return replace(self, faces=faces)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: pixels are those of the full-size upright photo; no picture, no landmark identifies anybody."""
        return {
            "checkpoint": self.checkpoint,
            "photo_size_wh": list(self.photo.full_size_wh),
            "faces": [_face_dict(face, self.photo.scale) for face in self.faces],
            "notes": list(self.notes),
            "limits": LIMITS,
        }

    def to_json(self) -> str:
        """The report as indented JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)


def _face_dict(report: FaceReport, scale: float) -> dict[str, Any]:
    prediction, pose = report.prediction, report.face.pose
    extras = {
        "emotions": prediction.emotions,
        "valence": prediction.valence,
        "arousal": prediction.arousal,
        "age_groups": prediction.age_groups,
        "usable": prediction.usable,
        "eyes_closed": prediction.eyes_closed,
        "mouth_covered": prediction.mouth_covered,
        "streams": prediction.streams,
    }
    return {
        "number": report.number,
        "box_xyxy": [round(value * scale, 1) for value in report.face.box_xyxy],
        "label": prediction.label,
        "probabilities": prediction.probabilities,
        **{name: value for name, value in extras.items() if value is not None},
        "pose_degrees": {"yaw": round(pose.yaw, 1), "pitch": round(pose.pitch, 1), "roll": round(pose.roll, 1)},
        "sentence": report.sentence,
        "notes": list(report.notes),
        "explanation": _explanation_dict(report.explanation),
    }


def _explanation_dict(explanation: Explanation | None) -> dict[str, Any] | None:
    if explanation is None:
        return None
    saliency = explanation.saliency
    return {
        "method": saliency.method,
        "target": saliency.target,
        "samples": saliency.samples,
        "requested_samples": saliency.requested_samples,
        **saliency.options,
        "precision": saliency.precision,
        "device": saliency.device,
        "share_per_part": {part: round(share, 4) for part, share in explanation.shares.items()},
    }
