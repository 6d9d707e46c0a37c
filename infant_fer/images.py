"""Is this a picture we can safely read? The only place where image bytes are decoded."""

from __future__ import annotations

import base64
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import ExifTags, Image

from infant_fer.errors import ImageError

MAX_BYTES = 12 * 2**20  # a phone's JPEG takes about 2 bits a pixel: 10 MB for MAX_PIXELS
MAX_PIXELS = 40_000_000  # decoded RGB of that size is 120 MB
LONG_SIDE = 1600  # px; a face that fills a tenth of the picture still has 160 px
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF")  # HEIC is decoded by pillow-heif; other decoders stay unreachable
# The names that folders are searched for, by the app, the command line and training. BMP and TIFF are not decoded.
PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".heic", ".heif"})
BACKDROP_GRAY = 127  # what shows through transparent pixels

ORIENTATION = ExifTags.Base.Orientation
UPRIGHT = {  # how each orientation of EXIF 2.3 is undone; any other value means upright already
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ON_ITS_SIDE = (5, 6, 7, 8)  # width and height change places
TOO_LARGE = "The photo is larger than 12 MB. Save it smaller and try again."
TOO_MANY_PIXELS = "The photo has more than 40 megapixels. Save it smaller and try again."
UNREADABLE = "This file could not be read as a photo. Use JPEG, PNG, WebP, AVIF or HEIC."


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo: `rgb` (H, W, 3) uint8, upright, long side at most 1600 px; `full_size_wh` its upright size before that.

    `name` is that of its file, where the one who chose it gave one.
    """

    rgb: np.ndarray
    full_size_wh: tuple[int, int]
    name: str = ""

    @property
    def scale(self) -> float:
        """Return full-size pixels per pixel of `rgb`."""
        return self.full_size_wh[0] / self.rgb.shape[1]


def load_photo(source: str | Path | bytes | np.ndarray | Photo) -> Photo:
    """Decode one photo: upright, metadata dropped, long side at most 1600 px.

    `source` is a path, the encoded bytes, an (H, W, 3) uint8 RGB array that is already decoded, or a Photo, which is returned.
    Animated files give their first frame; transparent pixels become gray.
    Raises ImageError with a sentence for the user.
    """
    if isinstance(source, Photo):
        return source
    if isinstance(source, np.ndarray):
        image, full_size_wh = _checked_array(source), source.shape[1::-1]
    else:
        data = source if isinstance(source, bytes) else _read(Path(source))
        if len(data) > MAX_BYTES:
            raise ImageError(TOO_LARGE)
        image, full_size_wh = _decode(data)
    return Photo(np.array(_fit(_rgb(image))), full_size_wh)


def load_image(source: str | Path | bytes | np.ndarray) -> np.ndarray:
    """Decode one photo to a contiguous (H, W, 3) uint8 RGB array; see load_photo."""
    return load_photo(source).rgb


def encode_png(image_rgb: np.ndarray) -> bytes:
    """Encode an (H, W, 3) uint8 RGB array as PNG without any metadata."""
    buffer = io.BytesIO()
    Image.fromarray(image_rgb).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def data_url(image_rgb: np.ndarray, quality: int | None = None) -> str:
    """Encode an (H, W, 3) uint8 RGB array as a data: URL, as PNG or, with a `quality` of 1 to 95, as JPEG."""
    if quality is None:
        return "data:image/png;base64," + base64.b64encode(encode_png(image_rgb)).decode()
    buffer = io.BytesIO()
    Image.fromarray(image_rgb).save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _checked_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ImageError(f"An array photo must be (H, W, 3) uint8 RGB; got {array.shape} {array.dtype}.")
    return Image.fromarray(array)


def printable(path: str | Path) -> str:
    """Return a path as text that every encoding can hold: bytes that are not UTF-8 are written as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _read(path: Path) -> bytes:
    name = printable(path.name)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a device or pipe may never end
            raise ImageError(f"{name} is not a file. Choose a photo.")
        if status.st_size > MAX_BYTES:
            raise ImageError(f"{name} is larger than 12 MB. Save it smaller and try again.")
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{name} could not be opened: {error.strerror}.") from None
    except ValueError:  # a NUL in the name
        raise ImageError(f"{name!r} is no possible file name.") from None


def _decode(data: bytes) -> tuple[Image.Image, tuple[int, int]]:
    """Decode the bytes with an allow-listed decoder; every exception of a decoder becomes an ImageError."""
    try:
        is_heif = pillow_heif.get_file_mimetype(data[:12]).startswith("image/hei")
        return _opened_heif(data) if is_heif else _opened(data)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(TOO_MANY_PIXELS) from None
    except Exception:  # on untrusted bytes decoders raise anything: OSError, struct.error, IndexError, ...
        raise ImageError(UNREADABLE) from None


def _opened(data: bytes) -> tuple[Image.Image, tuple[int, int]]:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    full_size_wh = image.size
    _check_size(full_size_wh)
    image.draft(None, (LONG_SIDE, LONG_SIDE))  # JPEG only: decode at half or a quarter when that is enough
    image.seek(0)
    image.load()
    orientation = _orientation(image)
    if orientation in ON_ITS_SIDE:
        full_size_wh = full_size_wh[::-1]
    # ImageOps.exif_transpose would also write the EXIF again, and fail on tags of a wrong type.
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image, full_size_wh


def _orientation(image: Image.Image) -> Any:
    """Return the orientation of a loaded picture's EXIF, untrusted and of any type; None without EXIF that can be parsed."""
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:  # Pillow raises SyntaxError and others for damaged EXIF of PNG and WebP; the pixels are sound
        return None


def _opened_heif(data: bytes) -> tuple[Image.Image, tuple[int, int]]:
    heif = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
    _check_size(heif.size)
    image = heif.to_pillow()  # libheif has applied the orientation
    return image, image.size


def _check_size(size_wh: tuple[int, int]) -> None:
    if size_wh[0] * size_wh[1] > MAX_PIXELS:
        raise ImageError(TOO_MANY_PIXELS)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit luminance
        return Image.fromarray((np.asarray(image, np.float64) / 257).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        backdrop = Image.new("RGBA", rgba.size, (BACKDROP_GRAY,) * 3 + (255,))
        return Image.alpha_composite(backdrop, rgba).convert("RGB")
    return image.convert("RGB")


def _fit(image: Image.Image) -> Image.Image:
    if max(image.size) <= LONG_SIDE:
        return image
    scale = LONG_SIDE / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
