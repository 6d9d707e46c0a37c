"""What does a CSV table say of pictures? Labels or votes, subjects, splits, and where the files are."""

from __future__ import annotations

import os
import re
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from infant_fer.data.labeled_images import (
    ORDER,
    SPLIT_NAMES,
    LabeledImages,
    PictureIndex,
    Place,
    archive_members,
    classes_of,
    known_label,
    named,
    one_hot,
    own_subjects,
    relative_parts,
)
from infant_fer.errors import DatasetError
from infant_fer.images import printable
from infant_fer.labels import AFFECTS, canonical_label

FILES, LABELS, SUBJECTS = ("file", "path", "filename"), ("label", "affect", "emotion"), ("subject", "infant", "group")
KNOWN = {*FILES, *LABELS, *SUBJECTS, "split"}  # columns whose names are read in capitals, too
SUBJECTS_FILE = "subjects.csv"  # which infant each picture shows
NO_CLASS = ("", "mixed", "unusable")  # rows that say so have no label
VOTES = "p_"  # columns p_<class> hold a distribution
MAX_SUBGROUPS = 8  # a column with more values is no subgroup
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")  # of a name such as infantName_2
# The last word of a column's name that may hold names of infants, or of infants, raters or files.
INFANTS = {
    *("name", "names", "forename", "firstname", "surname", "lastname", "nickname", "initials", "id", "code"),
    *("infant", "child", "kid", "baby", "subject", "participant", "patient", "person", "number", "nr", "no"),
    *("kind", "saugling", "proband", "teilnehmer", "vorname", "nachname", "nummer", "kennung", "kurzel"),
    *("bambino", "bambina", "neonato", "neonata", "partecipante", "paziente", "soggetto", "nome", "cognome", "numero"),
    *("codice", "barn", "spaedbarn", "deltager", "navn", "fornavn", "efternavn", "forsogsperson", "kode"),
}
NAMING = INFANTS | {"rater", "coder", "annotator", "file", "filename", "path"}
# The last word of the name of a column that describes and names nobody: these alone are kept where the infants are not known.
DESCRIBING = {
    *("sex", "gender", "age", "source", "ethnicity", "race", "skin", "view", "light", "occluder", "quality", "camera"),
    *("geschlecht", "alter", "quelle", "sesso", "genere", "eta", "fonte", "kon", "alder", "kilde"),
}


def read_table(table: Path, classes: Sequence[str] | None = None, pictures: Sequence[Path] = ()) -> LabeledImages:
    """Read a table with a column `file`, `label` (or `affect`, `emotion`, or votes p_<class>), and if it has them
    `subject` (or else `infant`, or else `group`) and `split`.

    Every other column of few values that name nobody is a subgroup; see `_subgroups`. Without a column of subjects, those of
    subjects.csv beside the table count; see `subjects_of`. Names of these columns may have capitals; a note says which
    column of another name may hold infants. A column `affect` gives the three affects unless `classes` says otherwise; rows
    of other labels are left out and counted. Raises DatasetError naming line and file, also where two rows name one file.
    """
    rows = read_rows(table)
    file, label = (_column(rows, names) for names in (FILES, LABELS))
    votes = _vote_columns(rows, table)
    if file is None or (label is None and not votes):
        raise DatasetError(f"{table} needs the columns file and label; it has {', '.join(rows)}.")
    _check_once(rows[file], table)
    where = [f"Line {n} of {table} ({printable(name)})" for n, name in zip(rows.index + 2, rows[file], strict=True)]
    words = _labels_of_votes(rows, votes, where) if label is None else rows[label].tolist()
    words = ["" if word in NO_CLASS else known_label(word, at) for word, at in zip(words, where, strict=True)]
    names = classes_of([word for word in words if word], AFFECTS if classes is None and label == "affect" else classes)
    kept = np.isin(words, names)
    others = rows.loc[~kept, label].map(canonical_label).value_counts(sort=False) if label is not None else {}
    rows, truth = rows[kept], np.array([names.index(word) for word in words if word in names])
    where = [at for at, is_kept in zip(where, kept, strict=True) if is_kept]
    places, notes = _located(rows[file].tolist(), table, pictures)
    subject, known = _subjects(rows, file, table)
    used = {file, label, _column(rows, SUBJECTS), "split", *votes.values()}
    notes += _infant_notes(rows, used, known)
    unread = _unread_votes(rows, used)
    subgroups, naming = _subgroups(rows, used | {*unread}, subject, known)
    return LabeledImages(
        archives=tuple(archive for archive, _ in places),
        members=tuple(member for _, member in places),
        labels=names,
        truth=truth,
        target=_targets(rows, votes, truth, names, where),
        subject=subject,
        split=splits_in(rows, file),
        subgroups=subgroups,
        subjects_known=known,
        left_out=tuple(f"{count} rows labelled {name or 'with nothing'}" for name, count in others.items()),
        notes=notes + naming + _vote_notes(votes, names, unread),
    )


def subjects_of(names: Sequence[str], table: Path) -> tuple[np.ndarray, bool]:
    """Return the (N,) str subjects of N pictures by a table of `file` and `subject`, and whether all are known.

    `names` are the pictures' paths relative to the table's folder; the table may give such a path's end that no other
    picture shares. A picture with an empty subject is its own. Raises DatasetError.
    """
    subjects: dict[str, str] = {}
    rows, index = read_rows(table), PictureIndex(())
    if not {"file", "subject"} <= set(rows):
        raise DatasetError(f"{table} needs the columns file and subject; it has {', '.join(rows)}.")
    for name in names:
        index.add(relative_parts(name), (None, name))
    for file, subject in zip(rows["file"], rows["subject"], strict=True):
        place = index.find(file, whole=True)
        if place is not None and subjects.setdefault(place[1], subject) != subject:
            raise DatasetError(f"{table} names two subjects for {printable(file)}: {subjects[place[1]]} and {subject}.")
    if missing := [name for name in names if name not in subjects]:
        raise DatasetError(f"{table} names no subject for {printable(missing[0])}.")
    return _or_own(np.array([subjects[name] for name in names]))


def _subjects(rows: pd.DataFrame, file: str, table: Path) -> tuple[np.ndarray, bool]:
    """Return the (N,) str subjects of a table's rows, and whether all are known, by its column or by subjects.csv beside it."""
    column, beside = _column(rows, SUBJECTS), table.with_name(SUBJECTS_FILE)
    if not beside.is_file() or beside == table:
        return _or_own(rows[column].to_numpy(str) if column else np.full(len(rows), ""))
    if column:
        raise DatasetError(
            f"{table} has a column {column}, and {SUBJECTS_FILE} is beside it. Keep one of the two, so that it is clear "
            "which infant a picture shows."
        )
    return subjects_of(rows[file].tolist(), beside)


def _infant_notes(rows: pd.DataFrame, used: set[str | None], known: bool) -> tuple[str, ...]:
    """Return a sentence on the unused columns that may name the infants of pictures that are not `known`; none without any."""
    if known or _column(rows, SUBJECTS):
        return ()
    may = [name for name in rows if name not in used and _last_word(name) in INFANTS]
    several = [printable(name) for name in may if 1 < rows[name].nunique() < len(rows)]
    sentence = f"infants are not known, but may be in {named(several)}: call the column of infants subject"
    return (sentence,) if several else ()


def _or_own(subjects: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return (N,) str subjects with own ones in the place of "", and whether there was no such place."""
    return np.where(subjects == "", own_subjects(len(subjects)), subjects), bool((subjects != "").all())


def read_rows(table: Path) -> pd.DataFrame:
    """Return a CSV table (UTF-8, commas) as text without surrounding blanks, indexed by line - 2; an empty cell is "".

    Lines without a word are left out; a line break within a cell is not counted. Columns of KNOWN get small letters. Raises
    DatasetError, also for two columns of one name and a row with more cells than the header has, which pandas would cut.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            rows = pd.read_csv(
                table, dtype=str, na_filter=False, encoding="utf-8-sig", index_col=False, skip_blank_lines=False
            )
    except OSError as error:
        raise DatasetError(f"{table} could not be read: {error.strerror or error}.") from None
    except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise DatasetError(f"{table} could not be read as a table: {str(error).strip()}.") from None
    rows = rows.rename(columns=_header)
    if rows.columns.has_duplicates:
        twice = rows.columns[rows.columns.duplicated()][0]
        raise DatasetError(f"{table} has two columns called {printable(twice)!r}. Keep one of them.")
    rows = rows.apply(lambda column: column.fillna("").str.strip())
    rows = rows[(rows != "").any(axis=1)]
    if not len(rows):
        raise DatasetError(f"{table} has no rows.")
    return rows


def _header(name: str) -> str:
    name = name.strip()
    return name.lower() if name.lower() in KNOWN else name


def _column(rows: pd.DataFrame, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in rows), None)


def _vote_columns(rows: pd.DataFrame, table: Path) -> dict[str, str]:
    """Return the columns of votes by the canonical name of their class. Raises DatasetError for two of one class."""
    columns: dict[str, str] = {}
    for name in rows:
        if name.startswith(VOTES) and columns.setdefault(canonical_label(name.removeprefix(VOTES)), name) != name:
            raise DatasetError(f"{table} has two columns of votes for one class. Keep {name} or the other one.")
    return columns


def _unread_votes(rows: pd.DataFrame, used: set[str | None]) -> list[str]:
    """Return the unused columns of numbers whose name has a class in it, such as votes_happiness."""
    return [
        name
        for name in rows
        if name not in used
        and any(canonical_label(word) in ORDER for word in WORDS.findall(name))
        and pd.to_numeric(rows[name].replace("", "0"), errors="coerce").notna().all()
    ]


def _vote_notes(votes: dict[str, str], names: Sequence[str], unread: list[str]) -> tuple[str, ...]:
    """Return sentences on votes that do not count, of columns with another prefix or without one for each class."""
    notes = [f"not read as votes, which are called {VOTES}<label>: the columns {named(unread)}"] if unread else []
    missing = [name for name in names if name not in votes]
    if missing and any(name in ORDER for name in votes):
        notes.append(f"the votes in {named(list(votes.values()))} are not used: there are none for {named(missing)}")
    return tuple(notes)


def _labels_of_votes(rows: pd.DataFrame, votes: dict[str, str], where: list[str]) -> list[str]:
    """Return the class with most votes of each row, or "" where there are none."""
    names = list(votes)
    return [names[row.argmax()] if row.any() else "" for row in _votes(rows[[*votes.values()]], where)]


def _targets(
    rows: pd.DataFrame, votes: dict[str, str], truth: np.ndarray, names: Sequence[str], where: list[str]
) -> np.ndarray:
    """Return (N, C) float32 shares of the votes; all on the truth where the table has no votes for some class, or none at all."""
    hard = one_hot(truth, len(names))
    if not all(name in votes for name in names):
        return hard
    shares = _votes(rows[[votes[name] for name in names]], where)
    total = shares.sum(1, keepdims=True)
    return np.where(total > 0, shares / np.maximum(total, 1e-9), hard).astype(np.float32)


def _votes(text: pd.DataFrame, where: list[str]) -> np.ndarray:
    """Return (N, C) float32 votes of their columns. Raises DatasetError naming a cell that holds no number of votes."""
    text = text.replace("", "0")
    votes = text.apply(pd.to_numeric, errors="coerce")
    numbers = votes.to_numpy(np.float32)
    if (wrong := np.argwhere(~np.isfinite(numbers) | (numbers < 0))).size:
        row, column = wrong[0]
        raise DatasetError(f"{where[row]} has the vote {text.iat[row, column]!r}, which is no number of votes.")
    return numbers


def splits_in(rows: pd.DataFrame, file: str) -> np.ndarray:
    """Return the (N,) str split of each row of a table, "" where it names none; `file` is the column of names.

    Raises DatasetError naming a picture whose split is no word of SPLIT_NAMES.
    """
    if "split" not in rows:
        return np.full(len(rows), "", "<U5")
    words = rows["split"].str.lower()
    if (wrong := ~words.isin(["", *SPLIT_NAMES])).any():
        first = rows[wrong].iloc[0]
        raise DatasetError(f"{printable(first[file])} has the split {first['split']!r}; use train, dev or test.")
    return words.map({"": "", **SPLIT_NAMES}).to_numpy("<U5")


def _subgroups(
    rows: pd.DataFrame, used: set[str | None], subject: np.ndarray, known: bool
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the unused columns of 2 to MAX_SUBGROUPS different words, none of them a label or a number with a point; and a note.

    These words stand in cards that are published, so they must name nobody: a column is left out, and the note says so,
    where the last word of its name is in NAMING, or one (N,) subject alone has one of its words. Where the subjects are not
    `known`, the second rule finds nothing, and only columns remain whose last word is in DESCRIBING.
    """
    few: dict[str, np.ndarray] = {}
    naming = []
    for name in rows:
        values = rows[name].to_numpy(str)
        words = np.unique(values)
        if name in used or not 2 <= len(words) <= MAX_SUBGROUPS:
            continue
        if any(canonical_label(word) in ORDER or "." in word for word in words.tolist()):
            continue
        alone = known and any(len(np.unique(subject[values == word])) == 1 for word in words.tolist() if word)
        if alone or _last_word(name) in NAMING or not (known or _last_word(name) in DESCRIBING):
            naming.append(printable(name))
        else:
            few[name] = values
    sentence = f"no subgroups, as they may name an infant, a rater or a file: the columns {named(naming)}"
    return few, (sentence,) if naming else ()


def _last_word(column: str) -> str:
    """Return the last word of a column's name in small letters without accents; "" where there is none."""
    plain = unicodedata.normalize("NFKD", column.replace("æ", "ae").replace("ø", "o"))  # which NFKD leaves as they are
    words = [word.lower() for word in WORDS.findall(plain.encode("ascii", "ignore").decode()) if not word.isdigit()]
    return words[-1] if words else ""


def _located(files: list[str], table: Path, pictures: Sequence[Path]) -> tuple[list[Place], tuple[str, ...]]:
    """Return the place of each file: beside the table, in an archive beside it, or in `pictures`; and notes for the log.

    In `pictures` the longest matching end of the path counts, at least the name. Raises DatasetError for a file that is
    nowhere, for one that may mean two pictures, and for two that mean the same.
    """
    archives: dict[str, list[Path]] = {}
    for archive in sorted(table.parent.glob("*.zip")):
        for member in archive_members(archive):
            archives.setdefault(member, []).append(archive)
    places: list[Place] = []
    elsewhere, renamed = None, []
    for file in files:
        path = "/".join(relative_parts(file))
        if os.path.isfile(table.parent / path):  # False for a name that is too long, too
            places.append((None, str(table.parent / path)))
        elif holders := archives.get(path):
            if len(holders) > 1:
                raise DatasetError(f"{printable(file)} of {table} is in {holders[0].name} and in {holders[1].name}.")
            places.append((holders[0], path))
        else:
            elsewhere = elsewhere or PictureIndex(pictures)
            if (place := elsewhere.find(path)) is None:
                raise DatasetError(
                    f"{printable(file)} of {table} is neither beside it nor in an archive beside it. "
                    "Name its folder or zip with --pictures."
                )
            places.append(place)
            renamed += [] if place[1].endswith(path) else [(file, place[1])]
    _check_distinct(files, places, table)
    if not renamed:
        return places, ()
    example = " is taken to be ".join(printable(name) for name in renamed[0])
    return places, (f"{len(renamed)} pictures are known by the ends of their paths only; {example}",)


def _check_once(files: pd.Series, table: Path) -> None:
    """Raise DatasetError for a line of the `files` without a name, and for two that name one: it would count as two infants."""
    lines: dict[tuple[str, ...], int] = {}
    for line, file in zip(files.index + 2, files, strict=True):
        if not file:
            raise DatasetError(f"Line {line} of {table} names no file.")
        if (first := lines.setdefault(relative_parts(file), line)) != line:
            raise DatasetError(
                f"Lines {first} and {line} of {table} both name {printable(file)}. "
                f"Give a picture one row, with the votes of several raters in columns {VOTES}<label>."
            )


def _check_distinct(files: list[str], places: list[Place], table: Path) -> None:
    first: dict[Place, str] = {}
    for file, (archive, member) in zip(files, places, strict=True):
        folder, name = os.path.split(member)
        place = (archive, member if archive else os.path.join(os.path.realpath(folder), name))
        if relative_parts(first.setdefault(place, file)) != relative_parts(file):
            raise DatasetError(
                f"{printable(first[place])} and {printable(file)} of {table} mean one picture, {printable(member)}. "
                "Keep one of the two, or name the folder that holds both with --pictures."
            )
