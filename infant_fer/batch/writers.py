"""How is the result of one file written? As rows of CSV, as an entry of JSON, or as a section of an HTML page."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from textwrap import indent
from typing import IO, TYPE_CHECKING, Any, TextIO

from infant_fer.errors import OutputError
from infant_fer.files import open_atomically, text_cell
from infant_fer.images import printable
from infant_fer.labels import ACTION_UNITS, AFFECTS

if TYPE_CHECKING:  # loads torch
    from infant_fer.report import FaceJSON, Report


BOX = ("left", "top", "right", "bottom")
TRUST = ("verdict", "prediction_set", "reasons", "steadiness")  # several labels or codes are joined by "|"
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
SECTIONS_IN_MEMORY = 32 * 2**20  # bytes of a page's sections; beyond them a temporary file is used
NO_FACE, UNREADABLE = "no face", "unreadable"


@dataclass(frozen=True)
class PhotoFile:
    """A file to read. `title` is its name in whatever is written, without the folders of this computer."""

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
        """Return the path as it was given, printable: for messages, while what is written has the file's title."""
        return printable(self.file.path)


@dataclass(frozen=True)
class Writer:
    """A format of the results. `entry` turns one result into plain data, in the process that has read the photo; `opened` is a
    context that opens a file and yields a function that writes one entry. It keeps what was written when it is interrupted.
    `explains` is True where an entry holds what a map says.
    """

    entry: Callable[[FileResult], Any]
    opened: Callable[[Path], AbstractContextManager[Callable[[Any], object]]]
    explains: bool = False


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
        return {"file": result.file.title, "faces": [], **error}
    return {"file": result.file.title, **result.report.to_dict(), **error}


@contextmanager
def _html_writer(path: Path) -> Iterator[Callable[[Sequence], object]]:
    """Write a page that starts with a summary; the photos' sections wait in a temporary file until all are there."""
    from markupsafe import Markup

    from infant_fer.report_html import report_document, summary_html
    from infant_fer.templates import render

    before, mark, after = report_document("<hr>").partition("<hr>")
    titles: dict[str, int] = {}
    summary: list[tuple[str, str | None, str]] = []

    def write(entry: Sequence) -> None:
        title, error, section, verdict, words = entry
        count = titles[title] = titles.get(title, 0) + 1
        title += f" ({count})" if count > 1 else ""
        summary.append((title, verdict, words))
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


def _html_entry(result: FileResult) -> tuple[str, str, str, str | None, str]:
    """Return title, error, section, and the first face's verdict and headline."""
    from infant_fer.report_html import headline, report_section

    section = str(report_section(result.report, compact=True)) if result.report else ""
    first = result.report.faces[0] if result.report and result.report.faces else None
    verdict, label = (first.assessment.verdict, first.assessment.label) if first else (None, None)
    words = headline(verdict, label, read=result.report is not None)
    return result.file.title, result.error, section, verdict, str(words)


@contextmanager
def csv_writer(opened: AbstractContextManager[IO]) -> Iterator[Callable[[list[list]], object]]:
    with opened as stream:
        writer = csv.writer(stream)

        def write_rows(rows: list[list]) -> None:
            writer.writerows([_no_formulas(row) for row in rows])
            stream.flush()

        write_rows([list(COLUMNS)])
        yield write_rows


@contextmanager
def standard_output() -> Iterator[TextIO]:
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
    """Return a row in which no text is a spreadsheet's formula; numbers stay as they are."""
    return [
        text_cell(cell) if name in TEXT_COLUMNS and isinstance(cell, str) else cell
        for name, cell in zip(COLUMNS, row, strict=True)
    ]


def _rows(result: FileResult) -> list[list]:
    if result.report is None or not result.report.faces:
        label = UNREADABLE if result.report is None else NO_FACE
        checkpoint = "" if result.report is None else result.report.checkpoint
        notes = result.error if result.report is None else ""
        row = dict.fromkeys(COLUMNS, "") | {
            "file": result.file.title,
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
    head = [result.file.title, face["number"], face["label"]]
    trust = face["assessment"]
    codes = (reason["code"] for reason in trust["reasons"])
    steady = trust["steadiness"]
    share = f"{steady['same'] / steady['n']:.4f}" if steady else ""
    judged = [trust["verdict"], "|".join(trust["prediction_set"]), "|".join(codes), share]
    units = face.get("action_units", {})
    strengths = [f"{units[unit]:.4f}" if unit in units else "" for unit in ACTION_UNITS]
    return [*head, *numbers, *extras, *face["box_xyxy"], notes, report.checkpoint, *judged, *strengths]


def csv_rows(result: FileResult) -> list[list]:
    """Return one file's rows of COLUMNS, as a spreadsheet may open them."""
    return [_no_formulas(row) for row in _rows(result)]


# Formats of the results by the name of their option.
WRITERS: dict[str, Writer] = {
    "json": Writer(json_entry, _json_writer, explains=True),
    "csv": Writer(_rows, lambda path: csv_writer(open_atomically(path, keep_partial=True))),
    "html": Writer(_html_entry, _html_writer, explains=True),
}
