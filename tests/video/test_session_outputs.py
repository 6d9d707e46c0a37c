"""What a run never replaces: codings, files that were edited, and what is of another clip or program."""

import json
import os
from dataclasses import replace

import pytest

from infant_fer.errors import OutputError
from infant_fer.video import __main__ as command
from infant_fer.video.analysis import VideoSettings
from infant_fer.video.exports import export
from infant_fer.video.reading import ClipSettings
from infant_fer.video.sessions import Session, SessionOptions, check_output, fingerprint, run_session
from tests.video.test_timeline import timeline


@pytest.fixture
def play(tmp_path):
    """Return a clip whose reading the tests replace."""
    path = tmp_path / "play.mp4"
    path.write_bytes(b"a clip")
    return path


def test_a_folder_of_other_files_is_not_replaced(play, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "thesis.docx").write_text("mine")
    session = Session(play, folder)
    with pytest.raises(OutputError, match="did not write"):
        check_output([session], tmp_path)
    for summary in ("{}", '{"n": 3}', "[1]", "no JSON", '{"persons": [], "events": []}'):  # of other programs
        (folder / "summary.json").write_text(summary)
        with pytest.raises(OutputError, match="did not write"):
            check_output([session], tmp_path)
    (folder / "summary.json").write_text(json.dumps(timeline("oopp").summary))
    check_output([session], tmp_path)


@pytest.mark.parametrize("option", ["--human", "--events"])
@pytest.mark.parametrize("given", ["out/play/play.eaf", "out/play", "linked"])
def test_a_coding_in_the_output_is_refused_before_a_clip_is_read(play, tmp_path, monkeypatch, capsys, option, given):
    """ELAN saves a corrected file where it was opened, which may be the session's own folder."""
    monkeypatch.setattr(command, "_results", lambda *_: pytest.fail("clips were read"))
    folder = tmp_path / "out" / "play"
    folder.mkdir(parents=True)
    (tmp_path / "linked").symlink_to(folder)
    export(timeline("oopp"), folder)
    coding = (folder / "clip.eaf").rename(folder / "play.eaf")
    before = coding.read_bytes()
    assert command.main([str(each) for each in (play, "--out", tmp_path / "out", option, tmp_path / given)]) == 2
    said = capsys.readouterr().err
    assert said.endswith("lies in a folder that the results of a clip replace. Move it, or give another --out.\n")
    assert said.count("\n") == 1
    assert coding.read_bytes() == before


@pytest.mark.parametrize("place", ["file/out", "/proc/out", "/dev/null/out"])
def test_an_output_that_cannot_be_written_is_refused_before_a_clip_is_read(play, tmp_path, monkeypatch, capsys, place):
    monkeypatch.setattr(command, "_results", lambda *_: pytest.fail("clips were read"))
    (tmp_path / "file").write_text("mine")
    assert command.main([str(each) for each in (play, "--out", tmp_path / place)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{tmp_path / place / 'play'} cannot be written: ")
    assert said.count("\n") == 1


def test_another_clip_of_one_name_leaves_the_earlier_results(play, analyzer, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        "infant_fer.video.analysis.analyze_video", lambda clip, *_: read.append(clip.parent.name) or timeline("oonn")
    )
    content = play.read_bytes()
    for infant, more in (("P01", b""), ("P02", b" of another infant")):
        (tmp_path / infant).mkdir()
        (tmp_path / infant / "play.mp4").write_bytes(content + more)

    def result(infant: str, **settings):
        session = Session(tmp_path / infant / "play.mp4", tmp_path / "out" / "play")
        return run_session(analyzer, session, SessionOptions(VideoSettings(**settings), formats=("summary.json",)))

    assert [result(infant).state for infant in ("P01", "P02", "P01")] == ["written", "failed", "skipped"]
    assert result("P02").fault.startswith("The folder play holds the results of another clip of this name.")
    assert result("P01", max_persons=1).state == "written"  # of the same clip with another setting
    assert read == ["P01", "P01"]


@pytest.mark.parametrize("fps", [None, 2.0])
def test_the_summary_says_which_frame_rate_was_requested(play, analyzer, tmp_path, monkeypatch, fps):
    monkeypatch.setattr("infant_fer.video.analysis.analyze_video", lambda *_: timeline("oonn"))
    session = Session(play, tmp_path / "out" / "play")
    options = SessionOptions(VideoSettings(ClipSettings(fps=fps)), formats=("summary.json",))
    assert run_session(analyzer, session, options).state == "written"
    assert json.loads((session.folder / "summary.json").read_text())["requested_fps"] == fps


def test_a_file_that_was_edited_since_is_not_replaced(play, analyzer, tmp_path, monkeypatch):
    """A coder corrects the model's codes in ELAN, or the table in a spreadsheet, and saves them where they are."""
    read = []
    monkeypatch.setattr("infant_fer.video.analysis.analyze_video", lambda *_: read.append(1) or timeline("oonn"))
    session = Session(play, tmp_path / "out" / "play")

    def result(persons: int):
        formats = ("{stem}.eaf", "intervals.csv", "summary.json")
        return run_session(analyzer, session, SessionOptions(VideoSettings(max_persons=persons), formats=formats))

    assert [result(persons).state for persons in (1, 2, 2)] == ["written", "written", "skipped"]
    for name in ("clip.eaf", "intervals.csv"):
        file = session.folder / name
        file.write_text(file.read_text().replace("negative", "positive"))
        edited = file.read_bytes()
        assert result(2).state == "skipped"
        assert (result(1).state, file.read_bytes()) == ("failed", edited)
        before = len(read)
        assert result(1).fault.startswith(f"{name} in the folder play was edited since it was written")
        assert len(read) == before
        file.rename(session.folder / f"corrected {name}")
        assert result(1).state == "written"
        assert result(2).state == "written"
        assert (session.folder / f"corrected {name}").read_bytes() == edited


def test_a_file_that_was_edited_since_an_earlier_version_wrote_it_is_not_replaced(
    play, analyzer, tmp_path, monkeypatch
):
    """The summaries of earlier versions have no hashes, but they were written last."""
    monkeypatch.setattr("infant_fer.video.analysis.analyze_video", lambda *_: timeline("oonn"))
    session = Session(play, tmp_path / "out" / "play")

    def written():
        return run_session(analyzer, session, SessionOptions(VideoSettings()))

    def of_an_earlier_version():
        summary = json.loads((session.folder / "summary.json").read_text())
        for name in ("fingerprint", "files_sha256"):
            del summary[name]
        (session.folder / "summary.json").write_text(json.dumps(summary))

    assert written().state == "written"
    of_an_earlier_version()
    file, own = session.folder / "clip.eaf", session.folder / "corrected.eaf"
    saved_s = (session.folder / "summary.json").stat().st_mtime + 60
    for path in (file, own):
        path.write_text("corrected")
        os.utime(path, (saved_s, saved_s))
    assert written().fault.startswith("clip.eaf in the folder play was edited since it was written")
    assert file.read_text() == "corrected"
    file.unlink()
    assert written().state == "written"  # the coder's own file is not replaced
    assert own.read_text() == "corrected"
    of_an_earlier_version()
    assert written().state == "written"


def test_what_an_uncoded_stretch_means_marks_sessions_with_a_coding_alone(play, analyzer, tmp_path, monkeypatch):
    """So the marks of other sessions are those of earlier versions, which are not read again."""
    marked, dumps = [], json.dumps
    monkeypatch.setattr(json, "dumps", lambda facts, **how: marked.append(facts) or dumps(facts, **how))
    coding = tmp_path / "play.csv"
    coding.write_text("onset,offset,label\n0,1,p\n")
    for human, gaps in ((None, None), (None, "neutral"), (coding, None), (coding, "neutral")):
        options = SessionOptions(VideoSettings(), human, human_gaps=gaps)
        fingerprint(Session(play, tmp_path / "out"), options, analyzer.classifier)
    without, folder_alone, coding_alone, both = marked
    assert without == folder_alone
    assert len(without) == len(coding_alone)
    assert both == [*coding_alone, "neutral"]


def test_a_file_that_is_edited_while_the_clip_is_read_is_not_replaced(play, analyzer, tmp_path, monkeypatch):
    session = Session(play, tmp_path / "out" / "play")
    file = session.folder / "intervals.csv"

    def read(*_):
        if file.exists():
            file.write_text("corrected")
        return timeline("oonn")

    monkeypatch.setattr("infant_fer.video.analysis.analyze_video", read)
    states = [
        run_session(analyzer, session, SessionOptions(VideoSettings(max_persons=persons))).state for persons in (1, 2)
    ]
    assert (states, file.read_text()) == (["written", "failed"], "corrected")


def test_brackets_in_the_name_of_a_clip_are_no_pattern(analyzer, tmp_path, monkeypatch):
    """As a pattern, the name of the one coding file is that of the other."""
    clip = tmp_path / "P01 [12m].mp4"
    clip.write_bytes(b"a clip")
    read = replace(timeline("oonn"), source=clip.name)
    monkeypatch.setattr("infant_fer.video.analysis.analyze_video", lambda *_: read)
    session = Session(clip, tmp_path / "out" / clip.stem)
    for persons in (1, 2):
        result = run_session(analyzer, session, SessionOptions(VideoSettings(max_persons=persons)))
        assert (result.state, result.fault) == ("written", "")
        (session.folder / f"P01 {persons}.eaf").touch()
    assert (session.folder / "P01 1.eaf").is_file()
    assert [path.name for path in (tmp_path / "out").iterdir()] == [clip.stem]
