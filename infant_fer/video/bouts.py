"""Which bouts does a clip hold? Smoothing, the rules that turn readings into intervals, and their summary."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

import numpy as np

from infant_fer.errors import ClipError
from infant_fer.labels import AFFECTS
from infant_fer.video.timeline import (
    CANNOT_SAY,
    NOT_SEEN,
    STATES,
    Event,
    FrameTable,
    Interval,
    PersonSummary,
    Summary,
    Timeline,
)

FOREGROUND = ("positive", "negative")  # what the PLAY manual codes; neutral is the background between such bouts
HOLD_STEPS = 1.5  # a frame that comes this much late is the next one still, and not a jump of the time
INFANT_SHARE = 0.5  # of the frames seen, in which the face is an infant's to the checkpoint


@dataclass(frozen=True)
class BoutRules:
    """How readings become intervals. Times are in seconds; gaps and minimum durations follow the PLAY coding manual."""

    smoothing_s: float = 0.5  # time constant of the smoothed curves
    bout_smoothing_s: float = 0.1  # the same before the rules: 0.5 s would remove bouts shorter than 0.7 s
    margin: float = 0.1  # hysteresis: another affect must be more likely by this much to replace the present one
    min_bout_s: float = 0.034  # one frame at 30 frames a second; shorter readings belong to the bout before
    join_gap_s: float = 0.167  # bouts of one affect with a shorter gap between them are one
    max_hold_s: float = 1.0  # a frame stands for the time to the next one, at most this long; then nothing is seen.
    # Where frames are sampled more seldom, it is HOLD_STEPS times their median distance.

    def __post_init__(self) -> None:
        """Raise ClipError for a time or margin that is negative or not finite."""
        for name, value in asdict(self).items():
            if not 0 <= value < math.inf:
                raise ClipError(f"{name.removesuffix('_s')} must be a finite number from 0 on; {value:g} was given.")


def build_timeline(
    source: str,
    frames: FrameTable,
    rules: BoutRules = BoutRules(),
    events: Sequence[Event] = (),
    checkpoint: str = "",
    notes: Sequence[str] = (),
    start_s: float = 0.0,
) -> Timeline:
    """Return the timeline of the readings, whose smoothed values are set here.

    `start_s` is the second of the clip at which reading started.
    """
    times, persons = frames.times_s, frames.persons
    moments = np.unique(times)
    step = float(np.median(np.diff(moments))) if len(moments) > 1 else 0.0
    duration = float(moments[-1]) + step if len(moments) else 0.0
    held = replace(rules, max_hold_s=max(rules.max_hold_s, HOLD_STEPS * step))
    shown = np.full((len(frames), len(AFFECTS)), np.nan)
    intervals: list[Interval] = []
    people: list[PersonSummary] = []
    for person in np.unique(persons).tolist():
        rows = np.flatnonzero(persons == person)
        reading = _PersonReadings(frames, rows, step, held.max_hold_s)
        shown[rows] = smoothed(reading.times, reading.probabilities, rules.smoothing_s)
        bouts = person_intervals(reading, person, held)
        intervals += bouts
        people.append(_person_summary(person, reading, bouts, events, (start_s, duration)))
    frames.set_smoothed(shown)
    intervals.sort(key=lambda interval: (interval.onset_s, interval.person))
    span_s = duration - float(moments[0]) if len(moments) else 0.0  # 0 of a single frame
    fps = len(moments) / span_s if span_s else 0.0
    summary = Summary(
        source=source,
        checkpoint=checkpoint,
        duration_s=duration,
        frames=len(moments),
        fps=fps,
        persons=people,
        events=[asdict(event) for event in events],
        settings=asdict(rules),
        notes=list(notes),
    )
    return Timeline(source, frames, tuple(intervals), summary, fps, duration, tuple(events))


def smoothed(times_s: np.ndarray, values: np.ndarray, time_constant_s: float) -> np.ndarray:
    """Return (N, K) means of `values` weighted by exp(-|time difference| / time constant); no lag, any frame rate.

    Rows of NaN (nothing read) weigh nothing and stay NaN. A time constant of 0 changes nothing.
    """
    present = ~np.isnan(values).any(1)
    result = np.where(present[:, None], values, np.nan)
    if time_constant_s <= 0 or not present.any():
        return result
    weighted = np.hstack([np.where(present[:, None], values, 0.0), present[:, None].astype(float)])
    decays = np.exp(-np.diff(times_s) / time_constant_s)
    total = _decayed_sums(weighted, decays) + _decayed_sums(weighted[::-1], decays[::-1])[::-1] - weighted
    result[present] = total[present, :-1] / total[present, -1:]
    return result


def _decayed_sums(values: np.ndarray, decays: np.ndarray) -> np.ndarray:
    """Return s with s[0] = values[0] and s[i] = values[i] + decays[i - 1] · s[i - 1], for each column."""
    sums = np.empty_like(values)
    sums[0] = values[0]
    for place in range(1, len(values)):
        sums[place] = values[place] + decays[place - 1] * sums[place - 1]
    return sums


class _PersonReadings:
    """The columns of one person: times, the time that each frame stands for, what was seen and read."""

    def __init__(self, frames: FrameTable, rows: np.ndarray, step_s: float, max_hold_s: float):
        self.times = frames.times_s[rows]
        self.seen, self.read = frames.seen[rows], frames.read[rows]
        self.probabilities = np.where(self.read[:, None], frames.probabilities[rows], np.nan)
        self.valence, self.infant = frames.valence[rows], frames.infant[rows]
        self.ends = np.append(self.times[1:], self.times[-1] + step_s)
        self.lengths = np.minimum(self.ends - self.times, max_hold_s)  # seconds that each frame stands for


@dataclass
class _Run:
    """Consecutive frames of one state, `first` up to `last` (excluded); no frames where nothing was sampled."""

    onset: float
    offset: float
    label: str
    first: int
    last: int


def person_intervals(reading: _PersonReadings, person: int, rules: BoutRules) -> list[Interval]:
    """Return the intervals of one person, which cover the time from its first to its last frame without a gap."""
    runs = _joined(_runs(reading, rules), rules)
    intervals = []
    for run in runs:
        rows = slice(run.first, run.last)
        lengths = reading.lengths[rows]
        read, confidence = reading.read[rows], None
        if run.label in AFFECTS and lengths[read].sum():
            values = reading.probabilities[rows][read, AFFECTS.index(run.label)]
            confidence = float(np.average(values, weights=lengths[read]))
        length = run.offset - run.onset
        seen = float(lengths[reading.seen[rows]].sum() / length) if length else 0.0
        intervals.append(Interval(run.onset, run.offset, person, run.label, confidence, min(seen, 1.0)))
    return intervals


def _runs(reading: _PersonReadings, rules: BoutRules) -> list[_Run]:
    """Return the runs of equal labels after hysteresis; where frames are missing for long, a run of "not seen"."""
    labels = _with_hysteresis(smoothed(reading.times, reading.probabilities, rules.bout_smoothing_s), rules.margin)
    runs: list[_Run] = []
    for place, (start, end) in enumerate(zip(reading.times.tolist(), reading.ends.tolist(), strict=True)):
        label = labels[place] or (CANNOT_SAY if reading.seen[place] else NOT_SEEN)
        held = min(end, start + rules.max_hold_s)
        if runs and runs[-1].label == label:
            runs[-1].offset, runs[-1].last = held, place + 1
        else:
            runs.append(_Run(start, held, label, place, place + 1))
        if held < end and label == NOT_SEEN:
            runs[-1].offset = end
        elif held < end:
            runs.append(_Run(held, end, NOT_SEEN, place + 1, place + 1))
    return [run for run in runs if run.offset > run.onset]


def _with_hysteresis(probabilities: np.ndarray, margin: float) -> list[str | None]:
    """Return the label of each row: the present one, until another is more likely by `margin`; None for NaN.

    After a row of NaN the most likely label holds.
    """
    labels: list[str | None] = []
    present: int | None = None
    for row in probabilities.tolist():
        if row[0] != row[0]:
            present = None
        else:
            best = max(range(len(row)), key=row.__getitem__)
            if present is None or row[best] >= row[present] + margin:
                present = best
        labels.append(None if present is None else AFFECTS[present])
    return labels


def _joined(runs: list[_Run], rules: BoutRules) -> list[_Run]:
    """Give affects shorter than the minimum to the bout before them, then join bouts of one affect across short gaps."""
    kept: list[_Run] = []
    for run in runs:
        short = run.label in AFFECTS and run.offset - run.onset < rules.min_bout_s
        if kept and kept[-1].label in AFFECTS and (short or kept[-1].label == run.label):
            kept[-1].offset, kept[-1].last = run.offset, run.last
        else:
            kept.append(run)
    joined: list[_Run] = []
    for run in kept:
        place = _same_bout(joined, run, rules.join_gap_s)
        if place is not None:
            earlier = joined[place]
            del joined[place:]
            run = _Run(earlier.onset, run.offset, run.label, earlier.first, run.last)
        joined.append(run)
    return joined


def _same_bout(before: Sequence[_Run], run: _Run, join_gap_s: float) -> int | None:
    """Return the place of the earlier bout that `run` continues: of its affect, before a short gap without FOREGROUND."""
    for place in range(len(before) - 1, -1, -1):
        earlier = before[place]
        if run.label not in AFFECTS or run.onset - earlier.offset >= join_gap_s:
            return None
        if earlier.label == run.label:
            return place
        if earlier.label in FOREGROUND:
            return None
    return None


def _person_summary(
    person: int,
    reading: _PersonReadings,
    bouts: list[Interval],
    events: Sequence[Event],
    span_s: tuple[float, float],
) -> PersonSummary:
    duration = sum(bout.duration_s for bout in bouts)
    length = {state: sum(bout.duration_s for bout in bouts if bout.label == state) for state in STATES}
    read = sum(length[affect] for affect in AFFECTS)
    counts = Counter(bout.label for bout in bouts)
    durations = {affect: [bout.duration_s for bout in bouts if bout.label == affect] for affect in AFFECTS}
    seen = sum(bout.duration_s * bout.seen_share for bout in bouts)
    return PersonSummary(
        person=person,
        role=_role(reading),
        duration_s=duration,
        seen_share=seen / duration if duration else 0.0,
        read_share=read / duration if duration else 0.0,
        time_share={affect: length[affect] / read if read else 0.0 for affect in AFFECTS},
        bouts={state: counts[state] for state in STATES},
        bouts_per_minute={affect: 60 * counts[affect] / read if read else 0.0 for affect in AFFECTS},
        median_bout_s={affect: float(np.median(values)) if values else None for affect, values in durations.items()},
        mean_valence=_mean_valence(reading),
        latency_to_negative_s=_latencies(bouts, events, *span_s),
        transitions=_transitions(bouts),
    )


def _role(reading: _PersonReadings) -> str:
    known = reading.infant[reading.seen]
    known = known[~np.isnan(known)]
    if not len(known):
        return "unknown"
    return "infant" if (known >= 0.5).mean() >= INFANT_SHARE else "not an infant"


def _mean_valence(reading: _PersonReadings) -> float | None:
    """Return the mean over the time that was read, so that a stretch with more frames a second counts no more than another."""
    known = reading.read & ~np.isnan(reading.valence)
    lengths = reading.lengths[known]
    return float(np.average(reading.valence[known], weights=lengths)) if lengths.sum() else None


def _latencies(bouts: list[Interval], events: Sequence[Event], start_s: float, end_s: float) -> dict[str, float | None]:
    """Return the time from each event to the first negative expression within it; 0 when it has begun already.

    None for an event before `start_s`, at which reading started: what was shown in between is unknown.
    """
    found: dict[str, float | None] = {}
    for event in (Event(0.0, "start"), *events):
        end = end_s if event.offset_s is None else event.offset_s
        onsets = (
            max(bout.onset_s - event.onset_s, 0.0)
            for bout in bouts
            if bout.label == "negative" and bout.offset_s > event.onset_s and bout.onset_s < end
        )
        name = event.label if event.label not in found else f"{event.label} at {event.onset_s:g} s"
        found[name] = next(onsets, None) if event.onset_s >= start_s else None
    return found


def _transitions(bouts: list[Interval]) -> dict[str, dict[str, int]]:
    pairs = Counter((before.label, after.label) for before, after in pairwise(bouts))
    return {source: {target: pairs[source, target] for target in AFFECTS} for source in AFFECTS}
