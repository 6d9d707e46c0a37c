"""Which pictures are in a data set as its authors publish it? AffectNet's annotations, RAF-DB's list, FER+'s table of votes."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infant_fer.data.labeled_images import LabeledImages, classes_of, named, one_hot, own_subjects
from infant_fer.errors import DatasetError
from infant_fer.images import PHOTO_SUFFIXES
from infant_fer.labels import VOTED_EMOTIONS

# Mollahosseini et al. 2017, arXiv 1708.03985; 8 to 10 are none, uncertain and no face.
AFFECTNET = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
AFFECTNET_SETS = {"train_set": "train", "val_set": "test", "": ""}
# Li, Deng and Du 2017; numbered from 1 in list_patition_label.txt, which its authors spell so.
RAF_DB, RAF_DB_LIST = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"), "list_patition_label.txt"
# Barsoum et al. 2016, arXiv 1608.01041.
FER_PLUS_TABLE = "fer2013new.csv"
FER_PLUS_SETS = {
    "Training": ("FER2013Train", "train"), "PublicTest": ("FER2013Valid", "dev"), "PrivateTest": ("FER2013Test", "test"),
}  # fmt: skip
FER_PLUS_COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")


def read_published(folder: Path, classes: Sequence[str] | None = None) -> LabeledImages | None:
    """Read a folder laid out as AffectNet, RAF-DB or FER+ is published; None for any other. Raises DatasetError."""
    if any((folder / name / "annotations").is_dir() for name in AFFECTNET_SETS):
        return _affectnet(folder, classes)
    lists = [folder / name / RAF_DB_LIST for name in ("", "EmoLabel", "basic/EmoLabel")]
    if found := next((file for file in lists if file.is_file()), None):
        return _raf_db(folder, found, classes)
    return _fer_plus(folder, classes) if (folder / FER_PLUS_TABLE).is_file() else None


def _affectnet(folder: Path, classes: Sequence[str] | None) -> LabeledImages:
    """Read `annotations/ID_exp.npy` (class) with `images/ID.jpg`."""
    files, words, splits, other = [], [], [], 0
    for name, split in AFFECTNET_SETS.items():
        for annotation in sorted((folder / name / "annotations").glob("*_exp.npy")):
            number = annotation.name.removesuffix("_exp.npy")
            index = _number(annotation)
            if index not in range(len(AFFECTNET)):
                other += 1
                continue
            files.append(_picture(folder / name / "images", number))
            words.append(AFFECTNET[int(index)])
            splits.append(split)
    left_out = (f"{other} pictures without one of the eight classes",) if other else ()
    return _labeled(folder, _Listed(files, words, splits, left_out), classes)


def _raf_db(folder: Path, table: Path, classes: Sequence[str] | None) -> LabeledImages:
    """Read the lines `train_00001.jpg 5` of the list; aligned pictures are taken before original ones."""
    roots = [folder / part / kind for part in ("Image", "basic/Image", "") for kind in ("aligned", "original", "")]
    files, words, splits = [], [], []
    for line, text in enumerate(table.read_text("utf-8", errors="replace").splitlines(), 1):
        if not text.strip():
            continue
        name, _, number = text.strip().rpartition(" ")
        split = name.partition("_")[0]
        if not number.isdigit() or not 1 <= int(number) <= len(RAF_DB) or split not in ("train", "test"):
            raise DatasetError(f"Line {line} of {table} is not NAME NUMBER with a class of 1 to {len(RAF_DB)}.")
        stem = name.removesuffix(".jpg").removesuffix("_aligned")
        places = [root / f"{stem}{ending}.jpg" for root in roots for ending in ("_aligned", "")]
        files.append(next((place for place in places if place.is_file()), places[0]))
        words.append(RAF_DB[int(number) - 1])
        splits.append(split)
    return _labeled(folder, _Listed(files, words, splits), classes)


def _fer_plus(folder: Path, classes: Sequence[str] | None) -> LabeledImages:
    """Read the votes with the pictures of FER2013Train, FER2013Valid and FER2013Test, beside the table or in data/.

    Pictures without a distribution are left out; see vote_distributions. The label of the others is the emotion with most
    votes, the first in the order of VOTED_EMOTIONS where several have as many.
    """
    files, splits, votes, other = [], [], [], 0
    names = [name for name, _ in FER_PLUS_SETS.values()]
    pictures = next(
        (each for each in (folder, folder / "data") if any((each / name).is_dir() for name in names)), folder
    )
    with (folder / FER_PLUS_TABLE).open(newline="", encoding="utf-8-sig") as stream:
        for number, row in enumerate(csv.DictReader(stream), 2):
            try:
                counts = np.array([float(row[name]) for name in (*FER_PLUS_COLUMNS, "unknown", "NF")])
                place, split = FER_PLUS_SETS[row["Usage"]]
            except (KeyError, TypeError, ValueError):
                raise DatasetError(f"Line {number} of {folder / FER_PLUS_TABLE} is no row of FER+.") from None
            shares = vote_distributions(counts[None, : len(FER_PLUS_COLUMNS)], counts[None, len(FER_PLUS_COLUMNS) :])[0]
            if not row["Image name"] or not shares.any():
                other += 1
                continue
            files.append(pictures / place / row["Image name"])
            splits.append(split)
            votes.append(shares)
    words = [VOTED_EMOTIONS[each.argmax()] for each in votes]
    left_out = (
        (f"{other} pictures without two votes for an emotion, or with more for unknown or no face",) if other else ()
    )
    return _labeled(folder, _Listed(files, words, splits, left_out, np.array(votes, np.float32)), classes)


def vote_distributions(counts: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (N, 8) float32 distributions of FER+'s (N, 8) votes, in the order of VOTED_EMOTIONS; `others` (N, 2) are no emotion.

    Single votes for an emotion are dropped. A picture with more votes for unknown or for no face (`others`) than for any
    emotion has zeros. An emotion with most votes need not have half of them: Barsoum et al. (2016), who drop single votes
    of `others`, too, leave such pictures out of their majority mode.
    """
    counts = np.where((counts > 1) & (counts.max(1) >= others.max(1))[:, None], counts, 0)
    return (counts / np.maximum(counts.sum(1, keepdims=True), 1)).astype(np.float32)


@dataclass(frozen=True)
class _Listed:
    """The pictures that a data set lists, with one entry for each in every list."""

    files: list[Path]
    words: list[str]  # labels
    splits: list[str]
    left_out: tuple[str, ...] = ()
    votes: np.ndarray | None = None  # (N, 8) in the order of VOTED_EMOTIONS


def _labeled(folder: Path, listed: _Listed, classes: Sequence[str] | None) -> LabeledImages:
    files, words, votes = listed.files, listed.words, listed.votes
    if not files:
        raise DatasetError(f"{folder} lists no picture with a label.")
    if missing := [str(file) for file in files if not os.path.isfile(file)]:
        raise DatasetError(f"{len(missing)} pictures that {folder} lists are not there: {named(missing)}.")
    names = classes_of(words, classes)
    kept = np.isin(words, names)
    truth = np.array([names.index(word) if word in names else 0 for word in words])
    target = one_hot(truth, len(names))
    if votes is not None and set(names) <= set(VOTED_EMOTIONS):
        chosen = votes[:, [VOTED_EMOTIONS.index(name) for name in names]]
        total = chosen.sum(1, keepdims=True)
        target = np.where(total > 0, chosen / np.maximum(total, 1e-9), target).astype(np.float32)
    everything = LabeledImages(
        archives=(None,) * len(files),
        members=tuple(map(str, files)),
        labels=names,
        truth=truth,
        target=target,
        subject=own_subjects(len(files)),
        split=np.array(listed.splits, "<U5"),
        subgroups={},
        left_out=listed.left_out + (() if kept.all() else (f"{(~kept).sum()} pictures of other labels",)),
    )
    return everything.rows(kept)


def _number(file: Path) -> float:
    """Return the one number of a .npy file, which AffectNet saves as text. Nothing is unpickled."""
    try:
        number = float(np.load(file, allow_pickle=False).item())
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{file} holds no number ({error}).") from None
    if not np.isfinite(number):
        raise DatasetError(f"{file} holds no number ({number}).")
    return number


def _picture(folder: Path, stem: str) -> Path:
    """Return the picture of a name without suffix; that with .jpg where there is none."""
    places = [folder / f"{stem}{suffix}" for suffix in (".jpg", *sorted(PHOTO_SUFFIXES))]
    return next((place for place in places if place.is_file()), places[0])
