"""What has an interrupted run finished? A file of JSON lines beside its output, from which the same command continues."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from infant_fer.errors import OutputError

SUFFIX = ".journal"
HEAD = b'{"about": '  # how the first line of every journal starts


class Journal:
    """Values by key, of an earlier run and of this one; without a stream nothing is kept. Values are plain data for JSON.

    Only places in the file are held in memory. A line that a kill has cut off is dropped.
    """

    def __init__(self, path: Path | None, stream: IO[bytes] | None, about: str):
        self._path, self._stream = path, stream
        self._places: dict[str, int] = {}
        if stream is not None:
            self._read(about)

    def __contains__(self, key: str) -> bool:
        """Return whether an earlier run has finished the key."""
        return key in self._places

    def get(self, key: str) -> Any:
        """Return the value of a key of an earlier run."""
        assert self._stream is not None  # no key without a stream
        self._stream.seek(self._places[key])
        return json.loads(self._stream.readline())["value"]

    def add(self, key: str, value: Any) -> None:
        """Keep the value at once: what follows may be killed."""
        if self._stream is not None:
            self._write({"key": key, "value": value})

    def delete(self) -> None:
        """Delete the file: the run is complete."""
        if self._path is not None and self._stream is not None:
            self._stream.close()
            self._path.unlink(missing_ok=True)

    def _read(self, about: str) -> None:
        """Collect the places of complete lines and cut off what follows them. Raises OutputError for any other file."""
        assert self._stream is not None
        head = _line({"about": about})
        first = self._stream.readline()
        if not head.startswith(first):  # a kill may have cut off the head itself
            raise OutputError(
                f"{self._path} is of a run with other options or files, or of another version. Use the same command, or delete it."
                if first.startswith(HEAD)
                else f"{self._path} has the name of the journal, but is none. Give another name for the output, or move it."
            )
        place = len(first) if first == head else 0
        for line in self._stream:
            try:
                row = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                row = None
            if row is None:
                break
            self._places[row["key"]] = place
            place += len(line)
        self._stream.truncate(place)
        if place == 0:
            self._write({"about": about})

    def _write(self, row: dict) -> None:
        assert self._stream is not None
        self._stream.seek(0, os.SEEK_END)
        self._stream.write(_line(row))
        self._stream.flush()


def _line(row: dict) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"


@contextmanager
def open_journal(path: Path | None, about: str = "") -> Iterator[Journal]:
    """Open the journal at `path`, or one that keeps nothing for None; `about` tells the runs of one command from others.

    Raises OutputError when it belongs to another command or cannot be written, or when another file has its name, which stays.
    """
    if path is None:
        yield Journal(None, None, about)
        return
    try:
        path.touch()
        stream = path.open("r+b")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from None
    with stream:
        yield Journal(path, stream, about)


def file_key(path: Path) -> str:
    """Return a key of a file that changes when the file does."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return repr(os.fspath(path))
    return repr((os.fspath(path), status.st_size, status.st_mtime_ns))
