"""Clips of every supported kind, and files that are none or damaged."""

import io
import os

import av
import numpy as np
import pytest

from infant_fer.errors import ClipError
from infant_fer.video.reading import HDR, NO_CLIP, NO_CODEC, NO_FRAMES, NO_VIDEO, ClipLimits, ClipReader, ClipSettings
from tests.video.clips import encoded, plain

RED = (230, 20, 20)


def read(source, **settings):
    """Return times and frames of a clip, and the notes."""
    limits = {name: settings.pop(name) for name in ("max_bytes", "max_seconds", "max_pixels") if name in settings}
    data = io.BytesIO(source) if isinstance(source, bytes) else source
    with ClipReader(data, ClipSettings(limits=ClipLimits(**limits), **settings)) as reader:
        frames = list(reader.frames())
    return [round(frame.time_s, 3) for frame in frames], frames, reader.notes


@pytest.mark.parametrize(
    ("format", "codec"),
    [
        ("mp4", "libx264"),
        ("mov", "libx265"),
        ("webm", "libvpx-vp9"),
        ("matroska", "libx264"),
        ("avi", "libx264"),
        ("avi", "mjpeg"),
    ],
)
def test_every_kind_gives_its_frames_with_their_times(format, codec, capfd):
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    times, frames, notes = read(encoded(plain(10), format, codec, pixels=pixels, options=options))
    assert times == pytest.approx([number * 0.04 for number in range(10)], abs=0.002)
    assert all(frame.rgb.shape == (48, 64, 3) and frame.rgb.dtype == np.uint8 for frame in frames)
    assert np.abs(frames[3].rgb[4:20, 4:28].mean((0, 1)) - RED).max() < 40
    assert notes == []


@pytest.mark.parametrize(
    ("degrees", "corner"), [(0, "upper left"), (90, "lower left"), (180, "lower right"), (-90, "upper right")]
)
def test_a_rotation_in_the_container_is_applied(degrees, corner):
    _, frames, _ = read(encoded(plain(2), prepare=lambda stream: stream.set_display_rotation(degrees)))
    rgb = frames[0].rgb
    assert rgb.shape == ((48, 64, 3) if degrees % 180 == 0 else (64, 48, 3))
    height, width = rgb.shape[:2]
    halves = {"upper": slice(0, height // 2 - 2), "lower": slice(height // 2 + 2, height)}
    sides = {"left": slice(0, width // 2 - 2), "right": slice(width // 2 + 2, width)}
    red = {f"{v} {s}": rgb[halves[v], sides[s], 0].mean() for v in halves for s in sides}
    assert max(red, key=red.get) == corner


def test_times_are_those_of_the_file_where_the_rate_varies():
    stamps = [0, 40, 80, 500, 540, 2000, 2010]
    times, _, _ = read(encoded(plain(7), "matroska", times_ms=stamps))
    assert times == [stamp / 1000 for stamp in stamps]


def test_sampling_takes_the_first_frame_at_or_after_each_moment():
    times, _, _ = read(encoded(plain(50)), fps=5)
    assert times == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8])
    times, _, _ = read(encoded(plain(7), "matroska", times_ms=[0, 40, 80, 500, 540, 2000, 2010]), fps=10)
    assert times == [0.0, 0.5, 2.0]


def test_times_that_are_rounded_to_milliseconds_lose_no_frame():
    clip = encoded(plain(30), "webm", "libvpx-vp9", times_ms=[round(number * 1000 / 30) for number in range(30)])
    every, _, _ = read(clip)
    assert read(clip, fps=30)[0] == every
    assert read(clip, fps=15)[0] == every[::2]
    assert read(clip, fps=7.5)[0] == every[::4]


def test_a_part_without_a_frame_is_said():
    clip = encoded(plain(20))
    with pytest.raises(ClipError, match=r"no frame from 5 s\. Choose a part"):
        read(clip, start_s=5.0)
    with pytest.raises(ClipError, match=r"no frame from 0\.01 s to 0\.03 s"):
        read(clip, start_s=0.01, end_s=0.03)


def test_a_part_is_read_by_its_times():
    clip = encoded(plain(100), options={"g": "10"})
    times, _, _ = read(clip, start_s=1.0, end_s=1.5)
    assert times == pytest.approx([1.0 + 0.04 * number for number in range(13)])
    with pytest.raises(ClipError, match="end must come after"):
        ClipSettings(start_s=2.0, end_s=1.0)


def test_a_large_frame_is_scaled_down_and_says_by_how_much():
    _, frames, _ = read(encoded(plain(1, (3200, 200))))
    assert frames[0].rgb.shape == (100, 1600, 3)
    assert frames[0].scale == 2.0


def test_ten_bit_hdr_is_read_and_said():
    def hlg(stream):
        stream.codec_context.color_trc, stream.codec_context.color_primaries = 18, 9

    options = {"x265-params": "log-level=none"}
    times, frames, notes = read(encoded(plain(3), "mov", "libx265", prepare=hlg, pixels="yuv420p10le", options=options))
    assert len(times) == 3
    assert frames[0].rgb.dtype == np.uint8
    assert notes == [HDR]


def sound() -> bytes:
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return data.getvalue()


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
CONCAT = b"ffconcat version 1.0\nfile /etc/passwd\n"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "The file is empty."),
        (b"no clip at all" * 100, NO_CLIP),
        (PLAYLIST, NO_CLIP),
        (CONCAT, NO_CLIP),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom\xff\xff\xff\xffmoov" + b"\x00" * 64, NO_VIDEO),
        (encoded(plain(10), "flv", "libx264"), NO_CLIP),
        (encoded(plain(3), "matroska", "rawvideo"), NO_CODEC),
        (sound(), NO_VIDEO),
    ],
    ids=["empty", "text", "playlist", "concat", "huge header", "other container", "other codec", "sound"],
)
def test_what_is_no_clip_is_one_sentence(data, sentence):
    with pytest.raises(ClipError) as raised:
        read(data)
    assert str(raised.value) == sentence


def test_a_video_stream_without_frames_is_one_sentence():
    whole = encoded(plain(30), "matroska")
    start = whole.index(b"\x1f\x43\xb6\x75")  # the first Matroska cluster
    with pytest.raises(ClipError, match=NO_FRAMES):
        read(whole[: start + 12])


def test_limits_are_checked_before_frames_are_read():
    clip = encoded(plain(50))
    for limits, words in (
        ({"max_bytes": 100}, "larger than"),
        ({"max_seconds": 0.5}, "seconds long"),
        ({"max_pixels": 1000}, "megapixels"),
    ):
        with pytest.raises(ClipError, match=words):
            read(clip, **limits)
    assert len(read(clip, max_seconds=2.5)[0]) == 50


def test_a_length_that_the_file_does_not_say_ends_the_reading_at_the_limit():
    clip = encoded(plain(60), "matroska")
    at = clip.index(b"\x44\x89")  # the Duration element of Matroska: made a Void element
    without = clip[:at] + b"\xec\x89" + b"\x00" * 9 + clip[at + 11 :]
    times, _, notes = read(without, max_seconds=1.0)
    assert len(times) == 25
    assert notes == ["Only 1 seconds were read, the limit."]


def test_only_a_regular_file_is_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for path, words in (
        (tmp_path / "pipe.mp4", "no regular file"),
        (tmp_path, "no regular file"),
        (tmp_path / "none.mp4", "could not be opened"),
    ):
        with pytest.raises(ClipError, match=words):
            read(path)
    named = tmp_path / "a\nname.mp4"
    named.write_bytes(encoded(plain(3)))
    assert len(read(named)[0]) == 3
