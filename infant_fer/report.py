"""What is a report? The typed answer for one photo, its sentence and its JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NotRequired, TypedDict

from infant_fer import __version__
from infant_fer.face import Face, box_overlap
from infant_fer.images import Photo
from infant_fer.locales import Message, translator
from infant_fer.regions import PART_WORDS
from infant_fer.trust.assessment import Assessment, AssessmentJSON

if TYPE_CHECKING:  # these load torch; a report is plain data
    from infant_fer.alignment import AlignedFace
    from infant_fer.classifier import Prediction
    from infant_fer.explain.saliency import SaliencyMap

LIMITS = (
    "The model names what an expression looks like in one picture. It does not know what an infant feels or needs. "
    "It is not a medical device, it errs, and it errs more on small, covered, turned or unusual faces."
)
OUTSIDE_WARNING = "Much of the map lies outside the face: the model may have looked at something else."
OUTSIDE_SHARE = 0.4
SAME_FACE = 0.3  # intersection over union of the boxes of one face in two readings

HEADS = (
    "emotions",
    "valence",
    "arousal",
    "age_groups",
    "usable",
    "eyes_closed",
    "mouth_covered",
    "action_units",
    "streams",
)


class ExplanationJSON(TypedDict):
    """The JSON of an explanation: how the map was computed, each face part's share, and its share over its share of the area.

    The options of the method stand beside these, SmoothGrad's for example as `noise` and `seed`. `coverage` says how many of
    the checkpoint's networks the map shows, where these are not all.
    """

    method: str
    target: str
    samples: int
    requested_samples: int
    precision: str
    device: str
    coverage: NotRequired[str]
    share_per_part: dict[str, float]
    emphasis_per_part: dict[str, float]


class FaceJSON(TypedDict):
    """The JSON of one face; a head that the checkpoint lacks is left out."""

    number: int
    box_xyxy: list[float]
    label: str
    probabilities: dict[str, float]
    emotions: NotRequired[dict[str, float]]
    valence: NotRequired[float]
    arousal: NotRequired[float]
    age_groups: NotRequired[dict[str, float]]
    usable: NotRequired[float]
    eyes_closed: NotRequired[float]
    mouth_covered: NotRequired[float]
    action_units: NotRequired[dict[str, float]]
    streams: NotRequired[dict[str, float]]
    pose_degrees: dict[str, float]
    sentence: str
    notes: list[str]
    assessment: AssessmentJSON
    explanation: ExplanationJSON | None


class ReportJSON(TypedDict):
    """The JSON of one photo. `version` is the program's; `read_at` (UTC, ISO 8601) is there where the page has read it."""

    version: str
    read_at: NotRequired[str]
    checkpoint: str
    weights_sha256: str
    photo_size_wh: list[int]
    faces: list[FaceJSON]
    notes: list[str]
    limits: str


@dataclass(frozen=True, eq=False)
class Explanation:
    """A saliency map of one face; per face part (regions.PARTS) its share, and that share over the part's share of the area."""

    saliency: SaliencyMap
    shares: dict[str, float]  # sums to 1
    density_ratio: dict[str, float]  # 1 is the crop's mean

    @property
    def complete(self) -> bool:
        """Return whether the map holds every requested sample."""
        return self.saliency.samples >= self.saliency.requested_samples

    def top_parts(self) -> list[str]:
        """Return the two face parts where the map is brightest, none of a map that marks nothing.

        By share alone the large cheeks would always win.
        """
        if not self.saliency.marks:
            return []
        return sorted(self.density_ratio, key=lambda part: -self.density_ratio[part])[:2]

    def parts_sentence(self, language: str = "en") -> str:
        """Return one sentence that names the two brightest parts, in the words and the order of the page's bars.

        Of a map that marks nothing it says so.
        """
        _ = translator(language)
        if not self.saliency.marks:
            return _("The map marks nothing, so that no part of the face stands out.")
        first, second = (_(PART_WORDS[part]) for part in self.top_parts())
        return _("It looked most at the {first} and {second}.", first=first, second=second)


@dataclass(frozen=True, eq=False)
class FaceReport:
    """The answer for one face; `number` counts from 1, the face most likely meant: an infant's, large and central."""

    number: int
    face: Face
    aligned: AlignedFace
    prediction: Prediction
    notes: tuple[str, ...]  # the assessment's reasons, and remarks that do not speak against the answer
    assessment: Assessment
    explanation: Explanation | None = None

    @property
    def sentence(self) -> str:
        """Return the answer in plain English, for a person without any knowledge of the model."""
        return self.sentence_in("en")

    def sentence_in(self, language: str) -> str:
        """Return what the expression looks like, and what the model looked at; or why no answer is given."""
        _ = translator(language)
        if self.assessment.verdict == "cannot say":
            reasons = (_(reason.text) for reason in self.assessment.reasons[:1])
            return " ".join((_("It cannot be said what this expression looks like."), *reasons))
        if self.assessment.label:
            sentences = [_("The expression looks {label}.", label=_(self.assessment.label))]
        else:
            possible = self.assessment.prediction_set
            sentences = [_(Message("The expression is not clear: it may look {affects}.", affects=possible))]
        if self.explanation is not None:
            target = self.explanation.saliency.target
            if target != self.assessment.label:
                sentences.append(_("The map shows what matters for “{target}”.", target=_(target)))
            sentences.append(self.explanation.parts_sentence(language))
        return " ".join(sentences)


@dataclass(frozen=True, eq=False)
class Report:
    """The answer for one photo: its faces, the one most likely meant first; `notes` concern the whole photo."""

    photo: Photo
    faces: tuple[FaceReport, ...]
    notes: tuple[str, ...]
    checkpoint: str
    weights_sha256: str = ""
    read_at: str = ""  # UTC, ISO 8601; empty where a result is not to depend on the clock

    def face(self, number: int) -> FaceReport:
        """Return the face with this number, from 1; raises IndexError when there is none."""
        if not 1 <= number <= len(self.faces):
            raise IndexError(f"The photo has {len(self.faces)} faces; there is no face {number}.")
        return self.faces[number - 1]

    def face_at(self, box_xyxy: Sequence[float]) -> FaceReport | None:
        """Return the face whose box covers most of a box in the photo's pixels; None where none shares SAME_FACE of both."""
        shared = {face.number: box_overlap(face.face.box_xyxy, box_xyxy) for face in self.faces}
        best = max(shared, key=shared.__getitem__, default=0)
        return self.face(best) if shared.get(best, 0.0) >= SAME_FACE else None

    def with_explanation(self, number: int, explanation: Explanation | None) -> Report:
        """Return the same report with an explanation of one face."""
        faces = tuple(replace(face, explanation=explanation) if face.number == number else face for face in self.faces)
        return replace(self, faces=faces)

    def with_assessment(self, number: int, assessment: Assessment) -> Report:
        """Return the same report with another assessment of one face; what its reasons say is said in the notes, too."""
        face = self.face(number)
        remarks = face.notes[len(face.assessment.reasons) :]
        notes = (*(reason.text for reason in assessment.reasons), *remarks)
        changed = replace(face, assessment=assessment, notes=notes)
        return replace(self, faces=tuple(changed if each.number == number else each for each in self.faces))

    def to_dict(self) -> ReportJSON:
        """Return plain data for JSON: pixels are those of the full-size upright photo; it holds no picture or landmark."""
        return {
            "version": __version__,
            **({"read_at": self.read_at} if self.read_at else {}),  # type: ignore[typeddict-item]
            "checkpoint": self.checkpoint,
            "weights_sha256": self.weights_sha256,
            "photo_size_wh": list(self.photo.full_size_wh),
            "faces": [_face_json(face, self.photo.scale) for face in self.faces],
            "notes": list(self.notes),
            "limits": LIMITS,
        }

    def to_json(self) -> str:
        """Return the report as indented JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)


def _face_json(report: FaceReport, scale: float) -> FaceJSON:
    prediction, pose = report.prediction, report.face.pose
    heads = {name: value for name in HEADS if (value := getattr(prediction, name)) is not None}
    return {
        "number": report.number,
        "box_xyxy": [round(value * scale, 1) for value in report.face.box_xyxy],
        "label": prediction.label,
        "probabilities": prediction.probabilities,
        **heads,  # type: ignore[typeddict-item]
        "pose_degrees": {"yaw": round(pose.yaw, 1), "pitch": round(pose.pitch, 1), "roll": round(pose.roll, 1)},
        "sentence": report.sentence,
        "notes": list(report.notes),
        "assessment": report.assessment.to_dict(),
        "explanation": _explanation_json(report.explanation) if report.explanation else None,
    }


def _explanation_json(explanation: Explanation) -> ExplanationJSON:
    saliency = explanation.saliency
    return {
        "method": saliency.method,
        "target": saliency.target,
        **({} if saliency.versus is None else {"versus": saliency.versus}),  # type: ignore[typeddict-item]
        "samples": saliency.samples,
        "requested_samples": saliency.requested_samples,
        **saliency.options,  # type: ignore[typeddict-item]
        "precision": saliency.precision,
        "device": saliency.device,
        **({} if saliency.coverage is None else {"coverage": saliency.coverage}),
        "share_per_part": {part: round(share, 4) for part, share in explanation.shares.items()},
        "emphasis_per_part": {part: round(ratio, 4) for part, ratio in explanation.density_ratio.items()},
    }
