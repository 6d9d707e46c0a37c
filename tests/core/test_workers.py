"""Work spread over processes: the same results in the same order, whatever dies; and journals of interrupted runs."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from benchmarks import folders
from infant_fer.__main__ import main
from infant_fer.batch import ReadSettings, _journal
from infant_fer.checkpoints.sources import DEFAULT_NAME, embedded
from infant_fer.errors import ImageError, OutputError
from infant_fer.workers import Job, spread
from infant_fer.workers.jobs import AHEAD
from infant_fer.workers.journal import SUFFIX, file_key, open_journal
from tests.conftest import EXAMPLES, ROOT
from tests.core.worker_jobs import die_at, die_when_others_are_done, load, lost, refuse, times_ten


def test_one_worker_works_here_and_lazily():
    taken = []
    results = spread(Job(load, times_ten, lost), (taken.append(item) or item for item in range(1, 5)))
    assert next(results) == (10, os.getpid())
    assert taken == [1]


@pytest.mark.slow
def test_two_workers_give_the_same_in_order_and_run_only_a_little_ahead(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    taken = []
    results = spread(Job(load, times_ten, lost), (taken.append(item) or item for item in range(1, 21)), workers=2)
    assert next(results)[0] == 10
    assert len(taken) <= 2 * AHEAD + 1
    rest = list(results)
    assert [value for value, _ in rest] == [10 * item for item in range(2, 21)]
    assert os.getpid() not in {pid for _, pid in rest}
    assert os.environ["OMP_NUM_THREADS"] == "7", "the variables of the workers are put back as they were"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.slow
def test_what_a_worker_raises_is_raised_here():
    with pytest.raises(ImageError, match="nothing to load"):
        list(spread(Job(refuse, times_ten, lost), [1, 2], workers=2))


@pytest.mark.slow
def test_a_worker_that_dies_once_costs_nothing(tmp_path):
    job = Job(load, partial(die_at, 3, tmp_path / "died"), lost)
    assert [value for value, _ in spread(job, range(1, 9), workers=2)] == [10 * item for item in range(1, 9)]


@pytest.mark.slow
def test_what_was_done_when_a_worker_died_is_not_repeated(tmp_path):
    job = Job(load, partial(die_when_others_are_done, tmp_path / "log"), lost)
    assert [value for value, _ in spread(job, range(1, 7), workers=2)] == [10, 20, 30, 40, 50, 60]
    started = (tmp_path / "log").read_text().split()
    assert [started.count(item) for item in "123"] == [2, 1, 1]


@pytest.mark.slow
def test_an_item_that_kills_every_worker_is_named_and_the_others_are_done():
    job = Job(load, partial(die_at, 2, None), lost)
    assert [value for value, _ in spread(job, range(1, 7), workers=2)] == [10, -2, 30, 40, 50, 60]


KILLED = (
    "import os, signal\n"
    "from infant_fer.workers import Job, spread\n"
    "from tests.core.worker_jobs import load, lost, times_ten\n"
    "results = spread(Job(load, times_ten, lost), range(90), workers=2)\n"
    "print(next(results)[0], flush=True)\n"
    "os.kill(os.getpid(), signal.SIGKILL)\n"
)


@pytest.mark.slow
def test_the_workers_of_a_killed_command_end_with_it():
    """Its output is closed, so that `run` returns, when no process is left that has it."""
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "0\n")


def test_a_journal_continues_and_drops_what_a_kill_cut_off(tmp_path):
    path = tmp_path / "out.csv.journal"
    with open_journal(path, "a") as journal:
        journal.add("first", {"rows": ["é"]})
        journal.add("second", 2)
        assert "first" not in journal  # of this run
    path.write_bytes(path.read_bytes()[:-3])
    with open_journal(path, "a") as journal:
        assert "second" not in journal
        assert journal.get("first") == {"rows": ["é"]}
        journal.add("third", 3)
    with open_journal(path, "a") as journal:
        assert journal.get("third") == 3
        journal.delete()
    assert not path.exists()


def test_a_journal_of_another_command_is_refused(tmp_path):
    with open_journal(tmp_path / "j", "a"):
        pass
    with pytest.raises(OutputError, match="other options or files"), open_journal(tmp_path / "j", "b"):
        pass


@pytest.mark.parametrize(
    "content", [b"a diary", b"a diary\nof two lines\n", b'{"key": 1}\n', b"[1]\n", b"\x00\xff\n", b"\n", b'{"abo\n']
)
def test_a_file_that_is_no_journal_is_refused_and_stays(tmp_path, content):
    path = tmp_path / "out.csv.journal"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="is none"), open_journal(path, "a") as journal:
        journal.delete()
    assert path.read_bytes() == content


@pytest.mark.parametrize("length", range(0, 15, 7))
def test_a_journal_whose_first_line_a_kill_cut_off_starts_anew(tmp_path, length):
    path = tmp_path / "j"
    path.write_bytes(b'{"about": "a"}\n'[:length])
    with open_journal(path, "a") as journal:
        journal.add("first", 1)
    with open_journal(path, "a") as journal:
        assert journal.get("first") == 1


@pytest.mark.parametrize("option", [{"precision": "bfloat16"}, {"device": "cuda"}, {"explain": True}])
def test_a_journal_of_other_options_is_refused(tmp_path, option):
    settings, outputs = ReadSettings(resume=True), {"csv": tmp_path / "out.csv"}
    with _journal(outputs, settings):
        pass
    with pytest.raises(OutputError, match="other options or files"), _journal(outputs, replace(settings, **option)):
        pass


def test_a_journal_of_other_weights_in_the_same_folder_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"first")
    settings, outputs = ReadSettings(resume=True, checkpoint=str(tmp_path)), {"csv": tmp_path.parent / "out.csv"}
    with _journal(outputs, settings), _journal(outputs, settings):
        pass
    (tmp_path / "model.safetensors").write_bytes(b"trained again")
    with pytest.raises(OutputError, match="other options or files"), _journal(outputs, settings):
        pass


def test_a_journal_of_other_weights_of_the_default_checkpoint_is_refused(tmp_path, monkeypatch):
    shutil.copytree(embedded()[0], tmp_path / "root" / DEFAULT_NAME)
    monkeypatch.setattr("infant_fer.checkpoints.sources.EMBEDDED_ROOT", tmp_path / "root")
    settings, outputs = ReadSettings(resume=True), {"csv": tmp_path / "out.csv"}
    with _journal(outputs, settings), _journal(outputs, settings):
        pass
    os.utime(tmp_path / "root" / DEFAULT_NAME / "model.safetensors", (1, 1))
    with pytest.raises(OutputError, match="other options or files"), _journal(outputs, settings):
        pass


def test_a_journal_of_other_columns_is_refused(tmp_path, monkeypatch):
    settings, outputs = ReadSettings(resume=True), {"csv": tmp_path / "out.csv"}
    with _journal(outputs, settings):
        pass
    monkeypatch.setattr("infant_fer.batch.COLUMNS", ("file",))
    with pytest.raises(OutputError, match="other options or files"), _journal(outputs, settings):
        pass


def test_a_key_changes_with_the_file(tmp_path):
    (tmp_path / "a").write_text("x")
    before = file_key(tmp_path / "a")
    assert before == file_key(tmp_path / "a")
    (tmp_path / "a").write_text("xy")
    assert file_key(tmp_path / "a") != before


PHOTOS = ("smile.jpg", "cry.jpg", "neutral.jpg")


@pytest.fixture
def folder(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in PHOTOS:
        (photos / name).write_bytes((EXAMPLES / name).read_bytes())
    (photos / "broken.jpg").write_bytes(b"nothing")
    return photos


def outputs(folder: Path) -> list[str]:
    return [word for kind in ("json", "csv", "html") for word in (f"--{kind}", str(folder / f"out.{kind}"))]


@pytest.mark.slow
def test_two_processes_of_the_module_write_the_same_bytes_as_one(folder, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    assert main([str(folder), *outputs(tmp_path / "1")]) == 0
    command = [sys.executable, "-m", "infant_fer", str(folder), *outputs(tmp_path / "2"), "--workers", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert "broken.jpg: This file could not be read" in done.stderr
    for kind in ("json", "csv", "html"):
        assert (tmp_path / "1" / f"out.{kind}").read_bytes() == (tmp_path / "2" / f"out.{kind}").read_bytes()


def test_a_resumed_run_reads_no_photo_twice(folder, tmp_path, analyzer, monkeypatch):
    read = []

    class Counting:
        fails = True

        def analyze(self, path):
            if self.fails and path.name == "neutral.jpg":
                raise KeyboardInterrupt
            read.append(path.name)
            return analyzer.analyze(path)

    reader = Counting()
    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: reader)
    (tmp_path / "resumed").mkdir()
    command = [str(folder), *outputs(tmp_path / "resumed"), "--resume"]
    assert main(command) == 130
    assert read == ["broken.jpg", "cry.jpg"]
    assert (tmp_path / "resumed" / f"out.json{SUFFIX}").is_file()
    Counting.fails = False
    assert main(command) == 0
    assert read == ["broken.jpg", "cry.jpg", "neutral.jpg", "smile.jpg"]
    (tmp_path / "whole").mkdir()
    assert main([str(folder), *outputs(tmp_path / "whole")]) == 0
    for kind in ("json", "csv", "html"):
        whole = (tmp_path / "whole" / f"out.{kind}").read_bytes()
        assert (tmp_path / "resumed" / f"out.{kind}").read_bytes() == whole
    assert sorted(path.name for path in (tmp_path / "resumed").iterdir()) == ["out.csv", "out.html", "out.json"]


def test_a_file_that_changes_meanwhile_takes_no_other_files_row(folder, tmp_path, analyzer, monkeypatch):
    class Changing:
        def analyze(self, path):
            (folder / "smile.jpg").write_bytes((EXAMPLES / "cry.jpg").read_bytes())
            return analyzer.analyze(path)

    monkeypatch.setattr("infant_fer.__main__._analyzer", lambda *_: Changing())
    out = tmp_path / "out.json"
    assert main([str(folder), "--json", str(out), "--resume"]) == 0
    read = [(Path(each["file"]).name, bool(each["faces"])) for each in json.loads(out.read_text())]
    assert read == [("broken.jpg", False), ("cry.jpg", True), ("neutral.jpg", True), ("smile.jpg", True)]


def test_resuming_needs_a_file(folder, capsys):
    assert main([str(folder), "--resume"]) == 2
    assert "--resume needs a file to write" in capsys.readouterr().err


SLOW_READER = (
    "import sys, time, numpy, infant_fer.__main__ as command\n"
    "from infant_fer.images import Photo\n"
    "from infant_fer.report import Report\n"
    "class Reader:\n"
    "    def analyze(self, path):\n"
    "        print(path.name, flush=True)\n"
    "        time.sleep(0.3)\n"
    "        return Report(Photo(numpy.zeros((9, 9, 3), 'uint8'), (9, 9)), (), (), 'none')\n"
    "command._analyzer = lambda *_: Reader()\n"
    "sys.exit(command.main(sys.argv[1:]))\n"
)


@pytest.mark.slow
def test_a_killed_run_is_continued(folder, tmp_path):
    """Kill the command with the signal that no handler sees while it reads its third photo."""
    out = tmp_path / "out.json"
    command = [sys.executable, "-c", SLOW_READER, str(folder), "--json", str(out), "--resume"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        first = [process.stdout.readline().strip() for _ in range(3)]
        process.kill()
    assert first == ["broken.jpg", "cry.jpg", "neutral.jpg"]
    assert not out.exists()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["neutral.jpg", "smile.jpg"]
    assert [Path(each["file"]).name for each in json.loads(out.read_text())] == sorted(("broken.jpg", *PHOTOS))


@pytest.mark.parametrize("count", [3, 10, 40])
def test_few_items_have_figures_too(count):
    rate, growth = folders._measured(
        Job(lambda: None, lambda _, item: item, lambda item: item), list(range(count)), 1, None
    )
    assert rate > 0
    assert growth > 0


def test_too_few_items_are_refused_before_the_work():
    with pytest.raises(ValueError, match="at least 3 items, not 2"):
        folders._measured(Job(lambda: None, lambda _, item: 1 / 0, lambda item: item), [1, 2], 1, None)
