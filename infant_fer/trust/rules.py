"""What in the picture makes an answer less trustworthy? Findings from measurable facts, in order of weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from infant_fer.alignment import AlignedFace
from infant_fer.face import Face
from infant_fer.locales import Message
from infant_fer.trust.assessment import CODES, VERDICTS, Reason, Verdict

if TYPE_CHECKING:  # loads torch
    from infant_fer.classifier import Prediction

# Limits of a remark, of "caution" and of "cannot say"; between the first two the answers are right about as often as others.
SMALL_FACE_PX = (64, 24, 16)  # brow to chin in the photo; below it the crop is mostly interpolation
TURNED_DEGREES = (35.0, 35.0, 60.0)  # yaw or pitch; beyond it one eye or the mouth corner is foreshortened away
DARK_LEVEL = (45, 12, 6)  # mean level of the crop, of 255
BLURRED_SHARPNESS = (60.0, 6.0, 1.5)  # variance of the Laplacian on the 96 px crop
# Share of the luminance's variation that is finer than 24 px for the crop's side. On dev 2 of 517 infants lie below the limit of
# "caution"; of the same faces from 16 px for the side, enlarged, all do, by linear interpolation and by cubic.
DETAIL_SHARE = (0.005, 0.005, 0.001)
INFANT_PROBABILITY = (
    0.8  # of the "usable" head; on dev 1.7 % of infants lie below, 0.5 % of people above 8 years above it
)
SIDE_PX, COARSE_PX = 96, 24  # of the crop on which blur is measured, and of a picture too coarse to be read
TILTED_DEGREES = 30.0
COVERED_PROBABILITY = 0.7  # on the dev rows 9 of 13 faces above it had the mouth covered
BLINK = 0.5

NO_FACE_ADVICE = (
    "No face was found. Try a photo in which the face is larger, well lit and turned towards the camera, "
    "with both eyes and the mouth visible."
)

SEVERAL_FACES = "There are {count} faces in the photo; choose the one you mean by its number."
SEARCH_STOPPED = "The search for faces stopped at its time limit; a face may have been missed."


NOT_INFANT = Reason("not_infant", "This does not look like an infant's face to the model.")
PERHAPS_NOT_INFANT = Reason("not_infant", "The model is not sure that this is an infant's face.")
NOT_INFANT_TIP = "Use a photo of an infant's face, to about three years of age."


@dataclass(frozen=True)
class Finding:
    """A fact that speaks against an answer; `verdict` is the best one that it allows, "answer" for a mere remark."""

    reason: Reason
    verdict: Verdict
    tip: str | None = None


def findings(face: Face, aligned: AlignedFace, prediction: Prediction) -> tuple[Finding, ...]:
    """Return what speaks against the answer for one face, most important first; empty when nothing does.

    `face` is in the photo's frame, `aligned` the crop that was classified.
    """
    found = (*_on_the_face(prediction), *_on_the_picture(face, aligned), *_remarks(face, prediction))
    return tuple(sorted(found, key=weight))


def weight(finding: Finding) -> tuple[int, int]:
    """Return the key by which findings are sorted, most important first: the stricter verdict, then the order of CODES."""
    return -VERDICTS.index(finding.verdict), CODES.index(finding.reason.code)


def _on_the_face(prediction: Prediction) -> Iterator[Finding]:
    if not prediction.infant:
        yield Finding(NOT_INFANT, "cannot say", NOT_INFANT_TIP)
    elif prediction.usable is not None and prediction.usable < INFANT_PROBABILITY:
        yield Finding(PERHAPS_NOT_INFANT, "caution", NOT_INFANT_TIP)
    if prediction.mouth_covered is not None and prediction.mouth_covered > COVERED_PROBABILITY:
        yield Finding(
            Reason("covered", "The mouth may be covered; then much of the expression is hidden."),
            "caution",
            "A picture without pacifier or hand before the mouth reads better.",
        )


def _on_the_picture(face: Face, aligned: AlignedFace) -> Iterator[Finding]:
    if allowed := _below(face.height_px, SMALL_FACE_PX):
        text = "The face is small in the photo; a closer picture reads better."
        if allowed == "cannot say":
            pixels = round(face.height_px)
            text = Message("The face is only {pixels} pixels high: too few for an answer.", pixels=pixels)
        yield Finding(Reason("few_pixels", text), allowed, "Go closer, or use the photo in its full size.")
    blurred = _below(sharpness(aligned), BLURRED_SHARPNESS), _below(detail(aligned), DETAIL_SHARE)
    if allowed := max(filter(None, blurred), key=VERDICTS.index, default=None):
        yield Finding(
            Reason("blurred", "The face is blurred."), allowed, "Hold the camera still, and focus on the face."
        )
    if allowed := _below(float(aligned.crop_rgb.mean()), DARK_LEVEL):
        yield Finding(
            Reason("dark", "There is little light on the face; more would help."),
            allowed,
            "Take the photo in more light.",
        )
    turned = max(abs(face.pose.yaw), abs(face.pose.pitch))
    if allowed := _below(-turned, tuple(-limit for limit in TURNED_DEGREES)):
        yield Finding(
            Reason("turned", "The face is turned away from the camera."),
            allowed,
            "Take the photo from the front, at the height of the face.",
        )


def _remarks(face: Face, prediction: Prediction) -> Iterator[Finding]:
    if abs(face.pose.roll) > TILTED_DEGREES:
        yield Finding(
            Reason("tilted", "The head is tilted in the photo; it was turned upright for the reading."), "answer"
        )
    if _eyes_closed(face, prediction):
        yield Finding(Reason("eyes_closed", "The eyes look closed; a sleeping face often reads as neutral."), "answer")


def _below(value: float, limits: tuple[float, ...]) -> Verdict | None:
    """Return the verdict that a value allows by its three limits, None where it is above all."""
    verdict: Verdict | None = None
    for limit, allowed in zip(limits, VERDICTS, strict=True):
        verdict = allowed if value < limit else verdict
    return verdict


def photo_notes(n_faces: int, search_stopped: bool = False) -> tuple[str, ...]:
    """Name what concerns the whole photo: no face, several, or a search that its time limit stopped."""
    several = Message(SEVERAL_FACES, count=n_faces)
    notes = ((n_faces == 0, NO_FACE_ADVICE), (n_faces > 1, several), (search_stopped, SEARCH_STOPPED))
    return tuple(sentence for holds, sentence in notes if holds)


def without_choice(notes: Sequence[str]) -> tuple[str, ...]:
    """Return a photo's notes for a place that reads the first face only: without the advice to choose one."""
    return tuple(note for note in notes if not (isinstance(note, Message) and note.template == SEVERAL_FACES))


def sharpness(aligned: AlignedFace) -> float:
    """Return the variance of the Laplacian of the crop at 96 px (Pech-Pacheco et al. 2000)."""
    return float(cv2.Laplacian(_luminance(aligned), cv2.CV_32F).var())


def detail(aligned: AlignedFace) -> float:
    """Return the share, 0..1, of the crop's variation that a picture of COARSE_PX for its side could not show.

    Unlike `sharpness` it does not depend on the light: it is small where a small picture was enlarged. 1 without variation.
    """
    luminance = _luminance(aligned)
    window = np.hanning(SIDE_PX)[:, None] * np.hanning(SIDE_PX)
    power = np.abs(np.fft.fft2((luminance - luminance.mean()) * window)) ** 2
    cycles = np.fft.fftfreq(SIDE_PX, 1 / SIDE_PX)  # for the side
    fine = np.hypot(cycles[:, None], cycles) > COARSE_PX / 2
    return float(power[fine].sum() / power.sum()) if power.sum() > 0 else 1.0


def _luminance(aligned: AlignedFace) -> np.ndarray:
    """Return (SIDE_PX, SIDE_PX) float32, 0..255."""
    luminance = cv2.cvtColor(aligned.crop_rgb, cv2.COLOR_RGB2GRAY)
    return cv2.resize(luminance, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32)


def _eyes_closed(face: Face, prediction: Prediction) -> bool:
    if prediction.eyes_closed is not None:
        return prediction.eyes_closed > 0.5
    return min(face.blendshapes["eyeBlinkLeft"], face.blendshapes["eyeBlinkRight"]) > BLINK
