"""What is a face? Its landmarks, blendshapes and head pose in the photo's frame, and the landmark indices shared by all modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

# MediaPipe's blendshapes in its order, without "_neutral", which is always about 0.
BLENDSHAPES = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft",
    "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft",
    "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight",
    "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthDimpleLeft",
    "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
BLENDSHAPE_COUNT = len(BLENDSHAPES)
LANDMARK_COUNT = 478  # of MediaPipe's mesh, irises included

# Eye corners and mouth corners of the 478-point mesh; "right" is the infant's right, at the left of the picture.
RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS, MOUTH_CORNERS = (33, 133), (362, 263), (61, 291)
RIGHT_IRIS, LEFT_IRIS = (468,), (473,)  # their centres


@dataclass(frozen=True)
class HeadPose:
    """Head rotation in degrees: yaw > 0 towards the picture's right, pitch > 0 up, roll > 0 clockwise in the picture."""

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, eq=False)
class Face:
    """One face of one photo, in the photo's frame.

    landmarks_px: (478, 2) float32, x right and y down in pixels, 0 the centre of the first pixel as for OpenCV's warps
    (measured: of 330 faces in 48 px mirrored, the two positions of a point sum to the width less 0.80, standard error 0.02,
    where centres give 1 and edges 0). blendshapes: MediaPipe's scores in 0..1 by the names of
    BLENDSHAPES, all of them, proxies of some action units.
    """

    landmarks_px: np.ndarray
    blendshapes: Mapping[str, float]
    pose: HeadPose

    @cached_property
    def box_xyxy(self) -> tuple[float, float, float, float]:
        """Return the landmarks' bounding box in pixels, left, top, right, bottom; may leave the photo."""
        low, high = self.landmarks_px.min(0), self.landmarks_px.max(0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @property
    def height_px(self) -> float:
        """Return the longer side of the box in pixels: brow to chin for an upright face."""
        left, top, right, bottom = self.box_xyxy
        return max(right - left, bottom - top)

    @cached_property
    def anchors_px(self) -> np.ndarray:
        """Return (3, 2) float32: right eye centre, left eye centre, mouth centre; see `anchors`."""
        return anchors(self.landmarks_px)


def anchors(landmarks_px: np.ndarray, irises: bool = False) -> np.ndarray:
    """Return (3, 2): the centres of right eye, left eye and mouth of (478, 2) landmarks.

    They are means of the corners, which a blink or a cry moves little; with `irises` the eyes are the irises' centres.
    """
    eyes = (RIGHT_IRIS, LEFT_IRIS) if irises else (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS)
    return np.stack([landmarks_px[list(points)].mean(0) for points in (*eyes, MOUTH_CORNERS)])


def box_overlap(first_xyxy: Sequence[float], second_xyxy: Sequence[float]) -> float:
    """Return the intersection over union of two boxes, 0..1."""
    both = (first_xyxy, second_xyxy)
    left, top = (max(box[side] for box in both) for side in (0, 1))
    right, bottom = (min(box[side] for box in both) for side in (2, 3))
    inside = max(right - left, 0.0) * max(bottom - top, 0.0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in both) - inside
    return inside / union if union else 0.0
