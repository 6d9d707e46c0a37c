"""Where are a data set's pictures? In zip archives or as files of their own, read one at a time."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

import numpy as np

from infant_fer.errors import DatasetError
from infant_fer.images import printable

# What zipfile raises for a damaged, encrypted (RuntimeError) or unsupported (NotImplementedError) member.
ARCHIVE_ERRORS = (OSError, KeyError, ValueError, EOFError, BadZipFile, zlib.error, LZMAError, RuntimeError)
MAX_NAMED = 10  # pictures that one line of the log names
Place = tuple[Path | None, str]  # archive or None, and member or file


@dataclass(frozen=True, eq=False)
class ImageStore:
    """N encoded pictures: each is the member of an archive, or, where its archive is None, the file of that name."""

    archives: tuple[Path | None, ...]
    members: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.members)

    def read(self, index: int) -> bytes:
        """Return the encoded picture. Raises DatasetError naming it."""
        archive, member = self.archives[index], self.members[index]
        try:
            if archive is None:
                return Path(member).read_bytes()
            return _opened(archive, archive.stat().st_mtime_ns).read(member)
        except ARCHIVE_ERRORS as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise DatasetError(f"{self.where(index)} could not be read: {reason}.") from None

    def digest(self, index: int) -> str:
        """Return the SHA-256 of the encoded picture; one that cannot be read equals no other."""
        try:
            return hashlib.sha256(self.read(index)).hexdigest()
        except DatasetError:
            return f"unreadable {index}"

    def digests(self) -> np.ndarray:
        """Return the (N,) str SHA-256 of all pictures."""
        return np.array([self.digest(index) for index in range(len(self))])

    def where(self, index: int) -> str:
        """Return the picture's name for a message; bytes of a name that are not UTF-8 are escaped."""
        archive = self.archives[index]
        name = self.members[index] if archive is None else f"{self.members[index]} in {archive}"
        return printable(name)


def named(names: list[str]) -> str:
    """Return the first names as a list for people."""
    return ", ".join(names[:MAX_NAMED]) + ", ..." * (len(names) > MAX_NAMED)


class PictureIndex:
    """Find pictures of folders and archives by the ends of their paths."""

    def __init__(self, sources: Iterable[Path]):
        """List the pictures in `sources`, folders or zip archives. Raises DatasetError."""
        self._by_name: dict[str, list[tuple[tuple[str, ...], Place]]] = {}
        for source in sources:
            if source.is_dir():
                for file in folder_files(source)[0]:
                    self.add(file.relative_to(source).parts, (None, str(file)))
            else:
                for member in archive_members(source):
                    self.add(PurePosixPath(member).parts, (source, member))

    def add(self, parts: tuple[str, ...], place: Place) -> None:
        """Add a picture under the `parts` of its relative path."""
        self._by_name.setdefault(parts[-1], []).append((parts, place))

    def find(self, path: str, whole: bool = False) -> Place | None:
        """Return the one picture that shares the longest end of `path`; at least its name, or all of it if `whole` is set.

        None when there is none. Raises DatasetError naming two when several share as much: a guess could put a picture
        under a wrong label.
        """
        wanted = relative_parts(path)
        shared = [(_shared_end(wanted, parts), place) for parts, place in self._by_name.get(wanted[-1], ())]
        longest = max((length for length, _ in shared), default=0)
        if not longest or (whole and longest < len(wanted)):
            return None
        first, *others = [place for length, place in shared if length == longest]
        if others:
            raise DatasetError(
                f"{printable(path)} may mean {_place_name(first)} or {_place_name(others[0])}. "
                "Give paths relative to the data that distinguish them."
            )
        return first


def relative_parts(path: str) -> tuple[str, ...]:
    """Return the parts of a path as a table may write it, with slashes of either kind; raises DatasetError for none."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if not parts:
        raise DatasetError("A row of the table names no file.")
    return parts


def folder_files(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the sorted files under `folder`, and the names of the folders in it that cannot be opened."""
    locked: list[str] = []
    files = [
        Path(root, name)
        for root, _, names in os.walk(folder, onerror=lambda error: locked.append(printable(error.filename)))
        for name in names
    ]
    return sorted(files), locked


def _shared_end(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    pairs = zip(reversed(first), reversed(second), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _place_name(place: Place) -> str:
    return ImageStore((place[0],), (place[1],)).where(0)


def archive_members(archive: Path) -> list[str]:
    """Return the sorted names of an archive's files. Raises DatasetError."""
    try:
        with ZipFile(archive) as opened:
            return sorted(name for name in opened.namelist() if not name.endswith("/"))
    except ARCHIVE_ERRORS as error:
        raise DatasetError(f"{printable(archive)} could not be opened as a zip archive: {error}.") from None


@lru_cache(maxsize=4)
def _opened(archive: Path, _changed: int) -> ZipFile:
    """Keep an archive open: reading the directory of fer2013.zip anew for each of its pictures takes 0.1 s, an hour in all."""
    return ZipFile(archive)
