"""What is a timeline? The readings of every sampled frame and person, their intervals and their summary."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NotRequired, TypedDict, overload

import numpy as np

from infant_fer.face import HeadPose
from infant_fer.labels import AFFECTS
from infant_fer.trust.assessment import VERDICTS

NOT_SEEN, CANNOT_SAY = "not seen", VERDICTS[-1]
STATES = (*AFFECTS, CANNOT_SAY, NOT_SEEN)  # of an interval

_BOX, _PROBABILITIES, _POSE, _WIDTH = slice(0, 4), slice(4, 7), slice(7, 10), 13
_VALENCE, _AROUSAL, _INFANT = 10, 11, 12


@dataclass(frozen=True)
class FrameReading:
    """One person in one sampled frame. Without a face there (`seen` False) everything from `box_xyxy` on is None.

    `time_s` is the frame's presentation time from the clip's start. `person` counts from 1 in the order of first sight.
    `box_xyxy` is in pixels of the upright frame. `probabilities` of the three affects are the checkpoint's, unsmoothed, and
    `smoothed` the same after video.bouts.smoothed, None where the gate declined. `action_units` are in 0..1 by name, such as
    "AU12". `infant` is the probability of a usable infant's face. Heads that the checkpoint lacks are None.
    """

    time_s: float
    person: int
    seen: bool
    box_xyxy: tuple[float, float, float, float] | None = None
    label: str | None = None
    probabilities: Mapping[str, float] | None = None
    valence: float | None = None
    arousal: float | None = None
    action_units: Mapping[str, float] | None = None
    verdict: str | None = None  # of trust.assessment.VERDICTS
    pose: HeadPose | None = None
    infant: float | None = None
    smoothed: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Interval:
    """One bout of one person: `label` is one of STATES, from `onset_s` up to `offset_s` seconds.

    `confidence` is the time-weighted mean probability of the label over the frames in which the face was read; None for
    "not seen" and "cannot say". `seen_share` is the share of the duration in which the face was seen.
    """

    onset_s: float
    offset_s: float
    person: int
    label: str
    confidence: float | None
    seen_share: float

    @property
    def duration_s(self) -> float:
        """Return the length in seconds."""
        return self.offset_s - self.onset_s


@dataclass(frozen=True)
class Event:
    """A named moment or phase of a session, such as "still face"; `offset_s` is None for a moment."""

    onset_s: float
    label: str
    offset_s: float | None = None


class PersonSummary(TypedDict):
    """The summary of one person. Shares of affects are of the time in which an affect was read; they sum to 1 or are all 0."""

    person: int
    role: str  # "infant", "not an infant" or "unknown" (the checkpoint has no such head)
    duration_s: float
    seen_share: float  # of the duration
    read_share: float  # of the duration: seen, and the gate gave an answer
    time_share: dict[str, float]  # by affect
    bouts: dict[str, int]  # by state
    bouts_per_minute: dict[str, float]  # by affect, of the time read
    median_bout_s: dict[str, float | None]  # by affect
    mean_valence: float | None
    # By event label and its onset; "start" is the clip's; see video.bouts.
    latency_to_negative_s: dict[str, float | None]
    transitions: dict[str, dict[str, int]]  # between affects that follow each other directly


class Summary(TypedDict):
    """The summary of a clip, as `summary.json` holds it."""

    source: str
    checkpoint: str
    duration_s: float
    frames: int
    fps: float
    persons: list[PersonSummary]
    events: list[dict]
    settings: dict[str, float | int | str | None]
    notes: list[str]
    fingerprint: NotRequired[str]  # of a session of a batch: of all that its results depend on
    clip_fingerprint: NotRequired[str]  # of a session of a batch: of the clip alone
    weights_sha256: NotRequired[str]  # of a session of a batch: of the checkpoint's files; "" where it was not loaded
    human_track: NotRequired[str | None]  # of a session of a batch: the track of the human coding that was named
    requested_fps: NotRequired[float | None]  # of a session of a batch: frames read a second; None: all
    files_sha256: NotRequired[dict[str, str]]  # of a session of a batch: by name, of the files beside that people edit


class FrameTable(Sequence[FrameReading]):
    """Readings in 64 to 112 bytes each, in the order of time and then person; reading an item creates its FrameReading.

    `action_units` are the names of the further columns; a reading without them has NaN there.
    """

    def __init__(self, action_units: Sequence[str] = ()):
        self.action_units = tuple(action_units)
        self._times, self._persons, self._verdicts = array("d"), array("h"), array("b")  # verdict -2: not seen
        self._values = array("f")
        self._smoothed: np.ndarray | None = None

    def append(self, reading: FrameReading) -> None:
        """Add one reading; its label must be the most likely affect, its time not before the last one's."""
        if self._times and reading.time_s < self._times[-1]:
            raise ValueError(f"Readings must be in order of time; {reading.time_s} s comes after {self._times[-1]} s.")
        if not self._times and not self.action_units and reading.action_units:
            self.action_units = tuple(reading.action_units)
        self._times.append(reading.time_s)
        self._persons.append(reading.person)
        self._verdicts.append(_verdict_code(reading))
        row = np.full(_WIDTH + len(self.action_units), np.nan, np.float32)
        if reading.box_xyxy is not None:
            row[_BOX] = reading.box_xyxy
        if reading.probabilities is not None:
            row[_PROBABILITIES] = [reading.probabilities[affect] for affect in AFFECTS]
        if reading.pose is not None:
            row[_POSE] = (reading.pose.yaw, reading.pose.pitch, reading.pose.roll)
        for column, value in ((_VALENCE, reading.valence), (_AROUSAL, reading.arousal), (_INFANT, reading.infant)):
            row[column] = np.nan if value is None else value
        if reading.action_units:
            row[_WIDTH:] = [reading.action_units.get(name, np.nan) for name in self.action_units]
        self._values.frombytes(row.tobytes())
        self._smoothed = None

    def __len__(self) -> int:
        return len(self._times)

    @overload
    def __getitem__(self, index: int) -> FrameReading: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[FrameReading]: ...

    def __getitem__(self, index):
        """Return one reading, or a tuple of readings for a slice."""
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        place = range(len(self))[index]
        code = self._verdicts[place]
        head = (self._times[place], self._persons[place])
        if code == -2:
            return FrameReading(*head, seen=False, smoothed=self._smoothed_at(place))
        width = _WIDTH + len(self.action_units)
        row = np.frombuffer(self._values[place * width : (place + 1) * width], np.float32).astype(float)
        probabilities = dict(zip(AFFECTS, row[_PROBABILITIES].tolist(), strict=True))
        units = dict(zip(self.action_units, row[_WIDTH:].tolist(), strict=True))
        return FrameReading(
            *head,
            seen=True,
            box_xyxy=tuple(row[_BOX].tolist()),
            label=max(probabilities, key=probabilities.__getitem__),
            probabilities=probabilities,
            valence=_optional(row[_VALENCE]),
            arousal=_optional(row[_AROUSAL]),
            action_units={name: value for name, value in units.items() if not math.isnan(value)} or None,
            verdict=VERDICTS[code] if code >= 0 else None,
            pose=HeadPose(*row[_POSE].tolist()) if not np.isnan(row[_POSE]).any() else None,
            infant=_optional(row[_INFANT]),
            smoothed=self._smoothed_at(place),
        )

    def __iter__(self) -> Iterator[FrameReading]:
        return (self[place] for place in range(len(self)))

    @property
    def end_s(self) -> float:
        """Return the time of the last reading; -1 without any."""
        return self._times[-1] if self._times else -1.0

    @property
    def times_s(self) -> np.ndarray:
        """Return a copy of the times, (N,) float64."""
        return np.array(self._times)

    @property
    def persons(self) -> np.ndarray:
        """Return a copy of the person's numbers, (N,) int."""
        return np.array(self._persons, int)

    @property
    def seen(self) -> np.ndarray:
        """Return (N,) bool."""
        return np.array(self._verdicts) != -2

    @property
    def read(self) -> np.ndarray:
        """Return (N,) bool: seen, and the gate did not decline."""
        codes = np.array(self._verdicts)
        return (codes != -2) & (codes != VERDICTS.index(CANNOT_SAY))

    @property
    def probabilities(self) -> np.ndarray:
        """Return a copy of the affects' unsmoothed probabilities, (N, 3) float64; NaN where no face was seen."""
        return self._columns(_PROBABILITIES)

    @property
    def valence(self) -> np.ndarray:
        """Return a copy of the valence, (N,) float64; NaN where there is none."""
        return self._columns(slice(_VALENCE, _VALENCE + 1))[:, 0]

    @property
    def infant(self) -> np.ndarray:
        """Return a copy of the probability of a usable infant's face, (N,) float64; NaN where there is none."""
        return self._columns(slice(_INFANT, _INFANT + 1))[:, 0]

    def set_smoothed(self, values: np.ndarray) -> None:
        """Give every reading its smoothed probabilities, (N, 3); NaN where there are none."""
        if values.shape != (len(self), len(AFFECTS)):
            raise ValueError(f"Smoothed values must be {(len(self), len(AFFECTS))}; these are {values.shape}.")
        self._smoothed = values.astype(np.float32)

    def _columns(self, columns: slice) -> np.ndarray:
        table = np.array(self._values, np.float32).reshape(len(self), _WIDTH + len(self.action_units))
        return table[:, columns].astype(float)

    def _smoothed_at(self, place: int) -> dict[str, float] | None:
        if self._smoothed is None or np.isnan(self._smoothed[place]).any():
            return None
        return dict(zip(AFFECTS, self._smoothed[place].tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class Timeline:
    """What a clip shows: every reading in the order of time and person, the intervals per person, and the summary.

    `source` is the clip's name, `fps` the rate of sampled frames (frames by seconds), `duration_s` the end of the last
    sampled frame. Write it with video.exports.EXPORTERS.
    """

    source: str
    frames: Sequence[FrameReading]
    intervals: tuple[Interval, ...]
    summary: Summary
    fps: float
    duration_s: float
    events: tuple[Event, ...] = field(default=())

    def person(self, number: int) -> Timeline:
        """Return the timeline of one person alone."""
        frames = tuple(reading for reading in self.frames if reading.person == number)
        intervals = tuple(interval for interval in self.intervals if interval.person == number)
        persons = [each for each in self.summary["persons"] if each["person"] == number]
        return replace(self, frames=frames, intervals=intervals, summary={**self.summary, "persons": persons})

    @property
    def persons(self) -> tuple[int, ...]:
        """Return the numbers of the persons."""
        return tuple(each["person"] for each in self.summary["persons"])

    @property
    def infant(self) -> int | None:
        """Return the number of the infant seen longest; the person seen longest when the checkpoint knows no infants."""
        roles = {each["person"]: each for each in self.summary["persons"]}
        chosen = [number for number, each in roles.items() if each["role"] != "not an infant"]
        return max(chosen, key=lambda number: (_seen_s(roles[number]), -number), default=None)


def _seen_s(person: PersonSummary) -> float:
    return person["seen_share"] * person["duration_s"]


def _verdict_code(reading: FrameReading) -> int:
    if not reading.seen:
        return -2
    return -1 if reading.verdict is None else VERDICTS.index(reading.verdict)


def _optional(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
