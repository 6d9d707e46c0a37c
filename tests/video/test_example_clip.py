"""The rendered example clip, read as a technician would: against the truth that was rendered with it."""

import csv
from itertools import groupby

import numpy as np
import pytest

from infant_fer.video.agreement import agreement
from infant_fer.video.analysis import VideoSettings, analyze_video
from infant_fer.video.imports import CodedInterval, Coding
from infant_fer.video.reading import ClipSettings
from infant_fer.video.timeline import NOT_SEEN
from tests.conftest import EXAMPLES

pytestmark = pytest.mark.slow
FPS = 6.25  # every fourth frame


@pytest.fixture(scope="module")
def truth() -> list[dict[str, str]]:
    with (EXAMPLES / "clip.truth.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def timeline(analyzer):
    return analyze_video(EXAMPLES / "clip.mp4", analyzer, VideoSettings(ClipSettings(fps=FPS)))


def coded(truth) -> Coding:
    spans = []
    for label, rows in groupby(truth, key=lambda row: row["label"] if row["seen"] == "1" else NOT_SEEN):
        times = [float(row["time_s"]) for row in rows]
        spans.append(CodedInterval(times[0], times[-1] + 0.04, label))
    return Coding("clip.truth.csv", "1", tuple(spans), "neutral")


def test_the_reading_agrees_with_what_was_rendered(timeline, truth):
    assert timeline.persons == (1,)
    found = agreement(timeline, coded(truth))
    assert found["frames"] >= 0.95 * found["frames_coded"] > 30
    assert found["kappa_frame"] > 0.8
    assert abs(found["onset_lag_s"]) <= 0.2
    assert found["onsets"]["positive"] == {**found["onsets"]["positive"], "human": 2, "matched": 2}


def test_the_face_behind_the_cloth_is_not_seen_and_the_others_are_where_they_were_rendered(timeline, truth):
    by_time = {round(float(row["time_s"]), 2): row for row in truth}
    overlaps, states = [], []
    for reading in timeline.frames:
        row = by_time[round(reading.time_s, 2)]
        if float(row["visible"]) in (0.0, 1.0):
            states.append(reading.seen == (row["seen"] == "1"))
        if reading.seen and row["seen"] == "1":
            box = np.array([float(row[name]) for name in ("left", "top", "right", "bottom")])
            overlaps.append(intersection_over_union(box, np.array(reading.box_xyxy)))
    assert np.mean(states) >= 0.95
    assert np.median(overlaps) > 0.75


def intersection_over_union(first: np.ndarray, second: np.ndarray) -> float:
    shared = np.prod(np.maximum(np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]), 0))
    return shared / (np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]) - shared)
