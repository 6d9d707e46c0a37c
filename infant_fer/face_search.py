"""Where else may a face be? Views of a photo for a second search, and the rules that confirm their finds. No mediapipe here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np

from infant_fer.face import Face

VIEW_PX = 384  # side of a searched view; the detector itself works at 128 px
FOCUS_PX = 320
ROTATIONS = (0, 45, 315, 90, 270, 180)  # degrees; infants lie
WHOLE_SHARES = (1.1, 1.5, 2.2)  # side of the view by the photo's longer side: tight close-ups need a border
TILE_SHARES = (0.5, 0.34)  # side of a tile by the photo's longer side; tiles overlap by half
TILT_DEGREES = 30.0  # beyond it the mesh of a view that is not rotated begins to slip
NEAR = 2.4  # side of the view of one face by the face's size, where it is followed or rotated upright
FOCUS_SHARES, FOCUS_ROTATIONS = (
    (1.7, NEAR),
    (-20, 0, 20),
)  # the same of close views that confirm a find, and their rotations
CHECK_ROTATIONS = (0, -15, 15)  # of close views that tell which way up a face is
NOT_FOUND = 0.2  # counts as the disagreement, by the face's size, of a view that does not show the face

SAME_PLACE, SAME_SIZE = 0.35, 1.67  # finds of one face: centres within this share of its size, sizes within this ratio
# Chosen on one half of the scenes (by group): a find is confirmed when a close view agrees to 6 % of the face's size,
# or to 18 % after two views had found it, or when four views agree among themselves to 12 %.
CLOSE, LOOSE, AGREED = 0.06, 0.18, 0.12
LOOSE_VIEWS, AGREED_VIEWS = 2, 4
DOTTED_SHARE, DOT_STEP = 0.02, 60  # a photo is dotted when 2 % of its pixels leave their median by 60 of 255

SEARCH_SECONDS = 2.0  # a full search of a photo without a face took 1.7 s on one core; slower machines stop it

Item = TypeVar("Item")


class SearchBudget:
    """Limit the time of one photo's further search, which starts with its first view.

    `clock` returns seconds. `exhausted` tells whether something was skipped because the time was used up.
    """

    def __init__(self, seconds: float = SEARCH_SECONDS, clock: Callable[[], float] = time.monotonic):
        self.exhausted = False
        self._seconds, self._clock = seconds, clock
        self._end: float | None = None

    def within(self, items: Iterable[Item], at_least: int = 0) -> Iterator[Item]:
        """Yield `at_least` so many items, and further ones until the time is used up."""
        if self._end is None:
            self._end = self._clock() + self._seconds
        for count, item in enumerate(items):
            if count >= at_least and self._clock() >= self._end:
                self.exhausted = True
                return
            yield item


@dataclass(frozen=True, eq=False)
class View:
    """A square piece of the photo: `rgb` (S, S, 3) uint8 and the 2×3 similarity from its pixels to the photo's."""

    rgb: np.ndarray
    to_photo: np.ndarray


def bordered_views(photo_rgb: np.ndarray) -> Iterator[View]:
    """Return the whole photo with a border, rotated by multiples of 90°; dots, which suggest upside-down faces, are removed."""
    calm = _without_dots(photo_rgb)
    return (
        _view(calm, _centre(photo_rgb), 2.0 * max(photo_rgb.shape[:2]), rotation, 512) for rotation in (0, 90, 270, 180)
    )


def filtered_views(photo_rgb: np.ndarray) -> Iterator[View]:
    """Yield the whole photo after a 5 × 5 median, which removes dots and grain, at three sizes and six rotations."""
    calm = cv2.medianBlur(photo_rgb, 5)
    for share in WHOLE_SHARES:
        for rotation in ROTATIONS:
            yield _view(calm, _centre(photo_rgb), share * max(photo_rgb.shape[:2]), rotation, VIEW_PX)


def tile_views(photo_rgb: np.ndarray) -> Iterator[View]:
    """Yield overlapping enlarged tiles at two sizes and six rotations; dots are removed where there are any."""
    calm = _without_dots(photo_rgb)
    height, width = photo_rgb.shape[:2]
    for share in TILE_SHARES:
        side = share * max(height, width)
        for top in _starts(height, side):
            for left in _starts(width, side):
                for rotation in ROTATIONS:
                    yield _view(calm, np.array([left + side / 2, top + side / 2]), side, rotation, VIEW_PX)


def focus_views(
    photo_rgb: np.ndarray,
    landmarks_px: np.ndarray,
    roll: float,
    shares: Sequence[float] = FOCUS_SHARES,
    rotations: Sequence[float] = FOCUS_ROTATIONS,
) -> Iterator[View]:
    """Yield close views of one find, rotated upright by its `roll` in degrees and by each of `rotations` more.

    Their sides are `shares` of the find's size.
    """
    calm = _without_dots(photo_rgb)
    low, high = landmarks_px.min(0), landmarks_px.max(0)
    for share in shares:
        for rotation in rotations:
            yield _view(calm, (low + high) / 2, share * float((high - low).max()), rotation - roll, FOCUS_PX)


def near_view(photo_rgb: np.ndarray, box_xyxy: tuple[float, float, float, float], roll: float) -> View:
    """Return the surroundings of a box, NEAR times its longer side; turned upright when `roll` is strong, else uncopied.

    For faces that are followed: the box is where one is expected. The part outside the photo is left out.
    """
    left, top, right, bottom = box_xyxy
    if abs(roll) >= TILT_DEGREES:
        return upright_view(photo_rgb, np.array([[left, top], [right, bottom]], np.float32), roll)
    half = max(right - left, bottom - top) * NEAR / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    height, width = photo_rgb.shape[:2]
    start_x, end_x = (int(np.clip(value, 0, width)) for value in (x - half, x + half + 1))
    start_y, end_y = (int(np.clip(value, 0, height)) for value in (y - half, y + half + 1))
    offset = np.array([[1.0, 0.0, start_x], [0.0, 1.0, start_y]])
    return View(photo_rgb[start_y:end_y, start_x:end_x], offset)


def upside_down_view(photo_rgb: np.ndarray) -> View:
    """Return the whole photo rotated by 180°."""
    height, width = photo_rgb.shape[:2]
    return View(photo_rgb[::-1, ::-1], np.array([[-1.0, 0.0, width - 1], [0.0, -1.0, height - 1]]))


def upright_view(photo_rgb: np.ndarray, landmarks_px: np.ndarray, roll: float) -> View:
    """Return one close view of a face whose head is tilted by `roll` degrees, rotated upright."""
    low, high = landmarks_px.min(0), landmarks_px.max(0)
    return _view(photo_rgb, (low + high) / 2, NEAR * float((high - low).max()), -roll, FOCUS_PX)


def grouped(finds: list[np.ndarray]) -> list[list[int]]:
    """Group finds, (478, 2) landmarks in photo pixels, that lie at one place with one size; indices, most found first."""
    groups: list[list[int]] = []
    for index, points in enumerate(finds):
        home = next((group for group in groups if _same_face(points, np.median([finds[i] for i in group], 0))), None)
        if home is None:
            groups.append([index])
        else:
            home.append(index)
    return sorted(groups, key=len, reverse=True)


def distinct(faces: Iterable[Face], known: Iterable[Face] = ()) -> list[Face]:
    """Return the faces without those at the place of a known face or of an earlier one in the list."""
    kept: list[Face] = []
    for face in faces:
        if all(len(grouped([face.landmarks_px, other.landmarks_px])) == 2 for other in (*known, *kept)):
            kept.append(face)
    return kept


def believed(group: list[np.ndarray], focus: list[np.ndarray]) -> bool:
    """Return whether a group of finds and the finds in its close views, (478, 2) landmarks each, show a real face."""
    middle = np.median(group, 0)
    nearest = min((disagreement(points, middle) for points in focus), default=np.inf)
    spread = float(np.median([disagreement(points, middle) for points in group]))
    return (
        nearest < CLOSE
        or (nearest < LOOSE and len(group) >= LOOSE_VIEWS)
        or (len(group) >= AGREED_VIEWS and spread < AGREED)
    )


def variation(finds: Sequence[Face | None]) -> float:
    """Return the mean disagreement of one face's finds with their median; None is a view that does not show it."""
    points = [find.landmarks_px for find in finds if find is not None]
    if not points:
        return NOT_FOUND
    middle = np.median(points, 0)
    apart = [min(disagreement(each, middle), NOT_FOUND) for each in points]
    return (sum(apart) + NOT_FOUND * (len(finds) - len(points))) / len(finds)


def in_place(finds: Iterable[Face], face: Face) -> Face | None:
    """Return the find of about a face's size that is nearest to it, None where none has its centre in the face's box."""
    alike = [
        find for find in finds if is_part_of(find, face) and 1 / SAME_SIZE < find.height_px / face.height_px < SAME_SIZE
    ]
    return min(alike, key=lambda find: np.linalg.norm(_middle(find) - _middle(face)), default=None)


def is_part_of(face: Face, other: Face) -> bool:
    """Return whether a find has its centre in another face's box: a second find, or an eye or ear that looks like a face."""
    left, top, right, bottom = other.box_xyxy
    x, y = _middle(face)
    return left < x < right and top < y < bottom


def _middle(face: Face) -> np.ndarray:
    left, top, right, bottom = face.box_xyxy
    return np.array([(left + right) / 2, (top + bottom) / 2])


def disagreement(points_px: np.ndarray, other_px: np.ndarray) -> float:
    """Return the median distance of two (478, 2) finds by the second one's size."""
    return float(np.median(np.linalg.norm(points_px - other_px, axis=1)) / _size(other_px))


def _same_face(points: np.ndarray, other: np.ndarray) -> bool:
    apart = np.linalg.norm((points.min(0) + points.max(0) - other.min(0) - other.max(0)) / 2)
    ratio = _size(points) / _size(other)
    return bool(apart < SAME_PLACE * _size(other) and 1 / SAME_SIZE < ratio < SAME_SIZE)


def _size(points: np.ndarray) -> float:
    return max(float(np.ptp(points, axis=0).max()), 1e-6)


def _centre(photo_rgb: np.ndarray) -> np.ndarray:
    return np.array([photo_rgb.shape[1] / 2, photo_rgb.shape[0] / 2])


def _starts(length: int, side: float) -> np.ndarray:
    """Return where tiles begin along one side of the photo: every half tile, and one flush with the end."""
    last = max(length - side, 0.0)
    return np.unique(np.append(np.arange(0, last + 1, side / 2), last))


def _without_dots(photo_rgb: np.ndarray) -> np.ndarray:
    luminance = cv2.cvtColor(photo_rgb, cv2.COLOR_RGB2GRAY)
    dots = (cv2.absdiff(luminance, cv2.medianBlur(luminance, 3)) > DOT_STEP).mean()
    return cv2.medianBlur(photo_rgb, 3) if dots > DOTTED_SHARE else photo_rgb


def _view(photo_rgb: np.ndarray, centre: np.ndarray, side: float, rotation: float, size: int) -> View:
    """Cut a square of `side` photo pixels about `centre`, rotated clockwise by `rotation` degrees, to `size` pixels."""
    angle, scale = np.radians(rotation), size / max(side, 1.0)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    matrix = np.hstack([linear, (size / 2 - linear @ centre)[:, None]])
    view = cv2.warpAffine(photo_rgb, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return View(view, cv2.invertAffineTransform(matrix))
