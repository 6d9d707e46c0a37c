"""How are many photos read? Lists files, analyzes each in one or more processes, and writes the results as CSV, JSON and HTML."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import SpooledTemporaryFile
from textwrap import indent
from typing import IO, TYPE_CHECKING, Any, TextIO

from tqdm import tqdm

from infant_fer.errors import ImageError, InfantFERError, OutputError
from infant_fer.files import check_output_file, open_atomically
from infant_fer.images import PHOTO_SUFFIXES, printable
from infant_fer.labels import ACTION_UNITS, AFFECTS
from infant_fer.workers import Job, spread
from infant_fer.workers.journal import SUFFIX, Journal, file_key, open_journal

if TYPE_CHECKING:  # both load torch
    from infant_fer.analyzer import Analyzer
    from infant_fer.report import FaceJSON, Report

BOX = ("left", "top", "right", "bottom")
TRUST = ("verdict", "prediction_set", "reasons")  # several labels or codes are joined by "|"
COLUMNS: tuple[str, ...] = (
    "file",
    "face",
    "label",
    *AFFECTS,
    "valence",
    "arousal",
    "usable",
    *BOX,
    "notes",
    "checkpoint",
    *TRUST,
)
COLUMNS += ACTION_UNITS  # empty where the checkpoint has no such head
TEXT_COLUMNS = ("file", "label", "notes", "checkpoint")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
SECTIONS_IN_MEMORY = 32 * 2**20  # bytes of a page's sections; beyond them a temporary file is used
NO_FACE, UNREADABLE = "no face", "unreadable"


@dataclass(frozen=True)
class PhotoFile:
    """A file to read. `title` is its name on pages, without the folders of this computer."""

    path: Path
    title: str
    fault: str = ""  # why it cannot be read, when that is known already


@dataclass(frozen=True, eq=False)
class FileResult:
    """One file's report, or the reason why there is none; a report with an `error` lacks its explanation."""

    file: PhotoFile
    report: Report | None
    error: str = ""

    @property
    def name(self) -> str:
        """Return the path as it was given, printable."""
        return printable(self.file.path)


@dataclass(frozen=True)
class Writer:
    """A format of the results. `entry` turns one result into plain data, in the process that has read the photo; `opened` is a
    context that opens a file and yields a function that writes one entry. It keeps what was written when it is interrupted.
    """

    entry: Callable[[FileResult], Any]
    opened: Callable[[Path], AbstractContextManager[Callable[[Any], object]]]


@dataclass(frozen=True)
class ReadSettings:
    """How files are read. `workers` are processes of one thread, or, with `cluster`, the CPUs of a Ray cluster.

    With `resume` a journal is kept beside the first output, and a later run of the same command continues from it.
    """

    explain: bool = False
    workers: int = 1
    cluster: str | None = None
    resume: bool = False
    checkpoint: str | None = None  # a journal of another one is refused
    steadiness: bool = False  # of face 1, which takes longer than the reading


@dataclass(frozen=True)
class FileEntries:
    """What is kept of one file: its name, whether it could be read, why not, and its entry in each format."""

    name: str
    is_read: bool
    error: str
    entries: dict[str, Any]


def photo_files(sources: Iterable[str | Path]) -> list[PhotoFile]:
    """List the files as given, and the photos of folders in the order of their names; hidden files are left out.

    A folder that cannot be opened is an entry with its fault.
    """
    found = []
    for source in sources:
        if os.path.isdir(source):  # False, not an error, for a name that is too long
            found += sorted(_photos_in(Path(source)), key=lambda file: file.path)
        else:
            found.append(PhotoFile(Path(source), printable(os.path.basename(source))))
    return found


def _photos_in(folder: Path) -> Iterator[PhotoFile]:
    faults: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=faults.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(place, name) for name in names if not name.startswith(".")):
            if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file():
                yield PhotoFile(path, printable(path.relative_to(folder)))
    for fault in faults:
        path = Path(os.fsdecode(fault.filename))
        yield PhotoFile(path, printable(path.name), f"The folder could not be opened: {fault.strerror}.")


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
    for path in outputs.values():
        check_output_file(path, [file.path for file in files])
    if len({path.resolve() for path in outputs.values()}) < len(outputs):
        raise OutputError("Two outputs have the same name. Give each its own.")
    formats = tuple(outputs) or ("csv",)
    job = Job(load, partial(_read_entries, formats, settings), partial(_lost, formats))
    n_read = 0
    with ExitStack() as stack:
        journal = stack.enter_context(_journal(outputs, settings))
        keys = [file_key(file.path) for file in files]  # once: a file may change while others are read
        missing = [file for file, key in zip(files, keys, strict=True) if key not in journal]
        results = spread(job, missing, min(settings.workers, len(missing)), settings.cluster) if missing else iter(())
        results = stack.enter_context(closing(_with_first(results)))
        opened = [WRITERS[name].opened(path) for name, path in outputs.items()] or [_csv_writer(_standard_output())]
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
    options = [settings.explain, settings.checkpoint, settings.steadiness]
    about = json.dumps([{name: str(each) for name, each in outputs.items()}, *options])
    return open_journal(path and path.with_name(path.name + SUFFIX), about)


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


@contextmanager
def _json_writer(path: Path) -> Iterator[Callable[[dict], object]]:
    """Write a list of entries one by one, with the text that json.dump(..., indent=1) gives."""
    before = "[\n"

    def write(entry: dict) -> None:
        nonlocal before
        stream.write(before + indent(json.dumps(entry, indent=1, ensure_ascii=False), " "))
        before = ",\n"

    with open_atomically(path, keep_partial=True) as stream:
        try:
            yield write
        finally:
            stream.write("[]" if before == "[\n" else "\n]")


def json_entry(result: FileResult) -> dict:
    """Return one file's entry of the JSON list."""
    error = {"error": result.error} if result.error else {}
    if result.report is None:
        return {"file": result.name, "faces": [], **error}
    return {"file": result.name, **result.report.to_dict(), **error}


@contextmanager
def _html_writer(path: Path) -> Iterator[Callable[[Sequence], object]]:
    """Write a page that starts with a summary; the photos' sections wait in a temporary file until all are there."""
    from markupsafe import Markup

    from infant_fer.report_html import report_document, summary_html
    from infant_fer.templates import render

    before, mark, after = report_document("<hr>").partition("<hr>")
    titles: dict[str, int] = {}
    summary: list[tuple[str, str | None, str | None]] = []

    def write(entry: Sequence) -> None:
        title, error, section, verdict, label = entry
        count = titles[title] = titles.get(title, 0) + 1
        title += f" ({count})" if count > 1 else ""
        summary.append((title, verdict, label))
        sections.write(mark + render("file.html.j2", title=title, error=error, section=Markup(section)))

    with (
        open_atomically(path, keep_partial=True) as stream,
        SpooledTemporaryFile(SECTIONS_IN_MEMORY, "w+", encoding="utf-8") as sections,
    ):
        try:
            yield write
        finally:
            stream.write(before + summary_html(summary))
            sections.seek(0)
            shutil.copyfileobj(sections, stream)
            stream.write(after)


def _html_entry(result: FileResult) -> tuple[str, str, str, str | None, str | None]:
    """Return title, error, section, and the first face's verdict and label."""
    from infant_fer.report_html import report_section

    section = str(report_section(result.report, compact=True)) if result.report else ""
    first = result.report.faces[0] if result.report and result.report.faces else None
    verdict, label = (first.assessment.verdict, first.prediction.label) if first else (None, None)
    return result.file.title, result.error, section, verdict, label


@contextmanager
def _csv_writer(opened: AbstractContextManager[IO]) -> Iterator[Callable[[list[list]], object]]:
    with opened as stream:
        writer = csv.writer(stream)

        def write_rows(rows: list[list]) -> None:
            writer.writerows([_no_formulas(row) for row in rows])
            stream.flush()

        write_rows([list(COLUMNS)])
        yield write_rows


@contextmanager
def _standard_output() -> Iterator[TextIO]:
    """Open the standard output without converting line ends; what its encoding lacks is written as \\xNN or \\uNNNN."""
    if hasattr(sys.stdout, "reconfigure"):  # not so in a notebook
        sys.stdout.reconfigure(newline="", errors="backslashreplace")
    try:
        yield sys.stdout
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"The standard output cannot be written: {error.strerror}.") from error


def _no_formulas(row: Sequence) -> list:
    """Return a row in which no text starts like a spreadsheet's formula: such a cell gets an apostrophe in front."""
    return [
        f"'{cell}" if name in TEXT_COLUMNS and str(cell).startswith(FORMULA_STARTS) else cell
        for name, cell in zip(COLUMNS, row, strict=True)
    ]


def _rows(result: FileResult) -> list[list]:
    if result.report is None or not result.report.faces:
        label = UNREADABLE if result.report is None else NO_FACE
        checkpoint = "" if result.report is None else result.report.checkpoint
        notes = result.error if result.report is None else ""
        row = dict.fromkeys(COLUMNS, "") | {
            "file": result.name,
            "label": label,
            "notes": notes,
            "checkpoint": checkpoint,
        }
        return [list(row.values())]
    return [_face_row(result, result.report, face) for face in result.report.to_dict()["faces"]]


def _face_row(result: FileResult, report: Report, face: FaceJSON) -> list:
    numbers = [f"{face['probabilities'][affect]:.6f}" for affect in AFFECTS]
    extras = ["" if face.get(name) is None else f"{face[name]:.4f}" for name in ("valence", "arousal", "usable")]
    notes = " ".join((*face["notes"], *report.notes, *([result.error] if result.error else [])))
    head = [result.name, face["number"], face["label"]]
    trust = face["assessment"]
    codes = (reason["code"] for reason in trust["reasons"])
    judged = [trust["verdict"], "|".join(trust["prediction_set"]), "|".join(codes)]
    units = face.get("action_units", {})
    strengths = [f"{units[unit]:.4f}" if unit in units else "" for unit in ACTION_UNITS]
    return [*head, *numbers, *extras, *face["box_xyxy"], notes, report.checkpoint, *judged, *strengths]


def csv_rows(result: FileResult) -> list[list]:
    """Return one file's rows of COLUMNS, as a spreadsheet may open them."""
    return [_no_formulas(row) for row in _rows(result)]


# Formats of the results by the name of their option.
WRITERS: dict[str, Writer] = {
    "json": Writer(json_entry, _json_writer),
    "csv": Writer(_rows, lambda path: _csv_writer(open_atomically(path, keep_partial=True))),
    "html": Writer(_html_entry, _html_writer),
}
