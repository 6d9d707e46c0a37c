"""What do many sessions show together? Curves around the session's events and pooled agreement, with bootstraps over infants."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from infant_fer.errors import DatasetError, OutputError, exit_status
from infant_fer.files import open_atomically, text_cell, write_atomically
from infant_fer.images import printable
from infant_fer.labels import AFFECTS
from infant_fer.metrics import LEVEL, RESAMPLES, cohen_kappa
from infant_fer.video.agreement import Agreement
from infant_fer.video.session_folder import (
    AGREEMENT,
    agreements_not_pooled,
    not_pooled,
    read_summary,
    session_folders,
)
from infant_fer.video.timeline import CANNOT_SAY, Timeline

MEASURES = ("valence", "positive", "negative")  # columns of frames.csv whose means are taken
BEFORE_S, AFTER_S, STEP_S = 5.0, 30.0, 0.5  # around the onset of an event, and the width of a bin
CURVES = "event_locked.csv"
CURVE_COLUMNS = ("event", "measure", "time_s", "mean", "low", "high", "infants")
BEGINNINGS = {CURVES: ",".join(CURVE_COLUMNS), AGREEMENT: '{\n "sessions": '}  # of the files that are this program's


@dataclass(frozen=True, eq=False)
class Curve:
    """A measure around an event: the mean over infants in each bin, (T,) with NaN where nothing was read, and its band.

    `times_s` are the middles of the bins from the event's onset. `low` and `high` are the 95 % percentile bootstrap over
    infants; NaN with fewer than two. `infants` counts those with a reading in the bin.
    """

    event: str
    measure: str
    times_s: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    infants: np.ndarray


class PooledAgreement(TypedDict):
    """The agreement of several sessions, as the pooled agreement.json holds it.

    The 95 % intervals draw whole infants; None with fewer than two. κ is None where chance agreement is certain. Rows of a
    confusion are the human's, columns the model's.
    """

    sessions: int
    infants: int
    gaps: str  # what an uncoded stretch means in the human codings
    kappa_frame: float | None
    kappa_frame_interval95: list[float | None] | None
    confusion: dict[str, dict[str, int]]  # of frames
    kappa_second: float | None
    kappa_second_interval95: list[float | None] | None
    confusion_second: dict[str, dict[str, int]]
    onset_lag_s: float | None  # median of the sessions' medians, positive where the model is later


def pool_sessions(
    folder: Path,
    infants: Mapping[str, str] | None = None,
    left_out: Collection[str] = (),
    agreements_left_out: Collection[str] = (),
) -> list[Path]:
    """Pool the sessions whose folders lie in `folder`, as `infant-fer video --out` writes them; return the files written.

    `infants` names the infant of each session by its folder's name; without it every session is another infant's; the
    sessions `left_out` are not pooled, and of those in `agreements_left_out` the agreement is not. Writes CURVES when a
    session has events, AGREEMENT when one has a human coding; what no session supports any more is deleted. Raises
    DatasetError, also where sessions differ in what `not_pooled` or `agreements_not_pooled` compares, and OutputError also
    where another program's file has such a name.
    """
    sessions = [session for session in session_folders(folder) if session.name not in left_out]
    if not sessions:
        raise DatasetError(f"{printable(folder)} holds no session with a summary.json of this program.")
    compared = [session for session in sessions if session.name not in agreements_left_out]
    for sentence in (*not_pooled(sessions).values(), *agreements_not_pooled(compared).values()):
        raise DatasetError(f"{sentence} Read one of them anew with the other's options, or move it to another folder.")
    names = [session.name for session in sessions]
    if infants is None:
        infants = {name: name for name in names}
    check_infants(infants, names)
    check_pooled(folder)
    delete_unsupported(folder, left_out)
    written = []
    curves = event_curves(sessions, [infants[name] for name in names])
    if curves:
        with open_atomically(folder / CURVES) as stream:
            rows = csv.writer(stream)
            rows.writerow(CURVE_COLUMNS)
            for curve in curves:
                rows.writerows(_curve_rows(curve))
        written.append(folder / CURVES)
    agreements = [
        (infants[session.name], json.loads((session / AGREEMENT).read_text("utf-8")))
        for session in compared
        if (session / AGREEMENT).is_file()
    ]
    if agreements:
        write_atomically(folder / AGREEMENT, json.dumps(pooled_agreement(agreements), indent=1))
        written.append(folder / AGREEMENT)
    return written


def check_pooled(folder: Path) -> None:
    """Raise OutputError where a file in `folder` has the name of a pooled one and is another program's."""
    for name, begins in BEGINNINGS.items():
        if (folder / name).is_file() and not _begins(folder / name, begins):
            raise OutputError(
                f"{printable(folder / name)} is not of this program. Move it away, or give another folder."
            )


def delete_unsupported(folder: Path, left_out: Collection[str] = ()) -> None:
    """Delete the pooled figures of an earlier run that no session in `folder` supports any more but those `left_out`."""
    sessions = [session for session in session_folders(folder) if session.name not in left_out]
    supported = {
        AGREEMENT: any((each / AGREEMENT).is_file() for each in sessions),
        CURVES: any(summary["events"] for summary in map(read_summary, sessions) if summary),
    }
    for name, begins in BEGINNINGS.items():
        if not supported[name] and (folder / name).is_file() and _begins(folder / name, begins):
            (folder / name).unlink()


def _begins(file: Path, begins: str) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(begins)) == begins.encode()


def check_infants(infants: Mapping[str, str], sessions: Iterable[str]) -> None:
    """Raise DatasetError unless the infant of every session, by the name of its folder, is known."""
    missing = [name for name in sessions if not infants.get(name)]
    if missing:
        raise DatasetError(f"The table of infants names none for the session {printable(missing[0])}.")


def pooled_agreement(sessions: Sequence[tuple[str, Agreement]]) -> PooledAgreement:
    """Return κ of all sessions' frames and seconds together, from (infant, agreement.json) of each, of equal `gaps`."""
    names = np.array([name for name, _ in sessions])
    frames = _counts([each["confusion"] for _, each in sessions])
    seconds = _counts([each["confusion_second"] for _, each in sessions])
    lags = [each["onset_lag_s"] for _, each in sessions if each["onset_lag_s"] is not None]
    return {
        "sessions": len(sessions),
        "infants": len(np.unique(names)),
        "gaps": sessions[0][1]["gaps"],
        "kappa_frame": _plain(cohen_kappa(frames.sum(0))),
        "kappa_frame_interval95": _kappa_interval(frames, names),
        "confusion": _named(frames.sum(0)),
        "kappa_second": _plain(cohen_kappa(seconds.sum(0))),
        "kappa_second_interval95": _kappa_interval(seconds, names),
        "confusion_second": _named(seconds.sum(0)),
        "onset_lag_s": _plain(np.median(lags)) if lags else None,
    }


def _counts(confusions: Sequence[Mapping[str, Mapping[str, int]]]) -> np.ndarray:
    """Return (N, C, C) counts of N confusions."""
    return np.array([[[each[a][b] for b in AFFECTS] for a in AFFECTS] for each in confusions])


def _kappa_interval(counts: np.ndarray, infants: np.ndarray) -> list[float | None] | None:
    """Return the 95 % interval of κ of (N, C, C) counts that draws infants, (N,) str, with replacement."""
    by_infant = np.array([counts[infants == name].sum(0) for name in np.unique(infants)])
    return _interval(np.asarray(cohen_kappa(by_infant[_draws(len(by_infant))].sum(1)))) if len(by_infant) > 1 else None


def _named(counts: np.ndarray) -> dict[str, dict[str, int]]:
    return {a: {b: int(counts[i, j]) for j, b in enumerate(AFFECTS)} for i, a in enumerate(AFFECTS)}


def event_curves(sessions: Sequence[Path], infants: Sequence[str]) -> list[Curve]:
    """Return the curves of every event and measure over the sessions that have the event, in the order of the events."""
    means: dict[str, dict[str, list[np.ndarray]]] = {}  # by event and infant: (M, T) of each occurrence
    for session, infant in zip(sessions, infants, strict=True):
        summary = read_summary(session)
        if summary is None or not summary["events"]:
            continue
        person = Timeline(summary["source"], (), (), summary, summary["fps"], summary["duration_s"]).infant
        times, values = _readings(session / "frames.csv", person)
        for event in summary["events"]:
            found = _around(times, values, event["onset_s"])
            means.setdefault(event["label"], {}).setdefault(infant, []).append(found)
    curves = []
    for label, by_infant in means.items():
        each = np.array([_mean(np.array(occurrences)) for occurrences in by_infant.values()])  # (I, M, T)
        curves += [_curve(label, measure, each[:, place]) for place, measure in enumerate(MEASURES)]
    return curves


def _readings(frames: Path, person: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the times (N,) and MEASURES (N, M) of the frames in which the person was read."""
    import pandas as pd

    table = pd.read_csv(frames, usecols=["time_s", "person", "verdict", *MEASURES])
    table = table[(table["person"] == person) & (table["verdict"] != CANNOT_SAY)].dropna(subset=["positive"])
    return table["time_s"].to_numpy(float), table[list(MEASURES)].to_numpy(float)


def _around(times_s: np.ndarray, values: np.ndarray, onset_s: float) -> np.ndarray:
    """Return the (M, T) means of (N, M) values in the bins around an event; NaN in an empty bin."""
    bins = round((BEFORE_S + AFTER_S) / STEP_S)
    number = np.floor((times_s - onset_s + BEFORE_S) / STEP_S + 1e-9).astype(int)
    found = np.full((values.shape[1], bins), np.nan)
    for each in np.unique(number[(number >= 0) & (number < bins)]):
        found[:, each] = values[number == each].mean(0)
    return found


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of what is not NaN; NaN where nothing is."""
    present = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(present, values, 0).sum(0) / present.sum(0)


def _curve(event: str, measure: str, by_infant: np.ndarray) -> Curve:
    """Return the curve of (I, T) means of each infant."""
    low = high = np.full(by_infant.shape[1], np.nan)
    if len(by_infant) > 1:
        present = ~np.isnan(by_infant)
        draws = _draws(len(by_infant))
        with np.errstate(invalid="ignore"):
            means = np.where(present, by_infant, 0)[draws].sum(1) / present[draws].sum(1)
        several = present.sum(0) > 1
        low, high = np.full((2, by_infant.shape[1]), np.nan)
        if several.any():
            low[several], high[several] = np.nanquantile(means[:, several], ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0)
    times = -BEFORE_S + STEP_S * (np.arange(by_infant.shape[1]) + 0.5)
    return Curve(event, measure, times, _mean(by_infant), low, high, (~np.isnan(by_infant)).sum(0))


def _curve_rows(curve: Curve) -> list[tuple]:
    return [
        (text_cell(curve.event), curve.measure, f"{time:.2f}", *(_cell(value) for value in values), count)
        for time, *values, count in zip(curve.times_s, curve.mean, curve.low, curve.high, curve.infants, strict=True)
        if count
    ]


def _draws(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def _interval(values: np.ndarray) -> list[float | None] | None:
    values = values[~np.isnan(values)]
    return [_plain(end) for end in np.quantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))] if len(values) else None


def _plain(value: Any) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Pool a folder of sessions; return 1 after one sentence on stderr on failure."""
    parser = argparse.ArgumentParser("python -m infant_fer.video.pooled", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the --out of `infant-fer video`")
    parser.add_argument("--infants", type=Path, metavar="CSV", help="table of session (its folder's name) and infant")
    options = parser.parse_args(arguments)
    return exit_status(partial(_pool, options))


def _pool(options: argparse.Namespace) -> None:
    for file in pool_sessions(options.folder, read_infants(options.infants) if options.infants else None):
        print(file)


def read_infants(table: Path) -> dict[str, str]:
    """Return the infant of each session from a table with the columns session and infant, without blanks around the names.

    A row that lacks one of them is left out. Raises DatasetError, also where one session has two infants.
    """
    infants: dict[str, str] = {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            rows = [((row["session"] or "").strip(), (row["infant"] or "").strip()) for row in csv.DictReader(stream)]
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{printable(table)} needs the columns session and infant: {error}.") from None
    for session, infant in rows:
        if session and infant and infants.setdefault(session, infant) != infant:
            raise DatasetError(
                f"{printable(table)} names two infants for the session {printable(session)}: "
                f"{printable(infants[session])} and {printable(infant)}. Keep one."
            )
    return infants


if __name__ == "__main__":
    sys.exit(main())
