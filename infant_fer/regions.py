"""Which mesh points are brows, eyes, nose and mouth; which face part does each pixel of a crop show?"""

from __future__ import annotations

from importlib.resources import files

import cv2
import numpy as np

# Indices into MediaPipe's 478-point face mesh (Apache-2.0, Google).
# RIGHT is the infant's right, at the left of the picture.
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
RIGHT_BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
LEFT_BROW = (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
NOSE_BRIDGE = (168, 6, 197, 195, 5, 4, 1, 19, 94, 2)
NOSTRILS = (48, 64, 98, 97, 2, 326, 327, 294, 278)

GLABELLA = (107, 9, 336, 285, 8, 55)  # between the brows, where a frown shows: it goes with the brows
NOSE = (168, 417, 351, 420, 360, 344, 278, 294, 327, 326, 2, 97, 98, 64, 48, 115, 131, 198, 122, 193)
FOREHEAD = (
    127, 162, 21, 54, 103, 67, 109, 10, 338, 297, 332, 284, 251, 389, 356,
    300, 293, 334, 296, 336, 9, 107, 66, 105, 63, 70,
)  # fmt: skip
CHIN = (61, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)

PARTS = ("brows", "eyes", "nose", "mouth", "cheeks", "forehead", "chin", "outside")
PART_WORDS = {part: part for part in PARTS} | {"outside": "surroundings of the face"}

# FACS action units that move each part (Ekman, Friesen and Hager 2002; infants: Oster 2006).
PART_UNITS = {
    "brows": ("AU1 inner brow raised", "AU2 outer brow raised", "AU4 brows knitted, between the brows"),
    "eyes": ("AU5 eyes wide", "AU6 cheeks raised", "AU7 lids tight", "AU43 eyes closed"),
    "nose": ("AU9 nose wrinkled",),
    "mouth": ("AU12 lip corners up", "AU15 lip corners down", "AU20 lips stretched", "AU25 to AU27 mouth open"),
    "cheeks": ("AU6 cheeks raised", "AU11 and AU12 the fold beside the nose"),
    "chin": ("AU17 chin raised",),
    "forehead": ("AU1 and AU2 lines across the forehead",),
}
T_ZONE = ("forehead", "brows", "nose")  # which the original experiment's maps marked on neutral faces

# Index paths to draw, closed ones with their first point again at the end.
OUTLINES: dict[str, list[tuple[int, ...]]] = {
    "face": [(*FACE_OVAL, FACE_OVAL[0])],
    "brows": [(*RIGHT_BROW, RIGHT_BROW[0]), (*LEFT_BROW, LEFT_BROW[0])],
    "eyes": [(*RIGHT_EYE, RIGHT_EYE[0]), (*LEFT_EYE, LEFT_EYE[0])],
    "nose": [NOSE_BRIDGE, NOSTRILS],
    "mouth": [(*OUTER_LIPS, OUTER_LIPS[0]), (*INNER_LIPS, INNER_LIPS[0])],
}

# (852, 3) int: MediaPipe's tesselation as triangles of mesh indices.
TRIANGLES = np.loadtxt(files("infant_fer").joinpath("face_triangles.csv").read_text().splitlines(), int, delimiter=",")

# Painted in this order, later over earlier: part, mesh indices, convex hull or polygon, and how far it is widened as a
# share of the face's size (the root of its area), so that lids, brow hairs and the lips' edges fall inside. The rest
# of the face is cheek.
_LAYERS = (
    ("forehead", FOREHEAD, "polygon", 0.0),
    ("chin", CHIN, "polygon", 0.0),
    ("nose", NOSE, "polygon", 0.01),
    ("brows", GLABELLA, "hull", 0.0),
    ("brows", RIGHT_BROW, "hull", 0.02),
    ("brows", LEFT_BROW, "hull", 0.02),
    ("eyes", RIGHT_EYE, "hull", 0.03),
    ("eyes", LEFT_EYE, "hull", 0.03),
    ("mouth", OUTER_LIPS, "hull", 0.03),
)
_FINE_BITS = 4  # cv2 paints with 1/16 px


def part_map(landmarks_px: np.ndarray, size: int) -> np.ndarray:
    """Return the face part that every pixel of a crop shows, as a (size, size) uint8 index into PARTS.

    `landmarks_px` is (478, 2) in crop pixels (pixel centres at whole numbers); it may leave the crop. The face is the
    convex hull of the mesh, so a rotated head keeps its visible cheek, and an open mouth is all mouth.
    """
    points = np.asarray(landmarks_px, np.float32)
    face = _hull(points)
    parts = np.full((size, size), PARTS.index("outside"), np.uint8)
    _paint(parts, face, "cheeks", 0.0)
    face_size = float(np.sqrt(cv2.contourArea(face)))
    for part, indices, shape, widened in _LAYERS:
        area = points[list(indices)]
        _paint(parts, _hull(area) if shape == "hull" else area, part, widened * face_size)
    return parts


def share_per_part(values: np.ndarray, parts: np.ndarray) -> dict[str, float]:
    """Return the share of each of PARTS in a saliency map; the shares sum to 1.

    `values` is (S, S) and not negative, `parts` the (S, S) part map of the same crop. A map of zeros prefers nothing:
    its shares are those of the areas.
    """
    weights = np.asarray(values, np.float64)
    if not weights.any():
        weights = np.ones_like(weights)
    sums = np.bincount(parts.ravel(), weights.ravel(), minlength=len(PARTS))
    return {part: float(share) for part, share in zip(PARTS, sums / sums.sum(), strict=True)}


def density_ratio_per_part(values: np.ndarray, parts: np.ndarray) -> dict[str, float]:
    """Return the share of each of PARTS in a saliency map over its share of the crop's area: 1 is neither more nor less.

    Large parts have large shares by their size alone; the ratio does not. A part not in the crop has 0.
    """
    shares, areas = share_per_part(values, parts), share_per_part(np.ones_like(values), parts)
    return {part: shares[part] / areas[part] if areas[part] else 0.0 for part in PARTS}


def _hull(points_px: np.ndarray) -> np.ndarray:
    return cv2.convexHull(points_px.astype(np.float32))[:, 0]


def _paint(parts: np.ndarray, polygon_px: np.ndarray, part: str, widened_px: float) -> None:
    fine = np.round(polygon_px * 2**_FINE_BITS).astype(np.int32)
    value = PARTS.index(part)
    cv2.fillPoly(parts, [fine], value, cv2.LINE_8, _FINE_BITS)
    if widened_px >= 0.5:
        cv2.polylines(parts, [fine], True, value, 2 * round(widened_px) + 1, cv2.LINE_8, _FINE_BITS)
