"""Human codings and events in the formats of labs."""

import csv
import zipfile

import pympi
import pytest

from infant_fer.errors import DatasetError
from infant_fer.video.exports import BORIS_COLUMNS, export
from infant_fer.video.imports import NOT_CODED, CodedInterval, read_coding, read_events, read_tracks
from infant_fer.video.timeline import NOT_SEEN, Event
from tests.video.test_timeline import timeline

SPANS = [(0.0, 0.2, "neutral"), (0.2, 0.4, "positive"), (0.4, 0.6, NOT_SEEN), (0.6, 0.8, "negative")]


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


def elan(path, *media: tuple[str, int], video_type: str = "video/mp4"):
    """Write an ELAN file whose media have (name, offset in ms), with two codes, of which one has a part without a time."""
    document = pympi.Eaf()
    for name, offset_ms in media:
        kind = "audio/x-wav" if name.endswith(".wav") else video_type
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


@pytest.mark.parametrize("video_type", ["video/mp4", "unknown"])  # ELAN's word for MKV, WebM and others
def test_the_offset_is_that_of_the_video_and_not_of_its_sound(tmp_path, video_type):
    def found(*media: tuple[str, int]):
        return elan(tmp_path / "a.eaf", *media, video_type=video_type)

    assert found(("a.mkv", 0), ("a.wav", 2000)) == [(0, 0.5), (0.5, 0.9)]
    assert found(("a.wav", 0), ("a.mkv", 2000)) == [(2, 2.5), (2.5, 2.9)]
    assert found(("b.mkv", 0), ("a.mkv", 2000)) == [(2, 2.5), (2.5, 2.9)]
    assert found(("a.wav", 2000)) == [(2, 2.5), (2.5, 2.9)]
    with pytest.raises(DatasetError, match=r"a\.eaf has media with different offsets, a\.mp4, a\.mov"):
        found(("a.mp4", 0), ("a.mov", 2000))


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


def test_two_possible_tracks_must_be_told_apart(tmp_path):
    (tmp_path / "a.csv").write_text("onset,offset,label,subject\n0,1,p,a\n0,1,n,b\n")
    with pytest.raises(DatasetError, match="several codings of affect: 'a', 'b'"):
        read_coding(tmp_path / "a.csv")


def test_a_bomb_in_a_datavyu_file_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.opf", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("db", b"0" * (65 * 2**20))
    with pytest.raises(DatasetError, match="larger than 64 MB unpacked"):
        read_coding(tmp_path / "a.opf")
