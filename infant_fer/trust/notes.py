"""What makes an answer less trustworthy? Notes for people, from measurable facts."""

from __future__ import annotations

import cv2
import numpy as np

from infant_fer.alignment import AlignedFace
from infant_fer.classifier import Prediction
from infant_fer.face import Face

SMALL_FACE_PX = 64  # brow to chin in the photo; below it the crop is mostly interpolation
TURNED_DEGREES = 35.0  # yaw or pitch; beyond it one eye or the mouth corner is foreshortened away
TILTED_DEGREES = 30.0
DARK_LEVEL = 45  # mean level of the crop, of 255
BLURRED_SHARPNESS = 60.0  # variance of the Laplacian on the 96 px crop
CLEAR_PROBABILITY = 0.65
COVERED_PROBABILITY = 0.7  # on the dev rows 9 of 13 faces above it had the mouth covered
BLINK = 0.5

NO_FACE_ADVICE = (
    "No face was found. Try a photo in which the face is larger, well lit and turned towards the camera, "
    "with both eyes and the mouth visible."
)

SEARCH_STOPPED = "The search for faces stopped at its time limit; a face may have been missed."


def face_notes(photo_face: Face, aligned: AlignedFace, prediction: Prediction) -> tuple[str, ...]:
    """Name what may make the answer for one face less trustworthy, most important first; empty when nothing does."""
    return tuple(
        sentence
        for holds, sentence in (
            (
                not prediction.infant,
                "This does not look like an infant's face to the model; the answer may mean nothing.",
            ),
            (
                max(prediction.probabilities.values()) < CLEAR_PROBABILITY,
                "The model is not sure: two readings are nearly as likely.",
            ),
            (photo_face.height_px < SMALL_FACE_PX, "The face is small in the photo; a closer picture reads better."),
            (_sharpness(aligned) < BLURRED_SHARPNESS, "The face is blurred."),
            (aligned.crop_rgb.mean() < DARK_LEVEL, "The face is dark; more light would help."),
            (
                max(abs(photo_face.pose.yaw), abs(photo_face.pose.pitch)) > TURNED_DEGREES,
                "The face is turned away from the camera.",
            ),
            (
                abs(photo_face.pose.roll) > TILTED_DEGREES,
                "The head is tilted in the photo; it was turned upright for the reading.",
            ),
            (
                prediction.mouth_covered is not None and prediction.mouth_covered > COVERED_PROBABILITY,
                "The mouth may be covered; then much of the expression is hidden.",
            ),
            (_eyes_closed(photo_face, prediction), "The eyes look closed; a sleeping face often reads as neutral."),
        )
        if holds
    )


def photo_notes(n_faces: int, search_stopped: bool = False) -> tuple[str, ...]:
    """Name what concerns the whole photo: no face, several, or a search that its time limit stopped."""
    several = f"There are {n_faces} faces in the photo; choose the one you mean by its number."
    notes = ((n_faces == 0, NO_FACE_ADVICE), (n_faces > 1, several), (search_stopped, SEARCH_STOPPED))
    return tuple(sentence for holds, sentence in notes if holds)


def _sharpness(aligned: AlignedFace) -> float:
    """Return the variance of the Laplacian of the crop at 96 px (Pech-Pacheco et al. 2000)."""
    luminance = cv2.cvtColor(aligned.crop_rgb, cv2.COLOR_RGB2GRAY)
    return float(
        cv2.Laplacian(
            cv2.resize(luminance, (96, 96), interpolation=cv2.INTER_AREA).astype(np.float32), cv2.CV_32F
        ).var()
    )


def _eyes_closed(face: Face, prediction: Prediction) -> bool:
    if prediction.eyes_closed is not None:
        return prediction.eyes_closed > 0.5
    return min(face.blendshapes["eyeBlinkLeft"], face.blendshapes["eyeBlinkRight"]) > BLINK
