"""Is an infant, a file or a photograph in two splits? The check before every training, and near-duplicates by thumbnail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch.nn import functional as F

from infant_fer.data.labeled_images import AlignedDataset, LabeledImages, named
from infant_fer.errors import DatasetError
from infant_fer.images import printable
from infant_fer.models.infant_face import luminance_crops

# Correlation of thumbnails. Of the 10.6 million pairs in infants.csv, 69 of different groups are above; those across
# splits were looked at: all 25 show one photograph twice.
NEAR_DUPLICATE = 0.95
THUMBNAIL = 16
COMPARED_AT_ONCE = 2**25  # pairs: 128 MiB


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
    return with_joined_subjects(kept, log)


def with_joined_subjects(dataset: AlignedDataset, log: Callable[[str], None]) -> AlignedDataset:
    """Return the rows with subjects that are joined where equal files or near-duplicates show two to be one."""
    if not dataset.images.subjects_known:
        log("the data set does not identify its infants: only near-duplicates are kept together")
    pairs = np.concatenate([_equal_pairs(dataset.images.digests()), near_pairs(luminance_crops(dataset.crops))])
    return replace(dataset, images=replace(dataset.images, subject=joined_subjects(dataset.images.subject, pairs)))


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


def _equal_pairs(digests: np.ndarray) -> np.ndarray:
    """Return (N, 2) ints, each row with the first of the same digest: thumbnails of one grey tell of no likeness."""
    _, first, number = np.unique(digests, return_index=True, return_inverse=True)
    return np.stack([first[number], np.arange(len(digests))], 1)


def unlike(luminance: torch.Tensor, held_out: torch.Tensor) -> np.ndarray:
    """Return which of the (N, S, S) crops, (N,) bool, are no near-duplicate of (M, S, S) held-out ones, mirrored or not."""
    wanted = torch.cat([thumbnails(held_out), thumbnails(held_out.flip(-1))])
    nearest = [(chunk @ wanted.T).amax(1) for chunk in thumbnails(luminance).split(4096)]
    return (torch.cat(nearest) < NEAR_DUPLICATE).numpy()


def near_pairs(luminance: torch.Tensor) -> np.ndarray:
    """Return the (P, 2) int pairs i < j of (N, S, S) crops that show one photograph, mirrored or not."""
    count = len(luminance)
    rows = torch.cat([thumbnails(luminance), thumbnails(luminance.flip(-1))])
    found = [torch.zeros((0, 2), dtype=torch.long)]
    block = max(1, COMPARED_AT_ONCE // max(1, len(rows)))
    for start in range(0, count, block):
        first, second = torch.where(rows[start : min(start + block, count)] @ rows.T >= NEAR_DUPLICATE)
        pairs = torch.stack([first + start, second % count], 1)
        found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    return torch.cat(found).unique(dim=0).numpy()


def thumbnails(luminance: torch.Tensor) -> torch.Tensor:
    """Return (N, 256) float32 rows of mean 0 and length 1 of (N, S, S) luminance: their product is how alike faces are."""
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


def joined_subjects(subject: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the (N,) str subjects, joined where near-duplicate `pairs` (P, 2) show that two are one."""
    names, number = np.unique(subject, return_inverse=True)
    links = number[pairs] if len(pairs) else np.zeros((0, 2), int)
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(len(names), len(names)))
    _, component = connected_components(graph, directed=False)
    first = dict(zip(component[::-1], names[::-1], strict=True))  # the first name of each component
    return np.array([first[each] for each in component])[number]
