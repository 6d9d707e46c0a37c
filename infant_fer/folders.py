"""Which files does a folder hold? The one search of folders for photos and clips."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FoundFile:
    """A file, or a folder that could not be opened, then with its `fault`."""

    path: Path
    fault: str = ""


def files_in(folder: Path, suffixes: Collection[str]) -> Iterator[FoundFile]:
    """Yield the files below a folder whose suffix, in small letters, is one of `suffixes`; hidden files and folders are left out.

    Each folder's files come in the order of their names, before those of the folders in it. Folders that cannot be opened
    come last. Links to files are among the files, also where they lead nowhere.
    """
    faults: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=faults.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(place, name) for name in sorted(names) if not name.startswith("."))
        yield from (FoundFile(path) for path in paths if path.suffix.lower() in suffixes)
    for fault in faults:
        yield FoundFile(Path(os.fsdecode(fault.filename)), f"The folder could not be opened: {fault.strerror}.")
