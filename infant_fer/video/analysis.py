"""From a clip to a timeline: composes reading, tracking, classification and the gate; holds a window of crops, never the clip."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, TypeVar

import numpy as np

from infant_fer.alignment import AlignedFace, align_face
from infant_fer.analyzer import Analyzer
from infant_fer.errors import ClipError
from infant_fer.face import Face
from infant_fer.locales import Message
from infant_fer.report import FaceReport
from infant_fer.video.bouts import BoutRules, build_timeline
from infant_fer.video.reading import ClipReader, ClipSettings, Frame
from infant_fer.video.timeline import Event, FrameReading, FrameTable, Timeline
from infant_fer.video.tracking import FaceTracker, FollowingDetector, PersonNumbers, Sighting

WINDOW_FRAMES = 16  # classified together; a batch costs half as much for each face as single faces
DECODED_FRAMES = 4  # whole frames that decoding may be ahead of detection
AHEAD_FRAMES = 48  # that detection may be ahead of classification; crops alone are kept of them
REGIONS = {  # of the frame: left, top, right, bottom as shares of its width and height
    "left": (0.0, 0.0, 0.5, 1.0),
    "right": (0.5, 0.0, 1.0, 1.0),
    "top": (0.0, 0.0, 1.0, 0.5),
    "bottom": (0.0, 0.5, 1.0, 1.0),
}

Item = TypeVar("Item")


@dataclass(frozen=True)
class VideoSettings:
    """How a clip is read.

    `region` limits the search to a part of the upright frame, for split screens: left, top, right and bottom as shares of
    width and height (see `parse_region`). `ahead` reads and detects in a thread of its own while another one classifies.
    """

    clip: ClipSettings = field(default_factory=ClipSettings)
    region: tuple[float, float, float, float] | None = None
    max_persons: int = 3
    rules: BoutRules = field(default_factory=BoutRules)
    events: tuple[Event, ...] = ()
    ahead: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.max_persons <= 5:
            raise ClipError(f"From 1 to 5 persons can be followed; {self.max_persons} were given.")


@dataclass(frozen=True)
class Progress:
    """How far the reading of a clip is. `share` and `seconds_left` are None where the clip does not say how long it is."""

    time_s: float
    share: float | None
    seconds_left: float | None


def parse_region(text: str) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom in 0..1 of "left", "right", "top", "bottom" or four numbers with commas.

    Raises ClipError.
    """
    if text in REGIONS:
        return REGIONS[text]
    try:
        left, top, right, bottom = (float(number) for number in text.split(","))
    except ValueError:
        left, top, right, bottom = 0.0, 0.0, 0.0, 0.0
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ClipError(
            f"The region {text!r} is none of {', '.join(REGIONS)}, nor LEFT,TOP,RIGHT,BOTTOM as shares from 0 to 1."
        )
    return left, top, right, bottom


def analyze_video(
    source: str | Path | IO[bytes],
    analyzer: Analyzer,
    settings: VideoSettings = VideoSettings(),
    on_progress: Callable[[Progress], None] | None = None,
    name: str | None = None,
) -> Timeline:
    """Read every person's expression through a clip. `name` is the timeline's source; default: the file's name.

    Raises ClipError for what is no clip. A clip that breaks off gives the timeline of what could be read, with a note.

    >>> timeline = analyze_video("clip.mp4", Analyzer.from_pretrained())
    >>> timeline.summary["persons"][0]["time_share"]
    """
    analysis = ClipAnalysis(source, analyzer, settings)
    for progress in analysis.steps():
        if on_progress is not None:
            on_progress(progress)
    return analysis.timeline(name if name is not None else Path(getattr(source, "name", None) or str(source)).name)


@dataclass(eq=False)
class _Found:
    """One frame after detection: per face its track, and the crop; no frame is kept."""

    time_s: float
    scale: float
    tracks: list[int]
    faces: list[Face]
    aligned: list[AlignedFace]


class ClipAnalysis:
    """One clip's readings as a stream: as `rows`, or kept by `steps` for the `timeline`. `notes` are complete at its end."""

    def __init__(self, source: str | Path | IO[bytes], analyzer: Analyzer, settings: VideoSettings = VideoSettings()):
        self._analyzer, self._settings = analyzer, settings
        self._reader = ClipReader(Path(source) if isinstance(source, str) else source, settings.clip)
        self._numbers = PersonNumbers(settings.max_persons)
        self._tracker: FaceTracker | None = None  # of the clip that is read
        self._known = 1  # persons with rows; the first has them from the start
        self._kept = FrameTable()

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what concerns the whole clip."""
        left_out = self._numbers.left_out + (self._tracker.left_out if self._tracker else 0)
        more = Message(
            "There were more than {persons} persons; {faces} further faces were left out.",
            persons=self._settings.max_persons,
            faces=left_out,
        )
        return (*self._reader.notes, *([more] if left_out else []))

    def rows(self) -> Iterator[FrameReading]:
        """Yield one reading for each sampled frame and each person known until then, in the order of time and person."""
        with self._reader as reader, closing(self._stages(reader.frames())) as frames:
            window = list(islice(frames, WINDOW_FRAMES))
            while window:
                following = list(islice(frames, WINDOW_FRAMES))
                yield from self._read(window, last=not following)
                window = following

    def steps(self) -> Iterator[Progress]:
        """Keep every row for the timeline; yield the progress after each frame."""
        started, time_s = time.monotonic(), -1.0
        for row in self.rows():
            self._kept.append(row)
            if row.time_s > time_s:
                time_s = row.time_s
                yield self._progress(time_s, time.monotonic() - started)

    def timeline(self, name: str) -> Timeline:
        """Return the timeline of the rows kept by `steps` so far; `name` is its source."""
        settings, checkpoint = self._settings, self._analyzer.classifier.name
        start_s = settings.clip.start_s
        return build_timeline(name, self._kept, settings.rules, settings.events, checkpoint, self.notes, start_s)

    def _progress(self, time_s: float, elapsed_s: float) -> Progress:
        settings = self._settings.clip
        ends = [end for end in (self._reader.info.duration_s, settings.end_s) if end]
        if not ends or min(ends) <= settings.start_s:
            return Progress(time_s, None, None)
        share = min(max((time_s - settings.start_s) / (min(ends) - settings.start_s), 0.0), 1.0)
        return Progress(time_s, share, elapsed_s * (1 - share) / share if share else None)

    def _stages(self, frames: Generator[Frame]) -> Generator[_Found]:
        """Yield every frame after detection; decoding and detection each have a thread of their own with `ahead`."""
        if not self._settings.ahead:
            return self._found(frames)
        return _ahead(self._found(_ahead(frames, DECODED_FRAMES)), AHEAD_FRAMES)

    def _found(self, frames: Generator[Frame]) -> Generator[_Found]:
        """Yield every sampled frame's faces, followed and aligned; boxes and crops are in the region's frame."""
        detector = self._analyzer.face_detector
        if not isinstance(detector, FollowingDetector):
            raise ClipError("The face detector reads photos alone; for clips it needs the method find_near.")
        rates = [rate for rate in (self._settings.clip.fps, self._reader.info.fps) if rate]
        tracker = FaceTracker(detector, self._settings.max_persons, 1 / min(rates) if rates else 0.0)
        self._tracker = tracker
        crop = self._analyzer.classifier.crop
        with closing(frames) as upright:
            for frame in upright:
                rgb, corner = _within(frame.rgb, self._settings.region)
                tracked = tracker.update(frame.time_s, rgb)
                faces = [face for _, face in tracked]
                aligned = [align_face(rgb, face, crop) for face in faces]
                yield _Found(
                    frame.time_s,
                    frame.scale,
                    [track for track, _ in tracked],
                    [_moved(face, corner) for face in faces],
                    aligned,
                )

    def _read(self, window: Sequence[_Found], last: bool) -> Iterator[FrameReading]:
        faces = [face for found in window for face in found.faces]
        aligned = [each for found in window for each in found.aligned]
        reports = iter(self._analyzer.read_aligned(faces, aligned))
        read = [dict(zip(found.tracks, islice(reports, len(found.tracks)), strict=True)) for found in window]
        sightings = [
            (
                found.time_s,
                [Sighting(track, report.face.box_xyxy, report.prediction.usable) for track, report in by_track.items()],
            )
            for found, by_track in zip(window, read, strict=True)
        ]
        persons = self._numbers.assign(sightings, last)
        for found, by_track in zip(window, read, strict=True):
            seen = {persons[track]: report for track, report in by_track.items() if track in persons}
            self._known = max(self._known, *seen, 1)
            for person in range(1, self._known + 1):
                yield _reading(found, person, seen.get(person))


def _reading(found: _Found, person: int, report: FaceReport | None) -> FrameReading:
    if report is None:
        return FrameReading(found.time_s, person, seen=False)
    prediction = report.prediction
    left, top, right, bottom = (value * found.scale for value in report.face.box_xyxy)
    return FrameReading(
        found.time_s,
        person,
        seen=True,
        box_xyxy=(left, top, right, bottom),
        label=prediction.label,
        probabilities=prediction.probabilities,
        valence=prediction.valence,
        arousal=prediction.arousal,
        action_units=prediction.action_units,
        verdict=report.assessment.verdict,
        pose=report.face.pose,
        infant=prediction.usable,
    )


def _within(rgb: np.ndarray, region: tuple[float, float, float, float] | None) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the region's part of an (H, W, 3) frame, uncopied, and its left and top px; the whole frame without a region."""
    if region is None:
        return rgb, (0, 0)
    height, width = rgb.shape[:2]
    left, top = int(region[0] * width), int(region[1] * height)
    right, bottom = max(round(region[2] * width), left + 1), max(round(region[3] * height), top + 1)
    return rgb[top:bottom, left:right], (left, top)


def _moved(face: Face, corner: tuple[int, int]) -> Face:
    if corner == (0, 0):
        return face
    return Face(face.landmarks_px + corner, face.blendshapes, face.pose)


def _ahead(items: Generator[Item], size: int) -> Generator[Item]:
    """Yield the items of a generator that runs in a thread of its own, at most `size` of them ahead.

    Its exception is raised here in its place. When this generator is closed the thread ends after its current item, and
    closes the other one.
    """
    ready: queue.Queue = queue.Queue(size)
    stopped, end = threading.Event(), object()

    def put(entry) -> bool:
        while not stopped.is_set():
            try:
                ready.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        try:
            with closing(items):
                for item in items:
                    if not put((item, None)):
                        return
            put((end, None))
        except BaseException as error:  # raised again where the items are taken
            put((end, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        stopped.set()
        thread.join()
