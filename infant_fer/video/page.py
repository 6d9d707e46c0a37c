"""How is a timeline shown in a browser? One self-contained page: curves and bouts over time, tables, and the person's own video."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from infant_fer.labels import AFFECT_COLOURS, AFFECTS
from infant_fer.locales import translator
from infant_fer.report import LIMITS
from infant_fer.templates import render
from infant_fer.video.timeline import CANNOT_SAY, NOT_SEEN, STATES, FrameReading, PersonSummary, Timeline

if TYPE_CHECKING:
    from infant_fer.video.agreement import Agreement

POINTS = 2000  # of a curve; a longer clip is shown by the means of as many stretches
STATE_COLOURS = {**AFFECT_COLOURS, CANNOT_SAY: "#B8B8B8", NOT_SEEN: "#E6E6E6"}
MOMENT_WORDS = ("{time} s, person {number}: {label}", "smoothed")  # which the page's script fills in
TABLE_ROWS = 500  # intervals listed on the page; intervals.csv has all


def timeline_page(timeline: Timeline, agreement: Agreement | None = None, language: str = "en") -> Markup:
    """Return an HTML document that loads nothing; the reader may choose the clip from the computer to play along.

    `agreement` is what video.agreement.agreement returns; its disagreements are listed with links into the timeline.
    """
    numbers, _ = list(timeline.persons), translator(language)
    data = {
        "duration": round(timeline.duration_s, 3),
        "fps": round(timeline.fps, 3),
        "affects": list(AFFECTS),
        "words": {name: _(name) for name in STATES} | {text: _(text) for text in MOMENT_WORDS},
        "colours": STATE_COLOURS,
        "events": [[each.onset_s, each.offset_s, each.label] for each in timeline.events],
        "persons": [
            {"number": number, "bouts": _bouts(timeline, number), "curve": _curve(timeline, number)}
            for number in numbers
        ],
    }
    return render(
        "timeline.html.j2",
        language,
        title=_("Expression over time"),
        code=language,
        style=render("report_page.css"),
        source=timeline.source,
        summary=timeline.summary,
        persons=[(each, _share_bars(each)) for each in timeline.summary["persons"]],
        intervals=timeline.intervals[:TABLE_ROWS],
        left_out=max(0, len(timeline.intervals) - TABLE_ROWS),
        colours=STATE_COLOURS,
        affects=AFFECTS,
        limits=LIMITS,
        agreement=agreement,
        data=data,
    )


def _bouts(timeline: Timeline, person: int) -> list[list]:
    return [
        [round(each.onset_s, 3), round(each.offset_s, 3), each.label, each.confidence and round(each.confidence, 3)]
        for each in timeline.intervals
        if each.person == person
    ]


def _share_bars(person: PersonSummary) -> list[tuple[str, float]]:
    return [(affect, 100 * person["time_share"][affect]) for affect in AFFECTS]


def _curve(timeline: Timeline, person: int) -> dict[str, list]:
    """Return times and smoothed probabilities of a person, at most POINTS; None where no face was seen or the gate declined."""
    readings = [reading for reading in timeline.frames if reading.person == person]
    times = np.array([reading.time_s for reading in readings])
    values = np.array([_smoothed(reading) for reading in readings]).reshape(-1, len(AFFECTS))
    if len(times) > POINTS:
        edges = np.linspace(0, len(times), POINTS + 1).astype(int)
        pairs = list(pairwise(edges.tolist()))
        times = np.array([times[start:end].mean() for start, end in pairs])
        values = np.array([_mean(values[start:end]) for start, end in pairs])
    rounded = [[None if np.isnan(value) else round(float(value), 3) for value in column] for column in values.T]
    return {"times": [round(float(time), 3) for time in times], "values": rounded}


def _smoothed(reading: FrameReading) -> list[float]:
    return [np.nan if reading.smoothed is None else reading.smoothed[affect] for affect in AFFECTS]


def _mean(rows: np.ndarray) -> np.ndarray:
    present = rows[~np.isnan(rows).any(1)]
    return present.mean(0) if len(present) else np.full(rows.shape[1], np.nan)
