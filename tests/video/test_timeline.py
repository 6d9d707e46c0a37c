"""Timelines whose intervals and summaries are known by hand."""

import numpy as np
import pytest

from infant_fer.errors import ClipError
from infant_fer.face import HeadPose
from infant_fer.video.bouts import BoutRules, build_timeline, smoothed
from infant_fer.video.timeline import CANNOT_SAY, NOT_SEEN, Event, FrameReading, FrameTable

SHARP = BoutRules(smoothing_s=0, bout_smoothing_s=0, margin=0)
LETTERS = {"p": (0.8, 0.1, 0.1), "o": (0.1, 0.8, 0.1), "n": (0.1, 0.1, 0.8)}


def reading(time_s: float, letter: str, person: int = 1, **fields) -> FrameReading:
    """Return one reading: p positive, o neutral, n negative, ? declined by the gate, . not seen."""
    if letter == ".":
        return FrameReading(time_s, person, seen=False)
    shares = dict(zip(("positive", "neutral", "negative"), LETTERS.get(letter, LETTERS["o"]), strict=True))
    values = {"box_xyxy": (1.0, 2.0, 31.0, 42.0), "verdict": CANNOT_SAY if letter == "?" else "answer", **fields}
    return FrameReading(time_s, person, True, label=max(shares, key=shares.get), probabilities=shares, **values)


def timeline(letters: str, step: float = 0.1, rules: BoutRules = SHARP, events=(), **fields):
    """Return the timeline of one person, one letter a frame."""
    table = FrameTable()
    for place, letter in enumerate(letters):
        table.append(reading(place * step, letter, **fields))
    return build_timeline("clip.mp4", table, rules, events)


def spans(result) -> list[tuple[float, float, str]]:
    return [(round(each.onset_s, 3), round(each.offset_s, 3), each.label) for each in result.intervals]


def test_a_part_with_a_single_frame_is_a_timeline():
    table = FrameTable()
    table.append(reading(5.0, "p"))
    result = build_timeline("clip.mp4", table, SHARP)
    assert (result.summary["frames"], result.summary["duration_s"], result.fps) == (1, 5.0, 0.0)


def test_each_state_becomes_an_interval_and_the_intervals_cover_the_clip():
    result = timeline("oopp??..nn")
    assert spans(result) == [
        (0, 0.2, "neutral"),
        (0.2, 0.4, "positive"),
        (0.4, 0.6, CANNOT_SAY),
        (0.6, 0.8, NOT_SEEN),
        (0.8, 1.0, "negative"),
    ]
    assert result.duration_s == pytest.approx(1.0)
    assert result.fps == pytest.approx(10)
    assert [each.confidence for each in result.intervals] == [pytest.approx(0.8)] * 2 + [None, None, pytest.approx(0.8)]
    assert [each.seen_share for each in result.intervals] == pytest.approx([1, 1, 1, 0, 1])


def test_bouts_of_one_affect_are_joined_across_a_gap_shorter_than_the_rule_only():
    assert spans(timeline("ppopp")) == [(0, 0.5, "positive")]
    assert spans(timeline("ppoopp")) == [(0, 0.2, "positive"), (0.2, 0.4, "neutral"), (0.4, 0.6, "positive")]


def test_a_gap_of_several_states_is_as_long_as_all_of_them():
    assert spans(timeline("pppo?.ppp", step=0.05)) == [(0, 0.45, "positive")]
    assert [label for *_, label in spans(timeline("pppo??.ppp", step=0.05))][1:-1] == ["neutral", CANNOT_SAY, NOT_SEEN]
    assert [label for *_, label in spans(timeline("pppn.ppp", step=0.05))].count("positive") == 2


def test_a_joined_bout_says_which_share_of_it_was_seen():
    (bout,) = timeline("pp.pp").intervals
    assert bout.seen_share == pytest.approx(0.8)


def test_a_bout_between_two_of_another_affect_is_kept():
    assert [label for *_, label in spans(timeline("oopoo"))] == ["neutral", "positive", "neutral"]
    assert [label for *_, label in spans(timeline("ppnpp"))] == ["positive", "negative", "positive"]


def test_an_affect_shorter_than_the_minimum_belongs_to_the_bout_before_it():
    assert spans(timeline("pppoppp", step=0.01)) == [(0, 0.07, "positive")]
    assert [label for *_, label in spans(timeline("oooopppp", step=0.01))] == ["neutral", "positive"]
    assert spans(timeline("ppppoonnnn", step=0.01)) == [(0, 0.06, "positive"), (0.06, 0.1, "negative")]
    assert spans(timeline("pppnnppp", step=0.01)) == [(0, 0.08, "positive")]


def test_hysteresis_keeps_the_present_affect_while_another_leads_by_less_than_the_margin():
    table = FrameTable()
    for place, positive in enumerate((0.40, 0.48, 0.54, 0.56)):
        shares = {"positive": positive, "neutral": 1 - positive, "negative": 0.0}
        label = max(shares, key=shares.get)
        table.append(FrameReading(place * 1.0, 1, True, label=label, probabilities=shares, verdict="answer"))
    rules = BoutRules(smoothing_s=0, bout_smoothing_s=0, margin=0.1)
    assert spans(build_timeline("c", table, rules)) == [(0, 3, "neutral"), (3, 4, "positive")]


def test_a_long_jump_of_the_timestamps_is_time_in_which_nothing_was_seen():
    table = FrameTable()
    for time_s in (0.0, 0.5, 1.0, 6.0, 6.5):
        table.append(reading(time_s, "p"))
    result = build_timeline("c", table, SHARP)
    assert spans(result) == [(0, 2, "positive"), (2, 6, NOT_SEEN), (6, 7, "positive")]


def test_a_frame_that_is_sampled_seldom_stands_for_the_time_to_the_next_one():
    result = timeline("ppoo.", step=5.0)
    assert spans(result) == [(0, 10, "positive"), (10, 20, "neutral"), (20, 25, NOT_SEEN)]
    assert result.summary["persons"][0]["seen_share"] == pytest.approx(0.8)


def test_a_part_of_a_clip_has_the_rate_of_its_frames():
    table = FrameTable()
    for place in range(50):
        table.append(reading(60 + place / 25, "p"))
    result = build_timeline("c", table, SHARP)
    assert (result.fps, result.duration_s) == (pytest.approx(25), pytest.approx(62))


def test_smoothing_has_no_lag_and_leaves_out_what_was_not_read():
    times = np.arange(0, 10, 0.04)
    step = (times >= 5).astype(float)
    result = smoothed(times, np.stack([step, 1 - step, 0 * step], 1), 0.5)[:, 0]
    assert abs(times[np.argmax(result >= 0.5)] - 5) <= 0.041
    np.testing.assert_allclose(result + result[::-1], 1, atol=1e-6)
    values = np.array([[1.0], [np.nan], [0.0]])
    assert np.isnan(smoothed(np.arange(3.0), values, 1.0)[1, 0])
    weight = np.exp(-2.0)
    assert smoothed(np.arange(3.0), values, 1.0)[0, 0] == pytest.approx(1 / (1 + weight))


def test_the_summary_of_a_clip_is_counted_by_hand():
    events = (Event(0.35, "still face", 1.0), Event(0.9, "reunion"), Event(0.0, "play", 0.3))
    (person,) = timeline("oopp.nnnoo", events=events, infant=0.9, valence=0.5).summary["persons"]
    assert person["time_share"] == pytest.approx({"positive": 2 / 9, "neutral": 4 / 9, "negative": 3 / 9})
    assert person["seen_share"] == pytest.approx(0.9)
    assert person["bouts"] == {"positive": 1, "neutral": 2, "negative": 1, CANNOT_SAY: 0, NOT_SEEN: 1}
    assert person["bouts_per_minute"]["neutral"] == pytest.approx(60 * 2 / 0.9)
    assert person["transitions"]["neutral"]["positive"] == 1
    assert person["transitions"]["positive"] == {"positive": 0, "neutral": 0, "negative": 0}
    assert person["transitions"]["negative"]["neutral"] == 1
    latencies = {"start": pytest.approx(0.5), "still face": pytest.approx(0.15), "reunion": None, "play": None}
    assert person["latency_to_negative_s"] == latencies
    assert person["role"] == "infant"
    assert person["mean_valence"] == pytest.approx(0.5)


def test_time_that_was_never_read_is_no_latency():
    table = FrameTable()
    for place in range(20):
        table.append(reading(60.02 + place / 10, "o" if place < 5 else "n"))
    events = (Event(20.0, "play", 70.0), Event(60.0, "still face"))
    (person,) = build_timeline("c", table, SHARP, events, start_s=60.0).summary["persons"]
    assert person["latency_to_negative_s"] == {"start": None, "play": None, "still face": pytest.approx(0.52)}
    (person,) = build_timeline("c", table, SHARP, events).summary[
        "persons"
    ]  # read from its beginning, where nobody was
    assert person["latency_to_negative_s"]["start"] == pytest.approx(60.52)


def test_the_mean_valence_is_over_time_not_over_frames():
    table = FrameTable()
    for time_s, valence in ((0.0, 1.0), (0.1, -1.0), (0.2, -1.0), (0.3, 1.0), (1.0, 1.0)):
        table.append(reading(time_s, "o", valence=valence))
    (person,) = build_timeline("clip.mp4", table, SHARP).summary["persons"]
    seconds = [0.1, 0.1, 0.1, 0.7, 0.1]  # that each frame stands for; the last one the median step
    assert person["mean_valence"] == pytest.approx(np.average([1, -1, -1, 1, 1], weights=seconds))


def test_the_infant_is_told_from_an_adult_by_the_head_alone():
    table = FrameTable()
    for place in range(4):
        table.append(reading(place * 0.1, "o", person=1, infant=0.1))
        table.append(reading(place * 0.1, "p" if place else ".", person=2, infant=0.9))
    result = build_timeline("c", table, SHARP)
    assert [each["role"] for each in result.summary["persons"]] == ["not an infant", "infant"]
    assert result.infant == 2
    assert {each.person for each in result.person(2).frames} == {2}


def test_of_two_infants_the_one_seen_longest_is_meant():
    """Another one comes into sight for the last tenth, of which nothing is missed."""
    table = FrameTable()
    for place in range(20):
        table.append(reading(place * 0.1, "." if place == 5 else "p", person=1, infant=0.9))
        if place >= 18:
            table.append(reading(place * 0.1, "n", person=2, infant=0.9))
    assert build_timeline("c", table, SHARP).infant == 1


def test_a_table_gives_back_what_was_put_in():
    table = FrameTable()
    first = reading(0.0, "p", action_units={"AU12": 0.5}, pose=HeadPose(1.0, 2.0, 3.0), arousal=1.0)
    table.append(first)
    table.append(FrameReading(0.04, 1, seen=False))
    back = table[0]
    assert (back.time_s, back.person, back.seen, back.box_xyxy) == (0.0, 1, True, first.box_xyxy)
    assert (back.label, back.verdict, back.pose, back.valence) == ("positive", "answer", first.pose, None)
    assert back.action_units == {"AU12": 0.5}
    assert back.probabilities == pytest.approx(first.probabilities)
    assert table[1] == FrameReading(0.04, 1, seen=False)
    assert table[-1] == table[1]
    assert len(table[:]) == 2
    with pytest.raises(ValueError, match="order of time"):
        table.append(reading(0.01, "p"))


def test_a_clip_without_frames_gives_an_empty_timeline():
    result = build_timeline("c", FrameTable())
    assert (result.intervals, result.summary["persons"], result.duration_s, result.infant) == ((), [], 0, None)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_rules_that_make_no_sense_are_refused(value):
    with pytest.raises(ClipError, match=f"^margin must be a finite number from 0 on; {value:g} was given"):
        BoutRules(margin=value)
