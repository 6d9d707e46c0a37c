"""How is a result drawn? Boxes, landmarks and saliency maps on the photo."""

from __future__ import annotations

import cv2
import matplotlib
import numpy as np

from infant_fer.labels import AFFECT_COLOURS
from infant_fer.regions import OUTLINES, TRIANGLES
from infant_fer.report import FaceReport, Report

OVERLAYS = ("outlines", "mesh", "box only")
COLOUR_MAP = "inferno"  # perceptually uniform, readable in grey; matplotlib
LINE_SHARE = 1 / 250  # line width by face height; 2 px on a face of 500 px
FINE_BITS = 4  # cv2 draws with 1/16 px
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def draw_faces(report: Report, selected: int = 1, overlay: str = "outlines") -> np.ndarray:
    """Draw every face's box and number and the selected face's landmarks on a copy of the photo, (H, W, 3) uint8 RGB."""
    canvas = report.photo.rgb.copy()
    for face in report.faces:
        _draw_box(canvas, face, face.number == selected, numbered=len(report.faces) > 1)
        if face.number == selected and overlay != "box only":
            _draw_landmarks(canvas, face, overlay)
    return canvas


def draw_saliency(report: Report, selected: int = 1, strength: float = 0.8) -> np.ndarray:
    """Lay the selected face's saliency map over a copy of the photo; `strength` in 0..1 is the cover where the map is 1.

    Where the map is near 0 the photo stays visible. Outside the crop nothing is drawn but the crop's outline.
    """
    face, photo_rgb = report.face(selected), report.photo.rgb
    if face.explanation is None:
        return photo_rgb.copy()
    values = face.aligned.map_to_photo(face.explanation.saliency.for_display(), photo_rgb.shape[:2]).clip(0, 1)
    colours = _colour_table()[(values * 255).astype(np.uint8)]
    occluder = (strength * np.sqrt(values))[..., None]
    canvas = (photo_rgb * (1 - occluder) + colours * occluder).astype(np.uint8)
    side = face.aligned.crop_rgb.shape[0]
    corners = face.aligned.to_photo(np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float64) - 0.5)
    _polyline(canvas, corners, WHITE, 1, closed=True)
    return canvas


def colour_bar_css() -> str:
    """The map's colours from 0 to 1 as a CSS linear gradient."""
    table = _colour_table()[:: 255 // 10]
    return "linear-gradient(to right, " + ", ".join(f"rgb({r},{g},{b})" for r, g, b in table) + ")"


def _colour_table() -> np.ndarray:
    """(256, 3) uint8 RGB."""
    return (matplotlib.colormaps[COLOUR_MAP](np.arange(256))[:, :3] * 255).astype(np.uint8)


def _draw_box(canvas: np.ndarray, face: FaceReport, selected: bool, numbered: bool) -> None:
    width = _line_width(face)
    colour = _rgb(AFFECT_COLOURS[face.prediction.label])
    left, top, right, bottom = (round(value) for value in face.face.box_xyxy)
    cv2.rectangle(canvas, (left, top), (right, bottom), WHITE, width + (3 if selected else 2), cv2.LINE_AA)
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, width + (1 if selected else 0), cv2.LINE_AA)
    if numbered:
        _draw_tag(canvas, str(face.number), (left, top), colour)


def _draw_tag(canvas: np.ndarray, text: str, corner_xy: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """A filled tag with white text whose lower left corner is the box's upper left one, kept inside the picture."""
    scale = max(0.45, max(canvas.shape[:2]) / 1300)
    (text_width, text_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 2)
    pad = text_height // 2
    left = int(np.clip(corner_xy[0], 0, canvas.shape[1] - text_width - 2 * pad))
    bottom = int(np.clip(corner_xy[1], text_height + 2 * pad, canvas.shape[0]))
    cv2.rectangle(canvas, (left, bottom - text_height - 2 * pad), (left + text_width + 2 * pad, bottom), colour, -1)
    cv2.putText(canvas, text, (left + pad, bottom - pad), cv2.FONT_HERSHEY_SIMPLEX, scale, WHITE, 2, cv2.LINE_AA)


def _draw_landmarks(canvas: np.ndarray, face: FaceReport, overlay: str) -> None:
    points, width = face.face.landmarks_px, _line_width(face)
    if overlay == "mesh":
        layer = canvas.copy()
        for triangle in TRIANGLES:
            _polyline(layer, points[triangle], WHITE, 1, closed=True)
        cv2.addWeighted(layer, 0.55, canvas, 0.45, 0, dst=canvas)
        return
    for paths in OUTLINES.values():
        for path in paths:
            _polyline(canvas, points[list(path)], BLACK, width + 2, closed=False)
            _polyline(canvas, points[list(path)], (120, 230, 255), width, closed=False)


def _polyline(
    canvas: np.ndarray, points_px: np.ndarray, colour: tuple[int, int, int], width: int, closed: bool
) -> None:
    fine = np.round(points_px * 2**FINE_BITS).astype(np.int32)
    cv2.polylines(canvas, [fine], closed, colour, width, cv2.LINE_AA, FINE_BITS)


def _line_width(face: FaceReport) -> int:
    return max(1, round(face.face.height_px * LINE_SHARE))


def _rgb(hex_colour: str) -> tuple[int, int, int]:
    return tuple(int(hex_colour[i : i + 2], 16) for i in (1, 3, 5))
