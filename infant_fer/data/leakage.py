"""Does a held-out part hold what was trained on? The same infant, the same file, the same picture in another crop."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from infant_fer.data.labeled_images import LabeledImages
from infant_fer.data.near_duplicates import near_pairs
from infant_fer.errors import DatasetError


@dataclass(frozen=True)
class Leaks:
    """Pairs of pictures across parts of a split, as ((member, part), (member, part))."""

    same_subject: tuple[tuple[str, str], ...]
    same_file: tuple[tuple[str, str], ...]
    near_duplicate: tuple[tuple[str, str], ...]

    @property
    def kinds(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """The pairs by what they share, in words."""
        return {"same infant": self.same_subject, "same file": self.same_file, "same picture": self.near_duplicate}

    def counts(self) -> dict[str, int]:
        """How many pairs of each kind there are."""
        return {name: len(pairs) for name, pairs in self.kinds.items()}

    def __str__(self) -> str:
        return "; ".join(
            f"{name}: {len(pairs)}" + (f" (such as {pairs[0][0]} and {pairs[0][1]})" if pairs else "")
            for name, pairs in self.kinds.items()
        )


def leaks(pictures: LabeledImages, parts: np.ndarray, grey: torch.Tensor) -> Leaks:
    """Compare the (N,) parts of a split with each other; `grey` is (N, S, S), the aligned crops. "" is no part."""
    return Leaks(
        _across(pictures, parts, _pairs_of(pictures.subject)),
        _across(pictures, parts, _pairs_of(digests(pictures))),
        _across(pictures, parts, near_pairs(grey)),
    )


def digests(pictures: LabeledImages) -> np.ndarray:
    """(N,) str: SHA-256 of every picture's file."""
    return np.array([hashlib.sha256(pictures.read(index)).hexdigest() for index in range(len(pictures))])


def without_leaks(pictures: LabeledImages, parts: np.ndarray) -> np.ndarray:
    """(N,) str: the split without the train pictures whose subject is in dev or test, and dev's whose subject is in test."""
    kept = parts.copy()
    for part, held_out in (("dev", ("test",)), ("train", ("dev", "test"))):
        subjects = pictures.subject[np.isin(kept, held_out)]
        kept[(kept == part) & np.isin(pictures.subject, subjects)] = ""
    return kept


def refuse_leaks(found: Leaks, allowed: bool) -> None:
    """Raise DatasetError for a leaking split that was not asked for in so many words."""
    if any(found.counts().values()) and not allowed:
        raise DatasetError(
            f"Train, dev and test are not apart: {found}. Use --split subject, --drop-leaks to train without them, "
            "or --allow-leakage to go on all the same."
        )


def _across(pictures: LabeledImages, parts: np.ndarray, pairs: np.ndarray) -> tuple[tuple[str, str], ...]:
    apart = [(i, j) for i, j in pairs if parts[i] != parts[j] and parts[i] and parts[j]]
    return tuple((f"{pictures.members[i]} [{parts[i]}]", f"{pictures.members[j]} [{parts[j]}]") for i, j in apart)


def _pairs_of(keys: np.ndarray) -> np.ndarray:
    """(P, 2): each row with the next row of the same key, enough to show every key that crosses parts, and its first row."""
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    return np.stack([order[:-1][same], order[1:][same]], 1)
