"""Does the answer stay the same when the picture changes a little? The label under shifts, turns, light, compression, mirrored."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from infant_fer.alignment import AlignedFace, cut_out
from infant_fer.trust.assessment import SteadinessJSON

SHIFT = 0.03  # of the crop's side; two annotators' eye centres differ by about as much
TURN_DEGREES = 5.0
SCALES = (0.94, 1.06)
GAMMAS = (0.7, 1.4)
GAINS = (0.75, 1.25)
SIDE_LIGHT = 0.3  # darker on one side by this share, lighter on the other
JPEG_QUALITY = 40
BLUR = 0.012  # deviation, of the crop's side
VIEWS = 32  # 16 changed crops and their mirror images


def views(photo_rgb: np.ndarray, aligned: AlignedFace) -> np.ndarray:
    """Return (32, S, S, 3) uint8: the face cut out of the (H, W, 3) photo anew with small changes, and mirrored."""
    changed = np.stack([*_moved(photo_rgb, aligned), *_lit(aligned.crop_rgb), *_degraded(aligned.crop_rgb)])
    return np.concatenate([changed, changed[:, :, ::-1]])


def steadiness(labels: np.ndarray, label: str) -> SteadinessJSON:
    """Count the (N,) labels of the views that are `label`."""
    return {"same": int((labels == label).sum()), "n": len(labels)}


def _moved(photo_rgb: np.ndarray, aligned: AlignedFace) -> Iterator[np.ndarray]:
    """Yield eight crops whose place, turn or scale differs; `photo_to_crop` is followed by the change about the centre."""
    side = aligned.crop_rgb.shape[0]
    centre, shift = (side - 1) / 2, SHIFT * side
    changes = [(0.0, 1.0, dx, dy) for dx, dy in ((shift, 0), (-shift, 0), (0, shift), (0, -shift))]
    changes += [(turn, 1.0, 0, 0) for turn in (TURN_DEGREES, -TURN_DEGREES)] + [(0.0, scale, 0, 0) for scale in SCALES]
    for turn, scale, dx, dy in changes:
        change = np.vstack([cv2.getRotationMatrix2D((centre, centre), turn, scale), [0, 0, 1]])
        change[:2, 2] += (dx, dy)
        matrix = change @ np.vstack([aligned.photo_to_crop, [0, 0, 1]])
        yield cut_out(photo_rgb, matrix[:2], side).crop_rgb


def _lit(crop_rgb: np.ndarray) -> Iterator[np.ndarray]:
    """Yield six crops in other light."""
    crop = crop_rgb.astype(np.float32)
    for gamma in GAMMAS:
        yield _bytes(255 * (crop / 255) ** gamma)
    for gain in GAINS:
        yield _bytes(gain * crop)
    ramp = np.linspace(-SIDE_LIGHT, SIDE_LIGHT, crop.shape[1], dtype=np.float32)[None, :, None]
    for side in (1 + ramp, 1 - ramp):
        yield _bytes(crop * side)


def _degraded(crop_rgb: np.ndarray) -> Iterator[np.ndarray]:
    """Yield a strongly compressed and a slightly blurred crop."""
    _, data = cv2.imencode(".jpg", crop_rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])  # OpenCV takes BGR
    yield np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]
    yield cv2.GaussianBlur(crop_rgb, (0, 0), BLUR * crop_rgb.shape[0])


def _bytes(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)
