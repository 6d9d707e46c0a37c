"""Results at a URL: the bytes of a folder here, whole only with its summary."""

import fsspec
import pytest

from infant_fer.errors import OutputError
from infant_fer.video import __main__ as command
from infant_fer.video import remote
from infant_fer.video.remote import check_url
from tests.video.clips import encoded, placed, portrait


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
