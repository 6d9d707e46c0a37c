"""Which pictures is training asked to use? Folders, archives, tables and Hub data sets become one kind of `Pictures`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from infant_fer.data.hub_dataset import fetched_archive
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
from infant_fer.data.tables import read_subjects, read_table
from infant_fer.errors import DatasetError
from infant_fer.labels import canonical_label

PICTURE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic"])
TABLES = ("manifest.csv", "infants.csv")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
LAYOUTS = (
    "Give a folder or zip of pictures with the label in their names (Pos12.jpg, 03_happy.png), of one folder per label, "
    "or of train/, dev/ and test/ folders with one folder per label each; a CSV table; or a Hub data set's owner/name."
)


def read_labeled_images(
    source: str | Path, classes: Sequence[str] | None = None, pictures: Sequence[Path] = (), cache: Path | None = None
) -> LabeledImages:
    """Read the data set at `source`; the layouts are those of LAYOUTS.

    City Infant Faces and Tromsø Infant Faces are folders of labelled names; FER2013 and any ImageFolder are folders of
    folders. A table's pictures are sought beside it, in the archives beside it, and by file name in `pictures`.
    `classes` keeps only those labels. Hub data sets are kept in `cache`. Raises DatasetError naming the offending file.
    """
    path = Path(source)
    if path.suffix.lower() == ".csv":
        return read_table(path, classes, pictures)
    if path.is_dir() and (table := next((path / name for name in TABLES if (path / name).is_file()), None)):
        return read_table(table, classes, pictures)
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if _is_picture(str(file.relative_to(path)))]
        found = _from_layout([(None, str(file), file.relative_to(path).parts) for file in files], source, classes)
        return read_subjects(found, path / "subjects.csv")
    if path.is_file():
        return _from_archive(path, source, classes)
    if HUB_ID.fullmatch(str(source)) and not path.is_absolute() and cache is not None:
        return _from_archive(fetched_archive(str(source), cache), source, classes)
    raise DatasetError(f"There is no data at {source}. {LAYOUTS}")


def _from_archive(archive: Path, source: str | Path, classes: Sequence[str] | None) -> LabeledImages:
    members = [name for name in archive_members(archive) if _is_picture(name)]
    return _from_layout([(archive, name, PurePosixPath(name).parts) for name in members], source, classes)


def _is_picture(name: str) -> bool:
    inner = PurePosixPath(name.replace("\\", "/"))
    hidden = any(part.startswith((".", "__MACOSX")) for part in inner.parts)
    return inner.suffix.lower() in PICTURE_SUFFIXES and not hidden


def _from_layout(files: list[tuple[Path | None, str, tuple[str, ...]]], source, classes) -> LabeledImages:
    """Labels, subjects and splits from the files' relative paths, all of one depth below what they share."""
    if not files:
        raise DatasetError(f"{source} holds no picture. {LAYOUTS}")
    shared = _shared_depth([parts for *_, parts in files])
    rows = [_row(member, parts[shared:]) for _, member, parts in files]
    if len({len(parts) - shared for *_, parts in files}) > 1:
        odd = next(member for _, member, parts in files if len(parts) != len(files[0][2]))
        raise DatasetError(f"{odd} lies at another depth than {files[0][1]}. {LAYOUTS}")
    labels, subjects, splits = (list(column) for column in zip(*rows, strict=True))
    names = classes_of(labels, classes)
    kept = np.array([label in names for label in labels])
    truth = np.array([names.index(label) if label in names else 0 for label in labels])
    own = own_subjects(len(files))
    everything = LabeledImages(
        archives=tuple(archive for archive, *_ in files),
        members=tuple(member for _, member, _ in files),
        labels=names,
        truth=truth,
        target=one_hot(truth, len(names)),
        subject=np.array([subject or own[index] for index, subject in enumerate(subjects)]),
        split=np.array(splits),
        subgroups={},
        subjects_known=all(subjects),
        left_out=() if kept.all() else (f"{(~kept).sum()} pictures of other labels",),
    )
    return everything.rows(kept)


def _shared_depth(parts: list[tuple[str, ...]]) -> int:
    """How many leading folders all files share, such as a zip's only folder; never one that names a label or a split."""
    depth = 0
    while all(len(each) > depth + 1 for each in parts) and len({each[depth] for each in parts}) == 1:
        if canonical_label(parts[0][depth]) in ORDER or parts[0][depth].lower() in SPLIT_NAMES:
            break
        depth += 1
    return depth


def _row(member: str, parts: tuple[str, ...]) -> tuple[str, str, str]:
    """(label, subject or "", split or "") of one file by its path."""
    if len(parts) == 1:
        return *label_in_name(parts[0]), ""
    if len(parts) == 2:
        return known_label(parts[0], member), "", ""
    if len(parts) == 3 and parts[0].lower() in SPLIT_NAMES:
        return known_label(parts[1], member), "", SPLIT_NAMES[parts[0].lower()]
    raise DatasetError(f"{member} fits no known layout. {LAYOUTS}")


def label_in_name(name: str) -> tuple[str, str]:
    """Label and subject of a picture's file name: "03_happy.png" gives ("happy", "03"), "Pos12.jpg" ("positive", "").

    The subject is what stands before the label if there is a number in it; a number after the label counts pictures.
    Raises DatasetError when there is no label or more than one.
    """
    words = WORDS.findall(PurePosixPath(name).stem)
    places = [index for index, word in enumerate(words) if canonical_label(word) in ORDER]
    if len({canonical_label(words[index]) for index in places}) != 1:
        told = "no label" if not places else "more than one label"
        raise DatasetError(f"The name {name} tells {told}. {LAYOUTS}")
    before = words[: places[0]]
    subject = "_".join(before) if any(word.isdigit() for word in before) else ""
    return canonical_label(words[places[0]]), subject
