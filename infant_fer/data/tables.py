"""What does a CSV table say of pictures? Labels or votes, subjects, splits, and where the files lie."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from infant_fer.data.image_store import archive_members
from infant_fer.data.labeled_images import (
    ORDER,
    SPLIT_NAMES,
    LabeledImages,
    classes_of,
    known_label,
    one_hot,
    own_subjects,
)
from infant_fer.errors import DatasetError
from infant_fer.labels import AFFECTS, canonical_label

FILES, LABELS, SUBJECTS = ("file", "path", "filename"), ("label", "affect", "emotion"), ("subject", "group", "infant")
NO_CLASS = ("", "mixed", "unusable")  # rows that say so have no label
VOTES = "p_"  # columns p_<class> hold a distribution
MOST_SUBGROUPS = 8  # a column with more values is no subgroup


def read_table(table: Path, classes: Sequence[str] | None = None, pictures: Sequence[Path] = ()) -> LabeledImages:
    """Read a table with a column `file`, `label` (or `affect`, `emotion`, or votes p_<class>), and if it has them
    `subject` (or `group`) and `split`; every other column of few values is a subgroup.

    A column `affect` gives the three affects unless `classes` says otherwise; rows of other labels are left out and
    counted. Raises DatasetError naming line and file.
    """
    rows = _rows(table)
    file, label, subject = (_column(rows[0], names) for names in (FILES, LABELS, SUBJECTS))
    if file is None or (label is None and not any(name.startswith(VOTES) for name in rows[0])):
        raise DatasetError(f"{table} needs the columns file and label; it has {', '.join(rows[0])}.")
    words = [_label(row, label, f"Line {number} of {table} ({row[file]})") for number, row in enumerate(rows, 2)]
    names = classes_of([word for word in words if word], AFFECTS if classes is None and label == "affect" else classes)
    kept = [index for index, word in enumerate(words) if word in names]
    rows, words = [rows[index] for index in kept], [words[index] for index in kept]
    truth = np.array([names.index(word) for word in words])
    places = _located([row[file] for row in rows], table, pictures)
    return LabeledImages(
        archives=tuple(archive for archive, _ in places),
        members=tuple(member for _, member in places),
        labels=names,
        truth=truth,
        target=_votes(rows, names, truth),
        subject=np.array([row.get(subject) or own for row, own in zip(rows, own_subjects(len(rows)), strict=True)]),
        split=np.array([_split(row.get("split") or "", row[file]) for row in rows]),
        subgroups=_subgroups(rows, {file, label, subject, "split"}),
        subjects_known=subject is not None and all(row[subject] for row in rows),
        left_out=tuple(f"{len(w)} rows labelled {name or 'with nothing'}" for name, w in _others(table, label, names)),
    )


def read_subjects(pictures: LabeledImages, table: Path) -> LabeledImages:
    """Take the subjects from a table of `file` and `subject` beside a folder's pictures, if there is one."""
    if not table.is_file():
        return pictures
    told = {row["file"]: row["subject"] for row in _rows(table) if {"file", "subject"} <= row.keys()}
    names = [PurePosixPath(member).name for member in pictures.members]
    if missing := [name for name in names if name not in told]:
        raise DatasetError(f"{table} names no subject for {missing[0]}. It needs the columns file and subject.")
    own = own_subjects(len(names))
    subject = np.array([told[name] or own for name, own in zip(names, own, strict=True)])
    return replace(pictures, subject=subject, subjects_known=all(told[name] for name in names))


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table} could not be read as a table: {error}.") from None
    if not rows:
        raise DatasetError(f"{table} has no rows.")
    return [{key: (value or "").strip() for key, value in row.items() if key} for row in rows]


def _column(row: dict[str, str], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in row), None)


def _label(row: dict[str, str], column: str | None, where: str) -> str:
    """The row's label, or "" when it has none; without a label column, the class with most votes."""
    if column is None:
        votes = {
            name.removeprefix(VOTES): _number(value, where) for name, value in row.items() if name.startswith(VOTES)
        }
        word = max(votes, key=votes.get) if any(votes.values()) else ""
    else:
        word = row[column]
    return "" if word in NO_CLASS else known_label(word, where)


def _others(table: Path, label: str | None, names: Sequence[str]) -> list[tuple[str, list[str]]]:
    if label is None:
        return []
    words = [canonical_label(row[label]) for row in _rows(table)]
    return [(word, [w for w in words if w == word]) for word in dict.fromkeys(words) if word not in names]


def _votes(rows: list[dict[str, str]], names: Sequence[str], truth: np.ndarray) -> np.ndarray:
    """(N, C) float32 shares of the votes; all on the truth where the table has no votes for some class, or none at all."""
    hard = one_hot(truth, len(names))
    if not all(VOTES + name in rows[0] for name in names):
        return hard
    votes = np.array([[_number(row[VOTES + name], name) for name in names] for row in rows], np.float32)
    total = votes.sum(1, keepdims=True)
    return np.where(total > 0, votes / np.maximum(total, 1e-9), hard).astype(np.float32)


def _number(text: str, where: str) -> float:
    try:
        return float(text or 0)
    except ValueError:
        raise DatasetError(f"{where} has the vote {text!r}, which is no number.") from None


def _split(word: str, file: str) -> str:
    if word and word.lower() not in SPLIT_NAMES:
        raise DatasetError(f"{file} has the split {word!r}; use train, dev or test.")
    return SPLIT_NAMES.get(word.lower(), "")


def _subgroups(rows: list[dict[str, str]], used: set[str | None]) -> dict[str, np.ndarray]:
    """The unused columns that hold 2 to MOST_SUBGROUPS different words, none of them a label or a number with a point."""
    columns = [name for name in rows[0] if name not in used and not name.startswith(VOTES)]
    values = {name: np.array([row[name] for row in rows]) for name in columns}
    few = {name: column for name, column in values.items() if 2 <= len(np.unique(column)) <= MOST_SUBGROUPS}
    return {
        name: column
        for name, column in few.items()
        if not any(canonical_label(word) in ORDER or "." in word for word in np.unique(column))
    }


def _located(files: list[str], table: Path, pictures: Sequence[Path]) -> list[tuple[Path | None, str]]:
    """(archive or None, member) of each file: beside the table, in an archive beside it, or by name in `pictures`."""
    beside = {name: archive for archive in sorted(table.parent.glob("*.zip")) for name in archive_members(archive)}
    by_name: dict[str, tuple[Path | None, str]] = {}
    for folder in pictures:
        if folder.is_dir():
            by_name |= {file.name: (None, str(file)) for file in folder.rglob("*") if file.is_file()}
        else:
            by_name |= {PurePosixPath(name).name: (folder, name) for name in archive_members(folder)}
    places = []
    for file in files:
        if (table.parent / file).is_file():
            places.append((None, str(table.parent / file)))
        elif file in beside:
            places.append((beside[file], file))
        elif (found := by_name.get(PurePosixPath(file).name)) is not None:
            places.append(found)
        else:
            raise DatasetError(
                f"{file} of {table} lies neither beside it nor in an archive beside it. Name its folder or zip with --pictures."
            )
    return places
