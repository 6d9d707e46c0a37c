"""Where do a data set's pictures lie? In zip archives or as files of their own, read one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from infant_fer.errors import DatasetError


@dataclass(frozen=True, eq=False)
class ImageStore:
    """N pictures: each is the member of an archive, or, where its archive is None, the file of that name."""

    archives: tuple[Path | None, ...]
    members: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.members)

    def read(self, index: int) -> bytes:
        """The encoded picture; raises DatasetError naming it."""
        archive, member = self.archives[index], self.members[index]
        try:
            if archive is None:
                return Path(member).read_bytes()
            return _opened(archive, archive.stat().st_mtime_ns).read(member)
        except (OSError, KeyError, BadZipFile) as error:
            raise DatasetError(f"{self.where(index)} could not be read: {error}.") from None

    def where(self, index: int) -> str:
        """Words for messages that say which picture is meant."""
        archive = self.archives[index]
        return self.members[index] if archive is None else f"{self.members[index]} in {archive}"


def archive_members(archive: Path) -> list[str]:
    """The sorted names of an archive's files; raises DatasetError."""
    try:
        with ZipFile(archive) as opened:
            return sorted(name for name in opened.namelist() if not name.endswith("/"))
    except (OSError, BadZipFile) as error:
        raise DatasetError(f"{archive} could not be opened: {error}.") from None


@lru_cache(maxsize=4)
def _opened(archive: Path, _changed: int) -> ZipFile:
    """An archive kept open: reading the list of fer2013.zip anew for each of its pictures takes 0.1 s, an hour in all."""
    return ZipFile(archive)
