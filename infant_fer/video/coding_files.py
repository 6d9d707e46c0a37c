"""Which file is the human coding of a clip, or its table of events, and what do the codings of a folder have in common?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from infant_fer.errors import DatasetError
from infant_fer.images import printable
from infant_fer.video.imports import NOT_CODED, READERS, read_coding


def coding_of(place: Path | None, clip: Path) -> Path | None:
    """Return the coding of a clip: the file itself, or the one in the folder with the clip's name; None without a place.

    Raises DatasetError.
    """
    if place is None or place.is_file():
        return place
    if not place.is_dir():
        raise DatasetError(f"There is no file or folder {printable(place)}.")
    return next((path for suffix in READERS if (path := place / f"{clip.stem}{suffix}").is_file()), None)


def check_codings(clips: Sequence[Path], places: Iterable[Path | None]) -> None:
    """Raise DatasetError, before any work, where two clips of one name would get the same file of a folder in `places`.

    These are the codings and the events; None and single files are passed over.
    """
    for place in places:
        owners: dict[tuple[int, int], Path] = {}  # by device and number of the file
        for clip in clips:
            if place is None or place.is_file() or (file := coding_of(place, clip)) is None:
                continue
            status = file.stat()
            owner = owners.setdefault((status.st_dev, status.st_ino), clip)
            if owner != clip:
                raise DatasetError(
                    f"{printable(file)} would belong to both {printable(owner)} and {printable(clip)}. "
                    "Give each clip a name of its own."
                )


def shared_gaps(codings: Path | None, track: str | None = None) -> str | None:
    """Return what an uncoded stretch means in every coding of a folder; None where `codings` is no folder of them.

    It is NOT_CODED where any of them has a neutral code, and "neutral" where none has. A coding with a fault says nothing
    here: its own session fails. `track` is that of `read_coding`.
    """
    if codings is None or not codings.is_dir():
        return None
    found = set()
    for path in filter(None, {coding_of(codings, each) for each in codings.iterdir()}):
        with suppress(DatasetError):
            found.add(read_coding(path, track).gaps)
    return NOT_CODED if NOT_CODED in found else next(iter(found), None)


def missing_codings(clip: Path, human: Path | None, events: Path | None) -> list[str]:
    """Return a sentence for each folder of codings or events that has no file for the clip, which may be a slip in a name."""
    return [
        f"{printable(place)} has no {kind} named {printable(clip.stem)} ({', '.join(READERS)})."
        for kind, place in {"coding": human, "table of events": events}.items()
        if place is not None and coding_of(place, clip) is None
    ]
