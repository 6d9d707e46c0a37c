"""Which part of the photo is shown, and how large? A report moved into the frame of the picture on the page."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from infant_fer.alignment import AlignedFace
from infant_fer.face import Face
from infant_fer.images import Photo
from infant_fer.report import FaceReport, Report

SHOWN_LONG_SIDE = 1024  # px; sharp on a page, a third of the bytes of the whole photo
SURROUNDINGS = 0.7  # of the faces' longer side, kept on every side of a close-up


def whole_view(report: Report) -> Report:
    """The report of the whole photo brought down to SHOWN_LONG_SIDE; smaller photos keep their size."""
    height, width = report.photo.rgb.shape[:2]
    return _moved(report, (0, 0, width, height), min(1.0, SHOWN_LONG_SIDE / max(height, width)))


def close_up(report: Report) -> Report:
    """The report of a window round all faces, with its long side at SHOWN_LONG_SIDE; without a face, the whole photo.

    Boxes, landmarks and maps follow into the new frame, so the result is drawn, and clicked, like any report.
    """
    if not report.faces:
        return whole_view(report)
    window = _window(report)
    scale = SHOWN_LONG_SIDE / max(window[2] - window[0], window[3] - window[1])
    return _moved(report, window, min(scale, 4.0))  # beyond four times only the pixels grow


def _window(report: Report) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in pixels, inside the photo."""
    height, width = report.photo.rgb.shape[:2]
    boxes = np.array([face.face.box_xyxy for face in report.faces])
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    room = SURROUNDINGS * (high - low).max()
    left, top = np.floor((low - room).clip(0, (width - 2, height - 2))).astype(int)
    right, bottom = np.ceil((high + room).clip((left + 2, top + 2), (width, height))).astype(int)
    return int(left), int(top), int(right), int(bottom)


def _moved(report: Report, window: tuple[int, int, int, int], scale: float) -> Report:
    left, top, right, bottom = window
    piece = report.photo.rgb[top:bottom, left:right]
    size_wh = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    rgb = cv2.resize(piece, size_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    faces = tuple(_moved_face(face, np.array([left, top], np.float32), scale) for face in report.faces)
    return replace(report, photo=Photo(rgb, size_wh), faces=faces)


def _moved_face(report: FaceReport, corner: np.ndarray, scale: float) -> FaceReport:
    matrix = report.aligned.photo_to_crop.copy()
    matrix[:, 2] += matrix[:, :2] @ corner
    matrix[:, :2] /= scale
    landmarks = (report.face.landmarks_px - corner) * scale
    face = Face(landmarks, report.face.blendshapes, report.face.pose)
    return replace(report, face=face, aligned=AlignedFace(report.aligned.crop_rgb, matrix))
