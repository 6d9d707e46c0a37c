"""Many sessions together: means around events and agreement whose values are known by hand."""

import csv
import json
from dataclasses import fields

import numpy as np
import pytest

from infant_fer.errors import DatasetError, OutputError
from infant_fer.video.agreement import agreement, write_agreement
from infant_fer.video.bouts import BoutRules
from infant_fer.video.exports import export
from infant_fer.video.imports import NOT_CODED
from infant_fer.video.pooled import (
    AFTER_S,
    BEFORE_S,
    STEP_S,
    delete_unsupported,
    event_curves,
    main,
    pool_sessions,
    pooled_agreement,
    read_infants,
)
from infant_fer.video.session_folder import FACT_WORDS, agreements_not_pooled, not_pooled, session_folders
from infant_fer.video.timeline import Event
from tests.video.test_agreement import coded
from tests.video.test_timeline import timeline


def session(folder, letters: str, onset_s: float, valence: float):
    """Write a session read five times a second with one event."""
    folder.mkdir()
    clip = timeline(letters, step=0.2, events=(Event(onset_s, "still face"),), valence=valence)
    export(clip, folder, ["frames.csv", "summary.json"])
    write_agreement(folder / "agreement.json", agreement(clip, coded((0, 2, "positive"))))
    return folder


@pytest.fixture
def sessions(tmp_path):
    return [
        session(tmp_path / "a", "p" * 10 + "n" * 10, 2.0, 0.5),  # positive before the event, negative after it
        session(tmp_path / "b", "o" * 15 + "n" * 10, 3.0, -0.5),
        session(tmp_path / "c", "p" * 10 + "." * 10, 2.0, 0.5),
    ]


def test_curves_are_means_of_infants_around_the_event(sessions):
    curves = {curve.measure: curve for curve in event_curves(sessions, ["one", "two", "one"])}
    negative = curves["negative"]
    assert negative.event == "still face"
    assert len(negative.times_s) == (BEFORE_S + AFTER_S) / STEP_S
    place = {round(time, 2): number for number, time in enumerate(negative.times_s)}
    assert negative.mean[place[0.25]] == pytest.approx(0.8)  # both infants are negative from the event on
    assert negative.mean[place[-0.25]] == pytest.approx(0.1)
    assert negative.infants[place[0.25]] == 2
    assert negative.infants[place[-2.75]] == 1
    assert np.isnan(negative.mean[place[5.25]])
    assert curves["positive"].mean[place[-0.25]] == pytest.approx(
        0.45
    )  # infants of 0.8 in two sessions, and of 0.1 in one
    valence = curves["valence"]
    assert valence.mean[place[0.25]] == pytest.approx(0)  # the mean of infants, not of sessions
    assert (valence.low[place[0.25]], valence.high[place[0.25]]) == pytest.approx((-0.5, 0.5))
    assert np.isnan(valence.low[place[-2.75]])  # one infant has no band


def test_pooled_kappa_is_of_the_summed_counts(sessions):
    read = [(session.name, json.loads((session / "agreement.json").read_text())) for session in sessions]
    found = pooled_agreement(read)
    assert (found["sessions"], found["infants"]) == (3, 3)
    assert found["confusion"]["positive"] == {"positive": 20, "neutral": 10, "negative": 0}
    assert found["confusion"]["neutral"] == {"positive": 0, "neutral": 5, "negative": 20}
    assert found["confusion_second"]["positive"] == {"positive": 4, "neutral": 2, "negative": 0}  # five frames a second
    assert found["confusion_second"]["neutral"] == {"positive": 0, "neutral": 1, "negative": 4}
    observed, chance = 25 / 55, (30 * 20 + 25 * 15) / 55**2
    assert found["kappa_frame"] == pytest.approx((observed - chance) / (1 - chance), abs=1e-4)
    low, high = found["kappa_frame_interval95"]
    assert low < found["kappa_frame"] < high
    assert pooled_agreement(read[:1])["kappa_frame_interval95"] is None


def test_the_command_writes_both_files_for_named_infants(sessions, tmp_path, capsys):
    table = tmp_path / "infants.csv"
    table.write_text("session,infant\na,one\nb,two\nc,one\n")
    assert main([str(tmp_path), "--infants", str(table)]) == 0
    assert json.loads((tmp_path / "agreement.json").read_text())["infants"] == 2
    rows = list(csv.DictReader((tmp_path / "event_locked.csv").open()))
    assert {row["measure"] for row in rows} == {"valence", "positive", "negative"}
    assert all(int(row["infants"]) for row in rows)
    table.write_text("session,infant\na,one\n")
    assert main([str(tmp_path), "--infants", str(table)]) == 1
    assert "names none for the session b" in capsys.readouterr().err
    assert main([str(tmp_path / "a")]) == 1
    assert "holds no session" in capsys.readouterr().err


def test_the_hidden_folder_of_a_killed_run_is_no_session(sessions, tmp_path):
    session(tmp_path / ".0a1b2c.part", "pp", 0.0, 0.5)
    assert session_folders(tmp_path) == sessions


@pytest.mark.parametrize("summary", ["{}", '{"n": 3}', "[1]", "no JSON"])
def test_the_summary_of_another_program_is_no_session(sessions, tmp_path, summary):
    (tmp_path / "gaze").mkdir()
    (tmp_path / "gaze" / "summary.json").write_text(summary)
    (tmp_path / "gaze" / "agreement.json").write_text(summary)
    assert session_folders(tmp_path) == sessions
    pool_sessions(tmp_path, {"a": "one", "b": "two", "c": "three"})
    assert json.loads((tmp_path / "agreement.json").read_text())["sessions"] == 3
    delete_unsupported(tmp_path)
    assert (tmp_path / "agreement.json").is_file()


def test_the_command_for_clips_pools_its_sessions(sessions, tmp_path, monkeypatch, capsys):
    from infant_fer.video import __main__ as command
    from infant_fer.video.sessions import SessionResult

    clips = tmp_path.parent / f"{tmp_path.name}-clips"
    clips.mkdir()
    (clips / "a.mp4").write_bytes(b"")
    monkeypatch.setattr(command, "_results", lambda found, options: [SessionResult(each, "skipped") for each in found])
    coding = tmp_path / "coding.csv"
    coding.write_text("onset,offset,label\n0,1,p\n")
    assert command.main([str(clips), "--out", str(tmp_path)]) == 0
    assert not (tmp_path / "agreement.json").exists()
    assert command.main([str(clips), "--out", str(tmp_path), "--human", str(coding)]) == 0
    assert "All sessions together: " in capsys.readouterr().err
    assert json.loads((tmp_path / "agreement.json").read_text())["sessions"] == 3
    pool_sessions(tmp_path, {"a": "one", "b": "two", "c": "one"})
    assert command.main([str(clips), "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "agreement.json").read_text())["infants"] == 2  # as it was
    for name in "abc":
        (tmp_path / name / "agreement.json").unlink()
    assert command.main([str(clips), "--out", str(tmp_path)]) == 0
    assert not (tmp_path / "agreement.json").exists()  # no session supports it any more
    (tmp_path / "event_locked.csv").write_text("of another program")
    assert command.main([str(clips), "--out", str(tmp_path)]) == 0
    assert command.main([str(clips), "--out", str(tmp_path), "--human", str(coding)]) == 2
    assert "event_locked.csv is not of this program" in capsys.readouterr().err
    assert (tmp_path / "event_locked.csv").read_text() == "of another program"


def changed(session, **values):
    """Change values of a session's summary."""
    summary = json.loads((session / "summary.json").read_text())
    (session / "summary.json").write_text(json.dumps({**summary, **values}))


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("checkpoint", ("one", "two"), "the checkpoint (two instead of one)"),
        ("weights_sha256", ("aa", "bb"), "the weights of the checkpoint"),
        ("requested_fps", (None, 2.0), "--fps (2.0 instead of all frames)"),
        ("requested_fps", (25.0, None), "--fps (all frames instead of 25.0)"),
        ("smoothing_s", (0.5, 1.0), "--smoothing (1.0 instead of 0.5)"),
        ("margin", (0.1, 0.2), "the margin by which another affect must be more likely (0.2 instead of 0.1)"),
    ],
)
def test_sessions_that_were_read_otherwise_are_not_pooled(sessions, tmp_path, capsys, name, values, words):
    pool_sessions(tmp_path)
    before = (tmp_path / "agreement.json").read_bytes()
    for place, value in zip(sessions, (values[0], values[1], values[0]), strict=True):
        settings = json.loads((place / "summary.json").read_text())["settings"]
        changed(place, **({"settings": {**settings, name: value}} if name in settings else {name: value}))
    assert main([str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"b is not pooled: it differs from a in {words}. Read one of them anew")
    assert (tmp_path / "agreement.json").read_bytes() == before
    assert set(not_pooled(sessions, read=["b"])) == {"a", "c"}  # the sessions of this run count
    pool_sessions(tmp_path, left_out=["b"])
    assert json.loads((tmp_path / "agreement.json").read_text())["sessions"] == 2


def otherwise_coded(session, name: str, value: str) -> None:
    """Change a fact of a session's human coding."""
    if name == "human_track":
        changed(session, human_track=value)
        return
    found = json.loads((session / "agreement.json").read_text())
    (session / "agreement.json").write_text(json.dumps({**found, name: value}))


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("gaps", ("neutral", NOT_CODED), "what an uncoded stretch means (not coded instead of neutral)"),
        ("human_track", ("Ann", "Bob\udcff"), r"the track named with --human-track (Bob\xff instead of Ann)"),
    ],
)
def test_a_difference_in_the_coding_keeps_the_agreement_alone_out(
    sessions, tmp_path, monkeypatch, capsys, name, values, words
):
    from infant_fer.video import __main__ as command
    from infant_fer.video.sessions import SessionResult

    for place, value in zip(sessions, (*values, values[0]), strict=True):
        otherwise_coded(place, name, value)
    assert main([str(tmp_path)]) == 1
    sentence = f"The agreement of b is not pooled: it differs from a in {words}."
    assert capsys.readouterr().err.startswith(f"{sentence} Read one of them anew")
    assert list(agreements_not_pooled(sessions, read=["b"])) == ["a", "c"]  # the sessions of this run count
    monkeypatch.setattr(command, "_results", lambda found, _: [SessionResult(each, "skipped") for each in found])
    clips = tmp_path.parent / f"{tmp_path.name}-clips"
    clips.mkdir()
    (clips / "a.mp4").write_bytes(b"")
    (clips / "a.csv").write_text("onset,offset,label\n0,1,p\n")
    assert command.main([str(clips), "--out", str(tmp_path), "--human", str(clips)]) == 0
    assert f"{sentence}\n" in capsys.readouterr().err
    agreement = json.loads((tmp_path / "agreement.json").read_text())
    assert (agreement["sessions"], agreement["gaps"]) == (2, "neutral")
    with (tmp_path / "event_locked.csv").open(newline="") as stream:
        assert max(int(row["infants"]) for row in csv.DictReader(stream)) == 3


def test_every_rule_of_bouts_has_words():
    assert {rule.name for rule in fields(BoutRules)} <= FACT_WORDS.keys()


def test_of_a_run_neither_what_failed_nor_what_was_read_otherwise_is_pooled(sessions, tmp_path, monkeypatch, capsys):
    from infant_fer.video import __main__ as command
    from infant_fer.video.sessions import SessionResult

    states = {"a": "written", "b": "failed"}
    monkeypatch.setattr(
        command, "_results", lambda found, _: [SessionResult(each, states[each.folder.name]) for each in found]
    )
    clips = tmp_path.parent / f"{tmp_path.name}-clips"
    clips.mkdir()
    for name in states:
        (clips / f"{name}.mp4").write_bytes(name.encode())
    for place, checkpoint in zip(sessions, ("new", "new", "old"), strict=True):
        changed(place, checkpoint=checkpoint)
    (clips / "a.csv").write_text("onset,offset,label\n0,1,p\n")
    assert command.main([str(clips), "--out", str(tmp_path), "--human", str(clips)]) == 1
    said = capsys.readouterr().err
    assert "b is not pooled: it failed, and its folder holds earlier results.\n" in said
    assert "c is not pooled: it differs from a in the checkpoint (old instead of new).\n" in said
    assert json.loads((tmp_path / "agreement.json").read_text())["sessions"] == 1
    changed(sessions[2], checkpoint="new")
    assert command.main([str(clips), "--out", str(tmp_path), "--human", str(clips)]) == 1
    assert json.loads((tmp_path / "agreement.json").read_text())["sessions"] == 2


def test_pooled_files_that_no_session_has_any_more_go_and_those_of_others_stay(sessions, tmp_path):
    pool_sessions(tmp_path)
    for place in sessions:
        (place / "agreement.json").unlink()
        changed(place, events=[])
    assert pool_sessions(tmp_path) == []
    assert not list(tmp_path.glob("*.*"))
    for name in ("agreement.json", "event_locked.csv"):
        (tmp_path / name).write_text("{}")
        with pytest.raises(OutputError, match=f"{name} is not of this program"):
            pool_sessions(tmp_path)
        delete_unsupported(tmp_path)
        assert (tmp_path / name).read_text() == "{}"
        (tmp_path / name).unlink()


def test_the_name_of_an_event_is_no_formula(tmp_path):
    clip = timeline("pppp", step=0.2, events=(Event(0.2, "=HYPERLINK(1)"),))
    (tmp_path / "a").mkdir()
    export(clip, tmp_path / "a", ["frames.csv", "summary.json"])
    pool_sessions(tmp_path)
    with (tmp_path / "event_locked.csv").open(newline="") as stream:
        assert {row["event"] for row in csv.DictReader(stream)} == {"'=HYPERLINK(1)"}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("session,infant\nb,one\n", "names none for the session a."),
        ("session,infant\na\n", "names none for the session a."),
        ("session,infant\n", "names none for the session a."),
        ("session,infant\na,one\n", "names none for the session earlier."),
        ("clip,infant\na,one\n", "needs the columns session and infant"),
    ],
)
def test_a_wrong_table_of_infants_is_found_before_any_clip_is_read(table, words, tmp_path, monkeypatch, capsys):
    from infant_fer.video import __main__ as command

    monkeypatch.setattr(command, "_results", lambda *_: pytest.fail("clips were read"))
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "out" / "earlier").mkdir(parents=True)
    (tmp_path / "out" / "earlier" / "summary.json").write_text(json.dumps(timeline("pp").summary))
    infants, coding = tmp_path / "infants.csv", tmp_path / "a.csv"
    infants.write_text(table)
    coding.write_text("onset,offset,label\n0,1,p\n")
    arguments = [tmp_path / "a.mp4", "--out", tmp_path / "out", "--human", coding, "--infants", infants]
    assert command.main([str(each) for each in arguments]) == 2
    assert words in capsys.readouterr().err


def test_the_table_of_infants_names_one_for_each_session(tmp_path):
    table = tmp_path / "infants.csv"
    table.write_text("session,infant\na,one \n b , one\na,one\nc\n,\n")
    assert read_infants(table) == {"a": "one", "b": "one"}
    table.write_text("infant,session\none,a\none\n,b\ntwo,\n")
    assert read_infants(table) == {"a": "one"}
    table.write_text("session,infant\na,one\nb,one\na,two\n")
    with pytest.raises(DatasetError, match="names two infants for the session a: one and two"):
        read_infants(table)


def test_infants_are_refused_where_nothing_is_pooled(tmp_path, monkeypatch, capsys):
    from infant_fer.video import __main__ as command

    monkeypatch.setattr(command, "_results", lambda *_: pytest.fail("clips were read"))
    clip, infants, coding = (tmp_path / name for name in ("a.mp4", "infants.csv", "a.csv"))
    for path in (clip, infants, coding):
        path.write_text("session,infant\na,one\n")
    for more in (["--out", tmp_path / "out"], ["--out", "memory://infants", "--human", coding]):
        assert command.main([str(each) for each in (clip, *more, "--infants", infants)]) == 2
        assert capsys.readouterr().err.startswith("--infants is for the figures over all sessions, which need ")


def test_results_at_a_url_are_said_not_to_be_pooled(tmp_path, monkeypatch, capsys):
    from infant_fer.video import __main__ as command
    from infant_fer.video.sessions import SessionResult

    monkeypatch.setattr(command, "_results", lambda found, _: [SessionResult(each, "written") for each in found])
    (tmp_path / "a.mp4").write_bytes(b"")
    arguments = [str(tmp_path / "a.mp4"), "--out", "memory://pooled"]
    assert command.main([*arguments, "--human", str(tmp_path)]) == 0
    assert "Results at a URL are not pooled. Copy memory://pooled into a folder" in capsys.readouterr().err
    assert command.main(arguments) == 0
    assert "pooled" not in capsys.readouterr().err
