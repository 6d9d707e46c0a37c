"""Human codings in the formats of labs, and agreement figures that are known by hand."""

import csv
import json
import os
import zipfile

import numpy as np
import pympi
import pytest
from sklearn.metrics import cohen_kappa_score

from infant_fer.errors import DatasetError
from infant_fer.metrics import cohen_kappa
from infant_fer.video.agreement import agreement, write_agreement
from infant_fer.video.bouts import build_timeline
from infant_fer.video.exports import BORIS_COLUMNS, export
from infant_fer.video.imports import NOT_CODED, CodedInterval, Coding, read_coding, read_events, read_tracks
from infant_fer.video.timeline import NOT_SEEN, Event, FrameTable
from tests.video.test_timeline import SHARP, reading, timeline

SPANS = [(0.0, 0.2, "neutral"), (0.2, 0.4, "positive"), (0.4, 0.6, NOT_SEEN), (0.6, 0.8, "negative")]


def coded(*spans: tuple[float, float, str], gaps: str = "neutral") -> Coding:
    return Coding("hand.csv", "", tuple(CodedInterval(*span) for span in spans), gaps)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coded")
    export(timeline("oopp..nn", events=(Event(0.0, "play", 0.4), Event(0.5, "toy"))), folder)
    return folder


@pytest.mark.parametrize(
    ("name", "track"),
    [("clip.eaf", "person 1"), ("clip.opf", "person1.affect"), ("boris.tsv", "person 1"), ("intervals.csv", "1")],
)
def test_what_is_exported_is_read_back(exported, name, track):
    found = read_coding(exported / name, track)
    assert [(each.onset_s, each.offset_s, each.label) for each in found.intervals] == SPANS
    assert found.gaps == NOT_CODED


def test_the_column_of_play_is_found_and_its_gaps_are_neutral(exported):
    found = read_coding(exported / "clip.opf")
    assert (found.track, found.gaps) == ("childemo", "neutral")
    assert [each.label for each in found.intervals] == ["positive", NOT_SEEN, "negative"]


@pytest.mark.parametrize("name", ["clip.eaf", "clip.opf", "events.tsv"])
def test_events_are_read_with_their_phases_and_moments(exported, name):
    found = [event for event in read_events(exported / name) if event.label in ("play", "toy")]
    assert found == [Event(0.0, "play", 0.4), Event(0.5, "toy")]


def test_an_event_of_a_millisecond_is_a_moment_wherever_it_lies(tmp_path):
    """ELAN has no moments, and the difference of two decimal numbers is seldom 0.001 exactly."""
    rows = (f"{onset / 1000},{(onset + 1) / 1000},toy\n" for onset in range(3000))
    (tmp_path / "a.csv").write_text("onset,offset,label\n" + "".join(rows) + "3,3.002,phase\n")
    *moments, phase = read_events(tmp_path / "a.csv")
    assert moments == [Event(onset / 1000, "toy") for onset in range(3000)]
    assert phase == Event(3, "phase", 3.002)


def test_a_table_of_a_lab_is_read(tmp_path):
    (tmp_path / "a.csv").write_text("\ufeffOnset,Offset,Code\n1.5,2.5,Pos\n0.5,1.5,n\n3,4,happy\n")
    found = read_coding(tmp_path / "a.csv")
    assert [(each.onset_s, each.label) for each in found.intervals] == [
        (0.5, "negative"),
        (1.5, "positive"),
        (3, "positive"),
    ]


@pytest.mark.parametrize(
    ("code", "gaps"),
    [
        ("surprise", "neutral"),
        ("Surprised", "neutral"),
        ("neutral", NOT_CODED),
        ("Neu", NOT_CODED),
        ("o", NOT_CODED),
        ("0", NOT_CODED),
    ],
)
def test_only_a_code_that_means_neutral_itself_makes_gaps_uncoded(tmp_path, code, gaps):
    (tmp_path / "a.csv").write_text(f"onset,offset,label\n0,1,happy\n2,3,{code}\n5,6,cry\n")
    found = read_coding(tmp_path / "a.csv")
    assert [each.label for each in found.intervals] == ["positive", "neutral", "negative"]
    assert found.gaps == gaps


def test_boris_points_and_pairs(tmp_path):
    rows = [("baby", "positive", "START", 1.0), ("mother", "negative", "START", 1.5), ("baby", "positive", "STOP", 2.0),
            ("mother", "negative", "STOP", 3.0)]  # fmt: skip
    write_boris(tmp_path / "b.tsv", rows)
    found = read_coding(tmp_path / "b.tsv")
    assert (found.track, found.intervals) == ("baby", (CodedInterval(1, 2, "positive"),))  # of two, the child's
    assert read_tracks(tmp_path / "b.tsv")["mother"] == [CodedInterval(1.5, 3.0, "negative")]
    write_boris(tmp_path / "b.tsv", [*rows, ("baby", "negative", "POINT", 4.0)])
    assert Event(4, "negative") in read_events(tmp_path / "b.tsv")
    with pytest.raises(DatasetError, match=r"b\.tsv, baby: the code at 4\.000 s has no end"):
        read_coding(tmp_path / "b.tsv")  # a behaviour coded as a moment has no length to compare


def write_boris(path, rows):
    """Write BORIS's tabular events of rows of subject, behaviour, kind and time in seconds."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, BORIS_COLUMNS, delimiter="\t", restval="")
        writer.writeheader()
        for subject, behaviour, kind, time_s in rows:
            writer.writerow({"Subject": subject, "Behavior": behaviour, "Behavior type": kind, "Time": time_s})


def test_a_tier_of_an_elan_file_is_chosen_by_its_codes(tmp_path):
    document = pympi.Eaf()
    for tier, codes in {"speech": [(0, 100, "hello")], "child affect": [(0, 500, "p"), (500, 900, "n")]}.items():
        document.add_tier(tier)
        for code in codes:
            document.add_annotation(tier, *code)
    document.to_file(tmp_path / "a.eaf")
    assert read_coding(tmp_path / "a.eaf").track == "child affect"
    with pytest.raises(DatasetError, match=r"no 'dad'; it has .*'speech'"):
        read_coding(tmp_path / "a.eaf", "dad")
    with pytest.raises(DatasetError, match="the code 'hello' is no affect"):
        read_coding(tmp_path / "a.eaf", "speech")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.doc", "x", "is no coding that can be read"),
        ("a.csv", "onset,offset,label\n2,1,p\n", "Line 2 of a.csv ends before it starts"),
        ("a.csv", "onset,offset,label\nnow,1,p\n", "Line 2 of a.csv: 'now' is no time in seconds"),
        ("a.csv", "onset,offset,label\n0,2,p\n1,3,n\n", "at 0.000 s and 1.000 s overlap"),
        ("a.csv", "onset,label\n1.0,p\n2.0,n\n", r"^a\.csv: the code at 1\.000 s has no end\. Set its offset\.$"),
        ("a.csv", "time,label\n2.5,neutral\n", r"the code at 2\.500 s has no end"),
        ("a.csv", "onset,offset,label\n0,1,p\n3,,n\n5,6,p\n", r"the code at 3\.000 s has no end"),
        ("a.tsv", "onset\tduration\ttrial_type\n0\t1\tp\n2\tn/a\tn\n", r"the code at 2\.000 s has no end"),
        (
            "a.tsv",
            "Subject\tBehavior\tBehavior type\tTime\nb\tpositive\tPOINT\t1\n",
            r"a\.tsv, b: the code at 1\.000 s has",
        ),
        ("a.csv", "when,what\n0,p\n", "needs columns onset"),
        ("a.csv", "", "has no rows"),
        ("a.eaf", "<a><b></a>", "a.eaf could not be read"),
        ("a.eaf", '<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "declares XML entities"),
        ("a.opf", "not a zip", "could not be read: BadZipFile"),
        ("a.tsv", "Subject\tBehavior\tBehavior type\tTime\nb\tpositive\tSTART\t1\n", "at 1.000 s has no STOP"),
    ],
)
def test_a_wrong_coding_is_one_sentence(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(DatasetError, match=words):
        read_coding(tmp_path / name)


def test_codes_may_overlap_by_fifty_milliseconds_wherever_they_lie(tmp_path):
    for end in range(1000, 1200):
        table = "onset,offset,label\n0,{},p\n{},3,n\n"
        (tmp_path / "a.csv").write_text(table.format(end / 1000, (end - 50) / 1000))
        assert len(read_coding(tmp_path / "a.csv").intervals) == 2
        (tmp_path / "a.csv").write_text(table.format(end / 1000, (end - 51) / 1000))
        with pytest.raises(DatasetError, match="overlap"):
            read_coding(tmp_path / "a.csv")


def elan(path, *media: tuple[str, int]):
    """Write an ELAN file whose media have (name, offset in ms), with two codes, of which one has a part without a time."""
    document = pympi.Eaf()
    for name, offset_ms in media:
        kind = {".wav": "audio/x-wav", ".mpg": "unknown"}.get(name[-4:], "video/mp4")
        document.add_linked_file(f"file:///C:/my%20clips/{name}", mimetype=kind, time_origin=offset_ms)
    document.add_tier("infant")
    for code in ((0, 500, "p"), (500, 900, "n")):
        document.add_annotation("infant", *code)
    document.add_tier("words")
    document.add_annotation("words", 0, 900, "part")
    document.timeslots[next(reversed(document.timeslots))] = None
    document.to_file(path)
    return [(each.onset_s, each.offset_s) for each in read_coding(path).intervals]


def test_the_offset_of_a_synchronized_clip_is_added(tmp_path):
    """ELAN's times begin where all media do; the clip was started 2 s earlier."""
    assert elan(tmp_path / "a.eaf", ("a.mp4", 0)) == [(0, 0.5), (0.5, 0.9)]
    assert elan(tmp_path / "a.eaf", ("a.mp4", 2000)) == [(2, 2.5), (2.5, 2.9)]
    assert elan(tmp_path / "a.eaf", ("b.mp4", 0), ("a.mp4", 2000)) == [(2, 2.5), (2.5, 2.9)]
    assert elan(tmp_path / "a.eaf", ("a.mp4", -700)) == [(0, 0.2)]
    assert elan(tmp_path / "a.eaf", ("b.mp4", 2000), ("c.mp4", 2000)) == [(2, 2.5), (2.5, 2.9)]
    with pytest.raises(DatasetError, match=r"a\.eaf has media with different offsets, b\.mp4, c\.mp4"):
        elan(tmp_path / "a.eaf", ("b.mp4", 0), ("c.mp4", 2000))


def test_the_offset_is_that_of_the_video_and_not_of_its_sound(tmp_path):
    assert elan(tmp_path / "a.eaf", ("a.mp4", 0), ("a.wav", 2000)) == [(0, 0.5), (0.5, 0.9)]
    assert elan(tmp_path / "a.eaf", ("a.wav", 0), ("a.mp4", 2000)) == [(2, 2.5), (2.5, 2.9)]
    assert elan(tmp_path / "a.eaf", ("b.mp4", 0), ("a.mpg", 2000)) == [
        (2, 2.5),
        (2.5, 2.9),
    ]  # a video ELAN does not know
    with pytest.raises(DatasetError, match=r"a\.eaf has media with different offsets, a\.mp4, a\.mov"):
        elan(tmp_path / "a.eaf", ("a.mp4", 0), ("a.mov", 2000))


def test_the_agreement_with_a_file_whose_name_is_not_utf_8_can_be_written(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.csv")
    path.write_text("onset,offset,label\n0,0.2,p\n")
    write_agreement(tmp_path / "agreement.json", agreement(timeline("ppnn"), read_coding(path)))
    assert json.loads((tmp_path / "agreement.json").read_text("utf-8"))["human"] == "caf\\xe9.csv"


BORIS_ROWS = {
    "tabular": ("Time", "{0}\tbaby\tpositive\tSTART\t1\n{0}\tbaby\tpositive\tSTOP\t2\n"),
    "aggregated": ("Start (s)\tStop (s)", "{0}\tbaby\tpositive\tSTATE\t1\t2\n"),
}


@pytest.mark.parametrize("kind", BORIS_ROWS)
def test_a_table_of_several_observations_is_refused(tmp_path, kind):
    times, rows = BORIS_ROWS[kind]
    header = f"Observation id\tSubject\tBehavior\tBehavior type\t{times}\n"
    (tmp_path / "b.tsv").write_text(header + rows.format("a"))
    assert read_tracks(tmp_path / "b.tsv") == {"baby": [CodedInterval(1, 2, "positive")]}
    (tmp_path / "b.tsv").write_text(header + rows.format("a") + rows.format("b"))
    with pytest.raises(DatasetError, match="holds the observations a, b"):
        read_coding(tmp_path / "b.tsv")


def test_a_code_without_an_end_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.opf", "w") as archive:
        archive.writestr("db", "#4\nchildemo (MATRIX,true,)-emotion_pn|NOMINAL\n00:00:05:000,00:00:00:000,(p)\n")
    with pytest.raises(DatasetError, match=r"a\.opf, childemo: the code at 5\.000 s has no end"):
        read_coding(tmp_path / "a.opf")


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


def test_two_possible_tracks_must_be_told_apart(tmp_path):
    (tmp_path / "a.csv").write_text("onset,offset,label,subject\n0,1,p,a\n0,1,n,b\n")
    with pytest.raises(DatasetError, match="several codings of affect: 'a', 'b'"):
        read_coding(tmp_path / "a.csv")


def test_a_bomb_in_a_datavyu_file_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.opf", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("db", b"0" * (65 * 2**20))
    with pytest.raises(DatasetError, match="larger than 64 MB unpacked"):
        read_coding(tmp_path / "a.opf")


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
