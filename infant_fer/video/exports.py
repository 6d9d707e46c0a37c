"""How is a timeline written? Tables, the files of ELAN, Datavyu, BORIS and BIDS, subtitles, a page, a summary."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from infant_fer.files import open_atomically, write_atomically
from infant_fer.labels import AFFECTS
from infant_fer.video.timeline import CANNOT_SAY, NOT_SEEN, STATES, FrameReading, Interval, Timeline

FRAME_COLUMNS = ("time_s", "person", "seen", "left", "top", "right", "bottom", "label", *AFFECTS, "valence", "arousal", "verdict",
                 *(f"{affect}_smoothed" for affect in AFFECTS), "yaw", "pitch", "roll", "infant")  # fmt: skip
INTERVAL_COLUMNS = ("onset_s", "offset_s", "person", "label", "confidence", "seen_share")
# Datavyu: the column and code of the PLAY project's emotion coding (github.com/databrary/PLAY-Project-Datavyu-scripts).
PLAY_COLUMN, PLAY_CODE = "childemo", "emotion_pn"
PLAY_CODES = {"positive": "p", "negative": "n", NOT_SEEN: ".", CANNOT_SAY: "."}  # neutral is not coded there
# BORIS: the columns of its "tabular events" export; the behaviours have a start and a stop.
BORIS_COLUMNS = ("Observation id", "Observation date", "Description", "Observation duration", "Observation type", "Source",
                 "Time offset (s)", "Media duration (s)", "FPS", "Subject", "Behavior", "Behavioral category", "Behavior type",
                 "Time", "Media file name", "Image index", "Image file path", "Comment")  # fmt: skip
NO_DATE = "1970-01-01T00:00:00+00:00"  # where a format wants one: the same clip gives the same bytes
MEDIA_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm",
               ".mkv": "video/x-matroska", ".avi": "video/x-msvideo"}  # fmt: skip
EMPTY = "n/a"  # BIDS's word for a missing value
BIDS_SIDECAR = {
    "onset": {"Description": "Start of the interval from the start of the clip", "Units": "s"},
    "duration": {"Description": "Length of the interval", "Units": "s"},
    "trial_type": {
        "Description": "What the expression looks like to the model, or a phase of the session",
        "Levels": {
            "positive": "The expression looks positive",
            "neutral": "The expression looks neutral",
            "negative": "The expression looks negative",
            CANNOT_SAY: "A face was seen, but the model declines to name an affect",
            NOT_SEEN: "No face was seen",
        },
    },
    "person": {"Description": "Number of the person in the clip, from 1"},
    "confidence": {"Description": "Mean probability of the label over the frames read, 0 to 1"},
    "seen_share": {"Description": "Share of the interval in which the face was seen, 0 to 1"},
}


def export(timeline: Timeline, folder: Path, names: Collection[str] | None = None) -> list[Path]:
    """Write a timeline in the formats of EXPORTERS (default: all) into an existing folder and return the files.

    Every file is written atomically. Raises OutputError.
    """
    stem = safe_stem(timeline.source)
    files = []
    for name in EXPORTERS if names is None else names:
        path = folder / name.format(stem=stem)
        EXPORTERS[name](timeline, path)
        files.append(path)
    return files


def safe_stem(source: str) -> str:
    """Return the clip's name without folder, suffix and dots at its start; control characters are blanks; at most 200 bytes."""
    stem = re.sub(r"[\x00-\x1f\x7f/\\]", " ", Path(source).stem).lstrip(". ")
    return stem.encode("utf-8", "surrogateescape")[:200].decode("utf-8", "ignore").strip() or "clip"


# --- tables -------------------------------------------------------------------------------------------------------------


def frames_csv(timeline: Timeline, path: Path) -> None:
    """Write one row per sampled frame and person in FRAME_COLUMNS, then one column an action unit; empty where unknown."""
    units = _unit_names(timeline)
    with open_atomically(path) as stream:
        rows = csv.writer(stream)
        rows.writerow((*FRAME_COLUMNS, *units))
        rows.writerows([_cell(value) for value in _frame_values(reading, units)] for reading in timeline.frames)


def frames_parquet(timeline: Timeline, path: Path) -> None:
    """Write the same table as Parquet, with types; `seen` is a boolean."""
    import pyarrow
    from pyarrow import parquet

    units = _unit_names(timeline)
    columns: list[list] = [[] for _ in (*FRAME_COLUMNS, *units)]
    for reading in timeline.frames:
        for column, value in zip(columns, _frame_values(reading, units), strict=True):
            column.append(value)
    kinds = {"person": pyarrow.int32(), "seen": pyarrow.bool_(), "label": pyarrow.string(), "verdict": pyarrow.string()}
    arrays = {
        name: pyarrow.array(values, kinds.get(name, pyarrow.float64()))
        for name, values in zip((*FRAME_COLUMNS, *units), columns, strict=True)
    }
    with open_atomically(path, "wb") as stream:
        parquet.write_table(pyarrow.table(arrays), stream)


def intervals_csv(timeline: Timeline, path: Path) -> None:
    """Write one row per interval in INTERVAL_COLUMNS."""
    with open_atomically(path) as stream:
        rows = csv.writer(stream)
        rows.writerow(INTERVAL_COLUMNS)
        for each in timeline.intervals:
            times = (f"{each.onset_s:.3f}", f"{each.offset_s:.3f}")
            rows.writerow((*times, each.person, each.label, _cell(each.confidence), _cell(each.seen_share)))


def summary_json(timeline: Timeline, path: Path) -> None:
    """Write the summary."""
    write_atomically(path, json.dumps(timeline.summary, indent=1, ensure_ascii=False))


def _unit_names(timeline: Timeline) -> tuple[str, ...]:
    names = getattr(timeline.frames, "action_units", None)
    if names is None:
        names = dict.fromkeys(name for reading in timeline.frames for name in reading.action_units or {})
    return tuple(names)


def _frame_values(reading: FrameReading, units: Iterable[str]) -> list:
    box = reading.box_xyxy or (None,) * 4
    pose = reading.pose
    angles = (pose.yaw, pose.pitch, pose.roll) if pose else (None,) * 3
    return [
        reading.time_s, reading.person, reading.seen, *box, reading.label,
        *((reading.probabilities or {}).get(affect) for affect in AFFECTS), reading.valence, reading.arousal, reading.verdict,
        *((reading.smoothed or {}).get(affect) for affect in AFFECTS), *angles, reading.infant,
        *((reading.action_units or {}).get(name) for name in units),
    ]  # fmt: skip


def _cell(value: object) -> object:
    """Return a cell: nothing for None, 1 and 0 for booleans, four decimals for numbers."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return int(value)
    return f"{value:.4f}" if isinstance(value, float) else value


# --- coding tools -------------------------------------------------------------------------------------------------------


def elan(timeline: Timeline, path: Path) -> None:
    """Write an ELAN file (.eaf): a tier of affects for each person under a controlled vocabulary, and the events.

    Annotations of one ELAN tier cannot overlap, so events that do lie on further tiers.
    """
    from xml.etree import ElementTree

    from pympi.Elan import Eaf, to_adocument

    document = Eaf(author="infant_fer")
    document.remove_tier("default")
    document.adocument["DATE"] = NO_DATE
    suffix = Path(timeline.source).suffix
    name = safe_stem(timeline.source) + _one_line(suffix)
    document.add_linked_file(f"file:///{name}", f"./{name}", MEDIA_TYPES.get(suffix.lower(), "video/mp4"))
    document.add_controlled_vocabulary("affect")
    document.add_language("eng")
    document.add_cv_description("affect", "eng", "What the expression looks like")
    for number, state in enumerate(STATES):
        document.add_cv_entry("affect", f"cve{number}", [(state, "eng", state)])
    document.add_linguistic_type("affect")
    document.linguistic_types["affect"]["CONTROLLED_VOCABULARY_REF"] = "affect"
    document.add_linguistic_type("event")
    for person in timeline.persons:
        document.add_tier(tier_name(person), "affect")
    for each in timeline.intervals:
        start, end = _milliseconds(each)
        document.add_annotation(tier_name(each.person), start, end, each.label)
    ends: list[int] = []  # of the last event on each tier
    for event in sorted(timeline.events, key=lambda event: event.onset_s):
        start = round(event.onset_s * 1000)
        end = max(start + 1, start if event.offset_s is None else round(event.offset_s * 1000))
        place = next((number for number, before in enumerate(ends) if before <= start), len(ends))
        tier = "events" if place == 0 else f"events {place + 1}"
        if place == len(ends):
            document.add_tier(tier, "event")
            ends.append(0)
        ends[place] = end
        document.add_annotation(tier, start, end, event.label)
    text = ElementTree.tostring(to_adocument(document, True), encoding="UTF-8", xml_declaration=True)
    write_atomically(path, text)


def tier_name(person: int) -> str:
    """Return the name of a person's tier or subject."""
    return f"person {person}"


def datavyu(timeline: Timeline, path: Path) -> None:
    """Write a Datavyu file (.opf) whose cells are coded as in PLAY, and with every state in a column for each person.

    PLAY_COLUMN is of `timeline.infant`; neutral stretches have no cell there. The columns "personN" hold all states with
    their mean probability and the share of frames seen.
    """
    lines = ["#4"]
    infant = [each for each in timeline.intervals if each.person == timeline.infant and each.label in PLAY_CODES]
    lines.append(f"{PLAY_COLUMN} (MATRIX,true,)-{PLAY_CODE}|NOMINAL")
    lines += [_datavyu_cell(each, PLAY_CODES[each.label]) for each in infant]
    for person in timeline.persons:
        lines.append(f"person{person} (MATRIX,true,)-affect|NOMINAL,confidence|NOMINAL,seen|NOMINAL")
        for each in (each for each in timeline.intervals if each.person == person):
            confidence = "" if each.confidence is None else f"{each.confidence:.3f}"
            lines.append(_datavyu_cell(each, each.label, confidence, f"{each.seen_share:.3f}"))
    if timeline.events:
        lines.append("events (MATRIX,true,)-event|NOMINAL")
    for event in timeline.events:
        end = event.onset_s if event.offset_s is None else event.offset_s
        times = (_datavyu_time(round(event.onset_s * 1000)), _datavyu_time(round(end * 1000)))
        lines.append(f"{times[0]},{times[1]},({_escaped(event.label)})")
    name = json.dumps(safe_stem(timeline.source), ensure_ascii=False)  # a JSON string is one in YAML
    project = f"!project\ndbFile: db\nname: {name}\norigpath: ''\nversion: 5\nviewerSettings: []\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # ZipInfo's own date is 1980, so that equal clips give equal bytes
        for member, text in (("db", "\n".join(lines) + "\n"), ("project", project)):
            archive.writestr(zipfile.ZipInfo(member), text.encode(), zipfile.ZIP_DEFLATED)
    write_atomically(path, buffer.getvalue())


def _datavyu_cell(interval: Interval, *codes: str) -> str:
    start, end = _milliseconds(interval)
    return f"{_datavyu_time(start)},{_datavyu_time(end)},({','.join(map(_escaped, codes))})"


def _datavyu_time(milliseconds: int) -> str:
    """Return HH:MM:SS:mmm."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{rest:03}"


def _escaped(code: str) -> str:
    return re.sub(r"([\\,()-])", r"\\\1", " ".join(code.split()))


def boris(timeline: Timeline, path: Path) -> None:
    """Write BORIS's tabular events (.tsv): a START and a STOP for each interval; persons are subjects, times in seconds."""
    name = _one_line(Path(timeline.source).name)
    media = {
        "Observation id": safe_stem(timeline.source),
        "Observation duration": f"{timeline.duration_s:.3f}",
        "Observation type": "Media file",
        "Source": f"player #1:{name}",
        "Time offset (s)": "0",
        "Media duration (s)": f"{timeline.duration_s:.3f}",
        "FPS": f"{timeline.fps:.3f}",
        "Behavioral category": "expression",
        "Media file name": name,
    }
    with open_atomically(path) as stream:
        rows = csv.DictWriter(stream, BORIS_COLUMNS, restval="", delimiter="\t", lineterminator="\n")
        rows.writeheader()
        for time_s, kind, each in sorted(
            _starts_and_stops(timeline.intervals), key=lambda row: (row[0], row[1] == "START")
        ):
            row = {
                "Subject": tier_name(each.person),
                "Behavior": each.label,
                "Behavior type": kind,
                "Time": f"{time_s:.3f}",
            }
            rows.writerow({**media, **row})


def _starts_and_stops(intervals: Iterable[Interval]) -> Iterator[tuple[float, str, Interval]]:
    for each in intervals:
        yield each.onset_s, "START", each
        yield each.offset_s, "STOP", each


def bids(timeline: Timeline, path: Path) -> None:
    """Write a BIDS events file (.tsv) and beside it the sidecar (.json) that explains its columns."""
    rows: list[tuple] = [
        (each.onset_s, each.duration_s, each.label, each.person, each.confidence, each.seen_share)
        for each in timeline.intervals
    ]
    rows += [
        (
            event.onset_s,
            0.0 if event.offset_s is None else event.offset_s - event.onset_s,
            event.label,
            None,
            None,
            None,
        )
        for event in timeline.events
    ]
    rows.sort(key=lambda row: (row[0], row[3] or 0))
    with open_atomically(path) as stream:
        stream.write("\t".join(BIDS_SIDECAR) + "\n")
        for onset, duration, label, *rest in rows:
            cells = (f"{onset:.3f}", f"{duration:.3f}", _one_line(label), *(_cell(value) for value in rest))
            stream.write("\t".join(EMPTY if cell == "" else str(cell) for cell in cells) + "\n")
    write_atomically(path.with_suffix(".json"), json.dumps(BIDS_SIDECAR, indent=1))


def webvtt(timeline: Timeline, path: Path) -> None:
    """Write subtitles (.vtt) that say what each person's expression looks like; "not seen" has none."""
    from webvtt import Caption, WebVTT

    captions = []
    for each in timeline.intervals:
        if each.label == NOT_SEEN:
            continue
        start, end = (_vtt_time(moment) for moment in _milliseconds(each))
        said = "not clear" if each.label == CANNOT_SAY else f"looks {each.label}"
        percent = "" if each.confidence is None else f" ({each.confidence:.0%})"
        captions.append(Caption(start, end, f"{tier_name(each.person)}: {said}{percent}"))
    write_atomically(path, WebVTT(captions=captions).content.rstrip() + "\n")


def _vtt_time(milliseconds: int) -> str:
    return ".".join(_datavyu_time(milliseconds).rsplit(":", 1))


def _milliseconds(interval: Interval) -> tuple[int, int]:
    """Return onset and offset, at least 1 ms apart."""
    start = round(interval.onset_s * 1000)
    return start, max(round(interval.offset_s * 1000), start + 1)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def report_html(timeline: Timeline, path: Path) -> None:
    """Write a self-contained page with an interactive timeline; see video.page."""
    from infant_fer.video.page import timeline_page

    write_atomically(path, timeline_page(timeline))


# The files of one clip by their names, in which {stem} is the clip's. A new format is a function and a line here.
EXPORTERS: dict[str, Callable[[Timeline, Path], None]] = {
    "frames.csv": frames_csv,
    "frames.parquet": frames_parquet,
    "intervals.csv": intervals_csv,
    "{stem}.eaf": elan,
    "{stem}.opf": datavyu,
    "boris.tsv": boris,
    "{stem}.vtt": webvtt,
    "events.tsv": bids,
    "report.html": report_html,
    "summary.json": summary_json,
}
