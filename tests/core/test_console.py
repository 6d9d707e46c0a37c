"""The command's rows on any console: letters it lacks, line ends, a full disk, a closed pipe."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infant_fer.batch import writers
from infant_fer.batch.writers import FileResult, PhotoFile
from tests.conftest import ROOT

FAKE = (
    "import sys, numpy, infant_fer.__main__ as command\n"
    "from infant_fer.images import Photo\n"
    "from infant_fer.report import Report\n"
    "class Reader:\n"
    "    def analyze(self, path):\n"
    "        return Report(Photo(numpy.zeros((9, 9, 3), 'uint8'), (9, 9)), (), (), 'none')\n"
    "command._analyzer = lambda *_: Reader()\n"
    "sys.exit(command.main(sys.argv[1:]))\n"
)


def run_command(*files: str, stdout=subprocess.PIPE, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", FAKE, *files],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
    )


@pytest.mark.slow
def test_rows_survive_a_console_that_lacks_the_letters():
    done = run_command("名前é.jpg", PYTHONIOENCODING="cp1252")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines(keepends=True)[1].startswith(rb"\u540d\u524d" + "é.jpg,,no face".encode("cp1252"))
    assert done.stdout.count(b"\r\n") == 2
    assert b"\r\r" not in done.stdout


def test_windows_line_ends_are_not_doubled():
    """As on Windows, where the standard output writes every line feed as two characters."""
    output = io.TextIOWrapper(io.BytesIO(), newline="\r\n")
    with contextlib.redirect_stdout(output):
        print("\n", end="", flush=True)
        with writers.csv_writer(writers.standard_output()) as write:
            write(writers._rows(FileResult(PhotoFile(Path("a.jpg"), "a.jpg"), None, "gone")))
    assert b"\r\r" not in output.buffer.getvalue()[2:]


@pytest.mark.slow
def test_a_full_standard_output_is_one_sentence():
    with open("/dev/full", "w") as full:
        done = run_command("a.jpg", stdout=full)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1] == "The standard output cannot be written: No space left on device."
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
def test_a_closed_pipe_ends_the_command_quietly():
    command = [sys.executable, "-c", FAKE, *["a.jpg"] * 5000]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 1
