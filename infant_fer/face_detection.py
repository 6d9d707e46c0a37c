"""Where are the faces? The only importer of mediapipe."""

from __future__ import annotations

import _thread
import atexit
import math
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision

from infant_fer.checkpoints.sources import read_bundle
from infant_fer.face import LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS, Face, HeadPose
from infant_fer.face_search import (
    CHECK_ROTATIONS,
    NEAR,
    TILT_DEGREES,
    SearchBudget,
    View,
    believed,
    bordered_views,
    disagreement,
    distinct,
    filtered_views,
    focus_views,
    grouped,
    in_place,
    is_part_of,
    near_view,
    tile_views,
    upright_view,
    upside_down_view,
    variation,
)

MAX_FACES = 5
SMALL_SHARE = 0.2  # of the photo's longer side: next to a face this small there may be others unseen
MIN_VIEW_PX = 16
SAME_FACE = 0.35  # disagreement (by size) of two meshes of one face, one of them slipped

_REOPENING = threading.Lock()


class FaceDetector:
    """Find infants' faces in a photo. Thread-safe, and usable in a forked child process; holds about 40 MB."""

    def __init__(self, bundle: Path | None = None):
        self._bundle = read_bundle(bundle)
        self._open()

    def _open(self) -> None:
        """Create the landmarker of this process."""
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=self._bundle),
            num_faces=MAX_FACES,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        self._landmarker = vision.FaceLandmarker.create_from_options(options)
        atexit.register(_leave_to_the_system, weakref.ref(self._landmarker))
        # The finalizer keeps the landmarker alive until it is closed. Left to itself in a reference cycle it would be
        # closed by the garbage collector after its worker thread has gone, and wait for that thread for ever.
        self._finalizer = weakref.finalize(self, _close, self._landmarker, os.getpid())
        self._finalizer.atexit = False
        self._pid, self._lock = os.getpid(), threading.Lock()

    def find(self, photo_rgb: np.ndarray, thorough: bool = True, budget: SearchBudget | None = None) -> list[Face]:
        """Find up to five faces, the one most likely meant first (large and central); none is an empty list.

        `photo_rgb` is (H, W, 3) uint8. When the plain photo shows none and `thorough` is set, the search goes on with a
        border round the photo and rotations by 90° (tight crops, lying infants), then with filtered and enlarged views
        whose finds must be confirmed. That takes up to two seconds on one core; `budget` limits it, None does not.
        Without `thorough` only the photo upside down is searched then. Each face is compared with what is found upside down
        in its place: one view more, or six where a face is found there, which no budget limits.
        """
        faces = self._detect(View(photo_rgb, np.eye(2, 3)))
        if not faces and thorough:
            faces = self._searched(photo_rgb, budget or SearchBudget(math.inf))
        elif not faces:
            faces = self._detect(upside_down_view(photo_rgb))
        faces = self._all_right_way_up(photo_rgb, [self._straightened(photo_rgb, face) for face in faces])
        return sorted(faces, key=lambda face: -_prominence(face, photo_rgb.shape))[:MAX_FACES]

    def find_others(self, photo_rgb: np.ndarray, known: list[Face], budget: SearchBudget | None = None) -> list[Face]:
        """Find faces beside the `known` ones in enlarged views, for which `find` had no need; takes about a second."""
        budget = budget or SearchBudget(math.inf)
        return self._beside(photo_rgb, self._confirmed(photo_rgb, tile_views(photo_rgb), budget), known)

    def find_near(self, photo_rgb: np.ndarray, box_xyxy: tuple[float, float, float, float], roll: float) -> list[Face]:
        """Find the faces round a place where one is expected, such as in the next frame of a clip; none is an empty list.

        Only a square of NEAR times the box's longer side is searched, rotated upright when the expected `roll` in degrees
        is strong: small and lying faces are found in it that a search of the whole frame misses.
        """
        view = near_view(photo_rgb, box_xyxy, roll)
        return self._detect(view) if min(view.rgb.shape[:2]) >= MIN_VIEW_PX else []

    def _searched(self, photo_rgb: np.ndarray, budget: SearchBudget) -> list[Face]:
        """Return the faces in further views; if the first of them has only small ones, others may still be missing."""
        bordered = budget.within(bordered_views(photo_rgb))
        faces = next((faces for view in bordered if (faces := self._detect(view))), [])
        if not faces:
            return self._confirmed(photo_rgb, filtered_views(photo_rgb), budget) or self._confirmed(
                photo_rgb, tile_views(photo_rgb), budget
            )
        if all(face.height_px < SMALL_SHARE * max(photo_rgb.shape) for face in faces):
            return distinct([*faces, *self._confirmed(photo_rgb, tile_views(photo_rgb), budget)])
        return faces

    def _confirmed(self, photo_rgb: np.ndarray, views: Iterable[View], budget: SearchBudget) -> list[Face]:
        """Return the faces that several of the views, or close views of a find, agree on; the most frequent find is always checked."""
        finds = [face for view in budget.within(views) for face in self._detect(view)]
        groups = budget.within(grouped([face.landmarks_px for face in finds]), at_least=1)
        faces = (self._confirmed_find(photo_rgb, [finds[index] for index in group]) for group in groups)
        return [face for face in faces if face]

    def _straightened(self, photo_rgb: np.ndarray, face: Face) -> Face:
        """Detect a strongly tilted face again in views rotated upright, where the mesh fits better."""
        for _ in range(2):
            if abs(face.pose.roll) < TILT_DEGREES:
                return face
            again = self._detect(upright_view(photo_rgb, face.landmarks_px, face.pose.roll))
            near = [other for other in again if disagreement(other.landmarks_px, face.landmarks_px) < SAME_FACE]
            if not near:
                return face
            face = near[0]
        return face

    def _all_right_way_up(self, photo_rgb: np.ndarray, faces: list[Face]) -> list[Face]:
        """Return the faces the right way up; where that turns any, others that the photo upside down shows come with them."""
        upright = [self._right_way_up(photo_rgb, face) for face in faces]
        if all(now is before for now, before in zip(upright, faces, strict=True)):
            return faces
        return distinct([*upright, *self._beside(photo_rgb, self._detect(upside_down_view(photo_rgb)), upright)])

    def _beside(self, photo_rgb: np.ndarray, finds: Iterable[Face], known: list[Face]) -> list[Face]:
        """Return further finds straightened and the right way up, those in a known face's box left out."""
        faces = distinct([self._right_way_up(photo_rgb, self._straightened(photo_rgb, find)) for find in finds], known)
        return [face for face in faces if not any(is_part_of(face, other) for other in known)]

    def _right_way_up(self, photo_rgb: np.ndarray, face: Face) -> Face:
        """Return the face, or the one that is found upside down in its place if its landmarks vary less.

        The landmarker fits an upright face to one that is upside down, but its landmarks then change with the view.
        """
        turned = self._checked(photo_rgb, face, 180.0)
        other = next(turned)
        if other is None:
            return face
        return other if variation([other, *turned]) < variation(list(self._checked(photo_rgb, face))) else face

    def _checked(self, photo_rgb: np.ndarray, face: Face, turn: float = 0.0) -> Iterator[Face | None]:
        """Yield what close views in CHECK_ROTATIONS, turned by so many degrees more, show in the face's place."""
        views = focus_views(photo_rgb, face.landmarks_px, face.pose.roll + turn, (NEAR,), CHECK_ROTATIONS)
        return (in_place(self._detect(view), face) for view in views)

    def _confirmed_find(self, photo_rgb: np.ndarray, group: list[Face]) -> Face | None:
        """Return the best find of one place after close views of it, or None when they do not confirm it."""
        points = [face.landmarks_px for face in group]
        middle = np.median(points, 0)
        typical = min(group, key=lambda face: disagreement(face.landmarks_px, middle))
        focus = [face for view in focus_views(photo_rgb, middle, typical.pose.roll) for face in self._detect(view)]
        if not believed(points, [face.landmarks_px for face in focus]):
            return None
        return min([typical, *focus], key=lambda face: disagreement(face.landmarks_px, middle))

    def _detect(self, view: View) -> list[Face]:
        """Run the landmarker on one view of the photo; return faces in the photo's frame."""
        if self._pid != os.getpid():  # forked: the landmarker's worker thread stayed in the parent
            with _REOPENING:  # of several threads in the child, one opens it
                if self._pid != os.getpid():
                    self._finalizer()
                    self._open()
        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(view.rgb))
        with self._lock:
            result = self._landmarker.detect(image)
        size_wh = np.array([view.rgb.shape[1], view.rgb.shape[0]], np.float32)
        return [
            _face(landmarks, blendshapes, matrix, size_wh, view.to_photo)
            for landmarks, blendshapes, matrix in zip(
                result.face_landmarks,
                result.face_blendshapes,
                result.facial_transformation_matrixes,
                strict=True,
            )
        ]


def _close(landmarker: vision.FaceLandmarker, pid: int) -> None:
    """Close the landmarker of process `pid` in a thread of its own, or forget it in a child process.

    The garbage collector may call this while this thread holds a lock that closing needs; `_thread` itself takes none.
    """
    if pid != os.getpid():
        landmarker._handle = None
    else:
        _thread.start_new_thread(_close_now, (landmarker,))


def _close_now(landmarker: vision.FaceLandmarker) -> None:
    try:
        landmarker.close()
    except RuntimeError:  # the interpreter is exiting and takes no more work
        landmarker._handle = None


def _leave_to_the_system(landmarker: weakref.ref) -> None:
    """Prevent closing at exit: mediapipe 0.10.33 uses an executor that Python has already shut down, and prints a traceback."""
    if (living := landmarker()) is not None:
        living._handle = None


def _face(landmarks, blendshapes, matrix, size_wh: np.ndarray, view_to_photo: np.ndarray) -> Face:
    points = np.array([(point.x, point.y) for point in landmarks], np.float32) * size_wh
    points = (points @ view_to_photo[:, :2].T + view_to_photo[:, 2]).astype(np.float32)
    scores = {c.category_name: float(c.score) for c in blendshapes if c.category_name != "_neutral"}
    return Face(points, scores, _pose(matrix, points))


def _pose(matrix: np.ndarray, points: np.ndarray) -> HeadPose:
    """Return yaw and pitch from MediaPipe's metric rotation, and roll from the eyes in the photo, so that it survives rotated views."""
    rotation = np.asarray(matrix)[:3, :3]
    forward = rotation[:, 2] / np.linalg.norm(rotation[:, 2])
    yaw = np.degrees(np.arctan2(forward[0], forward[2]))
    pitch = np.degrees(np.arcsin(np.clip(forward[1], -1, 1)))
    eyes = points[list(LEFT_EYE_CORNERS)].mean(0) - points[list(RIGHT_EYE_CORNERS)].mean(0)
    return HeadPose(float(yaw), float(pitch), float(np.degrees(np.arctan2(eyes[1], eyes[0]))))


def _prominence(face: Face, shape: tuple[int, ...]) -> float:
    """Return the area weighted by nearness to the photo's centre, largest for the face most likely meant."""
    height, width = shape[:2]
    left, top, right, bottom = face.box_xyxy
    offset = np.hypot((left + right) / 2 / width - 0.5, (top + bottom) / 2 / height - 0.5)
    return (right - left) * (bottom - top) * float(np.exp(-2 * offset**2))
