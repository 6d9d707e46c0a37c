"""Untrusted bytes: what can be read is read upright, what cannot is refused with one sentence."""

import io
import struct
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from infant_fer.batch import photo_files
from infant_fer.data.datasets import read_labeled_images
from infant_fer.errors import ImageError
from infant_fer.images import LONG_SIDE, PHOTO_SUFFIXES, TOO_MANY_PIXELS, UNREADABLE, encode_png, load_image, load_photo

ORIENTATION_TAG, GPS_TAG = 274, 0x8825
ASCII, SHORT, RATIONAL = 2, 3, 5  # types of EXIF values


def two_colours() -> Image.Image:
    """Return a picture of 60 × 40, left half red, right half black."""
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


STORED_MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "L", "RGBA", "P", "LA"),
    "WEBP": ("RGB", "L", "CMYK", "RGBA", "P", "LA"),
    "AVIF": ("RGB", "L", "CMYK", "RGBA", "P", "LA"),
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in STORED_MODES.items() for mode in modes])
def test_every_format_and_mode_becomes_rgb(kind, mode):
    image = load_image(encoded(two_colours().convert(mode), kind))
    assert image.shape == (40, 60, 3)
    assert image.dtype == np.uint8
    assert image[20, 10].mean() > image[20, 50].mean() + 30


def test_heic_is_read():
    image = load_image(heic(two_colours()))
    assert image.shape == (40, 60, 3)
    assert image[20, 10, 0] > 200
    assert image[20, 50, 0] < 50


def test_every_photo_suffix_is_decoded_and_listed_by_command_line_and_training(tmp_path):
    """Each suffix holds the format that Pillow's table of suffixes names."""
    kinds = {**Image.registered_extensions(), ".heic": "HEIC", ".heif": "HEIC"}
    for suffix in (*PHOTO_SUFFIXES, ".bmp", ".tiff", ".gif"):
        data = heic(two_colours()) if kinds[suffix] == "HEIC" else encoded(two_colours(), kinds[suffix])
        for label in ("happy", "sad"):
            (tmp_path / f"{label}{suffix}").write_bytes(data)
    (tmp_path / "sad.txt").write_text("no picture")
    for suffix in PHOTO_SUFFIXES:
        image = load_image(tmp_path / f"happy{suffix}")
        assert image[20, 10].mean() > image[20, 50].mean() + 30, suffix
    listed = photo_files([tmp_path])
    assert {file.path.suffix for file in listed} == PHOTO_SUFFIXES
    table = read_labeled_images(tmp_path)
    assert {Path(table.where(index)).suffix for index in range(2 * len(PHOTO_SUFFIXES))} == PHOTO_SUFFIXES
    assert len(table.truth) == len(listed) == 2 * len(PHOTO_SUFFIXES)


def exif_block(*tags: tuple[int, int, int, bytes]) -> bytes:
    """Return an EXIF block of (tag, type, count, value bytes), in the order of the tags and whether or not the types make sense."""
    after = 8 + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, kind, count, value in tags:
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", after + len(values))
        entries += struct.pack("<HHI", tag, kind, count) + place
        values += value if len(value) > 4 else b""
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + values


def orientation(value: int) -> tuple[int, int, int, bytes]:
    return (ORIENTATION_TAG, SHORT, 1, struct.pack("<H", value))


def looks_like(image_rgb: np.ndarray, expected_rgb: np.ndarray) -> bool:
    """Return whether the two agree but for what JPEG loses at the edges of flat colours."""
    return image_rgb.shape == expected_rgb.shape and np.abs(image_rgb.astype(int) - expected_rgb).mean() < 8


def four_colours(width: int, height: int) -> np.ndarray:
    """Return red, green over blue, white: each rotation and mirror image of it differs."""
    quarters = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    return quarters.repeat(height // 2, 0).repeat(width // 2, 1)


CAMERA_TURNS = {  # what a camera stores of an upright picture, by the orientation it notes
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: image.transpose(1, 0, 2)[::-1],
    7: lambda image: image.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda image: image.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("size_wh", [(96, 64), (4800, 3200)], ids=["small", "decoded at half size"])
@pytest.mark.parametrize("noted", CAMERA_TURNS)
def test_every_orientation_is_turned_upright(noted, size_wh):
    stored = np.ascontiguousarray(CAMERA_TURNS[noted](four_colours(*size_wh)))
    photo = load_photo(encoded(Image.fromarray(stored), "JPEG", exif=exif_block(orientation(noted))))
    assert photo.full_size_wh == size_wh
    height, width = photo.rgb.shape[:2]
    assert (width, height) == (size_wh if max(size_wh) < LONG_SIDE else (LONG_SIDE, 1067))
    assert looks_like(photo.rgb[: height // 2 * 2], four_colours(width, height))


@pytest.mark.parametrize(
    "tag",
    [
        orientation(0),
        orientation(9),
        orientation(65535),
        (ORIENTATION_TAG, ASCII, 2, b"6\0"),
        (ORIENTATION_TAG, RATIONAL, 1, struct.pack("<II", 6, 0)),
    ],
    ids=["0", "9", "65535", "a letter", "6/0"],
)
def test_an_orientation_that_means_nothing_leaves_the_picture(tag):
    photo = load_photo(encoded(Image.fromarray(four_colours(96, 64)), "JPEG", exif=exif_block(tag)))
    assert photo.full_size_wh == (96, 64)
    assert looks_like(photo.rgb, four_colours(96, 64))


@pytest.mark.parametrize(
    "tag",
    [
        (0x0100, ASCII, 5, b"4000\0"),
        (0x011A, ASCII, 3, b"72\0"),
        (0x0213, RATIONAL, 1, struct.pack("<II", 1, 2)),
    ],
    ids=["ImageWidth", "XResolution", "YCbCrPositioning"],
)
def test_a_tag_of_the_wrong_type_does_not_spoil_the_photo(tag):
    stored = Image.fromarray(np.ascontiguousarray(CAMERA_TURNS[6](four_colours(96, 64))))
    photo = load_photo(encoded(stored, "JPEG", exif=exif_block(*sorted([tag, orientation(6)]))))
    assert photo.full_size_wh == (96, 64)
    assert looks_like(photo.rgb, four_colours(96, 64))


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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_leaves_the_picture_as_it_lies(kind):
    damaged = encoded(two_colours(), kind, exif=b"Exif\0\0garbagegarbage")
    assert b"garbagegarbage" in damaged
    photo = load_photo(damaged)
    assert photo.full_size_wh == (60, 40)
    assert looks_like(photo.rgb, load_image(encoded(two_colours(), kind)))


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
        heic(two_colours()).replace(b"hvcC", b"none"),  # pillow-heif then finds no image to give: IndexError
        encoded(two_colours(), "GIF"),
        encoded(two_colours(), "BMP"),
        encoded(two_colours(), "TIFF"),
    ],
    ids=["empty", "text", "svg", "cut jpeg", "cut png", "cut heic", "heic without a decoder", "gif", "bmp", "tiff"],
)
def test_what_is_no_photo_is_refused_with_one_sentence(data):
    with pytest.raises(ImageError, match="could not be read as a photo"):
        load_image(data)
    assert "JPEG, PNG" in UNREADABLE


@pytest.mark.parametrize("fault", [struct.error, IndexError, ZeroDivisionError, AssertionError, MemoryError])
def test_whatever_a_decoder_raises_is_one_sentence(monkeypatch, fault):
    def decode(*_, **__):
        raise fault("deep inside")

    monkeypatch.setattr("infant_fer.images.Image.open", decode)
    monkeypatch.setattr("infant_fer.images.pillow_heif.open_heif", decode)
    for data in (encoded(two_colours(), "PNG"), heic(two_colours())):
        with pytest.raises(ImageError) as refusal:
            load_image(data)
        assert str(refusal.value) == UNREADABLE


@pytest.mark.parametrize("size_wh", [(20000, 20000), (8000, 6000)])
def test_a_bomb_is_refused_before_it_is_decoded(size_wh):
    bomb = encoded(Image.new("1", size_wh), "PNG")
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
