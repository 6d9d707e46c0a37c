"""What is kept of a photo that was read? A small picture and the answer, in memory only; tables and reports of many."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from infant_fer.batch.writers import COLUMNS, FileResult, PhotoFile, csv_rows, json_entry
from infant_fer.classifier import Prediction
from infant_fer.drawing import close_up, draw_faces
from infant_fer.images import data_url
from infant_fer.labels import AFFECT_COLOURS, AFFECTS
from infant_fer.locales import translator
from infant_fer.report import Report
from infant_fer.report_html import answer_html, fault_html, headline, report_document, report_section, summary_html
from infant_fer.templates import render
from infant_fer.trust.assessment import Verdict
from infant_fer.trust.rules import without_choice
from infant_fer.ui.downloads import as_download

CARD_PX, CARD_QUALITY = 240, 72
NOTABLE = 0.1  # a smaller difference of two probabilities is not worth a sentence
FORMATS = ("csv", "json", "html")


@dataclass(frozen=True, eq=False)
class Reading:
    """One photo's answer without the photo. `picture` is a data: URL of the faces with their boxes; `source` is of source_of.

    `prediction` and `verdict` are those of the first face, None without one. `entries` has the photo's part of each of
    FORMATS, as batch.WRITERS takes it.
    """

    number: int
    title: str
    picture: str
    answer: str
    sentence: str
    prediction: Prediction | None
    verdict: Verdict | None
    label: str | None  # the one affect that the first face's answer names
    entries: dict[str, Any]
    source: str = ""

    @property
    def answered(self) -> Prediction | None:
        """Return the prediction that may be said; None without one, and where the gate withholds it."""
        return None if self.verdict == "cannot say" else self.prediction

    @property
    def headline(self) -> str:
        """Return the answer's headline, of the first face, in English."""
        return headline(self.verdict, self.label, read=bool(self.picture))


def reading_of(report: Report, number: int, language: str) -> Reading:
    """Return what is kept of a report; the photo's name is its file's, or "photo 3"."""
    title = report.photo.name or translator(language)("photo {number}", number=number)
    first = report.faces[0] if report.faces else None
    result = FileResult(PhotoFile(Path(title), title), report)
    return Reading(
        number,
        title,
        data_url(draw_faces(close_up(report, CARD_PX)), CARD_QUALITY),
        str(answer_html(replace(report, notes=without_choice(report.notes)), 1, language)),
        first.sentence_in(language) if first else "",
        first.prediction if first else None,
        first.assessment.verdict if first else None,
        first.assessment.label if first else None,
        _entries(result, language),
        source_of(report),
    )


def source_of(report: Report) -> str:
    """Return a digest that two reports share when the same checkpoint has read the same pixels."""
    digest = hashlib.blake2b(report.photo.rgb.tobytes(), digest_size=16)
    digest.update(f"{report.photo.rgb.shape} {report.checkpoint} {report.weights_sha256}".encode())
    return digest.hexdigest()


def unread(title: str, number: int, sentence: str, language: str) -> Reading:
    """Return the entry of a file that could not be read."""
    title = title or translator(language)("photo {number}", number=number)
    result = FileResult(PhotoFile(Path(title), title), None, sentence)
    return Reading(
        number, title, "", str(fault_html(sentence, language)), sentence, None, None, None, _entries(result, language)
    )


def _entries(result: FileResult, language: str) -> dict[str, Any]:
    section = report_section(result.report, 1, language, compact=True) if result.report else ""
    page = render("file.html.j2", language, title=result.file.title, error=result.error, section=section)
    return {"csv": csv_rows(result), "json": json_entry(result), "html": str(page)}


def card(reading: Reading, language: str) -> dict[str, Any]:
    """Return what the browser shows of a reading: its picture, words, and what the grid sorts and filters by."""
    _ = translator(language)
    answered, label = reading.answered, reading.label
    return {
        "number": reading.number,
        "title": reading.title,
        "picture": reading.picture,
        "headline": _(reading.headline),
        "verdict": reading.verdict or "none",
        "label": (label or "unclear") if answered else "none",
        "confidence": answered.probabilities[answered.label] if answered else 0.0,
        "colour": AFFECT_COLOURS[label] if answered and label else "",
        "sentence": reading.sentence,
    }


def opened_html(reading: Reading, has_file: bool, language: str) -> str:
    """Return one reading's picture and answer; where the browser `has_file`, with a button that opens it in the Photo tab."""
    explicable = has_file and bool(reading.picture)
    return str(render("opened.html.j2", language, reading=reading, explicable=explicable))


def comparison_html(first: Reading, second: Reading, language: str) -> str:
    """Return two readings side by side on the same scale, and their difference in words."""
    return str(
        render(
            "comparison.html.j2",
            language,
            readings=(first, second),
            affects=AFFECTS,
            colours=AFFECT_COLOURS,
            difference=_difference(first, second, language),
        )
    )


def _difference(first: Reading, second: Reading, language: str) -> str:
    _ = translator(language)
    one, other = first.answered, second.answered
    if one is None or other is None:
        withheld = [each.title for each in (first, second) if each.answered is None]
        return _("They cannot be compared: there is no answer for {titles}.", titles=", ".join(withheld))
    change = {affect: other.probabilities[affect] - one.probabilities[affect] for affect in AFFECTS}
    affect = max(change, key=lambda name: abs(change[name]))
    if abs(change[affect]) < NOTABLE:
        return _("Both look alike: no probability differs by more than {points} points.", points=round(NOTABLE * 100))
    more = {"affect": _(affect), "points": round(abs(change[affect]) * 100)}
    if change[affect] < 0:
        return _("The second looks less {affect} than the first, by {points} points of 100.", **more)
    return _("The second looks more {affect} than the first, by {points} points of 100.", **more)


def table(readings: Sequence[Reading], kind: str, language: str) -> dict[str, str]:
    """Return the readings as a download of one of FORMATS: name, media type, base64 bytes."""
    if kind == "csv":
        stream = io.StringIO()
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for reading in readings:
            writer.writerows(reading.entries["csv"])
        return as_download("readings.csv", "text/csv", stream.getvalue().encode())
    if kind == "json":
        text = json.dumps([reading.entries["json"] for reading in readings], indent=1, ensure_ascii=False)
        return as_download("readings.json", "application/json", text.encode())
    body = summary_html([(reading.title, reading.verdict, reading.headline) for reading in readings], language)
    sections = Markup("").join(Markup(reading.entries["html"]) for reading in readings)
    return as_download("readings-report.html", "text/html", report_document(body + sections, language).encode())
