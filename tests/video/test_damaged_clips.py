"""Files that lie, are damaged or hold no picture: one sentence each, what is whole in them is kept, and the others are read."""

import csv
import io
import struct

import av
import numpy as np
import pytest

from infant_fer.errors import ClipError
from infant_fer.video import __main__ as command
from infant_fer.video.reading import NO_FRAMES, NO_VIDEO, UNEVEN, ClipReader, ClipSettings
from tests.video.clips import encoded, plain
from tests.video.test_video_reading import sound

CLUSTER, BLOCK, TIMECODE = b"\x1f\x43\xb6\x75", b"\xa3", b"\xe7"  # Matroska elements
DURATION, WIDTH, HEIGHT = b"\x44\x89\x88", b"\xb0\x82", b"\xba\x82"  # with the length of their value
TEN_GB = b"\x01" + struct.pack(">Q", 10 * 2**30)[1:]  # a Matroska length
PARTS = 10  # key frames 0.4 s apart in a clip of 4 s


def read(data: bytes, **settings) -> tuple[list[float], list[str]]:
    with ClipReader(io.BytesIO(data), ClipSettings(**settings)) as reader:
        return [round(frame.time_s, 3) for frame in reader.frames()], reader.notes


def moving(format: str) -> bytes:
    """Return 100 frames of a square that moves, with a key frame every 0.4 s, in one packet after the other."""
    frames = [np.roll(rgb, number * 3, 1) for number, rgb in enumerate(plain(100, (160, 120)))]
    return encoded(frames, format, options={"g": str(100 // PARTS), "bf": "0"})


def with_value(clip: bytes, element: bytes, value: bytes) -> bytes:
    """Return the Matroska clip with another value of the first such element."""
    at = clip.index(element) + len(element)
    return clip[:at] + value + clip[at + len(value) :]


@pytest.fixture(scope="module")
def matroska() -> bytes:
    return moving("matroska")


@pytest.fixture(scope="module")
def wide() -> bytes:
    """Return one frame of 16,384 × 2,304 px."""
    data, frame = io.BytesIO(), av.VideoFrame(16384, 2304, "yuvj420p")
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    with av.open(data, "w", format="matroska") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return data.getvalue()


def backwards(clip: bytes) -> bytes:
    """Return the clip with the time of its second Matroska cluster, 2 s, set to 0."""
    at = clip.index(TIMECODE, clip.rindex(CLUSTER))
    size = clip[at + 1] & 0x7F
    return clip[: at + 2] + bytes(size) + clip[at + 2 + size :]


def test_a_damaged_middle_keeps_what_came_before_and_after_and_says_where():
    clip = bytearray(moving("mp4"))
    middle = slice(len(clip) // 2, len(clip) // 2 + 300)
    clip[middle] = np.random.default_rng(0).bytes(300)
    times, notes = read(bytes(clip))
    assert len(notes) == 1
    assert notes[0].startswith("The clip is damaged: ")
    broken_s = float(notes[0].rsplit("after ", 1)[1].removesuffix(" s."))
    assert 1 < broken_s < 3
    whole = [number / 25 for number in range(100) if abs(number / 25 - broken_s) > 0.45]  # up to the next key frame
    assert set(whole) <= set(times)
    assert times == sorted(times)


def test_a_clip_that_is_cut_off_keeps_its_beginning_and_says_how_much_is_missing(matroska):
    times, notes = read(matroska[: len(matroska) * 2 // 3])
    assert times == [number / 25 for number in range(len(times))]
    assert 40 < len(times) < 75
    assert notes == [f"The picture ends after {times[-1]:.1f} s; by its header the clip is 4.0 s long."]
    assert read(matroska)[1] == read(matroska, end_s=1.0)[1] == []


@pytest.mark.parametrize(
    ("codec", "pixels", "options"),
    [("mjpeg", "yuvj420p", {}), ("libx264", "yuv420p", {"bf": "2"}), ("mpeg4", "yuv420p", {})],
)
def test_damaged_frames_of_an_avi_shift_none_after_the_next_key_frame(codec, pixels, options):
    """AVI holds no times: frame n, of the grey level 5 n, is due at n / 25 s, however many before it are lost."""
    levels = [np.full((48, 64, 3), 5 * number, np.uint8) for number in range(40)]
    clip = bytearray(encoded(levels, "avi", codec, pixels=pixels, options={"g": "10", **options}))
    with av.open(io.BytesIO(bytes(clip))) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for at, size in packets[12:15]:
        clip[at + 8 : at + size] = bytes(size - 8)
    with ClipReader(io.BytesIO(bytes(clip))) as reader:
        found = [(frame.time_s * 25, frame.rgb.mean() / 5) for frame in reader.frames()]
    after = [(time, number) for time, number in found if number > 20.5]
    assert len(after) >= 18
    assert all(abs(time - number) < 1.5 for time, number in after), after  # a level may be a frame off


def test_times_that_run_backwards_are_left_out_and_said(matroska):
    times, notes = read(backwards(matroska))
    assert times == [number / 25 for number in range(len(times))]
    assert 50 <= len(times) < 60, "the second cluster is a little longer than the first"
    assert notes == [UNEVEN]


def test_a_header_that_claims_hours_is_one_sentence_and_a_part_can_be_read(matroska):
    claims = with_value(matroska, DURATION, struct.pack(">d", 4e8))
    with pytest.raises(ClipError, match="is 400000 seconds long; at most 86400 are read"):
        read(claims)
    assert len(read(claims, end_s=2.0)[0]) == 50


def test_a_header_that_claims_ten_gigabytes_takes_no_memory(matroska):
    start = matroska.index(b"\x18\x53\x80\x67") + 4  # the segment, of which the whole file is one
    assert read(matroska[:start] + TEN_GB + matroska[start + 8 :])[0] == read(matroska)[0]
    at = matroska.index(BLOCK, matroska.index(CLUSTER))
    times, notes = read(matroska[:at] + BLOCK + TEN_GB + matroska[at + 3 :])
    assert len(times) < 100
    assert len(notes) == 1


def test_a_frame_of_sixteen_thousand_pixels_is_refused_whatever_the_header_says(wide):
    lying = with_value(with_value(wide, WIDTH, struct.pack(">H", 640)), HEIGHT, struct.pack(">H", 480))
    for clip in (wide, lying):
        with pytest.raises(ClipError, match="more than 36 megapixels"):
            read(clip)


@pytest.mark.slow
def test_every_bad_file_of_a_folder_is_one_sentence_and_the_others_are_read(
    analyzer, matroska, wide, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(command, "_load", lambda *_: analyzer)
    clips = tmp_path / "clips"
    clips.mkdir()
    sentences = {
        "empty.mp4": (b"", "The file is empty."),
        "sound.mp4": (sound(), NO_VIDEO),
        "no frames.mkv": (matroska[: matroska.index(CLUSTER) + 12], NO_FRAMES),
        "hours.mkv": (with_value(matroska, DURATION, struct.pack(">d", 4e8)), "The clip is 400000 seconds long;"),
        "wide.mkv": (wide, "The clip's frames have more than 36 megapixels."),
        "backwards.mkv": (backwards(matroska), UNEVEN),
        "cut.mkv": (matroska[: len(matroska) * 2 // 3], "The picture ends after"),
        "a\nname.mp4": (encoded(plain(5)), None),
    }
    for name, (data, _) in sentences.items():
        (clips / name).write_bytes(data)
    assert command.main([str(clips), "--out", str(tmp_path / "out"), "--fps", "2"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert "3 written, 0 skipped because they are whole, 5 failed." in said
    for name, (_, sentence) in sentences.items():
        lines = [line for line in said if f"/{name}: " in line and not line.startswith("  ")]
        assert len(lines) == (1 if sentence else 0), name
        assert sentence is None or sentence in lines[0]
    assert {each.name for each in (tmp_path / "out").iterdir()} == {"a name", "backwards", "cut"}
    with (tmp_path / "out" / "a name" / "frames.csv").open(newline="") as stream:
        assert [row["seen"] for row in csv.DictReader(stream)] == ["0"]
