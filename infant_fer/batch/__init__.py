"""How are many photos read? Lists files, analyzes each in one or more processes, and has the results written."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from infant_fer import __version__
from infant_fer.batch.writers import COLUMNS, WRITERS, FileResult, PhotoFile, csv_writer, standard_output
from infant_fer.errors import ImageError, InfantFERError, OutputError
from infant_fer.files import check_distinct_outputs, check_output_file, files_in
from infant_fer.images import PHOTO_SUFFIXES, printable
from infant_fer.workers import Job, spread
from infant_fer.workers.jobs import one_torch_thread
from infant_fer.workers.journal import SUFFIX, Journal, file_key, open_journal

if TYPE_CHECKING:  # loads torch
    from infant_fer.analyzer import Analyzer


@dataclass(frozen=True)
class ReadSettings:
    """How files are read. `workers` are processes of one thread, or, with `cluster`, the CPUs of a Ray cluster.

    With `resume` a journal is kept beside the first output, and a later run of the same command continues from it.
    """

    explain: bool = False
    workers: int = 1
    cluster: str | None = None
    resume: bool = False
    checkpoint: str | None = None  # a journal of another one, or of other files in its folder, is refused
    steadiness: bool = False  # of face 1, which takes longer than the reading
    device: str = "auto"  # this and the precision are the analyzer's; a journal of others is refused
    precision: str = "auto"


@dataclass(frozen=True)
class FileEntries:
    """What is kept of one file: its path for messages, whether it could be read, why not, and its entry in each format."""

    name: str
    is_read: bool
    error: str
    entries: dict[str, Any]


def photo_files(sources: Iterable[str | Path]) -> list[PhotoFile]:
    """List the files as given, and the photos of folders in the order of their names; hidden files are left out.

    A folder that cannot be opened is an entry with its fault; a link that leads nowhere is an entry, too. Titles are names, of
    a folder's photos the paths below it; where several paths have the same title, as many of their folders as tell them apart
    stand in front.
    """
    found = []
    for source in sources:
        if os.path.isdir(source):  # False, not an error, for a name that is too long
            found += sorted(_photos_in(Path(source)), key=lambda file: file.path)
        else:
            found.append(PhotoFile(Path(source), printable(Path(source).name or source)))
    return _told_apart(found)


def _told_apart(files: list[PhotoFile]) -> list[PhotoFile]:
    paths: dict[str, set[str]] = {}
    for file in files:
        paths.setdefault(file.title, set()).add(os.path.abspath(file.path))
    longer = [_with_folder(file) if len(paths[file.title]) > 1 else file for file in files]
    return files if longer == files else _told_apart(longer)


def _with_folder(file: PhotoFile) -> PhotoFile:
    """Return the file with one more folder of its path in its title, as long as there is one."""
    count = len(Path(file.title).parts) + 1
    return replace(file, title=printable(Path(*file.path.parts[-count:])))


def _photos_in(folder: Path) -> Iterator[PhotoFile]:
    for found in files_in(folder, PHOTO_SUFFIXES):
        title = found.path.name if found.fault else found.path.relative_to(folder)
        yield PhotoFile(found.path, printable(title), found.fault)


def read_files(
    load: Callable[[], Analyzer],
    files: Sequence[PhotoFile],
    outputs: Mapping[str, Path],
    settings: ReadSettings = ReadSettings(),
) -> int:
    """Read every file and return how many could be read. Each result is written in the order of the files and freed.

    `outputs` are files by the name of their format in WRITERS; without any, CSV goes to the standard output. `load`
    returns the analyzer; it is called once the outputs are checked, in every worker, to which it is sent. A file that fails
    is a result with an error; the others are still read. When interrupted, results so far are kept, and earlier files stay:
    see `open_atomically`. Raises OutputError, ClusterError, and what `load` raises.
    """
    if settings.explain and not any(WRITERS[name].explains for name in outputs):
        raise OutputError("--explain needs --json or --html: the columns of CSV hold no map.")
    for path in outputs.values():
        check_output_file(path, [file.path for file in files])
    check_distinct_outputs(outputs.values())
    formats = tuple(outputs) or ("csv",)
    job = Job(load, partial(_read_entries, formats, settings), partial(_lost, formats))
    n_read = 0
    with ExitStack() as stack:
        journal = stack.enter_context(_journal(outputs, settings))
        # Once, for a file may change while others are read; with its title, which is what the outputs call it.
        keys = [f"{file_key(file.path)} {file.title}" for file in files]
        missing = [file for file, key in zip(files, keys, strict=True) if key not in journal]
        results = spread(job, missing, min(settings.workers, len(missing)), settings.cluster) if missing else iter(())
        results = stack.enter_context(closing(_with_first(results)))
        opened = [WRITERS[name].opened(path) for name, path in outputs.items()] or [csv_writer(standard_output())]
        writes = [stack.enter_context(writer) for writer in opened]
        for key in tqdm(keys, unit="photo", disable=None, file=sys.stderr):
            if key in journal:
                result = FileEntries(**journal.get(key))
            else:
                result = next(results)
                journal.add(key, asdict(result))
            n_read += result.is_read
            with tqdm.external_write_mode():  # the bar makes way for rows on the screen
                if result.error:
                    print(f"{result.name}: {result.error}", file=sys.stderr)
                for name, write in zip(formats, writes, strict=True):
                    write(result.entries[name])
        stack.pop_all().close()  # the outputs have their names before the journal goes
        journal.delete()
    return n_read


def _journal(outputs: Mapping[str, Path], settings: ReadSettings) -> AbstractContextManager[Journal]:
    if settings.resume and not outputs:
        raise OutputError("--resume needs a file to write: --csv, --json or --html.")
    path = next(iter(outputs.values())) if settings.resume else None
    files = sorted(_checkpoint_folder(settings.checkpoint).iterdir()) if path else []
    options = [settings.explain, settings.checkpoint, settings.steadiness, settings.device, settings.precision]
    about = json.dumps(
        [{name: str(each) for name, each in outputs.items()}, *options, __version__, COLUMNS, *map(file_key, files)]
    )
    return open_journal(path and path.with_name(path.name + SUFFIX), about)


def _checkpoint_folder(source: str | None) -> Path:
    """Return the folder whose files are read: one of the Hub is downloaded first. Raises CheckpointError."""
    from infant_fer.checkpoints.sources import local_path, resolve  # loads torch

    if source is not None and (folder := local_path(source)).is_dir():
        return folder
    return resolve(source).path


def _with_first(results: Iterator[FileEntries]) -> Generator[FileEntries]:
    """Return the same iterator with its first result read: what loading the analyzer raises comes before an output is opened."""
    first = list(islice(results, 1))

    def chained() -> Generator[FileEntries]:
        try:
            if first:
                yield first.pop()
            yield from results
        finally:
            if isinstance(results, Generator):
                results.close()

    return chained()


def _read_entries(formats: Sequence[str], settings: ReadSettings, analyzer: Analyzer, file: PhotoFile) -> FileEntries:
    return _entries(formats, _read(analyzer, file, settings))


def _lost(formats: Sequence[str], file: PhotoFile) -> FileEntries:
    return _entries(
        formats, FileResult(file, None, "The reading process died at this photo, perhaps for lack of memory.")
    )


def _entries(formats: Sequence[str], result: FileResult) -> FileEntries:
    entries = {name: WRITERS[name].entry(result) for name in formats}
    return FileEntries(result.name, result.report is not None, result.error, entries)


def _read(analyzer: Analyzer, file: PhotoFile, settings: ReadSettings) -> FileResult:
    if file.fault:
        return FileResult(file, None, file.fault)
    report = None
    try:
        with one_torch_thread():  # one face is too little work for two, which wait for each other; a map is not
            report = analyzer.analyze(file.path)
        if settings.steadiness and report.faces:
            report = analyzer.check_steadiness(report)
        return FileResult(file, analyzer.explain(report) if settings.explain and report.faces else report)
    except ImageError as error:
        return FileResult(file, None, str(error))
    except InfantFERError as error:
        return FileResult(file, report, str(error))
    except Exception as error:  # any library's, on this file alone: its row says so, and the others are still read
        return FileResult(file, report, f"Unexpected {type(error).__name__}: {error}")
