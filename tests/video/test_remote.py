"""Results at a URL: the bytes of a folder here, whole only with its summary."""

from pathlib import Path

import fsspec
import pytest

from infant_fer.errors import OutputError
from infant_fer.video import __main__ as command
from infant_fer.video import remote
from infant_fer.video.analysis import VideoSettings
from infant_fer.video.remote import check_url, run_remote_session
from infant_fer.video.sessions import Session, SessionOptions
from tests.video.clips import encoded, placed, portrait
from tests.video.test_timeline import timeline


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "play.mp4"
    path.write_bytes(encoded(placed([(portrait("smile"), 40, 20)]) for _ in range(4)))
    return path


def test_a_url_gets_the_bytes_of_a_folder_and_is_whole_with_its_summary(clip, analyzer, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "_load", lambda *_: analyzer)
    system, order = fsspec.filesystem("memory"), []
    put = type(system).put_file
    monkeypatch.setattr(
        type(system), "put_file", lambda self, here, there: order.append(there) or put(self, here, there)
    )
    assert command.main([str(clip), "--out", "memory://study/wave1"]) == 0
    assert command.main([str(clip), "--out", str(tmp_path)]) == 0
    copied = {path.rsplit("/", 1)[1]: system.cat_file(path) for path in system.find("/study/wave1/play")}
    assert copied == {path.name: path.read_bytes() for path in (tmp_path / "play").iterdir()}
    assert order[-1].endswith("/play/summary.json")
    capsys.readouterr()
    assert command.main([str(clip), "--out", "memory://study/wave1"]) == 0
    assert "1 skipped because they are whole" in capsys.readouterr().err
    system.rm_file("/study/wave1/play/summary.json")
    monkeypatch.setattr(type(system), "put_file", broken)
    assert command.main([str(clip), "--out", "memory://study/wave1"]) == 1
    assert "memory://study/wave1 cannot be written: ConnectionError: gone" in capsys.readouterr().err
    assert not system.exists("/study/wave1/play/summary.json")
    assert [path for path in system.find("/study/wave1") if "probe" in path] == []


def test_what_only_an_earlier_run_has_written_is_removed(clip, analyzer, monkeypatch):
    monkeypatch.setattr(command, "_load", lambda *_: analyzer)
    system = fsspec.filesystem("memory")
    for name in ("agreement.json", "peak_positive.png", "mine.txt"):
        system.pipe_file(f"/again/play/{name}", b"old")
    assert command.main([str(clip), "--out", "memory://again"]) == 0
    left = {path.rsplit("/", 1)[1] for path in system.find("/again/play")}
    assert {"mine.txt", "summary.json"} <= left
    assert left & {"agreement.json", "peak_positive.png"} == set()


def test_a_file_at_the_url_that_was_edited_since_is_not_replaced(clip, analyzer, monkeypatch):
    """Before the clip is read, and again before its files are replaced."""
    read, system = [], fsspec.filesystem("memory")
    file = "/edited/play/clip.eaf"

    def analyzed(*_):
        read.append(1)
        if in_time:
            system.pipe_file(file, b"while it is read")
        return timeline("oonn")

    monkeypatch.setattr("infant_fer.video.analysis.analyze_video", analyzed)

    def result(persons: int):
        options = SessionOptions(VideoSettings(max_persons=persons))
        return run_remote_session("memory://edited", analyzer, Session(clip, Path("play")), options)

    in_time = False
    assert [result(persons).state for persons in (1, 2, 2)] == ["written", "written", "skipped"]
    system.pipe_file(file, b"corrected")
    before = system.cat_file("/edited/play/summary.json")
    assert result(2).state == "skipped"
    assert result(1).fault.startswith("clip.eaf in the folder play was edited since it was written")
    assert (len(read), system.cat_file(file)) == (2, b"corrected")
    assert system.cat_file("/edited/play/summary.json") == before
    system.mv(file, "/edited/play/corrected.eaf")
    assert result(1).state == "written"
    assert system.cat_file("/edited/play/corrected.eaf") == b"corrected"
    in_time = True
    assert result(2).fault.startswith("clip.eaf in the folder play was edited since it was written")
    assert (len(read), system.cat_file(file)) == (4, b"while it is read")


def broken(self, here, there):
    raise ConnectionError("gone")


def test_an_unknown_or_locked_place_is_refused_before_any_work(clip, monkeypatch, capsys):
    monkeypatch.setattr(command, "_load", lambda *_: pytest.fail("the model was loaded"))
    assert command.main([str(clip), "--out", "nowhere://x"]) == 2
    assert "nowhere://x cannot be opened" in capsys.readouterr().err
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "pipe_file", broken)
    with pytest.raises(OutputError, match="memory://x cannot be written: "):
        check_url("memory://x")
    assert not remote.is_url("folder/name")
