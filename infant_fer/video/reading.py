"""Is this a clip we can safely read? Frames with their times, one after the other; the only decoder of video (PyAV)."""

from __future__ import annotations

import heapq
import io
import os
import re
import stat
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
import av.error
import numpy as np

from infant_fer.errors import ClipError
from infant_fer.images import LONG_SIDE, printable
from infant_fer.locales import Message

CLIP_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".3gp"})
# What ffmpeg may recognise in untrusted bytes. Playlists (HLS, concat) are left out: they name other files and addresses.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
CODECS = "h264,hevc,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,mpeg4,mjpeg,mpeg2video,mpeg1video,h263,prores,dvvideo,ffv1"
MAX_STREAMS = 32
FAULTS_IN_A_ROW = 250  # damaged packets; ten seconds at 25 frames a second
MATROSKA_TICK_S = 0.001  # resolution of the times in most Matroska and WebM files
BROKEN_OFF_S = 1.0  # by which a clip may end before the length in its header: the last frame may be shown for long
HDR_TRANSFERS = (16, 18)  # SMPTE ST 2084 (PQ) and ARIB STD-B67 (HLG), ITU-T H.273

NO_CLIP = "This file could not be read as a video clip. Use MP4, MOV, WebM, MKV or AVI."
EMPTY = "The file is empty."
NO_VIDEO = "The file has no video stream."
NO_CODEC = "The clip's video is in a format that is not read. Use H.264, HEVC, VP8, VP9 or AV1."
NO_FRAMES = "No frame of the clip could be decoded."
HDR = "The clip is recorded in HDR; its colours are shown without tone mapping and may look pale."
NO_INDEX = "The clip has no index; it was read from its beginning to find the start."
UNEVEN = "Frames whose time does not come after that of the frame before were left out."


@dataclass(frozen=True)
class ClipLimits:
    """What is refused before or while it is read. A limit of None does not hold."""

    max_bytes: int | None = None  # laboratory recordings may be large; the page sets its own limit
    max_seconds: float | None = 24 * 3600.0
    max_pixels: int = 36_000_000  # of a frame; 8K video has 33 megapixels
    long_side: int = LONG_SIDE  # px; larger frames are scaled down, as photos are


@dataclass(frozen=True)
class ClipSettings:
    """Which frames are read: `fps` None reads all; `start_s` and `end_s` are times of the clip. Raises ClipError."""

    fps: float | None = None
    start_s: float = 0.0
    end_s: float | None = None
    limits: ClipLimits = ClipLimits()
    threads: int = 0  # of the decoder; 0 lets it choose

    def __post_init__(self) -> None:
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ClipError(f"The frame rate must be above 0 and at most 1000; {self.fps:g} was given.")
        if not self.start_s >= 0 or (self.end_s is not None and not self.end_s > self.start_s):
            raise ClipError("The start must not be negative, and the end must come after it.")


@dataclass(frozen=True, eq=False)
class Frame:
    """One upright frame: `rgb` (H, W, 3) uint8, `time_s` from the clip's start, `scale` full-size pixels per pixel of `rgb`."""

    time_s: float
    rgb: np.ndarray
    scale: float = 1.0


@dataclass(frozen=True)
class ClipInfo:
    """What the container says of itself; any of it may be wrong in a damaged file."""

    fps: float | None
    duration_s: float | None


@dataclass
class ClipReader:
    """Read one clip as a stream of frames. Use it as a context; `notes` grow while it is read.

    `source` is a path or a binary file object, which is not closed. Only the newest frame is held. Raises ClipError when
    opened and when no frame can be decoded; a clip that breaks off later ends there, and a note says so.
    """

    source: Path | IO[bytes]
    settings: ClipSettings = field(default_factory=ClipSettings)
    notes: list[str] = field(default_factory=list)

    def __enter__(self) -> ClipReader:
        self._opened = _opened(Path(self.source)) if isinstance(self.source, str | os.PathLike) else self.source
        try:
            self._container = self._open_container(self._opened)
            self._stream = _video_stream(self._container)
            self._check_size()
        except BaseException:
            self._close()
            raise
        start = self._container.start_time
        self._start_s = start / av.time_base if start else 0.0
        self.info = ClipInfo(
            float(self._stream.average_rate) if self._stream.average_rate else None,
            self._container.duration / av.time_base if self._container.duration else None,
        )
        self._check_duration()
        return self

    def __exit__(self, *exception) -> None:
        self._close()

    def frames(self) -> Generator[Frame]:
        """Yield the frames in the order of their times. Raises ClipError where there is none between start and end."""
        step = 1 / self.settings.fps if self.settings.fps else 0.0
        slack = max(min(MATROSKA_TICK_S, step / 4), 1e-6)  # by which a rounded time may lie before its moment
        due, n_decoded, n_read, n_uneven, last = self.settings.start_s, 0, 0, 0, -1.0
        for frame, time_s in self._decoded():
            n_decoded += 1
            if time_s <= last:
                n_uneven += 1
                continue
            last = time_s
            if self.settings.end_s is not None and time_s >= self.settings.end_s:
                break
            if self._too_long(time_s):
                break
            if time_s < due - slack:
                continue
            if step:
                due += step * (int((time_s - due + slack) / step) + 1)
            n_read += 1
            yield self._upright(frame, time_s)
        else:
            if not n_uneven:
                self._note_missing_end(last)
        if n_uneven:
            self.notes.append(UNEVEN)
        if not n_read:
            raise ClipError(self._nothing_there() if n_decoded else NO_FRAMES)

    def _decoded(self) -> Iterator[tuple[av.VideoFrame, float]]:
        """Yield every frame from a key frame before the start on, with its time; faults are counted and noted."""
        if self.settings.start_s > 0:
            self._seek(self.settings.start_s)
        faults = in_a_row = 0
        broken_at, time_s = None, 0.0
        decode_times: list[float] = []  # of an AVI's packets that are not shown yet: AVI holds no presentation times
        is_avi = self._container.format.name == "avi"
        if is_avi:
            self._stream.codec_context.copy_opaque = True  # a frame has its packet's
        packets = self._container.demux(self._stream)
        while in_a_row < FAULTS_IN_A_ROW:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                if is_avi and packet.size and packet.dts is not None:
                    packet.opaque = float(packet.dts * packet.time_base)
                    heapq.heappush(decode_times, packet.opaque)
                frames = packet.decode()
            except (av.error.EOFError, StopIteration):
                break
            except av.error.FFmpegError:
                faults, in_a_row = faults + 1, in_a_row + 1
                broken_at = time_s
                continue
            for frame in frames:
                in_a_row = 0
                while frame.key_frame and decode_times and decode_times[0] < (frame.opaque or 0.0):
                    heapq.heappop(decode_times)  # of packets that gave no frame: a key frame comes after all before it
                time_s = heapq.heappop(decode_times) if decode_times else self._time(frame, time_s)
                yield frame, time_s
        if faults:
            self.notes.append(
                Message(
                    "The clip is damaged: {faults} parts could not be decoded, the last after {time:.1f} s.",
                    faults=faults,
                    time=broken_at,
                )
            )

    def _nothing_there(self) -> str:
        end = "" if self.settings.end_s is None else f" to {self.settings.end_s:g} s"
        return f"The clip has no frame from {self.settings.start_s:g} s{end}. Choose a part that lies within it."

    def _note_missing_end(self, last_s: float) -> None:
        """Note that the frames end before the header says, as in a file that was cut or damaged; demuxers pass over that."""
        declared = _declared_seconds(self._stream) or self.info.duration_s or 0.0
        end = min(declared, self.settings.end_s if self.settings.end_s is not None else declared)
        if 0 <= last_s < end - BROKEN_OFF_S:
            self.notes.append(
                Message(
                    "The picture ends after {time:.1f} s; by its header the clip is {declared:.1f} s long.",
                    time=last_s,
                    declared=declared,
                )
            )

    def _seek(self, start_s: float) -> None:
        try:
            self._container.seek(int((start_s + self._start_s) * av.time_base))
        except av.error.FFmpegError:  # a file without an index is read from its beginning
            self.notes.append(NO_INDEX)

    def _time(self, frame: av.VideoFrame, before_s: float) -> float:
        if frame.time is not None:
            return max(frame.time - self._start_s, 0.0)
        return before_s + (1 / self.info.fps if self.info.fps else 0.04)

    def _too_long(self, time_s: float) -> bool:
        limit = self.settings.limits.max_seconds
        if limit is None or time_s < self.settings.start_s + limit:
            return False
        self.notes.append(Message("Only {limit:g} seconds were read, the limit.", limit=limit))
        return True

    def _upright(self, frame: av.VideoFrame, time_s: float) -> Frame:
        if frame.width * frame.height > self.settings.limits.max_pixels:  # it may change within a stream
            raise ClipError(_too_many_pixels(self.settings.limits.max_pixels))
        if frame.color_trc in HDR_TRANSFERS and HDR not in self.notes:
            self.notes.append(HDR)
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        width = frame.width * (float(aspect) if 0.25 <= aspect <= 4 else 1.0)
        scale = max(1.0, max(width, frame.height) / self.settings.limits.long_side)
        size = {"width": max(1, round(width / scale)), "height": max(1, round(frame.height / scale))}
        rgb = frame.reformat(**size, format="rgb24", threads=1).to_ndarray()
        turns = round(frame.rotation / 90) % 4
        return Frame(time_s, np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb, scale)

    def _open_container(self, stream: IO[bytes]):
        limits = self.settings.limits
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        if size == 0:
            raise ClipError(EMPTY)
        if limits.max_bytes is not None and size > limits.max_bytes:
            raise ClipError(
                Message(
                    "The clip is larger than {megabytes:.0f} MB. Save it smaller or cut it.",
                    megabytes=limits.max_bytes / 1e6,
                )
            )
        options = {
            "format_whitelist": FORMATS,
            "codec_whitelist": CODECS,
            "protocol_whitelist": "none",
            "max_streams": str(MAX_STREAMS),
        }
        try:
            return av.open(stream, container_options=options, metadata_errors="replace")
        except (av.error.FFmpegError, ValueError, OverflowError, MemoryError):
            raise ClipError(NO_CLIP) from None

    def _check_size(self) -> None:
        context = self._stream.codec_context
        limit = self.settings.limits.max_pixels
        if context.width * context.height > limit:
            raise ClipError(_too_many_pixels(limit))
        context.options = {**context.options, "max_pixels": str(limit)}
        context.thread_type = "AUTO"
        context.thread_count = self.settings.threads

    def _check_duration(self) -> None:
        limit, duration = self.settings.limits.max_seconds, self.info.duration_s
        end = min(duration or 0.0, self.settings.end_s if self.settings.end_s is not None else float("inf"))
        if limit is not None and end - self.settings.start_s > limit + 1:
            raise ClipError(
                Message(
                    "The clip is {duration:.0f} seconds long; at most {limit:g} are read. Cut it, or read a part.",
                    duration=duration,
                    limit=limit,
                )
            )

    def _close(self) -> None:
        if hasattr(self, "_container"):
            self._container.close()
        if self._opened is not self.source:
            self._opened.close()


def _opened(path: Path) -> IO[bytes]:
    """Open a regular file; devices and pipes, which may never end, are refused."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ClipError(f"{printable(path)} is no regular file.")
        return path.open("rb")
    except OSError as error:
        raise ClipError(f"The clip could not be opened: {error.strerror}.") from None


def _video_stream(container):
    streams = [
        stream for stream in container.streams.video if not stream.disposition & av.stream.Disposition.attached_pic
    ]
    if not streams:
        raise ClipError(NO_VIDEO)
    if len(container.streams) > MAX_STREAMS:
        raise ClipError(Message("The file has more than {count} streams.", count=MAX_STREAMS))
    stream = max(
        streams, key=lambda each: each.codec_context.width * each.codec_context.height if each.codec_context else 0
    )
    if stream.codec_context is None or stream.codec_context.name not in CODECS.split(","):  # PyAV opens any decoder
        raise ClipError(NO_CODEC)
    return stream


def _declared_seconds(stream) -> float | None:
    """Return the length of the video stream itself, in seconds, as MP4 and Matroska files hold it; sound may be longer."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)", stream.metadata.get("DURATION", ""))
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else None


def _too_many_pixels(limit: int) -> Message:
    return Message(
        "The clip's frames have more than {count} megapixels. Save it smaller and try again.", count=limit // 10**6
    )
