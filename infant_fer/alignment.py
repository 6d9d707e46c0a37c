"""What exactly does the model see? The only crop in the project, for training and for use."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from infant_fer.face import Face, anchors

# Right eye, left eye, mouth, in units of the eye-to-mouth distance, about the crop's centre: a frontal mesh
# reaches from 0.8 above the eyes to 0.6 below the mouth, so its middle lies 0.4 below the eyes.
TEMPLATE = np.array([[-0.5, -0.4], [0.5, -0.4], [0.0, 0.6]], np.float32)
MESH_HEIGHT = 2.4  # brow to chin in the same unit


@dataclass(frozen=True)
class CropSpec:
    """Specify how faces are cut for a checkpoint: side in pixels, and free margin as a share of the face's height."""

    size: int = 96
    margin: float = 0.15  # keeps forehead and chin inside when the head is rotated

    @property
    def anchors_px(self) -> np.ndarray:
        """Return (3, 2) float32: where right eye, left eye and mouth centre are in the crop."""
        return (TEMPLATE / (MESH_HEIGHT * (1 + self.margin)) + 0.5) * self.size


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """An upright face: `crop_rgb` (S, S, 3) uint8 and the 2×3 float64 similarity from photo pixels to crop pixels."""

    crop_rgb: np.ndarray
    photo_to_crop: np.ndarray

    def to_crop(self, points_px: np.ndarray) -> np.ndarray:
        """Map (N, 2) photo pixels to crop pixels."""
        return points_px @ self.photo_to_crop[:, :2].T + self.photo_to_crop[:, 2]

    def to_photo(self, points_px: np.ndarray) -> np.ndarray:
        """Map (N, 2) crop pixels to photo pixels."""
        inverse = cv2.invertAffineTransform(self.photo_to_crop)
        return points_px @ inverse[:, :2].T + inverse[:, 2]

    def map_to_photo(self, crop_map: np.ndarray, shape_hw: tuple[int, int]) -> np.ndarray:
        """Warp a (S, S) float map of the crop onto a photo of (H, W); 0 outside the crop."""
        return cv2.warpAffine(
            crop_map.astype(np.float32),
            self.photo_to_crop,
            shape_hw[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )


def align_face(photo_rgb: np.ndarray, face: Face, spec: CropSpec) -> AlignedFace:
    """Cut the face out upright, eyes and mouth at the crop's template (least-squares similarity, Umeyama 1991).

    `photo_rgb` is (H, W, 3) uint8; pixels outside it repeat its border.
    """
    return cut_out(photo_rgb, similarity(face.anchors_px, spec.anchors_px), spec.size)


def whole_picture(photo_rgb: np.ndarray, spec: CropSpec) -> AlignedFace:
    """Fit a whole (H, W, 3) picture into the crop, centred, for datasets of faces in which the detector finds none."""
    size_wh = np.array(photo_rgb.shape[1::-1])
    scale = spec.size / size_wh.max()
    shift = (spec.size - scale * size_wh) / 2 + (scale - 1) / 2  # pixel centres: the picture begins at -0.5
    return cut_out(photo_rgb, np.hstack([np.eye(2) * scale, shift[:, None]]), spec.size)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the 2×3 float64 similarity (rotation, uniform scale, shift; no mirror) that maps (N, 2) `source` nearest to `target`."""
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    a, b = source - source.mean(0), target - target.mean(0)
    norm = max((a**2).sum(), 1e-9)
    cos, sin = (a * b).sum() / norm, (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / norm
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.hstack([linear, (target.mean(0) - linear @ source.mean(0))[:, None]])


def aligned_landmarks(landmarks_px: np.ndarray, target: np.ndarray, irises: bool = False) -> np.ndarray:
    """Return (N, 478, 2): landmarks of N faces, each moved by the similarity that brings eyes and mouth to `target`.

    `target` is (3, 2) as CropSpec.anchors_px, for crop pixels, or TEMPLATE; `irises` as in face.anchors.
    """
    moved = []
    for face in landmarks_px:
        matrix = similarity(anchors(face, irises), target)
        moved.append(face @ matrix[:, :2].T + matrix[:, 2])
    return np.stack(moved)


def cut_out(photo_rgb: np.ndarray, matrix: np.ndarray, size: int) -> AlignedFace:
    """Return the (size, size) crop of a 2×3 similarity from photo to crop pixels; see align_face.

    It is warped at a whole multiple of its size and averaged down, so that large faces do not alias.
    """
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    factor = int(np.clip(np.ceil(1 / max(scale, 1e-6)), 1, 8))
    large = matrix * factor
    large[:, 2] += (factor - 1) / 2  # pixel centres: 0 of the small crop lies at (factor - 1) / 2 of the large one
    warped = cv2.warpAffine(
        photo_rgb, large, (size * factor, size * factor), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    crop = cv2.resize(warped, (size, size), interpolation=cv2.INTER_AREA) if factor > 1 else warped
    return AlignedFace(crop, matrix)
