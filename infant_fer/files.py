"""How are a user's files found and written? Atomically, checked before the work, and never over other programs' files."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import IO

from infant_fer.errors import OutputError
from infant_fer.images import PHOTO_SUFFIXES

PICTURE_SUFFIXES = PHOTO_SUFFIXES | {".gif", ".bmp", ".tif", ".tiff"}  # of files that no report may replace
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomically(path: Path, data: str | bytes) -> None:
    """Write a whole file (text as UTF-8, line ends unchanged); on any failure an earlier file stays. Raises OutputError."""
    with open_atomically(path, "wb" if isinstance(data, bytes) else "w") as stream:
        stream.write(data)


def text_cell(text: str) -> str:
    """Return what a CSV file says for a text, which no spreadsheet takes for a formula: one that looks so gets an apostrophe."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


@contextmanager
def open_atomically(path: Path, mode: str = "w", keep_partial: bool = False) -> Iterator[IO]:
    """Open a file beside `path` that takes its name when the block ends; `mode` is "w" (UTF-8, line ends unchanged) or "wb".

    When the block raises, an earlier file stays as it was. What was written until then is deleted, or, with
    `keep_partial`, kept: as `path` when there is no earlier file, else in the folder as `path` with ".part" added.
    Raises OutputError when the file cannot be written, for example on a full disk.
    """
    path = Path(path)
    partial = path.with_name(f".{secrets.token_hex(8)}.part")  # short: `path` may have the longest name there is
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "")
    with _as_output_error(path):
        stream = partial.open(mode.replace("w", "x"), encoding=encoding, newline=newline)
    try:
        with _as_output_error(path, FULL), stream:  # any other OSError in the block may be of another file
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        with _as_output_error(path):
            if path.exists():
                shutil.copymode(path, partial)
            partial.replace(path)
    except BaseException:
        if keep_partial and partial.stat().st_size:
            partial.replace(path.with_name(path.name + ".part") if path.exists() else path)
        partial.unlink(missing_ok=True)
        raise


def check_output_file(path: Path, inputs: Iterable[Path] = (), picture: bool = False) -> None:
    """Raise OutputError, before any work, unless a file can be written at `path` without destroying other files.

    An earlier regular file may be replaced; a folder, link, device or one of the `inputs` may not, nor anything with a
    picture's suffix, except where a `picture` is written.
    """
    path = Path(path)
    with _as_output_error(path):
        if path.is_symlink():
            raise OutputError(f"{path} is a link. Give the file it points to, or another name.")
        if path.is_dir():
            raise OutputError(f"{path} is a folder. Give the name of a file in it.")
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is a device, not a file. Give the name of a file.")
        if path.suffix.lower() in PICTURE_SUFFIXES and not picture:
            raise OutputError(
                f"{path} has the name of a picture, which would be lost. Give another name for the output."
            )
        if path.exists() and any(Path(each).exists() and path.samefile(each) for each in inputs):
            raise OutputError(f"{path} is also an input, which would be lost. Give another name for the output.")
        _check_writable(path)


def check_distinct_outputs(paths: Iterable[Path]) -> None:
    """Raise OutputError where two outputs are one file: the second would replace the first."""
    files = [Path(path).resolve() for path in paths]
    if len(set(files)) < len(files):
        raise OutputError("Two outputs have the same name. Give each its own.")


def check_output_folder(path: Path, is_ours: Callable[[Path], bool] | None = None) -> None:
    """Raise OutputError, before any work, unless `path` is a new or empty folder, or one that `is_ours` recognises.

    `is_ours` is `is_own_checkpoint` by default. Never allowed: links, the home folder, the working folder and what
    is above it, and a folder that holds checkpoints.
    """
    path = Path(path)
    with _as_output_error(path):
        place = path.resolve()
        if path.is_symlink():
            raise OutputError(f"{path} is a link. Give the folder it points to, or another name.")
        if path.exists() and not path.is_dir():
            raise OutputError(f"{path} is a file. Give the name of a folder.")
        if place == Path.home().resolve() or place in (Path.cwd(), *Path.cwd().parents):
            raise OutputError(f"{path} holds more than this program's files. Give the name of a new folder in it.")
        if path.is_dir() and any(path.iterdir()):
            if any(is_own_checkpoint(child) for child in path.iterdir()):
                raise OutputError(f"{path} holds checkpoints. Give the name of a new folder in it.")
            if not (is_ours or is_own_checkpoint)(path):
                raise OutputError(f"{path} holds files that this program did not write. Give the name of a new folder.")
        _check_writable(path / "file" if path.is_dir() else path, make_folders=True)


def is_own_checkpoint(folder: Path) -> bool:
    """Tell whether a folder holds a checkpoint that this program has trained: `face_crop` in its config and metrics.json."""
    if not (folder / "metrics.json").is_file():
        return False
    try:
        return "face_crop" in json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def replace_folder(partial: Path, final: Path, own_files: Iterable[str]) -> None:
    """Give the complete folder `partial` the name `final`; of an earlier `final` only `own_files` are replaced.

    `own_files` are names or patterns (as "model*.safetensors") at the folder's top; everything else in an earlier
    `final` is moved into the new one. The earlier folder is `.NAME.earlier` meanwhile; what a killed replacement left there
    is put back by the next one. Both folders are on one file system. Raises OutputError.
    """
    own = tuple(own_files)
    with _as_output_error(final):
        earlier = final.with_name(f".{final.name}.earlier")
        if earlier.exists() and not final.exists():  # an earlier replacement was killed between its two renames
            earlier.replace(final)
        if earlier.exists():
            _move_foreign(earlier, final, own)
        if not final.exists():
            final.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(final)
            return
        final.replace(earlier)
        try:
            partial.replace(final)
        except BaseException:
            earlier.replace(final)
            raise
        _move_foreign(earlier, final, own)


@contextmanager
def filled_folder(final: Path, own_files: Callable[[Path], Iterable[str]]) -> Iterator[Path]:
    """Give the block a new folder to fill, which then takes the name `final`; a block that raises leaves the earlier one as it was.

    Of an earlier `final` only `own_files(the filled folder)` are replaced, see `replace_folder`. Where a folder cannot be
    renamed, as the root of a mounted disk, its files are replaced one by one. Raises OutputError.
    """
    fixed = final.is_dir() and (os.path.ismount(final) or not os.access(final.parent, os.W_OK))
    partial = (final if fixed else final.parent) / f".{secrets.token_hex(8)}.part"
    try:
        with _as_output_error(final):
            partial.mkdir(parents=True)
        yield partial
        with _as_output_error(final):
            for file in filter(
                Path.is_file, partial.rglob("*")
            ):  # some writers make files readable by their owner alone
                file.chmod(partial.stat().st_mode & 0o666)
        (_replace_files if fixed else replace_folder)(partial, final, own_files(partial))
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # it has another name when all went well


def _replace_files(partial: Path, final: Path, own_files: Iterable[str]) -> None:
    """Delete the `own_files` of `final` and move the files of `partial`, a folder in it, in their place. Raises OutputError."""
    own = tuple(own_files)
    with _as_output_error(final):
        for entry in partial.iterdir():
            if (final / entry.name).exists() and not _is_named(entry, own):
                raise OutputError(f"{final} keeps another program's {entry.name}. Give the name of a new folder in it.")
        for entry in [each for each in final.iterdir() if each != partial and _is_named(each, own)]:
            _delete(entry)
        for entry in list(partial.iterdir()):
            entry.replace(final / entry.name)


def _is_named(entry: Path, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(entry.name, pattern) for pattern in patterns)


def _delete(entry: Path) -> None:
    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _move_foreign(earlier: Path, final: Path, own: tuple[str, ...]) -> None:
    """Delete the `own` files of `earlier`, move all others into `final`, and remove `earlier`."""
    for entry in list(earlier.iterdir()):
        if _is_named(entry, own):
            _delete(entry)
        elif not (final / entry.name).exists():
            entry.replace(final / entry.name)
    if any(earlier.iterdir()):
        raise OutputError(f"{earlier} keeps files of the earlier {final.name} whose names are taken by new ones.")
    earlier.rmdir()


def _check_writable(path: Path, make_folders: bool = False) -> None:
    """Write one byte beside `path` and delete it: permissions alone say nothing of read-only or full file systems."""
    parent = path.parent
    while make_folders and not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"{path} cannot be written: there is no folder {parent}.")
    with suppress(FileNotFoundError):
        path.lstat()  # raises for a name that is too long
    probe = parent / f".{secrets.token_hex(8)}.part"
    try:
        probe.write_bytes(b"0")
    finally:
        probe.unlink(missing_ok=True)


@contextmanager
def _as_output_error(path: Path, numbers: tuple[int, ...] = ()) -> Iterator[None]:
    """Convert an OSError (with `numbers`, only one of these) into an OutputError of one sentence."""
    try:
        yield
    except OSError as error:
        if numbers and error.errno not in numbers:
            raise
        advice = " Free some space and start again." if error.errno == errno.ENOSPC else ""
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.{advice}") from error


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
