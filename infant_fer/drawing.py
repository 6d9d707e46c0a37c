"""How is a result drawn? Views of the photo with boxes, landmarks and saliency maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import matplotlib
import numpy as np

from infant_fer.alignment import AlignedFace
from infant_fer.deformation import COLOURS, FULL_COLOUR, differing_triangles
from infant_fer.explain.saliency import FINE_BLUR, SMOOTH_BLUR
from infant_fer.face import Face
from infant_fer.images import Photo
from infant_fer.labels import AFFECT_COLOURS
from infant_fer.regions import OUTLINES, PARTS, TRIANGLES, part_map
from infant_fer.report import Explanation, FaceReport, Report

DIFFERENCE_OVERLAY = "difference from an average face"
OVERLAYS = ("outlines", "mesh", DIFFERENCE_OVERLAY, "box only")
MAP_VIEWS = ("smooth", "fine detail", "face parts", "for and against")
COLOUR_MAP = "inferno"  # perceptually uniform, readable without colour; matplotlib
DIFFERENCE_OPACITY = 0.75  # of a triangle in full colour; one without a difference is clear
FOR_COLOUR, AGAINST_COLOUR = "#0072B2", "#D55E00"  # Okabe and Ito's blue and vermilion
LINE_SHARE = 1 / 250  # line width by face height; 2 px on a face of 500 px
SMALL_DRAWN_PX = 200  # face height below which outlines are one thin, half transparent line without a casing
FINE_BITS = 4  # cv2 draws with 1/16 px
SHOWN_LONG_SIDE = 1024  # px; sharp on a page, a third of the bytes of the whole photo
SURROUNDINGS = 0.7  # of the faces' longer side, kept on every side of a close-up
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
UNNAMED_COLOUR = "#3A3A3A"  # of a box where the answer names no affect: none of AFFECT_COLOURS


def whole_view(report: Report, long_side: int = SHOWN_LONG_SIDE) -> Report:
    """Scale the report's photo down to `long_side`; smaller photos keep their size."""
    height, width = report.photo.rgb.shape[:2]
    return _transformed(report, (0, 0, width, height), min(1.0, long_side / max(height, width)))


def close_up(report: Report, long_side: int = SHOWN_LONG_SIDE) -> Report:
    """Crop the report's photo to a window around all faces, its long side `long_side`; without a face, whole_view.

    Boxes, landmarks and maps are moved to the new frame, so the result is drawn like any report.
    """
    if not report.faces:
        return whole_view(report, long_side)
    window = _window(report)
    scale = long_side / max(window[2] - window[0], window[3] - window[1])
    return _transformed(report, window, min(scale, 4.0))  # beyond four times only the pixels grow


def draw_faces(report: Report, selected: int = 1, overlay: str = "outlines", undecided: bool = False) -> np.ndarray:
    """Draw every face's box and number and the selected face's landmarks on a copy of the photo, (H, W, 3) uint8 RGB.

    A box has the colour of the affect that the face's answer names, UNNAMED_COLOUR where it names none: the verdict is
    "cannot say", or several affects are possible. `undecided` says that of the selected face, whatever its answer names.
    `overlay` is one of OVERLAYS; of DIFFERENCE_OVERLAY, deformation.difference_words says what it shows, or why it is left out.
    """
    canvas = report.photo.rgb.copy()
    for face in report.faces:
        is_selected = face.number == selected
        colour = _rgb(UNNAMED_COLOUR if undecided and is_selected else _colour_of(face))
        _draw_box(canvas, face, colour, is_selected, numbered=len(report.faces) > 1)
        if face.number == selected and overlay != "box only":
            _draw_landmarks(canvas, report, face, overlay)
    return canvas


def draw_saliency(report: Report, selected: int = 1, strength: float = 0.8, view: str = MAP_VIEWS[0]) -> np.ndarray:
    """Draw the selected face's saliency map over a copy of the photo; `strength` in 0..1 is the opacity where the map is 1.

    `view` is one of MAP_VIEWS: smoothed, in fine detail, each face part in the tint of its density ratio, or what speaks for the
    class in blue and against it in orange, where the method knows the sign (else smoothed). Where the map is near 0 the
    photo stays visible. Outside the crop nothing is drawn but the crop's outline.
    """
    face, photo_rgb = report.face(selected), report.photo.rgb
    if face.explanation is None:
        return photo_rgb.copy()
    values = face.aligned.map_to_photo(_map_values(face, face.explanation, view), photo_rgb.shape[:2])
    signed = view == MAP_VIEWS[-1] and face.explanation.saliency.signed is not None
    canvas = overlaid(photo_rgb, values, strength, signed)
    side = face.aligned.crop_rgb.shape[0]
    corners = face.aligned.to_photo(np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float64) - 0.5)
    _polyline(canvas, corners, WHITE, 1, closed=True)
    return canvas


def _map_values(face: FaceReport, explanation: Explanation, view: str) -> np.ndarray:
    """Return (S, S) float32 for the crop, in 0..1, or in -1..1 where it says what speaks against the class.

    Zeros of a map that marks nothing.
    """
    saliency, ratios = explanation.saliency, explanation.density_ratio
    if view == "for and against" and (signed := saliency.signed_for_display()) is not None:
        return signed
    if view != "face parts":
        return saliency.for_display(FINE_BLUR if view == "fine detail" else SMOOTH_BLUR)
    if not saliency.marks:
        return np.zeros_like(saliency.values)
    size = face.aligned.crop_rgb.shape[0]
    density = np.array([ratios[part] for part in PARTS], np.float32)
    return (density / max(density.max(), 1e-6))[part_map(face.aligned.to_crop(face.face.landmarks_px), size)]


def overlaid(picture_rgb: np.ndarray, values: np.ndarray, strength: float = 0.8, signed: bool = False) -> np.ndarray:
    """Blend an (H, W) map into a copy of an (H, W, 3) uint8 picture of the same size.

    A map in 0..1 has the colours of COLOUR_MAP; a `signed` one in -1..1 is blue above 0 and orange below it.
    """
    magnitude = np.abs(values).clip(0, 1)
    if signed:
        pro, contra = (np.array(_rgb(each), np.uint8) for each in (FOR_COLOUR, AGAINST_COLOUR))
        colours = np.where(values[..., None] > 0, pro, contra)
    else:
        colours = _colour_table()[(magnitude * 255).astype(np.uint8)]
    opacity = (strength * np.sqrt(magnitude))[..., None]
    return (picture_rgb * (1 - opacity) + colours * opacity).astype(np.uint8)


def colour_bar_css() -> str:
    """Return the map's colours from 0 to 1 as a CSS linear gradient."""
    table = _colour_table()[:: 255 // 10]
    return "linear-gradient(to right, " + ", ".join(f"rgb({r},{g},{b})" for r, g, b in table) + ")"


def _window(report: Report) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the close-up in pixels, inside the photo."""
    height, width = report.photo.rgb.shape[:2]
    boxes = np.array([face.face.box_xyxy for face in report.faces])
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    border = SURROUNDINGS * (high - low).max()
    left, top = np.floor((low - border).clip(0, (width - 2, height - 2))).astype(int)
    right, bottom = np.ceil((high + border).clip((left + 2, top + 2), (width, height))).astype(int)
    return int(left), int(top), int(right), int(bottom)


def _transformed(report: Report, window: tuple[int, int, int, int], scale: float) -> Report:
    left, top, right, bottom = window
    part = report.photo.rgb[top:bottom, left:right]
    size_wh = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    rgb = cv2.resize(part, size_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    faces = tuple(_transformed_face(face, np.array([left, top], np.float32), scale) for face in report.faces)
    return replace(report, photo=Photo(rgb, size_wh, report.photo.name), faces=faces)


def _transformed_face(report: FaceReport, corner: np.ndarray, scale: float) -> FaceReport:
    """Move a face with the picture; cv2.resize takes the centre of a pixel p to (p + 0.5) * scale - 0.5."""
    shift = (scale - 1) / 2
    matrix = report.aligned.photo_to_crop.copy()
    matrix[:, 2] += matrix[:, :2] @ (corner - shift / scale)
    matrix[:, :2] /= scale
    landmarks = (report.face.landmarks_px - corner) * scale + shift
    face = Face(landmarks, report.face.blendshapes, report.face.pose)
    return replace(report, face=face, aligned=AlignedFace(report.aligned.crop_rgb, matrix))


def _colour_table() -> np.ndarray:
    """Return (256, 3) uint8 RGB."""
    return (matplotlib.colormaps[COLOUR_MAP](np.arange(256))[:, :3] * 255).astype(np.uint8)


def _colour_of(face: FaceReport) -> str:
    named = None if face.assessment.verdict == "cannot say" else face.assessment.label
    return UNNAMED_COLOUR if named is None else AFFECT_COLOURS[named]


def _draw_box(
    canvas: np.ndarray, face: FaceReport, colour: tuple[int, int, int], selected: bool, numbered: bool
) -> None:
    width = _line_width(face)
    left, top, right, bottom = (round(value) for value in face.face.box_xyxy)
    if face.face.height_px >= SMALL_DRAWN_PX:
        cv2.rectangle(canvas, (left, top), (right, bottom), WHITE, width + (3 if selected else 2), cv2.LINE_AA)
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, width + (1 if selected else 0), cv2.LINE_AA)
    if numbered:
        _draw_tag(canvas, str(face.number), (left, top), colour)


def _draw_tag(canvas: np.ndarray, text: str, corner_xy: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """Draw a filled tag with white text whose lower left corner is the box's upper left one, kept inside the picture."""
    scale = max(0.45, max(canvas.shape[:2]) / 1300)
    (text_width, text_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 2)
    pad = text_height // 2
    left = int(np.clip(corner_xy[0], 0, canvas.shape[1] - text_width - 2 * pad))
    bottom = int(np.clip(corner_xy[1], text_height + 2 * pad, canvas.shape[0]))
    cv2.rectangle(canvas, (left, bottom - text_height - 2 * pad), (left + text_width + 2 * pad, bottom), colour, -1)
    cv2.putText(canvas, text, (left + pad, bottom - pad), cv2.FONT_HERSHEY_SIMPLEX, scale, WHITE, 2, cv2.LINE_AA)


def _draw_landmarks(canvas: np.ndarray, report: Report, face: FaceReport, overlay: str) -> None:
    if overlay == DIFFERENCE_OVERLAY:
        _draw_difference(canvas, *differing_triangles(report, face.number))
        return
    points, width = face.face.landmarks_px, _line_width(face)
    if overlay == "mesh":
        layer = canvas.copy()
        for triangle in TRIANGLES:
            _polyline(layer, points[triangle], WHITE, 1, closed=True)
        cv2.addWeighted(layer, 0.55, canvas, 0.45, 0, dst=canvas)
        return
    small, paths = face.face.height_px < SMALL_DRAWN_PX, [path for paths in OUTLINES.values() for path in paths]
    if not small:
        _draw_outlines(canvas, points, paths, BLACK, width + 2, opacity=0.4 if width == 1 else 1.0)
    _draw_outlines(canvas, points, paths, (120, 230, 255), width, opacity=0.6 if small else 1.0)


def _draw_outlines(
    canvas: np.ndarray,
    points_px: np.ndarray,
    paths: Sequence[Sequence[int]],
    colour: tuple[int, int, int],
    width: int,
    opacity: float,
) -> None:
    layer = canvas.copy()
    for path in paths:
        _polyline(layer, points_px[list(path)], colour, width, closed=False)
    cv2.addWeighted(layer, opacity, canvas, 1 - opacity, 0, dst=canvas)


def _draw_difference(canvas: np.ndarray, corners_px: np.ndarray, differences: np.ndarray) -> None:
    """Colour the triangles that are larger or smaller than in the mean neutral face."""
    shares = np.clip(differences / FULL_COLOUR, -1, 1)
    colours = (matplotlib.colormaps[COLOURS]((shares + 1) / 2)[:, :3] * 255).astype(np.uint8)
    layer, opacity = canvas.copy(), np.zeros(canvas.shape[:2], np.float32)
    for corners, share, colour in zip(corners_px, shares, colours, strict=True):
        fine = np.round(corners * 2**FINE_BITS).astype(np.int32)
        cv2.fillConvexPoly(layer, fine, colour.tolist(), cv2.LINE_8, FINE_BITS)
        cv2.fillConvexPoly(opacity, fine, DIFFERENCE_OPACITY * abs(float(share)), cv2.LINE_8, FINE_BITS)
    canvas[:] = canvas * (1 - opacity[..., None]) + layer * opacity[..., None]


def _polyline(
    canvas: np.ndarray, points_px: np.ndarray, colour: tuple[int, int, int], width: int, closed: bool
) -> None:
    fine = np.round(points_px * 2**FINE_BITS).astype(np.int32)
    cv2.polylines(canvas, [fine], closed, colour, width, cv2.LINE_AA, FINE_BITS)


def _line_width(face: FaceReport) -> int:
    return max(1, round(face.face.height_px * LINE_SHARE))


def _rgb(hex_colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(hex_colour.removeprefix("#"))
    return red, green, blue
