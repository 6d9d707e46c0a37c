"""Small clips made of the rendered portraits of examples/, encoded in memory."""

import io
from collections.abc import Callable, Iterable
from fractions import Fraction

import av
import cv2
import numpy as np

from infant_fer.images import load_photo
from tests.conftest import EXAMPLES

SIZE_WH = (320, 240)
FPS = 25


def encoded(
    frames: Iterable[np.ndarray],
    format: str = "mp4",
    codec: str = "libx264",
    times_ms: Iterable[int] | None = None,
    prepare: Callable = lambda stream: None,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> bytes:
    """Return the bytes of a clip of (H, W, 3) uint8 frames, 25 a second or at `times_ms`; `prepare` gets the stream first."""
    data, times = io.BytesIO(), iter(times_ms or ())
    with av.open(data, "w", format=format) as container:
        stream = container.add_stream(codec, rate=FPS, options=options or {})
        stream.pix_fmt = pixels
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        prepare(stream)
        for number, rgb in enumerate(frames):
            if number == 0:
                stream.height, stream.width = rgb.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.time_base = Fraction(1, 1000)
            frame.pts = next(times, None) if times_ms else round(number * 1000 / FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return data.getvalue()


def plain(count: int = 10, size_wh: tuple[int, int] = (64, 48)) -> list[np.ndarray]:
    """Return frames without a face: gray, the upper left quarter red."""
    rgb = np.full((size_wh[1], size_wh[0], 3), 40, np.uint8)
    rgb[: size_wh[1] // 2, : size_wh[0] // 2] = (230, 20, 20)
    return [rgb] * count


def portrait(name: str, side: int = 200) -> np.ndarray:
    """Return a rendered portrait of examples/, (side, side, 3)."""
    rgb = load_photo(EXAMPLES / f"{name}.jpg").rgb
    edge = min(rgb.shape[:2])
    return cv2.resize(rgb[:edge, :edge], (side, side), interpolation=cv2.INTER_AREA)


def placed(pictures: Iterable[tuple[np.ndarray, int, int]], size_wh: tuple[int, int] = SIZE_WH) -> np.ndarray:
    """Return a gray frame with pictures at (left, top), the last in front; what is outside the frame is cut."""
    frame = np.full((size_wh[1], size_wh[0], 3), 110, np.uint8)
    for rgb, left, top in pictures:
        x, y = max(left, 0), max(top, 0)
        part = rgb[y - top : size_wh[1] - top, x - left : size_wh[0] - left]
        frame[y : y + part.shape[0], x : x + part.shape[1]] = part
    return frame
