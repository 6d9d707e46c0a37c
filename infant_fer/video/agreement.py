"""How well does a timeline agree with a human coding? Cohen's κ over time, bouts and their onsets, and where they differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from infant_fer.errors import DatasetError
from infant_fer.files import write_atomically
from infant_fer.labels import AFFECTS
from infant_fer.metrics import cohen_kappa
from infant_fer.video.imports import Coding
from infant_fer.video.timeline import Timeline

TOLERANCE_S = (
    0.5  # within which a label of the other counts as the same, in the tolerant κ (Bakeman and Quera 2011, ch. 6)
)
MATCH_S = 2.0  # how far apart the onsets of two bouts may lie that are taken for the same event
DISAGREEMENT_S = 0.2  # shorter stretches of disagreement are differences of onset and are not listed


class Disagreement(TypedDict):
    """A stretch in which both name an affect, and not the same."""

    onset_s: float
    offset_s: float
    human: str
    model: str


class OnsetFigures(TypedDict):
    """Bouts of one affect: how many of each, how many pairs of onsets at most MATCH_S apart, and model minus human onset.

    Bouts that have begun by the person's first frame have no onset to compare and are left out, of both.
    """

    human: int
    model: int
    matched: int
    median_lag_s: float | None
    median_distance_s: float | None


class Agreement(TypedDict):
    """The agreement of one clip, as agreement.json holds it. Rows of a confusion are the human's, columns the model's."""

    human: str
    track: str
    person: int
    gaps: str
    frames: int  # in which both name an affect, of `frames_coded`
    frames_coded: int  # that the human has coded as an affect
    kappa_frame: float | None
    kappa_second: float | None
    kappa_frame_tolerant: float | None
    kappa_second_tolerant: float | None
    tolerance_s: float
    confusion: dict[str, dict[str, int]]  # of frames
    confusion_second: dict[str, dict[str, int]]
    onset_lag_s: float | None  # median over all matched onsets, positive where the model is later
    onsets: dict[str, OnsetFigures]
    disagreements: list[Disagreement]


@dataclass(frozen=True, eq=False)
class _Labels:
    """Labels of both at the same moments: indices of AFFECTS, -1 where there is none."""

    times_s: np.ndarray
    human: np.ndarray
    model: np.ndarray

    @property
    def both(self) -> np.ndarray:
        return (self.human >= 0) & (self.model >= 0)


def agreement(
    timeline: Timeline, coding: Coding, person: int | None = None, tolerance_s: float = TOLERANCE_S
) -> Agreement:
    """Compare the bouts of one person (default: the infant) with a human coding.

    Moments in which either names no affect (not seen, declined, not coded) are left out; `frames` counts the rest. A second
    has the label that fills most of it. In the tolerant κ a label counts as the same when the other has it within
    `tolerance_s`; it is computed with either as the reference, and the mean is given. Raises DatasetError without a person.
    """
    number = timeline.infant if person is None else person
    if number is None or number not in timeline.persons:
        raise DatasetError(
            f"{timeline.source} shows no person{'' if person is None else f' {person}'} to compare with a coding."
        )
    frames = _frame_labels(timeline, coding, number)
    coding = _within(coding, float(frames.times_s[0]), timeline.duration_s)
    seconds = _second_labels(frames)
    onsets, lags = _onsets(timeline, coding, number, float(frames.times_s[0]))
    counts, second_counts = _confusion(frames), _confusion(seconds)
    return Agreement(
        human=coding.source,
        track=coding.track,
        person=number,
        gaps=coding.gaps,
        frames=int(frames.both.sum()),
        frames_coded=int((frames.human >= 0).sum()),
        kappa_frame=_rounded(cohen_kappa(counts)),
        kappa_second=_rounded(cohen_kappa(second_counts)),
        kappa_frame_tolerant=_rounded(_tolerant_kappa(frames, tolerance_s)),
        kappa_second_tolerant=_rounded(_tolerant_kappa(seconds, max(tolerance_s, 1.0))),
        tolerance_s=tolerance_s,
        confusion=_named(counts),
        confusion_second=_named(second_counts),
        onset_lag_s=_rounded(np.median(lags)) if lags else None,
        onsets=onsets,
        disagreements=_disagreements(frames, timeline),
    )


def write_agreement(path: Path, found: Agreement) -> None:
    """Write agreement.json atomically."""
    write_atomically(path, json.dumps(found, indent=1, ensure_ascii=False))


def _within(coding: Coding, start_s: float, end_s: float) -> Coding:
    """Return the codes that begin in the part of the clip that was read, or last into it."""
    kept = (each for each in coding.intervals if each.offset_s > start_s and each.onset_s < end_s)
    return replace(coding, intervals=tuple(kept))


def _frame_labels(timeline: Timeline, coding: Coding, person: int) -> _Labels:
    times = np.array([reading.time_s for reading in timeline.frames if reading.person == person])
    bouts = [(each.onset_s, each.offset_s, each.label) for each in timeline.intervals if each.person == person]
    coded = [(each.onset_s, each.offset_s, each.label) for each in coding.intervals]
    gap = AFFECTS.index(coding.gaps) if coding.gaps in AFFECTS else -1
    return _Labels(times, _at(times, coded, gap), _at(times, bouts, -1))


def _at(times_s: np.ndarray, spans: Sequence[tuple[float, float, str]], gap: int) -> np.ndarray:
    """Return the affect's index at each time, -1 for another state, `gap` outside all spans. Later spans win at overlaps."""
    found = np.full(len(times_s), gap)
    for onset, offset, label in sorted(spans):
        inside = (times_s >= onset - 1e-6) & (times_s < offset - 1e-6)
        found[inside] = AFFECTS.index(label) if label in AFFECTS else -1
    return found


def _second_labels(frames: _Labels) -> _Labels:
    """Return the label that fills most of each whole second, -1 where most of it has none.

    A frame stands for the time to the next one, the last for their median distance, each up to the end of its second.
    """
    second = frames.times_s.astype(int)
    steps = np.diff(frames.times_s)
    ends = np.append(frames.times_s[1:], frames.times_s[-1] + (np.median(steps) if len(steps) else 1.0))
    lengths = np.minimum(ends, second + 1) - frames.times_s
    moments = np.unique(second)
    longest = [
        [_longest(values[second == moment], lengths[second == moment]) for moment in moments]
        for values in (frames.human, frames.model)
    ]
    return _Labels(moments.astype(float), *(np.array(labels, int) for labels in longest))


def _longest(values: np.ndarray, lengths_s: np.ndarray) -> int:
    """Return the value with the greatest sum of lengths, the lowest of several."""
    names, places = np.unique(values, return_inverse=True)
    return int(names[np.round(np.bincount(places, lengths_s), 6).argmax()])


def _confusion(labels: _Labels) -> np.ndarray:
    return _counts(labels.human[labels.both], labels.model[labels.both])


def _counts(human: np.ndarray, model: np.ndarray) -> np.ndarray:
    size = len(AFFECTS)
    return np.bincount(human * size + model, minlength=size * size).reshape(size, size)


def _tolerant_kappa(labels: _Labels, tolerance_s: float) -> float:
    """Return the mean of both directions' κ with one's label taken as the other's where it occurs within the tolerance."""
    both = labels.both
    found = []
    for first, second in ((labels.human, labels.model), (labels.model, labels.human)):
        near = np.zeros(len(first), bool)
        starts = np.searchsorted(labels.times_s, labels.times_s - tolerance_s - 1e-9)
        ends = np.searchsorted(labels.times_s, labels.times_s + tolerance_s + 1e-9)
        for place in np.flatnonzero(both):
            near[place] = (second[starts[place] : ends[place]] == first[place]).any()
        matched = np.where(near, first, second)
        found.append(float(cohen_kappa(_counts(first[both], matched[both]))))
    return float(np.mean(found))


def _onsets(
    timeline: Timeline, coding: Coding, person: int, start_s: float
) -> tuple[dict[str, OnsetFigures], list[float]]:
    """Return the figures of each affect that the human codes as bouts, and the lags of all matched onsets in seconds.

    Onsets up to `start_s`, the person's first frame, are left out: a bout merely begins to be seen there.
    """
    bouts = [each for each in timeline.intervals if each.person == person and each.onset_s > start_s]
    coded = [each for each in coding.intervals if each.onset_s > start_s]
    figures: dict[str, OnsetFigures] = {}
    every: list[float] = []
    for affect in AFFECTS:
        human = [each.onset_s for each in coded if each.label == affect]
        model = [each.onset_s for each in bouts if each.label == affect]
        if not human and coding.gaps == affect:
            continue
        lags = _matched_lags(human, model)
        every += lags
        figures[affect] = OnsetFigures(
            human=len(human),
            model=len(model),
            matched=len(lags),
            median_lag_s=_rounded(np.median(lags)) if lags else None,
            median_distance_s=_rounded(np.median(np.abs(lags))) if lags else None,
        )
    return figures, every


def _matched_lags(human: Sequence[float], model: Sequence[float]) -> list[float]:
    """Return model minus human for the pairs that are nearest to each other, each onset used once."""
    pairs = sorted(
        (abs(b - a), i, j) for i, a in enumerate(human) for j, b in enumerate(model) if abs(b - a) <= MATCH_S + 1e-6
    )
    lags: dict[int, float] = {}
    used: set[int] = set()
    for _, i, j in pairs:
        if i not in lags and j not in used:
            lags[i] = model[j] - human[i]
            used.add(j)
    return [lags[i] for i in sorted(lags)]


def _disagreements(frames: _Labels, timeline: Timeline) -> list[Disagreement]:
    step = 1 / timeline.fps if timeline.fps else 0.0
    keys = [
        (int(a), int(b)) if a >= 0 and b >= 0 and a != b else None
        for a, b in zip(frames.human, frames.model, strict=True)
    ]
    found: list[Disagreement] = []
    for key, run in groupby(range(len(keys)), key=keys.__getitem__):
        places = list(run)
        start, end = float(frames.times_s[places[0]]), float(frames.times_s[places[-1]]) + step
        if key is not None and end - start >= DISAGREEMENT_S - 1e-6:
            found.append(
                Disagreement(
                    onset_s=round(start, 3), offset_s=round(end, 3), human=AFFECTS[key[0]], model=AFFECTS[key[1]]
                )
            )
    return found


def _named(counts: np.ndarray) -> dict[str, dict[str, int]]:
    return {row: {column: int(counts[i, j]) for j, column in enumerate(AFFECTS)} for i, row in enumerate(AFFECTS)}


def _rounded(value: Any) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
