"""Read photos from the shell: `python -m infant_fer PHOTO_OR_FOLDER... [--json OUT] [--csv OUT] [--html OUT]`."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from infant_fer.errors import ImageError, InfantFERError
from infant_fer.images import PHOTO_SUFFIXES
from infant_fer.labels import AFFECTS

BOX = ("left", "top", "right", "bottom")
COLUMNS = ("file", "face", "label", *AFFECTS, "valence", "arousal", "usable", *BOX, "notes", "checkpoint")
NO_FACE, UNREADABLE = "no face", "unreadable"


@dataclass(frozen=True, eq=False)
class FileResult:
    """One file's report, or the reason why it could not be read."""

    file: str
    report: object | None
    error: str = ""


Write = Callable[[FileResult], object]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 unless nothing could be read (1) or the command itself is wrong (2)."""
    options = _parser().parse_args(arguments)
    files = list(_photo_files(options.photos))
    if not files:
        print(f"No photo was found in: {', '.join(options.photos)}.", file=sys.stderr)
        return 1
    try:
        return 0 if _read_all(files, options) else 1
    except InfantFERError as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m infant_fer", description="What do the expressions in these photos look like?"
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTO_OR_FOLDER", help="photos, or folders searched for photos")
    parser.add_argument("--json", metavar="OUT", type=Path, help="write every report as JSON")
    parser.add_argument("--csv", metavar="OUT", type=Path, help="write one row a face as CSV")
    parser.add_argument("--html", metavar="OUT", type=Path, help="write one self-contained page (it shows the photos)")
    parser.add_argument("--explain", action="store_true", help="also compute the SmoothGrad map of face 1 (50 samples)")
    parser.add_argument("--checkpoint", metavar="C", help="folder or Hub id; default: the embedded checkpoint")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")
    return parser


def _photo_files(sources: Sequence[str]) -> Iterator[Path]:
    """Files as given, and the photos of folders in the order of their names."""
    for source in map(Path, sources):
        if source.is_dir():
            yield from sorted(
                path for path in source.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file()
            )
        else:
            yield source


def _analyzer(options: argparse.Namespace):
    from infant_fer.analyzer import Analyzer  # torch takes seconds; --help and a wrong path should not wait for it

    return Analyzer.from_pretrained(options.checkpoint, device=options.device)


def _read_all(files: list[Path], options: argparse.Namespace) -> int:
    """Write every result at once, so that its photo can be forgotten; gives the number of files that could be read."""
    analyzer = _analyzer(options)
    n_read = 0
    with ExitStack() as stack:
        writes = [stack.enter_context(output) for output in _outputs(options)]
        for path in tqdm(files, unit="photo", disable=None, file=sys.stderr):
            result = _analyzed(analyzer, path, options.explain)
            n_read += result.report is not None
            with tqdm.external_write_mode():  # the bar makes way for rows on the screen
                for write in writes:
                    write(result)
    return n_read


def _analyzed(analyzer, path: Path, explain: bool) -> FileResult:
    try:
        report = analyzer.analyze(path)
    except ImageError as error:
        tqdm.write(f"{path}: {error}", file=sys.stderr)
        return FileResult(str(path), None, str(error))
    return FileResult(str(path), analyzer.explain(report) if explain and report.faces else report)


def _outputs(options: argparse.Namespace) -> Iterator[AbstractContextManager[Write]]:
    """The outputs asked for, CSV on the screen when none is; each opens its file when it is entered."""
    if options.json:
        yield _json_output(options.json)
    if options.html:
        yield _html_output(options.html)
    if options.csv or not (options.json or options.html):
        yield _csv_output(options.csv)


def _opened(path: Path) -> TextIO:
    try:
        return path.open("w", newline="", encoding="utf-8")
    except OSError as error:
        raise InfantFERError(f"{path} cannot be written: {error.strerror}.") from None


@contextmanager
def _json_output(path: Path) -> Iterator[Write]:
    entries = []
    with _opened(path) as stream:
        yield lambda result: entries.append(_json_entry(result))
        json.dump(entries, stream, indent=1, ensure_ascii=False)


def _json_entry(result: FileResult) -> dict:
    if result.report is None:
        return {"file": result.file, "faces": [], "error": result.error}
    return {"file": result.file, **result.report.to_dict()}


@contextmanager
def _html_output(path: Path) -> Iterator[Write]:
    from infant_fer.report_html import TITLE, document, report_section

    before, rule, after = document(TITLE, "<hr>").partition("<hr>")

    def write(result: FileResult) -> None:
        answer = report_section(result.report) if result.report else f"<p>{escape(result.error)}</p>"
        stream.write(f"{rule}<h2>{escape(result.file)}</h2>{answer}")

    with _opened(path) as stream:
        stream.write(before)
        yield write
        stream.write(after)


@contextmanager
def _csv_output(path: Path | None) -> Iterator[Write]:
    with _opened(path) if path else nullcontext(sys.stdout) as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        yield lambda result: writer.writerows(_rows(result))


def _rows(result: FileResult) -> list[list]:
    if result.report is None or not result.report.faces:
        label = UNREADABLE if result.report is None else NO_FACE
        checkpoint = "" if result.report is None else result.report.checkpoint
        return [[result.file, "", label] + [""] * (len(COLUMNS) - 4) + [checkpoint]]
    return [_face_row(result, face) for face in result.report.to_dict()["faces"]]


def _face_row(result: FileResult, face: dict) -> list:
    numbers = [f"{face['probabilities'][affect]:.6f}" for affect in AFFECTS]
    extras = ["" if face.get(name) is None else f"{face[name]:.4f}" for name in ("valence", "arousal", "usable")]
    notes = " ".join((*face["notes"], *result.report.notes))
    return [
        result.file,
        face["number"],
        face["label"],
        *numbers,
        *extras,
        *face["box_xyxy"],
        notes,
        result.report.checkpoint,
    ]


if __name__ == "__main__":
    sys.exit(main())
