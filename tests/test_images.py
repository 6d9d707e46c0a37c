"""Untrusted bytes: what can be read is read upright, what cannot is refused with one sentence."""

import io

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from infant_fer.errors import ImageError
from infant_fer.images import LONG_SIDE, TOO_MANY_PIXELS, UNREADABLE, encode_png, load_image, load_photo

ORIENTATION_TAG, GPS_TAG = 274, 0x8825


def two_colours() -> Image.Image:
    """60 × 40: left half red, right half black."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30, 0] = 255
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def heic(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA", "P", "LA"])
def test_every_format_and_mode_becomes_rgb(kind, mode):
    try:
        data = encoded(two_colours().convert(mode), kind)
    except (OSError, KeyError):
        pytest.skip(f"{kind} does not store {mode}")
    image = load_image(data)
    assert image.shape == (40, 60, 3)
    assert image.dtype == np.uint8
    assert image[20, 10].mean() > image[20, 50].mean() + 30


def test_heic_is_read():
    image = load_image(heic(two_colours()))
    assert image.shape == (40, 60, 3)
    assert image[20, 10, 0] > 200
    assert image[20, 50, 0] < 50


@pytest.mark.parametrize(
    "encode", [lambda image, exif: encoded(image, "JPEG", exif=exif), lambda image, exif: heic(image, exif=exif)]
)
def test_orientation_is_applied_and_the_full_size_is_upright(encode):
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6  # the camera was held upright: turn clockwise
    photo = load_photo(encode(two_colours(), exif.tobytes()))
    assert photo.rgb.shape == (60, 40, 3)
    assert photo.full_size_wh == (40, 60)
    assert photo.rgb[5, 20, 0] > 200  # red was left, is on top


def test_sixteen_bit_grey_keeps_its_level():
    assert load_image(encoded(Image.fromarray(np.full((5, 5), 40000, np.uint16)), "PNG"))[0, 0, 0] == 40000 // 257


def test_transparent_pixels_show_grey():
    assert load_image(encoded(Image.new("RGBA", (5, 5), (255, 0, 0, 0)), "PNG"))[0, 0].tolist() == [127, 127, 127]


def test_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert load_image(data)[4, 4].tolist() == [255, 0, 0]


def test_large_photos_shrink_and_remember_their_size():
    photo = load_photo(encoded(Image.new("RGB", (3600, 1800)), "JPEG"))
    assert photo.rgb.shape == (800, LONG_SIDE, 3)
    assert photo.full_size_wh == (3600, 1800)
    assert photo.scale == 2.25


def test_nothing_of_the_metadata_survives():
    exif = Image.Exif()
    exif.get_ifd(GPS_TAG)[1] = "N"
    exif[0x010E] = "a secret place"
    data = encoded(two_colours(), "JPEG", exif=exif)
    assert b"a secret place" in data
    again = encode_png(load_image(data))
    assert b"secret" not in again
    assert not Image.open(io.BytesIO(again)).getexif()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"this is text named .jpg",
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        encoded(two_colours(), "JPEG")[:300],
        encoded(two_colours(), "PNG")[:60],
        heic(two_colours())[:200],
        encoded(two_colours(), "GIF"),
        encoded(two_colours(), "BMP"),
        encoded(two_colours(), "TIFF"),
    ],
    ids=["empty", "text", "svg", "cut jpeg", "cut png", "cut heic", "gif", "bmp", "tiff"],
)
def test_what_is_no_photo_is_refused_with_one_sentence(data):
    with pytest.raises(ImageError, match="could not be read as a photo"):
        load_image(data)
    assert "JPEG, PNG" in UNREADABLE


def test_a_bomb_is_refused_before_it_is_decoded():
    bomb = encoded(Image.new("1", (20000, 20000)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(ImageError) as refusal:
        load_image(bomb)
    assert str(refusal.value) == TOO_MANY_PIXELS


def test_too_many_bytes_are_refused_unread(tmp_path):
    large = tmp_path / "large.jpg"
    with large.open("wb") as stream:
        stream.truncate(13 * 2**20)
    with pytest.raises(ImageError, match="larger than 12 MB"):
        load_image(large)
    with pytest.raises(ImageError, match="larger than 12 MB"):
        load_image(bytes(13 * 2**20))


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(ImageError, match=r"nowhere\.jpg could not be opened"):
        load_image(tmp_path / "nowhere.jpg")


def test_arrays_must_be_rgb_bytes():
    assert load_image(np.zeros((4, 6, 3), np.uint8)).shape == (4, 6, 3)
    for wrong in (np.zeros((4, 6), np.uint8), np.zeros((4, 6, 3)), np.zeros((0, 6, 3), np.uint8)):
        with pytest.raises(ImageError, match="must be"):
            load_image(wrong)


def test_one_pixel_is_a_picture():
    assert load_image(encoded(Image.new("RGB", (1, 1)), "PNG")).shape == (1, 1, 3)
