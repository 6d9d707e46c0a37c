"""The command over a folder of sessions: what is written, skipped, named as failed, and what a killed run leaves."""

import csv
import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from infant_fer.video import __main__ as command
from infant_fer.video import sessions
from infant_fer.video.analysis import VideoSettings
from infant_fer.video.imports import NOT_CODED
from infant_fer.video.reading import ClipSettings
from infant_fer.video.sessions import (
    Session,
    SessionOptions,
    SessionResult,
    fingerprint,
    run_session,
    sessions_of,
)
from tests.video.clips import encoded, placed, portrait
from tests.video.test_timeline import timeline

FIRST_COLUMNS = "time_s,person,seen,left,top,right,bottom,label,positive,neutral,negative,valence,arousal,verdict,"
NAMES = {"frames.csv", "intervals.csv", "play.eaf", "play.opf", "play.vtt", "events.tsv", "report.html", "summary.json"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Return a folder with a clip (a smile of 0.48 s, then a cry of 0.48 s), one that is no clip, and a hidden one."""
    folder = tmp_path_factory.mktemp("clips")
    smile, cry = portrait("smile"), portrait("cry")
    (folder / "play.mp4").write_bytes(encoded(placed([(smile if n < 12 else cry, 40, 20)]) for n in range(24)))
    (folder / "broken.mp4").write_bytes(b"no clip")
    (folder / ".hidden.mp4").write_bytes(b"no clip")
    (folder / "notes.txt").write_text("no clip")
    return folder


@pytest.fixture
def run(analyzer, monkeypatch):
    """Return the command, which uses the tests' analyzer."""
    monkeypatch.setattr(command, "_load", lambda *_: analyzer)
    return lambda *arguments: command.main([str(each) for each in arguments])


def rows(path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_a_folder_of_sessions_is_read_once_and_what_failed_is_named(clips, run, tmp_path, capsys):
    assert run(clips, "--out", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "broken.mp4: This file could not be read as a video clip." in said
    assert "1 written, 0 skipped because they are whole, 1 failed." in said
    assert {each.name for each in (tmp_path / "out").iterdir()} == {"play"}
    folder = tmp_path / "out" / "play"
    assert {each.name for each in folder.iterdir()} >= NAMES
    frames = rows(folder / "frames.csv")
    assert ",".join(frames[0]).startswith(FIRST_COLUMNS)
    assert len(frames) == 24
    intervals = rows(folder / "intervals.csv")
    assert list(intervals[0]) == ["onset_s", "offset_s", "person", "label", "confidence", "seen_share"]
    assert [each["label"] for each in intervals] == ["positive", "negative"]
    assert float(intervals[1]["onset_s"]) == pytest.approx(0.48, abs=0.12)

    before = (folder / "summary.json").stat().st_mtime_ns
    assert run(clips, "--out", tmp_path / "out") == 1
    assert "0 written, 1 skipped" in capsys.readouterr().err
    assert (folder / "summary.json").stat().st_mtime_ns == before
    assert run(clips / "play.mp4", "--out", tmp_path / "out", "--fps", "5") == 0
    assert "1 written" in capsys.readouterr().err
    assert len(rows(folder / "frames.csv")) == 5


@pytest.mark.slow
def test_codings_events_and_peaks_are_written_beside(clips, run, tmp_path):
    (tmp_path / "human.csv").write_text("onset,offset,label\n0,0.48,positive\n0.48,0.96,negative\n")
    (tmp_path / "events.csv").write_text("onset,offset,label\n0.2,0.9,still face\n")
    more = ("--human", tmp_path / "human.csv", "--events", tmp_path / "events.csv", "--explain-peaks")
    assert run(clips / "play.mp4", "--out", tmp_path / "out", *more) == 0
    folder = tmp_path / "out" / "play"
    found = json.loads((folder / "agreement.json").read_text())
    assert found["kappa_frame"] > 0.8
    assert {"kappa_second", "confusion", "onset_lag_s"} <= set(found)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["persons"][0]["latency_to_negative_s"]["still face"] == pytest.approx(0.28, abs=0.12)
    for affect in ("positive", "negative"):
        assert (folder / f"peak_{affect}.png").read_bytes().startswith(b"\x89PNG")
    assert "κ" in (folder / "report.html").read_text()


def test_a_session_is_read_anew_with_other_weights_or_limits(clips, analyzer, tmp_path, monkeypatch):
    session, options = Session(clips / "play.mp4", tmp_path / "play"), SessionOptions(VideoSettings())
    marks = {fingerprint(session, options, analyzer.classifier)}
    trust = analyzer.classifier.trust
    for name, value in (
        ("weights_sha256", "of other weights"),
        ("trust", replace(trust, limits=replace(trust.limits, doubt=0.1))),
        ("name", "another"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(analyzer.classifier, name, value)
            marks.add(fingerprint(session, options, analyzer.classifier))
    marks.add(fingerprint(session, replace(options, settings=VideoSettings(ahead=False)), analyzer.classifier))
    assert len(marks) == 4, "reading ahead changes nothing"


def test_the_peak_of_a_face_that_is_not_found_again_is_nobody_elses(clips, analyzer, tmp_path, monkeypatch):
    """The search of the whole frame may find another face alone, here 150 px beside the one that was followed."""
    found, analyze = [], analyzer.analyze
    monkeypatch.setattr(
        analyzer, "analyze", lambda rgb, **how: found.append(analyze(np.roll(rgb, 120, 1), **how)) or found[-1]
    )
    options = SessionOptions(VideoSettings(ClipSettings(fps=5)), explain_peaks=True, formats=("summary.json",))
    result = run_session(analyzer, Session(clips / "play.mp4", tmp_path / "play"), options)
    assert result.state == "written"
    assert [len(report.faces) for report in found] == [1, 1]
    assert [path.name for path in (tmp_path / "play").iterdir()] == ["summary.json"]


@pytest.mark.slow
def test_of_two_coders_in_one_file_the_named_one_counts(clips, run, tmp_path, capsys):
    codes = "0,0.48,positive,{0}\n0.48,0.96,negative,{0}\n"
    wrong = "0,0.48,negative,{0}\n0.48,0.96,positive,{0}\n"
    (tmp_path / "two.csv").write_text("onset,offset,label,subject\n" + codes.format("Ann") + wrong.format("Bob"))
    arguments = (clips / "play.mp4", "--out", tmp_path / "out", "--human", tmp_path / "two.csv")
    assert run(*arguments) == 1
    assert "several codings of affect: 'Ann', 'Bob'. Name one (--human-track)." in capsys.readouterr().err
    kappas = {}
    for name in ("Ann", "Bob"):
        assert run(*arguments, "--human-track", name) == 0
        kappas[name] = json.loads((tmp_path / "out" / "play" / "agreement.json").read_text())["kappa_frame"]
    assert kappas["Bob"] < 0 < 0.8 < kappas["Ann"]


def test_a_coding_that_is_missing_or_given_for_all_clips_is_said(clips, run, tmp_path, capsys):
    codings = tmp_path / "codings"
    codings.mkdir()
    (codings / "plya.csv").write_text("onset,offset,label\n0,0.48,positive\n")
    assert run(clips / "play.mp4", "--out", tmp_path / "out", "--human", codings) == 0
    assert f"play.mp4: {codings} has no coding named play (.eaf, .opf, .csv, .tsv, .txt)." in capsys.readouterr().err
    assert run(clips, "--out", tmp_path / "all", "--human", codings / "plya.csv") == 2
    assert "is one coding for 2 clips. Give the folder of codings." in capsys.readouterr().err
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize("option", ["--human", "--events"])
def test_two_clips_of_one_name_share_no_coding(run, tmp_path, monkeypatch, capsys, option):
    monkeypatch.setattr(command, "_results", lambda found, _: [SessionResult(each, "skipped") for each in found])
    monkeypatch.setattr(command, "_pool", lambda *_: None)
    for name in ("P01/play.mp4", "P02/play.mp4", "P02/cot.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    codings = tmp_path / "codings"
    codings.mkdir()
    (codings / "cot.csv").write_text("onset,offset,label\n0,0.48,positive\n")
    command_line = (tmp_path / "P01", tmp_path / "P02", "--out", tmp_path / "out", option, codings)
    assert run(*command_line) == 0
    (codings / "play.csv").write_text("onset,offset,label\n0,0.48,positive\n")
    assert run(*command_line) == 2
    said = capsys.readouterr().err
    assert f"play.csv would belong to both {tmp_path / 'P01/play.mp4'} and {tmp_path / 'P02/play.mp4'}." in said
    assert run(tmp_path / "P01", *command_line[2:]) == 0


def test_codings_of_one_folder_have_one_rule_for_what_is_not_coded(clips, run, tmp_path, monkeypatch, capsys):
    """In one session the infant is never neutral, so its coding has no neutral code."""
    monkeypatch.setattr("infant_fer.video.analysis.analyze_video", lambda *_: timeline("oopp"))
    codings, rows = tmp_path / "codings", {"one": "0,0.1,negative\n", "two": "0,0.1,positive\n"}
    codings.mkdir()
    (codings / "notes.txt").write_text("no coding")
    for name in rows:
        (tmp_path / f"{name}.mp4").write_bytes((clips / "play.mp4").read_bytes())

    def found(**more: str) -> list[str]:
        for name, text in {**rows, **more}.items():
            (codings / f"{name}.csv").write_text("onset,offset,label\n" + text)
        out = tmp_path / f"out {len(list(tmp_path.iterdir()))}"
        assert run(tmp_path / "one.mp4", tmp_path / "two.mp4", "--out", out, "--human", codings) == 0
        places = (out / "one", out / "two", out)
        return [json.loads((place / "agreement.json").read_text())["gaps"] for place in places]

    assert found() == ["neutral"] * 3
    assert "no neutral code" not in capsys.readouterr().err
    assert found(two="0,0.1,positive\n0.1,0.2,neutral\n") == [NOT_CODED] * 3
    said = capsys.readouterr().err
    assert (
        "one.mp4: one.csv has no neutral code, but other codings have: what it leaves uncoded is not compared." in said
    )
    assert "two.csv has no neutral code" not in said


def test_a_slip_in_a_coding_is_found_before_the_clip_is_read(clips, analyzer, tmp_path, monkeypatch):
    monkeypatch.setattr("infant_fer.video.analysis.analyze_video", lambda *_: pytest.fail("the clip was read"))
    coding = tmp_path / "play.csv"
    coding.write_text("onset,offset,label\n0,0.48,positive\n0.48,0.96,negativ\n")
    session = Session(clips / "play.mp4", tmp_path / "out" / "play")
    result = run_session(analyzer, session, SessionOptions(VideoSettings(), human=coding))
    assert result.state == "failed"
    assert result.fault.startswith("play.csv: ")
    assert "negativ" in result.fault


def test_a_clip_without_an_infant_is_written_without_an_agreement(clips, analyzer, tmp_path, monkeypatch):
    adult = timeline("oonn", infant=0.1)
    assert adult.infant is None
    monkeypatch.setattr("infant_fer.video.analysis.analyze_video", lambda *_: adult)
    coding = tmp_path / "play.csv"
    coding.write_text("onset,offset,label\n0,0.4,positive\n")
    session = Session(clips / "play.mp4", tmp_path / "out" / "play")
    result = run_session(analyzer, session, SessionOptions(VideoSettings(), human=coding))
    assert (result.state, result.fault) == ("written", "")
    assert result.notes == ("No infant was found to compare with play.csv; there is no agreement.json.",)
    names = {path.name for path in session.folder.iterdir()}
    assert {"report.html", "summary.json"} <= names
    assert "agreement.json" not in names


def test_a_run_that_is_killed_leaves_nothing_under_a_final_name(clips, analyzer, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    session = Session(clips / "play.mp4", tmp_path / "out" / "play")
    monkeypatch.setattr(sessions, "export", killed)
    with pytest.raises(KeyboardInterrupt):
        run_session(analyzer, session, SessionOptions(VideoSettings()))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_a_worker_that_is_killed_changes_no_byte_of_any_session(analyzer, tmp_path, monkeypatch, capsys):
    """The first clip is short: when it is done the worker of the second one is in the middle of it."""
    clips, spread = session_clips(tmp_path / "clips"), command.spread
    killed = []

    def spread_and_kill(*arguments):
        for result in spread(*arguments):
            if not killed:
                killed.extend(multiprocessing.active_children())
                os.kill(killed[0].pid, signal.SIGKILL)
            yield result

    monkeypatch.setattr(command, "spread", spread_and_kill)
    assert command.main([str(clips), "--out", str(tmp_path / "two"), "--workers", "2"]) == 0
    assert len(killed) == 2
    assert "3 written, 0 skipped because they are whole, 0 failed." in capsys.readouterr().err
    assert files_in(tmp_path / "two") == read_here(analyzer, clips, tmp_path / "one", monkeypatch)


def session_clips(folder: Path) -> Path:
    """Write three clips of a portrait, the first one much shorter, into a new folder; return it."""
    folder.mkdir()
    for name, length in (("a", 3), ("b", 40), ("c", 20)):
        faces = (portrait("smile" if number < length // 2 else "cry") for number in range(length))
        (folder / f"{name}.mp4").write_bytes(encoded(placed([(face, 40, 20)]) for face in faces))
    return folder


def read_here(analyzer, clips: Path, out: Path, monkeypatch) -> dict[str, bytes]:
    """Return the files of the command in this process, which reads with one thread as workers do."""
    monkeypatch.setattr(command, "_load", lambda *_: analyzer)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert command.main([str(clips), "--out", str(out)]) == 0
    finally:
        torch.set_num_threads(threads)
    return files_in(out)


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file of every session, by its path in the folder."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("[!.]*/*"))}
    assert {Path(path).parent.name for path in found} == {"a", "b", "c"}
    return found


def test_every_clip_has_a_folder_of_its_own(tmp_path):
    """Also on a file system to which One and one are the same name."""
    for name in ("a/one.mp4", "a/one.mov", "b/One.mp4", "b/two.MKV", "b/.x/three.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"")
    found = sessions_of([tmp_path / "a", tmp_path / "b", "odd\nname.webm"], tmp_path / "out")
    assert [each.folder.name for each in found] == ["one", "one-2", "One-3", "two", "odd name"]
    hidden = sessions_of([".three.mp4", "..mp4"], tmp_path / "out")
    assert [each.folder.name for each in hidden] == ["three", "clip"]


def test_a_clip_that_is_given_twice_is_one_session(tmp_path, monkeypatch):
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("P01.mp4", "P02.mp4"):
        (clips / name).write_bytes(b"")
    (clips / "linked.mp4").symlink_to(clips / "P02.mp4")
    monkeypatch.chdir(tmp_path)
    found = sessions_of([clips / "P02.mp4", clips, "clips/P01.mp4", clips / ".." / "clips", clips], tmp_path / "out")
    assert [(each.clip, each.folder.name) for each in found] == [(clips / "P02.mp4", "P02"), (clips / "P01.mp4", "P01")]


def test_a_locked_folder_of_clips_is_named_as_failed(clips, run, tmp_path, monkeypatch, capsys):
    """The tests may run as root, to whom no folder is locked, so the system's answer is given here."""
    locked_paths = [str(tmp_path / "in" / "locked"), str(tmp_path / "in" / "other" / "locked")]
    for path in locked_paths:
        Path(path).mkdir(parents=True)
    (tmp_path / "in" / "locked.mp4").write_bytes((clips / "play.mp4").read_bytes())
    (tmp_path / "out" / "other").mkdir(parents=True)
    scandir = os.scandir

    def locked(path):
        if str(path) in locked_paths:  # a number where a folder is deleted
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    found = sessions_of([tmp_path / "in", clips / "locked.mp4"], tmp_path / "out")
    fault = "The folder could not be opened: Permission denied."
    assert [(each.folder.name, each.fault) for each in found if not each.fault] == [("locked", ""), ("locked-2", "")]
    assert [each.clip.parent.name for each in found if each.fault == fault] == ["in", "other"]
    for out in (tmp_path / "out", "memory://locked"):
        assert run(tmp_path / "in", "--out", out, "--fps", "5") == 1
        said = capsys.readouterr().err
        assert f"{locked_paths[0]}: {fault}" in said
        assert "1 written, 0 skipped because they are whole, 2 failed." in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"locked", "other"}


def test_a_wrong_command_says_so(run, tmp_path, capsys):
    assert run(tmp_path, "--out", tmp_path / "out") == 1
    assert "No clip was found" in capsys.readouterr().err
    (tmp_path / "c.mp4").write_bytes(b"x")
    assert run(tmp_path / "c.mp4", "--out", tmp_path / "out", "--region", "middle") == 2
    assert "region" in capsys.readouterr().err
    for value in ("-1", "nan"):
        assert run(tmp_path / "c.mp4", "--out", tmp_path / "out", "--smoothing", value) == 2
        assert f"smoothing must be a finite number from 0 on; {value} was given." in capsys.readouterr().err
