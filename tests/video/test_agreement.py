"""Agreement with human codings: figures that are known by hand."""

import json
import os

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from infant_fer.errors import DatasetError
from infant_fer.metrics import cohen_kappa
from infant_fer.video.agreement import agreement, write_agreement
from infant_fer.video.bouts import build_timeline
from infant_fer.video.imports import NOT_CODED, CodedInterval, Coding, read_coding
from infant_fer.video.timeline import FrameTable
from tests.video.test_timeline import SHARP, reading, timeline


def coded(*spans: tuple[float, float, str], gaps: str = "neutral") -> Coding:
    return Coding("hand.csv", "", tuple(CodedInterval(*span) for span in spans), gaps)


def test_the_agreement_with_a_file_whose_name_is_not_utf_8_can_be_written(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.csv")
    path.write_text("onset,offset,label\n0,0.2,p\n")
    write_agreement(tmp_path / "agreement.json", agreement(timeline("ppnn"), read_coding(path)))
    assert json.loads((tmp_path / "agreement.json").read_text("utf-8"))["human"] == "caf\\xe9.csv"


def test_only_bouts_in_the_part_that_was_read_are_counted():
    human = coded((0, 1, "positive"), (60.2, 61, "positive"), (90, 91, "positive"))
    table = FrameTable()
    for place in range(20):
        table.append(reading(60 + place / 10, "p" if place > 1 else "o"))
    found = agreement(build_timeline("c", table, SHARP), human)["onsets"]["positive"]
    assert (found["human"], found["model"], found["matched"]) == (1, 1, 1)


@pytest.mark.parametrize("onset_s", [58.5, 60.0])
def test_a_bout_that_has_begun_by_the_first_frame_has_no_onset(onset_s):
    """The person is positive from the first frame that is read, at 60 s, as the human codes it; then again from 63 s."""
    table = FrameTable()
    for place in range(40):
        table.append(reading(60 + place / 10, "o" if 20 <= place < 30 else "p"))
    human = coded((onset_s, 62, "positive"), (63.0, 64, "positive"))
    found = agreement(build_timeline("c", table, SHARP), human)
    assert found["kappa_frame"] == 1
    assert found["onset_lag_s"] == 0
    onsets = found["onsets"]["positive"]
    assert (onsets["human"], onsets["model"], onsets["matched"]) == (1, 1, 1)
    alone = agreement(build_timeline("c", table, SHARP), coded((onset_s, 62, "positive")))
    assert alone["onset_lag_s"] is None


def test_kappa_is_that_of_scikit_learn():
    random = np.random.default_rng(0)
    human, model = random.integers(3, size=(2, 50))
    counts = np.zeros((3, 3), int)
    np.add.at(counts, (human, model), 1)
    assert cohen_kappa(counts) == pytest.approx(cohen_kappa_score(human, model))
    assert cohen_kappa(np.stack([counts, 5 * np.eye(3)])) == pytest.approx([cohen_kappa(counts), 1.0])
    assert np.isnan(cohen_kappa(np.diag([4, 0, 0])))


def test_kappa_and_confusion_by_hand():
    found = agreement(timeline("ppppppoonn"), coded((0, 0.4, "positive"), (0.8, 1.0, "negative")))
    assert found["kappa_frame"] == pytest.approx(0.6875)  # (0.8 - 0.36) / (1 - 0.36)
    assert found["confusion"]["neutral"] == {"positive": 2, "neutral": 2, "negative": 0}
    assert (found["frames"], found["frames_coded"]) == (10, 10)
    assert found["disagreements"] == [{"onset_s": 0.4, "offset_s": 0.6, "human": "neutral", "model": "positive"}]


def test_a_second_has_the_label_that_fills_most_of_it():
    found = agreement(timeline("pppppppnnn" + "nnnnnnnnpp", step=0.1), coded((0, 1, "positive"), (1, 2, "negative")))
    assert found["confusion_second"]["positive"] == {"positive": 1, "neutral": 0, "negative": 0}
    assert found["kappa_second"] == 1
    assert found["kappa_frame"] == pytest.approx(0.5)


def test_a_second_of_uneven_frames_has_the_label_of_the_longest_time():
    """Of five frames in the first second, three are positive within 0.3 s; the other two stand for the rest of it."""
    table = FrameTable()
    for time_s, letter in (
        (0.0, "p"),
        (0.1, "p"),
        (0.2, "p"),
        (0.3, "n"),
        (0.9, "n"),
        (1.0, "p"),
        (1.9, "n"),
        (2.0, "o"),
    ):
        table.append(reading(time_s, letter))
    found = agreement(build_timeline("c", table, SHARP), coded((0.3, 1, "negative"), (1, 1.9, "positive")))
    assert found["confusion_second"]["negative"] == {"positive": 0, "neutral": 0, "negative": 1}
    assert found["confusion_second"]["positive"] == {"positive": 1, "neutral": 0, "negative": 0}
    assert found["kappa_second"] == 1


def test_within_the_tolerance_a_late_onset_is_no_disagreement():
    human, model = coded((0.5, 1.5, "positive")), timeline("ooooooo" + "ppppppppp" + "oooo")
    strict, tolerant = (agreement(model, human, tolerance_s=tolerance) for tolerance in (0.0, 0.25))
    assert strict["kappa_frame_tolerant"] == strict["kappa_frame"] < 0.8
    assert tolerant["kappa_frame_tolerant"] == 1
    assert tolerant["kappa_frame"] == strict["kappa_frame"]


def test_unseen_declined_and_uncoded_moments_are_left_out():
    found = agreement(timeline("pp..??nn"), coded((0, 0.1, "positive"), (0.2, 0.8, "negative"), gaps=NOT_CODED))
    assert (found["frames"], found["frames_coded"]) == (3, 7)
    assert found["confusion"]["negative"] == {"positive": 0, "neutral": 0, "negative": 2}


def test_onset_lags_are_those_of_the_nearest_pairs():
    human = coded((1.0, 2.0, "positive"), (4.0, 5.0, "positive"), (8.0, 8.5, "negative"))
    letters = ["o"] * 100
    letters[12:20] = "p" * 8  # 0.2 s late
    letters[39:50] = "p" * 11  # 0.1 s early
    letters[60:62] = "p" * 2  # of no human bout within 2 s but a matched one
    found = agreement(timeline("".join(letters)), human)
    assert found["onsets"]["positive"] == {
        "human": 2, "model": 3, "matched": 2, "median_lag_s": pytest.approx(0.05), "median_distance_s": pytest.approx(0.15),
    }  # fmt: skip
    assert found["onsets"]["negative"]["matched"] == 0
    assert "neutral" not in found["onsets"]
    assert found["onset_lag_s"] == pytest.approx(0.05)


def test_onsets_two_seconds_apart_are_a_pair_wherever_they_lie():
    for start in range(1, 30):
        letters = ["o"] * 100
        letters[start + 20 : start + 30] = "p" * 10
        found = agreement(timeline("".join(letters)), coded((start / 10, start / 10 + 1, "positive")))
        assert found["onset_lag_s"] == 2


def test_an_onset_of_the_model_is_matched_once():
    letters = ["o"] * 40
    letters[12:30] = "p" * 18
    found = agreement(timeline("".join(letters)), coded((1.0, 1.4, "positive"), (1.5, 3.0, "positive")))
    assert (found["onsets"]["positive"]["matched"], found["onset_lag_s"]) == (1, pytest.approx(0.2))


def test_a_clip_without_anybody_cannot_be_compared():
    with pytest.raises(DatasetError, match=r"clip\.mp4 shows no person"):
        agreement(timeline(""), coded((0, 1, "positive")))
    with pytest.raises(DatasetError, match="no person 7"):
        agreement(timeline("pp"), coded((0, 1, "positive")), person=7)
