"""Who is trained on and who is held out? Splits by infant, never by frame, the original thesis's among them."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from infant_fer.data.labeled_images import UNREADABLE, LabeledImages, own_subjects
from infant_fer.errors import DatasetError
from infant_fer.labels import AFFECTS

THESIS_SIZES = {
    "train": 100,
    "dev": 25,
    "test": 25,
}  # pictures of the thesis on City Infant Faces (2025), whole infants
THESIS_CLASSES = {
    "train": (37, 34, 29),
    "dev": (10, 10, 5),
    "test": (11, 8, 6),
}  # its positive, neutral, negative pictures
METHODS = ("given", "subject", "thesis", "thesis-classes", "holdout", "frames")
SPLIT_FILE = "split.csv"  # in a checkpoint folder: SHA-256 of every picture's file, its subject, and its split
FREE_SHARE = 3  # an exact split's last pictures are chosen among so many times as many, by integer programming
DEV_PIECES = 10  # of the pictures that are not test, one of so many equal pieces is dev


def split(images: LabeledImages, method: str, seed: int = 0) -> np.ndarray:
    """Return (N,) str: train, dev, test or "" (not used), by one of METHODS.

    `given`: the data set's own, with dev taken from train where it has none. `subject`: about 70 / 15 / 15 % of the
    pictures. `holdout`: about 80 / 20 %, as iFACE, with dev a tenth of the 80. `thesis`: exactly 100 / 25 / 25 pictures,
    classes in the data set's proportions; `thesis-classes`: with the thesis's own counts of the three affects. All but
    `given` keep subjects whole and give like shares of the classes. `frames`: as `subject`, but each picture counts as an
    infant of its own, so that frames of one infant are on all sides: only to show what such a figure is worth. Raises
    DatasetError.
    """
    if method == "given":
        return _given(images, seed)
    if method == "frames":
        return _by_subject(replace(images, subject=own_subjects(len(images))), seed)
    if method == "subject":
        return _by_subject(images, seed)
    if method == "holdout":
        splits = np.full(len(images), "train", "<U5")
        splits[_held_out(images, 5, seed)] = "test"
        return _with_dev(images, splits, seed)
    needed = sum(THESIS_SIZES.values())
    if needed > len(images):
        raise DatasetError(f"The thesis's split needs {needed} pictures; there are {len(images)}. Use --split subject.")
    if method == "thesis":
        return exact_split(images.truth, images.subject, THESIS_SIZES, seed)
    if images.labels != AFFECTS:
        raise DatasetError(f"--split thesis-classes needs the labels {', '.join(AFFECTS)}; use --split thesis.")
    return exact_split(images.truth, images.subject, THESIS_SIZES, seed, THESIS_CLASSES)


def exact_split(
    truth: np.ndarray,
    subject: np.ndarray,
    sizes: Mapping[str, int],
    seed: int = 0,
    classes: Mapping[str, Sequence[int]] | None = None,
) -> np.ndarray:
    """Return (N,) str: exactly `sizes` pictures in each split, each subject's in one split only; the rest is "".

    `truth` is (N,) int, `subject` (N,) of any dtype. `classes` are the counts of every class in each split; without them
    they are the data set's proportions, rounded up or down. Most subjects are assigned at random; the last ones by integer
    programming, so that the counts come out exactly. A few pictures of an assigned subject may stay unused. Raises
    DatasetError when no such split was found.
    """
    random, names = np.random.default_rng(seed), list(sizes)
    _, number = np.unique(subject, return_inverse=True)
    counts = np.zeros((number.max() + 1, truth.max() + 1), int)  # (S, C) pictures of each subject and class
    np.add.at(counts, (number, truth), 1)
    total = np.array([sizes[name] for name in names])
    wanted = total[:, None] * counts.sum(0) / counts.sum() if classes is None else np.array([classes[n] for n in names])
    for assigned in (0.8, 0.5, 0.2, 0.0):
        order = random.permutation(len(counts))
        split_of = _random_assignment(counts[order], assigned * wanted, random)  # (S,) number of the split, or -1
        fixed = np.stack([counts[order][split_of == split].sum(0) for split in range(len(names))])  # (P, C)
        left = np.flatnonzero(split_of < 0)
        free = left[
            : 1 + np.searchsorted(counts[order][left].sum(1).cumsum(), FREE_SHARE * (total.sum() - fixed.sum()))
        ]
        drawn = _exact_rest(
            counts[order][free], total - fixed.sum(1), np.floor(wanted) - fixed, np.ceil(wanted) - fixed
        )
        if drawn is not None:
            break
    else:
        raise DatasetError(
            f"No split of {' / '.join(map(str, total))} pictures keeps every infant in one split. Use another --seed or --split."
        )
    splits = np.full(len(truth), "", "<U5")
    for split, name in enumerate(names):
        splits[np.isin(number, order[split_of == split])] = name
    for each, split, label in np.argwhere(drawn):
        rows = np.flatnonzero((number == order[free[each]]) & (truth == label))
        splits[random.permutation(rows)[: drawn[each, split, label]]] = names[split]
    return splits


def _random_assignment(counts: np.ndarray, limits: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the split of each of S subjects with (S, C) pictures, or -1, so that no split has more than (P, C) `limits`."""
    left, split_of = limits.copy(), np.full(len(counts), -1)
    for subject, pictures in enumerate(counts):
        fitting = np.flatnonzero((pictures <= left).all(1))
        if len(fitting):
            room = left[fitting].sum(1)
            split_of[subject] = random.choice(fitting, p=room / room.sum())
            left[split_of[subject]] -= pictures
    return split_of


def _exact_rest(counts: np.ndarray, total: np.ndarray, least: np.ndarray, most: np.ndarray) -> np.ndarray | None:
    """Return how many of the (S, C) pictures each split gets, (S, P, C), with the fewest unused ones; None if impossible.

    Split p gets `total[p]` pictures and between `least[p, c]` and `most[p, c]` of class c. A subject is in one split only.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    (subjects, labels), splits = counts.shape, len(total)
    chosen, taken = subjects * splits, subjects * splits * labels  # binary x[s, p], then integer n[s, p, c]
    index = np.arange(taken).reshape(subjects, splits, labels) + chosen
    once, most_once = np.zeros((subjects, chosen + taken)), np.ones(subjects)
    only, sums, classes = np.zeros((taken, chosen + taken)), np.zeros((splits, chosen + taken)), []
    for subject, split in np.ndindex(subjects, splits):
        once[subject, subject * splits + split] = 1
        for label in range(labels):
            row = index[subject, split, label] - chosen
            only[row, row + chosen], only[row, subject * splits + split] = 1, -counts[subject, label]
    for split in range(splits):
        sums[split, index[:, split].ravel()] = 1
        for label in range(labels):
            classes.append(np.isin(np.arange(chosen + taken), index[:, split, label]).astype(float))
    cost = np.concatenate([np.repeat(counts.sum(1), splits), np.full(taken, -1)]).astype(float)
    upper = np.concatenate([np.ones(chosen), np.repeat(counts, splits, axis=0).ravel()])
    found = milp(
        cost,
        integrality=np.ones(chosen + taken),
        bounds=Bounds(0, upper),
        constraints=[
            LinearConstraint(once, -np.inf, most_once),
            LinearConstraint(only, -np.inf, 0),
            LinearConstraint(sums, total, total),
            LinearConstraint(np.array(classes), least.ravel(), most.ravel()),
        ],
        options={"mip_rel_gap": 0.5},
    )
    return None if found.x is None else np.rint(found.x[chosen:]).astype(int).reshape(subjects, splits, labels)


def folds(images: LabeledImages, k: int, repeats: int = 1, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield the (N,) splits of `repeats` × `k` folds: the fold is test, a tenth of the rest is dev; subjects stay whole.

    Raises DatasetError when there are fewer pictures of a class, or fewer subjects, than folds.
    """
    fewest, subjects = min(images.counts().items(), key=lambda item: item[1]), len(np.unique(images.subject))
    if fewest[1] < k or subjects < k:
        raise DatasetError(
            f"{k} folds need {k} pictures of every class and {k} subjects; there are {fewest[1]} of {fewest[0]} and "
            f"{subjects} subjects. Use fewer folds."
        )
    for repeat in range(repeats):
        drawn = StratifiedGroupKFold(k, shuffle=True, random_state=seed + repeat)
        for train, test in drawn.split(images.truth, images.truth, images.subject):
            splits = np.full(len(images), "train", "<U5")
            splits[test] = "test"
            splits[train[_held_out(images.rows(train), DEV_PIECES, seed + repeat)]] = "dev"
            yield splits


def fraction(images: LabeledImages, splits: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """Return the (N,) splits with about `share` of the train pictures, whole subjects; dev and test stay as they are.

    Raises DatasetError when a class has too few train pictures.
    """
    fewer, train = splits.copy(), np.flatnonzero(splits == "train")
    fewer[train] = ""
    fewer[train[_held_out(images.rows(train), round(1 / share), seed)]] = "train"
    check_classes(images, fewer)
    return fewer


def check_classes(images: LabeledImages, splits: np.ndarray, where: str = "") -> None:
    """Raise DatasetError when train, dev or test lacks a class, or train is empty; `where` names the fold."""
    for name in ("train", "dev", "test"):
        counts = images.rows(splits == name).counts()
        absent = next((label for label, count in counts.items() if not count), None)
        if absent and sum(counts.values()):
            raise DatasetError(
                f"No {absent} picture fell into {name}{where} ({sum(counts.values())} pictures); there are "
                f"{images.counts()[absent]} in all. Use another --seed or --split, or leave the label out with --classes."
            )
    if not (splits == "train").any():
        raise DatasetError("No picture is left to train on. Use another --split.")


def write_split(folder: Path, images: LabeledImages, splits: np.ndarray) -> None:
    """Write sha256, subject and split of every picture that has one into SPLIT_FILE; a picture is known by its bytes.

    The subjects are numbered: the data set's own names for its infants stay private. Faces that no file holds, such as
    warped ones, are left out.
    """
    numbers = np.unique(images.subject, return_inverse=True)[1] + 1
    rows = zip(images.digests(), numbers.tolist(), splits, strict=True)
    with (folder / SPLIT_FILE).open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(("sha256", "subject", "split"))
        table.writerows(sorted(row for row in rows if row[2] and not row[0].startswith(UNREADABLE)))


def read_split(folder: Path, images: LabeledImages) -> np.ndarray | None:
    """Return the (N,) str splits that these pictures had when the checkpoint in `folder` was trained, "" for others.

    None when the folder has no SPLIT_FILE, or that knows none of these pictures.
    """
    if not (folder / SPLIT_FILE).is_file():
        return None
    with (folder / SPLIT_FILE).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    column = "split" if rows and "split" in rows[0] else "part"  # its name in older checkpoints
    known = {row["sha256"]: row[column] for row in rows}
    splits = np.array([known.get(digest, "") for digest in images.digests()], dtype="<U5")
    return splits if splits.astype(bool).any() else None


def _given(images: LabeledImages, seed: int) -> np.ndarray:
    if not (images.split == "train").any():
        raise DatasetError(
            "The data set has no split of its own with train pictures. Mark them in it, or use "
            "--split subject in a command that has it."
        )
    splits = images.split.astype("<U5")
    return splits if (splits == "dev").any() else _with_dev(images, splits, seed)


def _with_dev(images: LabeledImages, splits: np.ndarray, seed: int) -> np.ndarray:
    """Return the splits with a tenth of the train pictures, whole subjects, as dev."""
    splits, train = splits.copy(), np.flatnonzero(splits == "train")
    splits[train[_held_out(images.rows(train), DEV_PIECES, seed)]] = "dev"
    return splits


def _by_subject(images: LabeledImages, seed: int) -> np.ndarray:
    splits = np.full(len(images), "train", "<U5")
    for name, share in (("test", 7), ("dev", 6)):  # a seventh, then a sixth of what is left
        left = np.flatnonzero(splits == "train")
        splits[left[_held_out(images.rows(left), share, seed)]] = name
    return splits


def _held_out(images: LabeledImages, share: int, seed: int) -> np.ndarray:
    """Return indices of about 1 / share of the pictures, whole subjects, like shares of the classes.

    Of the drawn pieces the first with most classes is taken: one of a rare class is held out without making the piece larger.
    Raises DatasetError where there are too few pictures or subjects.
    """
    subjects = len(np.unique(images.subject))
    pieces = min(share, subjects, max(images.counts().values()))
    if pieces < 2:
        raise DatasetError(
            f"{subjects} subjects with {images.counts()} pictures are too few to hold some out. Add pictures."
        )
    alone = subjects == len(images)
    drawing = (StratifiedKFold if alone else StratifiedGroupKFold)(pieces, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # see `check_classes`
        drawn = drawing.split(images.truth, images.truth, None if alone else images.subject)
        return max((piece for _, piece in drawn), key=lambda piece: len(np.unique(images.truth[piece])))
