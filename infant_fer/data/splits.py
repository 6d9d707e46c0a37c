"""Who is trained on and who is held out? Splits by infant, never by frame, and the check that no photograph is in two splits."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split
from torch.nn import functional as F

from infant_fer.data.labeled_images import AlignedDataset, LabeledImages, named
from infant_fer.errors import DatasetError
from infant_fer.images import printable
from infant_fer.models.infant_face import luminance_crops

# Correlation of thumbnails. Of the 10.6 million pairs in infants.csv, 69 of different groups are above; those across
# splits were looked at: all 25 show one photograph twice.
NEAR_DUPLICATE = 0.95
THUMBNAIL = 16


@dataclass(frozen=True)
class Leaks:
    """Infants, files and photographs that are in more than one split, one pair of pictures as the example of each.

    A pair is ("NAME [SPLIT]", "NAME [SPLIT]"), of two splits. The order of the images does not matter.
    """

    same_subject: tuple[tuple[str, str], ...]
    same_file: tuple[tuple[str, str], ...]
    near_duplicate: tuple[tuple[str, str], ...]

    @property
    def kinds(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """Return the examples by what each pair shares."""
        return {"same infant": self.same_subject, "same file": self.same_file, "same picture": self.near_duplicate}

    def counts(self) -> dict[str, int]:
        """Return how many infants, files and photographs are in more than one split."""
        return {name: len(pairs) for name, pairs in self.kinds.items()}

    def __str__(self) -> str:
        return "; ".join(
            f"{name}: {len(pairs)}" + (f" (such as {pairs[0][0]} and {pairs[0][1]})" if pairs else "")
            for name, pairs in self.kinds.items()
        )


def trainable_rows(dataset: AlignedDataset, whole_pictures: bool, log: Callable[[str], None]) -> AlignedDataset:
    """Return the rows to train and measure on: those with a face, or all if `whole_pictures` is set.

    Near-duplicates become one subject. Raises DatasetError when no face was found at all.
    """
    if not dataset.found.all():
        names = named([dataset.images.where(int(index)) for index in np.flatnonzero(~dataset.found)])
        what = "used whole" if whole_pictures else "left out"
        log(f"no face in {(~dataset.found).sum()} of {len(dataset)} pictures, {what}: {names}")
    kept = dataset.rows(dataset.found | whole_pictures)
    if not len(kept):
        raise DatasetError("No face was found in any picture. Use --whole-pictures if they are faces cut out already.")
    if not kept.images.subjects_known:
        log("the data set does not identify its infants: only near-duplicates are kept together")
    subject = joined_subjects(kept.images.subject, near_pairs(luminance_crops(kept.crops)))
    return replace(kept, images=replace(kept.images, subject=subject))


def leaks(images: LabeledImages, splits: np.ndarray, luminance: torch.Tensor) -> Leaks:
    """Compare the (N,) `splits` with each other; pictures whose split is "" are not used and do not count.

    `luminance` is (N, S, S), of the aligned crops.
    """
    used = splits != ""
    images, splits, luminance = images.rows(used), splits[used], luminance[torch.from_numpy(used)]
    photographs = joined_subjects(np.arange(len(images)).astype(str), near_pairs(luminance))
    return Leaks(*(_across(images, splits, keys) for keys in (images.subject, images.digests(), photographs)))


def without_leaks(images: LabeledImages, splits: np.ndarray) -> np.ndarray:
    """Return the (N,) splits without the train pictures whose subject is in dev or test, and dev's whose subject is in test."""
    kept = splits.copy()
    for name, held_out in (("dev", ("test",)), ("train", ("dev", "test"))):
        subjects = images.subject[np.isin(kept, held_out)]
        kept[(kept == name) & np.isin(images.subject, subjects)] = ""
    return kept


def refuse_leaks(found: Leaks, allowed: bool) -> None:
    """Raise DatasetError for splits that leak, unless that is `allowed`."""
    if any(found.counts().values()) and not allowed:
        raise DatasetError(
            f"Train, dev and test are not apart: {found}. Use --split subject, --drop-leaks to train without them, "
            "or --allow-leakage to go on all the same."
        )


def unlike(luminance: torch.Tensor, held_out: torch.Tensor, limit: float = NEAR_DUPLICATE) -> np.ndarray:
    """Return which of the (N, S, S) crops, (N,) bool, are no near-duplicate of (M, S, S) held-out ones, mirrored or not."""
    wanted = torch.cat([_thumbnails(held_out), _thumbnails(held_out.flip(-1))])
    nearest = [(chunk @ wanted.T).amax(1) for chunk in _thumbnails(luminance).split(4096)]
    return (torch.cat(nearest) < limit).numpy()


def near_pairs(luminance: torch.Tensor, limit: float = NEAR_DUPLICATE) -> np.ndarray:
    """Return the (P, 2) int pairs i < j of (N, S, S) crops that show one photograph, mirrored or not."""
    count = len(luminance)
    rows = torch.cat([_thumbnails(luminance), _thumbnails(luminance.flip(-1))])
    found = [torch.zeros((0, 2), dtype=torch.long)]
    for start in range(0, count, 2048):
        first, second = torch.where(rows[start : min(start + 2048, count)] @ rows.T >= limit)
        pairs = torch.stack([first + start, second % count], 1)
        found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    return torch.cat(found).unique(dim=0).numpy()


def _thumbnails(luminance: torch.Tensor) -> torch.Tensor:
    """Return (N, 256) float32 rows of mean 0 and length 1."""
    small = [F.adaptive_avg_pool2d(chunk[:, None].float(), THUMBNAIL).flatten(1) for chunk in luminance.split(2048)]
    rows = torch.cat(small)
    rows = rows - rows.mean(1, keepdim=True)
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-6)


def _across(images: LabeledImages, splits: np.ndarray, keys: np.ndarray) -> tuple[tuple[str, str], ...]:
    """Return, for each key that occurs in several splits, its first picture by name and the first of another split."""
    rows = pd.DataFrame({"member": images.members, "split": splits, "key": keys}).sort_values(["member", "split"])
    firsts = rows.drop_duplicates(["key", "split"])  # one picture for each split of each key
    crossing = firsts[firsts.duplicated("key", keep=False)].groupby("key", sort=False)
    pairs = []
    for _, group in crossing:
        first, second = (f"{printable(row.member)} [{row.split}]" for row in group.head(2).itertuples())
        pairs.append((first, second))
    return tuple(pairs)


THESIS_SIZES = {"train": 100, "dev": 25, "test": 25}  # pictures, drawn without regard to the infant
METHODS = ("given", "subject", "thesis", "holdout")
SPLIT_FILE = "split.csv"  # in a checkpoint folder: SHA-256 of every picture's file, and its split
TENTHS = 10  # of the subjects: 7 train, 1.5 each held out, rounded by whole subjects


def joined_subjects(subject: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the (N,) str subjects, joined where near-duplicate `pairs` (P, 2) show that two are one."""
    names, number = np.unique(subject, return_inverse=True)
    links = number[pairs] if len(pairs) else np.zeros((0, 2), int)
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(len(names), len(names)))
    _, component = connected_components(graph, directed=False)
    first = dict(zip(component[::-1], names[::-1], strict=True))  # the first name of each component
    return np.array([first[each] for each in component])[number]


def split(images: LabeledImages, method: str, seed: int = 0) -> np.ndarray:
    """Return (N,) str: train, dev, test or "" (not used), by one of METHODS.

    `given`: the data set's own, with dev taken from train by subject where it has none. `subject`: about 70 / 15 / 15 %
    of the pictures, whole subjects, like shares of the classes. `thesis`: 100 / 25 / 25 pictures at random, stratified,
    as the original experiment did. `holdout`: 80 / 20 % stratified, no dev. Raises DatasetError.
    """
    if method == "given":
        return _given(images, seed)
    if method == "subject":
        return _by_subject(images, seed)
    sizes = THESIS_SIZES if method == "thesis" else {"train": round(0.8 * len(images))}
    if sum(sizes.values()) > len(images):
        raise DatasetError(
            f"The thesis's split needs {sum(sizes.values())} pictures; there are {len(images)}. Use --split subject."
        )
    sizes = sizes if method == "thesis" else {**sizes, "test": len(images) - sizes["train"]}
    return _stratified(images.truth, sizes, seed)


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
            splits[train[_held_out(images.rows(train), TENTHS, seed + repeat)]] = "dev"
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


def check_classes(images: LabeledImages, splits: np.ndarray) -> None:
    """Raise DatasetError when train, dev or test lacks a class, or train is empty."""
    for name in ("train", "dev", "test"):
        counts = images.rows(splits == name).counts()
        absent = next((label for label, count in counts.items() if not count), None)
        if absent and sum(counts.values()):
            raise DatasetError(
                f"No {absent} picture fell into {name} ({sum(counts.values())} pictures). Use another --seed or --split."
            )
    if not (splits == "train").any():
        raise DatasetError("No picture is left to train on. Use another --split.")


def write_split(folder: Path, images: LabeledImages, splits: np.ndarray) -> None:
    """Write the split of every picture that has one into SPLIT_FILE; pictures are known by their bytes, not their names."""
    with (folder / SPLIT_FILE).open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(("sha256", "split"))
        rows.writerows(sorted((digest, split) for digest, split in zip(images.digests(), splits, strict=True) if split))


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
        raise DatasetError("The data set has no split of its own. Use --split subject.")
    splits = images.split.astype("<U5")
    if not (splits == "dev").any():
        train = np.flatnonzero(splits == "train")
        splits[train[_held_out(images.rows(train), TENTHS, seed)]] = "dev"
    return splits


def _by_subject(images: LabeledImages, seed: int) -> np.ndarray:
    splits = np.full(len(images), "train", "<U5")
    for name, share in (("test", 7), ("dev", 6)):  # a seventh, then a sixth of what is left
        left = np.flatnonzero(splits == "train")
        splits[left[_held_out(images.rows(left), share, seed)]] = name
    return splits


def _held_out(images: LabeledImages, share: int, seed: int) -> np.ndarray:
    """Return indices of about 1 / share of the pictures, whole subjects, like shares of the classes."""
    subjects = len(np.unique(images.subject))
    pieces = min(share, subjects, *images.counts().values())
    if pieces < 2:
        raise DatasetError(
            f"{subjects} subjects with {images.counts()} pictures are too few to hold some out. Add pictures."
        )
    chooser = StratifiedGroupKFold if subjects < len(images) else StratifiedKFold
    drawn = chooser(pieces, shuffle=True, random_state=seed)
    return next(drawn.split(images.truth, images.truth, images.subject))[1]


def _stratified(truth: np.ndarray, sizes: dict[str, int], seed: int) -> np.ndarray:
    """Return (N,) str: exactly `sizes` pictures of each split, classes as even as they come; the rest is ""."""
    splits, left = np.full(len(truth), "", "<U5"), np.arange(len(truth))
    for name, size in sizes.items():
        if size == len(left):
            splits[left] = name
            break
        try:
            left, chosen = train_test_split(left, test_size=size, stratify=truth[left], random_state=seed)
        except ValueError as error:
            raise DatasetError(f"{size} pictures cannot be drawn for {name}: {error} Add pictures.") from None
        splits[chosen] = name
    return splits
