"""How are human codings and event files read? ELAN, Datavyu, BORIS, BIDS and plain tables become intervals of affect."""

from __future__ import annotations

import csv
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from infant_fer.errors import DatasetError
from infant_fer.images import printable
from infant_fer.labels import AFFECTS, EMOTION_TO_AFFECT, canonical_label
from infant_fer.video.exports import PLAY_COLUMN
from infant_fer.video.timeline import NOT_SEEN, Event

NOT_CODED = "not coded"
MAX_BYTES = 64 * 2**20  # of a coding file; an hour of codes takes less than 1 MB
OVERLAP_MS = 50  # by which two codes may overlap: a frame at 25 frames a second, and rounding
CHILD_WORDS = ("child", "infant", "baby", "kid")  # in the name of a tier, column or subject
# The words of coding manuals besides those of infant_fer.labels; p, n and . are PLAY's.
WORDS = {"p": "positive", "+": "positive", "n": "negative", "-": "negative", "o": "neutral", "0": "neutral", "u": "neutral",
         ".": NOT_SEEN, "x": NOT_SEEN, "nv": NOT_SEEN, "off": NOT_SEEN, "not visible": NOT_SEEN, "cannot say": NOT_SEEN,
         NOT_SEEN: NOT_SEEN}  # fmt: skip


@dataclass(frozen=True)
class CodedInterval:
    """A code of one track as the file has it; `offset_s` equals `onset_s` for a moment."""

    onset_s: float
    offset_s: float
    label: str


@dataclass(frozen=True)
class Coding:
    """A human coding of one person: intervals in the order of their onsets, labelled with the affects and NOT_SEEN.

    `source` is the file's name as text that every encoding can hold.
    `gaps` is what an uncoded stretch means: "neutral" where the coding has no neutral code (as in PLAY), else NOT_CODED. A code
    of an emotion that counts as neutral, as surprise does, is no neutral code. Codings of one study share one rule; see
    video.coding_files.shared_gaps.
    """

    source: str
    track: str
    intervals: tuple[CodedInterval, ...]
    gaps: str


Tracks = dict[str, list[CodedInterval]]


def read_coding(path: Path, track: str | None = None) -> Coding:
    """Read the affect codes of one track: a tier (.eaf), a column (.opf), or a subject (BORIS and other tables).

    Without a `track` the one whose codes are all affects is taken; of several, PLAY's column, or the one whose name speaks
    of a child. Raises DatasetError: an unknown file, codes that are no affects or have no end, more than one possible track.
    """
    tracks = read_tracks(path)
    name = _named(tracks, track, path) if track is not None else _likely(tracks, path)
    known = [CodedInterval(each.onset_s, each.offset_s, _state(each.label, path)) for each in tracks[name]]
    known.sort(key=lambda each: each.onset_s)
    place = f"{printable(path.name)}, {name}" if name else printable(path.name)
    for each in known:
        if each.offset_s <= each.onset_s:  # a moment; Datavyu writes 0 where no offset was set
            raise DatasetError(f"{place}: the code at {each.onset_s:.3f} s has no end. Set its offset.")
    for before, after in pairwise(known):
        if round(1000 * (before.offset_s - after.onset_s)) > OVERLAP_MS:
            raise DatasetError(
                f"{place}: the codes at {before.onset_s:.3f} s and {after.onset_s:.3f} s overlap. "
                "Code one affect at a time."
            )
    gaps = NOT_CODED if any(_named_state(each.label) == "neutral" for each in tracks[name]) else "neutral"
    return Coding(printable(path.name), name, tuple(known), gaps)


def read_events(path: Path) -> tuple[Event, ...]:
    """Read the phases and moments of a session from any of the formats: every code of every track is an event."""
    events = []
    for codes in read_tracks(path).values():
        for each in codes:
            moment = round(1000 * (each.offset_s - each.onset_s)) <= 1  # ELAN has no moments, only intervals of 1 ms
            events.append(Event(each.onset_s, each.label, None if moment else each.offset_s))
    return tuple(sorted(events, key=lambda event: event.onset_s))


def read_tracks(path: Path) -> Tracks:
    """Return the codes of every tier, column or subject as they stand in the file. Raises DatasetError."""
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise DatasetError(f"{printable(path.name)} is no coding that can be read; use one of {', '.join(READERS)}.")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DatasetError(f"{printable(path.name)} is larger than {MAX_BYTES // 2**20} MB; this is no coding.")
        tracks = read(path)
    except DatasetError:
        raise
    except Exception as error:  # parsers of three formats raise anything on a damaged file
        raise DatasetError(f"{printable(path.name)} could not be read: {type(error).__name__}: {error}.") from error
    if not any(tracks.values()):
        raise DatasetError(f"{printable(path.name)} holds no code.")
    return tracks


def _elan(path: Path) -> Tracks:
    from pympi import Eaf

    if b"<!DOCTYPE" in path.read_bytes() or b"<!ENTITY" in path.read_bytes():
        raise DatasetError(f"{printable(path.name)} declares XML entities; save it anew with ELAN.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a newer version of the format
        document = Eaf(path, suppress_version_warning=True)
    tracks: Tracks = {}
    shift_ms = _elan_shift_ms(document.media_descriptors, path)
    for tier in document.get_tier_names():
        codes = document.get_annotation_data_for_tier(tier)
        placed = [each for each in codes if None not in each[:2]]  # parts of a code may have no time of their own
        spans = ((max(each[0] + shift_ms, 0), each[1] + shift_ms, each[2]) for each in placed)
        tracks[tier] = [
            CodedInterval(onset / 1000, offset / 1000, label) for onset, offset, label in spans if offset > 0
        ]
    return tracks


def _elan_shift_ms(media: Sequence[Mapping[str, str]], path: Path) -> int:
    """Return the time in the clip at which the file's times begin: media that were synchronized in ELAN start later.

    Of several media with different offsets the clip is the one with the coding's name, and of these the one that is no
    sound: ELAN knows the types of sound files and of some videos, and writes "unknown" for MKV, WebM and M4V. Raises
    DatasetError.
    """
    names = [PurePosixPath(unquote(each["MEDIA_URL"])) for each in media]
    named = [each for each, name in zip(media, names, strict=True) if name.stem == path.stem] or media
    videos = [each for each in named if not each.get("MIME_TYPE", "").startswith("audio/")] or named
    offsets = {int(each.get("TIME_ORIGIN", 0)) for each in videos}
    if len(offsets) > 1:
        raise DatasetError(
            f"{printable(path.name)} has media with different offsets, {', '.join(printable(each.name) for each in names)}. "
            "Name the coding as the clip that it belongs to, and link no other video of that name."
        )
    return next(iter(offsets), 0)


def _datavyu(path: Path) -> Tracks:
    """Read the cells of every column; a column with several codes gives a track for each, "column.code"."""
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo("db").file_size > MAX_BYTES:
            raise DatasetError(f"{printable(path.name)} is larger than {MAX_BYTES // 2**20} MB unpacked.")
        text = archive.read("db").decode("utf-8", "replace")
    text = re.sub(r"\\\r?\n", " ", text)  # an escaped line end within a cell
    tracks: Tracks = {}
    names: list[str] = []
    for line in text.splitlines():
        cell = re.match(r"(\d+):(\d\d):(\d\d):(\d{3}),(\d+):(\d\d):(\d\d):(\d{3}),\((.*)\)\s*$", line)
        if cell is None:
            header = re.match(r"(.+?) \((\w+).*?\)-(.*)$", line)
            if header:
                codes = [part.split("|")[0] for part in header[3].split(",")]
                names = [header[1] if len(codes) == 1 else f"{header[1]}.{code}" for code in codes]
                tracks.update({name: [] for name in names})
            continue
        onset, offset = (_seconds(*cell.groups()[start : start + 4]) for start in (0, 4))
        values = [re.sub(r"\\(.)", r"\1", value) for value in re.split(r"(?<!\\),", cell[9])]
        for name, value in zip(names, values, strict=False):
            if value.strip():
                tracks[name].append(CodedInterval(onset, offset, value.strip()))
    return tracks


def _seconds(hours: str, minutes: str, seconds: str, milliseconds: str) -> float:
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(milliseconds) / 1000


def _table(path: Path) -> Tracks:
    """Read a table with a header: BORIS's tabular or aggregated events, BIDS events, or onset, offset and label."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        first = stream.readline()
        stream.seek(0)
        delimiter = "\t" if first.count("\t") >= first.count(",") and "\t" in first else ","
        rows = [{(key or "").strip().lower(): (value or "").strip() for key, value in row.items() if isinstance(value, str)}
                for row in csv.DictReader(stream, delimiter=delimiter)]  # fmt: skip
    if not rows:
        raise DatasetError(f"{printable(path.name)} has no rows.")
    observations = {row.get("observation id", "") for row in rows}
    if len(observations) > 1:
        raise DatasetError(
            f"{printable(path.name)} holds the observations {', '.join(sorted(map(printable, observations)))}. "
            "Export each observation to a file of its own."
        )
    if "behavior type" in rows[0] and ("time" in rows[0] or "start (s)" not in rows[0]):
        return _boris_events(rows, path)
    return _interval_rows(rows, path)


def _boris_events(rows: list[dict[str, str]], path: Path) -> Tracks:
    """Pair each START with the next STOP of the same subject and behaviour; a POINT is a moment."""
    tracks: Tracks = {}
    started: dict[tuple[str, str], float] = {}
    for number, row in enumerate(rows, 2):
        key, kind = (row.get("subject", ""), row["behavior"]), row["behavior type"].upper()
        time_s = _number(row.get("time") or row.get("time (s)", ""), number, path)
        codes = tracks.setdefault(key[0], [])
        if kind == "POINT":
            codes.append(CodedInterval(time_s, time_s, key[1]))
        elif kind == "START" and key not in started:
            started[key] = time_s
        elif kind == "STOP" and key in started:
            codes.append(CodedInterval(started.pop(key), time_s, key[1]))
        else:
            raise DatasetError(
                f"Line {number} of {printable(path.name)}: {kind or 'no type'} of {key[1]!r} has no partner."
            )
    if started:
        (subject, behaviour), time_s = next(iter(started.items()))
        raise DatasetError(
            f"{printable(path.name)}: {behaviour!r} of {subject or 'no subject'} at {time_s:.3f} s has no STOP."
        )
    return tracks


def _interval_rows(rows: list[dict[str, str]], path: Path) -> Tracks:
    def column(*names: str) -> str | None:
        return next((name for name in names if name in rows[0]), None)

    onset = column("onset_s", "onset", "start (s)", "start", "time_s", "time")
    offset, duration = (
        column("offset_s", "offset", "stop (s)", "stop", "end"),
        column("duration", "duration_s", "duration (s)"),
    )
    label = column("label", "affect", "trial_type", "behavior", "code", "event", "emotion")
    if onset is None or label is None:
        raise DatasetError(
            f"{printable(path.name)} needs columns onset, offset (or duration) and label; it has {', '.join(rows[0])}."
        )
    who = column("person", "subject", "track", "tier")
    tracks: Tracks = {}
    for number, row in enumerate(rows, 2):
        start = end = _number(row[onset], number, path)
        if offset and row[offset]:
            end = _number(row[offset], number, path)
        elif duration and row[duration] not in ("", "n/a"):
            end = start + _number(row[duration], number, path)
        if end < start:
            raise DatasetError(f"Line {number} of {printable(path.name)} ends before it starts.")
        tracks.setdefault(row[who] if who else "", []).append(CodedInterval(start, end, row[label]))
    return tracks


def _number(text: str, line: int, path: Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < 1e6:
        raise DatasetError(f"Line {line} of {printable(path.name)}: {text!r} is no time in seconds.")
    return value


def _state(label: str, path: Path) -> str:
    state = affect_state(label)
    if state is None:
        raise DatasetError(
            f"{printable(path.name)}: the code {label!r} is no affect. Known are {', '.join((*AFFECTS, *EMOTION_TO_AFFECT, *WORDS))}."
        )
    return state


def affect_state(label: str) -> str | None:
    """Return the affect, or NOT_SEEN, that a code means; None for an unknown one."""
    return _named_state(label) or EMOTION_TO_AFFECT.get(canonical_label(_word(label)))


def _named_state(label: str) -> str | None:
    """Return the affect, or NOT_SEEN, that a code names itself; None for an emotion and an unknown one."""
    word = _word(label)
    canonical = canonical_label(word)
    return canonical if canonical in AFFECTS else WORDS.get(word)


def _word(label: str) -> str:
    return " ".join(label.strip().lower().split())


def _named(tracks: Mapping[str, object], track: str, path: Path) -> str:
    if track not in tracks:
        raise DatasetError(f"{printable(path.name)} has no {track!r}; it has {', '.join(map(repr, tracks))}.")
    return track


def _likely(tracks: Tracks, path: Path) -> str:
    possible = [name for name, codes in tracks.items() if codes and all(affect_state(each.label) for each in codes)]
    if not possible:
        first = next(name for name, codes in tracks.items() if codes)
        _state(next((each.label for each in tracks[first] if affect_state(each.label) is None), ""), path)
    if PLAY_COLUMN in possible:
        return PLAY_COLUMN
    of_child = _with_words(possible, CHILD_WORDS)
    chosen = of_child if len(of_child) == 1 else possible
    if len(chosen) > 1:
        raise DatasetError(
            f"{printable(path.name)} has several codings of affect: {', '.join(map(repr, chosen))}. Name one (--human-track)."
        )
    return chosen[0]


def _with_words(names: Iterable[str], words: Iterable[str]) -> list[str]:
    return [name for name in names if any(word in name.lower() for word in words)]


# The formats by the suffix of their files.
READERS: dict[str, Callable[[Path], Tracks]] = {
    ".eaf": _elan,
    ".opf": _datavyu,
    ".csv": _table,
    ".tsv": _table,
    ".txt": _table,
}
