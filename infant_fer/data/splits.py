"""Who is trained on and who is held out? By infant, never by frame; and the thesis's way beside it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from infant_fer.data.labeled_images import LabeledImages
from infant_fer.errors import DatasetError

THESIS_SIZES = {"train": 100, "dev": 25, "test": 25}  # pictures, drawn without regard to the infant
METHODS = ("given", "subject", "thesis", "holdout")
TENTHS = 10  # of the subjects: 7 train, 1.5 each held out, rounded by whole subjects


def joined_subjects(subject: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(N,) str: subjects, joined where near-duplicate `pairs` (P, 2) show that two are one."""
    names, number = np.unique(subject, return_inverse=True)
    links = number[pairs] if len(pairs) else np.zeros((0, 2), int)
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(len(names), len(names)))
    _, component = connected_components(graph, directed=False)
    first = {part: name for part, name in zip(component[::-1], names[::-1], strict=True)}
    return np.array([first[part] for part in component])[number]


def split(pictures: LabeledImages, method: str, seed: int = 0) -> np.ndarray:
    """(N,) str: train, dev, test or "" (not used), by one of METHODS.

    `given`: the data set's own, with dev taken from train by subject where it has none. `subject`: about 70 / 15 / 15 %
    of the pictures, whole subjects, like shares of the classes. `thesis`: 100 / 25 / 25 pictures at random, stratified,
    as the original experiment did. `holdout`: 80 / 20 % stratified, no dev. Raises DatasetError.
    """
    if method == "given":
        return _given(pictures, seed)
    if method == "subject":
        return _by_subject(pictures, seed)
    sizes = THESIS_SIZES if method == "thesis" else {"train": round(0.8 * len(pictures))}
    if sum(sizes.values()) > len(pictures):
        raise DatasetError(
            f"The thesis's split needs {sum(sizes.values())} pictures; there are {len(pictures)}. Use --split subject."
        )
    sizes = sizes if method == "thesis" else {**sizes, "test": len(pictures) - sizes["train"]}
    return _stratified(pictures.truth, sizes, seed)


def folds(pictures: LabeledImages, k: int, repeats: int = 1, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield a split for each of `repeats` × `k` folds: the fold is test, a tenth of the rest is dev; subjects stay whole.

    Raises DatasetError when there are fewer pictures of a class, or fewer subjects, than folds.
    """
    fewest, subjects = min(pictures.counts().items(), key=lambda item: item[1]), len(np.unique(pictures.subject))
    if fewest[1] < k or subjects < k:
        raise DatasetError(
            f"{k} folds need {k} pictures of every class and {k} subjects; there are {fewest[1]} of {fewest[0]} and "
            f"{subjects} subjects. Ask for fewer folds."
        )
    for repeat in range(repeats):
        drawn = StratifiedGroupKFold(k, shuffle=True, random_state=seed + repeat)
        for train, test in drawn.split(pictures.truth, pictures.truth, pictures.subject):
            parts = np.full(len(pictures), "train", "<U5")
            parts[test] = "test"
            parts[train[_held_out(pictures.rows(train), TENTHS, seed + repeat)]] = "dev"
            yield parts


def fraction(pictures: LabeledImages, parts: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """(N,) str: the split with about `share` of the train pictures, whole subjects; held-out parts stay as they are.

    Raises DatasetError when a class has too few train pictures.
    """
    fewer, train = parts.copy(), np.flatnonzero(parts == "train")
    fewer[train] = ""
    fewer[train[_held_out(pictures.rows(train), round(1 / share), seed)]] = "train"
    check_classes(pictures, fewer)
    return fewer


def check_classes(pictures: LabeledImages, parts: np.ndarray) -> None:
    """Raise DatasetError when a part of the split lacks a class."""
    for part in ("train", "dev", "test"):
        counts = pictures.rows(parts == part).counts()
        absent = next((name for name, count in counts.items() if not count), None)
        if absent and sum(counts.values()):
            raise DatasetError(
                f"No {absent} picture fell into {part} ({sum(counts.values())} pictures). Use another --seed or --split."
            )
    if not (parts == "train").any():
        raise DatasetError("No picture is left to train on. Use another --split.")


def _given(pictures: LabeledImages, seed: int) -> np.ndarray:
    if not (pictures.split == "train").any():
        raise DatasetError("The data set tells no split of its own. Use --split subject.")
    parts = pictures.split.astype("<U5")
    if not (parts == "dev").any():
        train = np.flatnonzero(parts == "train")
        parts[train[_held_out(pictures.rows(train), TENTHS, seed)]] = "dev"
    return parts


def _by_subject(pictures: LabeledImages, seed: int) -> np.ndarray:
    parts = np.full(len(pictures), "train", "<U5")
    for name, share in (("test", 7), ("dev", 6)):  # a seventh, then a sixth of what is left
        left = np.flatnonzero(parts == "train")
        parts[left[_held_out(pictures.rows(left), share, seed)]] = name
    return parts


def _held_out(pictures: LabeledImages, share: int, seed: int) -> np.ndarray:
    """Indices of about 1 / share of the pictures, whole subjects, like shares of the classes."""
    subjects = len(np.unique(pictures.subject))
    pieces = min(share, subjects, *pictures.counts().values())
    if pieces < 2:
        raise DatasetError(
            f"{subjects} subjects with {pictures.counts()} pictures are too few to hold some out. Add pictures."
        )
    chooser = StratifiedGroupKFold if subjects < len(pictures) else StratifiedKFold
    drawn = chooser(pieces, shuffle=True, random_state=seed)
    return next(drawn.split(pictures.truth, pictures.truth, pictures.subject))[1]


def _stratified(truth: np.ndarray, sizes: dict[str, int], seed: int) -> np.ndarray:
    """(N,) str: exactly `sizes` pictures of each part, classes as even as they come; the rest is ""."""
    parts, left = np.full(len(truth), "", "<U5"), np.arange(len(truth))
    for part, size in sizes.items():
        if size == len(left):
            parts[left] = part
            break
        try:
            left, chosen = train_test_split(left, test_size=size, stratify=truth[left], random_state=seed)
        except ValueError as error:
            raise DatasetError(f"{size} pictures cannot be drawn for {part}: {error} Add pictures.") from None
        parts[chosen] = part
    return parts
