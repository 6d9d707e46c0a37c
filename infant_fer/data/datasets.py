"""Which pictures are there to train on? Folders, archives, tables and Hub data sets become LabeledImages."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from zipfile import ZIP_STORED, ZipFile

import numpy as np

from infant_fer.data.labeled_images import (
    ORDER,
    SPLIT_NAMES,
    LabeledImages,
    Place,
    archive_members,
    classes_of,
    folder_files,
    known_label,
    one_hot,
    own_subjects,
)
from infant_fer.data.published import read_published
from infant_fer.data.tables import SUBJECTS_FILE, WORDS, read_table, subjects_of
from infant_fer.errors import DatasetError
from infant_fer.files import PICTURE_SUFFIXES, open_atomically
from infant_fer.images import PHOTO_SUFFIXES, printable
from infant_fer.labels import canonical_label

TABLES = ("manifest.csv", "infants.csv")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Dates, times and what cameras and phones call their pictures identify no infant: 2024-03-01, 20240301_1530, IMG_0001.
DATE = re.compile(
    r"(?<!\d)(?:19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d(?:[-_. T]?[0-2]\d[-_.:]?[0-5]\d(?:[-_.:]?[0-5]\d)?)?(?!\d)"
)
CAMERA = re.compile(
    r"(?<![a-z])(?:img|dsc[nf]?|dcim|pxl|mvi|vid|wa|photo|picture|pic|image|screenshot|frame)[-_ ]*\d+(?!\d)",
    re.IGNORECASE,
)
CHILD = re.compile(r"(?<![A-Za-z0-9])[FM]-[A-Z]{2}-\d+(?!\d)")  # CAFE's code of a child: sex, ethnicity, number
MOUTH = re.compile(r"(?<=.)(open|closed|withtongue)$", re.IGNORECASE)  # CAFE writes happyopen, disgustwithtongue
LAYOUTS = (
    "Give a folder or zip of pictures with the label in their names (Pos12.jpg, 03_happy.png), of one folder per label, "
    "or of train/, dev/ and test/ folders with one folder per label each; a CSV table; or a Hub data set's owner/name."
)


def read_labeled_images(
    source: str | Path, classes: Sequence[str] | None = None, pictures: Sequence[Path] = (), cache: Path | None = None
) -> LabeledImages:
    """Read the data set at `source`; the layouts are those of LAYOUTS.

    AffectNet, RAF-DB and FER+ are read as published. City Infant Faces, Tromsø Infant Faces and CAFE are folders of labelled
    names; FER2013 and any ImageFolder are folders of folders. A table's pictures are searched beside it, in the archives
    beside it, and by the ends of their paths in `pictures`. `classes` keeps only those labels. Hub data sets are kept in
    `cache`; a name in a folder that exists is none of them. Raises DatasetError naming the file.
    """
    path = Path(source)
    if path.suffix.lower() == ".csv":
        return _from_table(path, classes, pictures)
    if os.path.isdir(path) and (table := next((path / name for name in TABLES if (path / name).is_file()), None)):
        return _from_table(table, classes, pictures)
    if pictures:
        raise DatasetError(
            f"{printable(source)} is no table, so there are no other folders of its pictures (--pictures)."
        )
    if os.path.isdir(path) and (published := read_published(path, classes)) is not None:
        _refuse_subjects(_subject_tables(published, [path]))
        return published
    if os.path.isdir(path):
        found, locked = folder_files(path)
        files: list[tuple[Place, tuple[str, ...]]] = [
            ((None, str(file)), file.relative_to(path).parts) for file in found
        ]
        skipped = tuple(f"the folder {name}, which cannot be opened" for name in locked)
        return _with_subjects(_from_layout(files, source, classes, skipped), found, path)
    if os.path.isfile(path):
        return _from_archive(path, source, classes)
    if HUB_ID.fullmatch(str(source)) and not os.path.isdir(path.parent) and cache is not None:
        return _from_archive(fetched_archive(str(source), cache), source, classes)
    raise DatasetError(f"There is no data at {printable(source)}. {LAYOUTS}")


def _from_archive(archive: Path, source: str | Path, classes: Sequence[str] | None) -> LabeledImages:
    members = archive_members(archive)
    _refuse_subjects(_subject_members(members, archive))
    return _from_layout([((archive, name), PurePosixPath(name).parts) for name in members], source, classes, ())


def _from_table(table: Path, classes: Sequence[str] | None, pictures: Sequence[Path]) -> LabeledImages:
    """Read a table; where it does not know every infant, no other table of subjects may be among its pictures."""
    images = read_table(table, classes, pictures)
    if not images.subjects_known:
        for archive in sorted({archive for archive in images.archives if archive is not None}):
            _refuse_subjects(_subject_members(archive_members(archive), archive))
        tables = _subject_tables(images, [table.parent, *pictures])
        _refuse_subjects([each for each in tables if each.parent != table.parent])
    return images


def _with_subjects(images: LabeledImages, files: Sequence[Path], folder: Path) -> LabeledImages:
    """Take the subjects from the subjects.csv among a folder's files, which must be beside or above all pictures."""
    tables = [file for file in files if file.name == SUBJECTS_FILE and not _is_hidden(file.relative_to(folder).parts)]
    if not tables:
        return images
    table, *others = tables
    if others or not all(Path(member).is_relative_to(table.parent) for member in images.members):
        _refuse_subjects(tables)
    subject, known = subjects_of([str(Path(each).relative_to(table.parent)) for each in images.members], table)
    return replace(images, subject=subject, subjects_known=known, subjects_guessed=False, notes=())


def _subject_members(members: Sequence[str], archive: Path) -> list[str]:
    return [f"{name} in {archive}" for name in members if PurePosixPath(name).name == SUBJECTS_FILE]


def _subject_tables(images: LabeledImages, roots: Sequence[Path]) -> list[Path]:
    """Return the tables of subjects beside the pictures that are files, and above them as far as the `roots`."""
    places = zip(images.archives, images.members, strict=True)
    folders = {Path(member).parent for archive, member in places if archive is None}
    above = {each for folder in folders for each in (folder, *folder.parents)}
    within = sorted(each for each in above if any(each.is_relative_to(root) for root in roots))
    return [each / SUBJECTS_FILE for each in within if (each / SUBJECTS_FILE).is_file()]


def _refuse_subjects(tables: Sequence[str | Path]) -> None:
    """Raise DatasetError where a table of subjects would be passed over, and one infant fall on both sides of a split."""
    if tables:
        raise DatasetError(
            f"{printable(str(tables[-1]))} would be passed over. Keep one {SUBJECTS_FILE}, beside or above all pictures "
            "of a folder, or beside their table; unpack an archive that holds one."
        )


def _from_layout(
    files: list[tuple[Place, tuple[str, ...]]], source, classes: Sequence[str] | None, skipped: tuple[str, ...]
) -> LabeledImages:
    """Read labels, subjects and splits from the files' relative paths, all of one depth below what they share."""
    files = [(place, parts) for place, parts in files if not _is_hidden(parts)]
    suffixes = [PurePosixPath(parts[-1]).suffix.lower() for _, parts in files]
    undecoded = Counter(each for each in suffixes if each in PICTURE_SUFFIXES - PHOTO_SUFFIXES)
    skipped += tuple(f"{count} {suffix} pictures, which cannot be read" for suffix, count in undecoded.items())
    files = [each for each, suffix in zip(files, suffixes, strict=True) if suffix in PHOTO_SUFFIXES]
    if not files:
        without = f" (left out: {'; '.join(skipped)})" if skipped else ""
        raise DatasetError(f"{printable(source)} holds no picture{without}. {LAYOUTS}")
    shared = _shared_depth([parts for _, parts in files])
    rows = [_row(parts[shared:]) for _, parts in files]
    if len({len(parts) for _, parts in files}) > 1:
        odd = next(place for place, parts in files if len(parts) != len(files[0][1]))
        raise DatasetError(f"{printable(odd[1])} is at another depth than {printable(files[0][0][1])}. {LAYOUTS}")
    labels, guesses, splits = (list(column) for column in zip(*rows, strict=True))
    names = classes_of(labels, classes)
    kept = np.isin(labels, names)
    truth = np.array([names.index(label) if label in names else 0 for label in labels])
    subject, known, note = _subjects(guesses, labels)
    everything = LabeledImages(
        archives=tuple(archive for (archive, _), _ in files),
        members=tuple(member for (_, member), _ in files),
        labels=names,
        truth=truth,
        target=one_hot(truth, len(names)),
        subject=subject,
        split=np.array(splits),
        subgroups={},
        subjects_known=known,
        subjects_guessed=known,
        left_out=skipped + (() if kept.all() else (f"{(~kept).sum()} pictures of other labels",)),
        notes=(note,) if note else (),
    )
    return everything.rows(kept)


def _is_hidden(parts: Sequence[str]) -> bool:
    return any(each.startswith((".", "__MACOSX")) for each in parts)


def _shared_depth(parts: list[tuple[str, ...]]) -> int:
    """Return how many leading folders all files share, such as a zip's only folder; never one that names a label or a split."""
    depth = 0
    while all(len(each) > depth + 1 for each in parts) and len({each[depth] for each in parts}) == 1:
        if canonical_label(parts[0][depth]) in ORDER or parts[0][depth].lower() in SPLIT_NAMES:
            break
        depth += 1
    return depth


def _row(parts: tuple[str, ...]) -> tuple[str, str, str]:
    """Return (label, subject or "", split or "") of one file by its path."""
    name = printable("/".join(parts))
    if len(parts) == 1:
        return *label_in_name(parts[0]), ""
    if len(parts) == 2:
        return known_label(parts[0], name), "", ""
    if len(parts) == 3 and parts[0].lower() in SPLIT_NAMES:
        return known_label(parts[1], name), "", SPLIT_NAMES[parts[0].lower()]
    raise DatasetError(f"{name} fits no known layout. {LAYOUTS}")


def label_in_name(name: str) -> tuple[str, str]:
    """Return label and possible subject of a file name: ("happy", "03") for "03_happy.png", ("positive", "") for "Pos12.jpg".

    The subject is a CAFE child's code, wherever it stands, or else what stands before the label, dates and camera numbers
    left out, if there is a number in it; a number after the label counts pictures. Raises DatasetError when there is no
    label or more than one.
    """
    stem = PurePosixPath(name).stem
    child = CHILD.search(stem)
    words = WORDS.findall(CAMERA.sub(" ", DATE.sub(" ", CHILD.sub(" ", stem))))
    words = [MOUTH.sub("", word) or word for word in words]
    places = [index for index, word in enumerate(words) if canonical_label(word) in ORDER]
    if len({canonical_label(words[index]) for index in places}) != 1:
        found = "no label" if not places else "more than one label"
        raise DatasetError(f"The name {printable(name)} has {found}. {LAYOUTS}")
    before = words[: places[0]]
    subject = "_".join(before) if any(word.isdigit() for word in before) else ""
    return canonical_label(words[places[0]]), child[0] if child else subject


def _subjects(guesses: list[str], labels: list[str]) -> tuple[np.ndarray, bool, str]:
    """Return (N,) subjects by what file names say, whether they are known, and a note for the log if any is guessed.

    Names that occur once each are counters, not infants, and so may bare numbers be that occur once in each class:
    subjects are known only when every picture has a name and there are at most half as many names as pictures, but more
    than one. Pictures of one name stay together in any case.
    """
    counts = Counter(guess for guess in guesses if guess)
    own = own_subjects(len(guesses))
    subject = np.array([guess or own[index] for index, guess in enumerate(guesses)])
    if not counts:
        return subject, False, ""
    example, advice = (
        repr(next(iter(counts))),
        "if that is wrong, name each picture's infant in subjects.csv (file,subject)",
    )
    if not all(guesses) or not 1 < len(counts) <= len(guesses) / 2:
        return subject, False, f"the file names may name infants, such as {example}, but not of all; {advice}"
    if all(map(str.isdigit, counts)) and max(Counter(zip(guesses, labels, strict=True)).values()) == 1:
        return (
            subject,
            False,
            f"the file names may name infants, such as {example}, or count each class's pictures; {advice}",
        )
    return subject, True, f"infants guessed from the file names: {len(counts)}, such as {example}; {advice}"


def fetched_archive(repo_id: str, cache: Path) -> Path:
    """Return the archive `cache`/hub-OWNER--NAME.zip of SPLIT/LABEL/NUMBER.jpg, written at the first call. Raises DatasetError.

    The data set needs an image and a class-label column, as those of the Hub's image-classification task have.
    """
    archive = cache / f"hub-{repo_id.replace('/', '--')}.zip"
    if archive.is_file():
        return archive
    try:
        import datasets
    except ImportError:
        raise DatasetError("Data sets of the Hub need one more package: pip install datasets.") from None
    try:
        loaded = datasets.load_dataset(repo_id)
    except Exception as error:  # datasets raises a dozen kinds of exceptions
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DatasetError(
            f"There is no folder {repo_id}, and the Hub's data set of that name could not be loaded: {reason}"
        ) from error
    cache.mkdir(parents=True, exist_ok=True)
    return into_archive(loaded, repo_id, archive)


def into_archive(loaded, repo_id: str, archive: Path) -> Path:
    """Write a `datasets.DatasetDict` as an archive, atomically; rows without a label (None or -1) are left out.

    Raises DatasetError for missing columns.
    """
    import datasets

    with open_atomically(archive, "wb") as stream, ZipFile(stream, "w", ZIP_STORED) as opened:
        for split, rows in loaded.items():
            columns = {type(feature): name for name, feature in rows.features.items()}
            image, label = columns.get(datasets.Image), columns.get(datasets.ClassLabel)
            if image is None or label is None:
                raise DatasetError(
                    f"{repo_id} has no image column or no class-label column; it has {rows.column_names}."
                )
            names = rows.features[label].names
            encoded = rows.cast_column(image, datasets.Image(decode=False))
            for number, row in enumerate(encoded):
                if row[label] is None or row[label] < 0:
                    continue
                data = row[image]["bytes"] or Path(row[image]["path"]).read_bytes()
                opened.writestr(f"{split}/{names[row[label]]}/{number:06}.jpg", data)
    return archive
