"""What is a data set of labelled pictures? Names, targets, subjects and splits, whatever layout they were read from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from infant_fer.data.image_store import ImageStore
from infant_fer.errors import DatasetError
from infant_fer.labels import AFFECTS, EMOTION_TO_AFFECT, EMOTIONS, canonical_label

ORDER = (*AFFECTS, *EMOTIONS, *EMOTION_TO_AFFECT)  # classes come in this order
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev", "public_test": "dev",
    "test": "test", "testing": "test", "private_test": "test",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class LabeledImages(ImageStore):
    """N pictures of one data set, each with a label.

    A picture whose subject is not known is its own subject; a split that is not told is "".
    """

    labels: tuple[str, ...]  # the C classes, canonical names
    truth: np.ndarray  # (N,) int index into labels
    target: np.ndarray  # (N, C) float32 distributions: votes where there are some, else all on the truth
    subject: np.ndarray  # (N,) str
    split: np.ndarray  # (N,) str: train, dev, test or ""
    subgroups: dict[str, np.ndarray]  # further columns, (N,) str each
    subjects_known: bool = False
    left_out: tuple[str, ...] = ()  # sentences on what the source holds and this does not

    def rows(self, chosen: np.ndarray) -> LabeledImages:
        """Some of the pictures, by mask or indices."""
        index = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        arrays = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name in ARRAYS}
        return replace(
            self,
            archives=tuple(self.archives[i] for i in index),
            members=tuple(self.members[i] for i in index),
            subgroups={name: values[index] for name, values in self.subgroups.items()},
            **arrays,
        )

    def counts(self) -> dict[str, int]:
        """How many pictures each class has."""
        return {name: int((self.truth == index).sum()) for index, name in enumerate(self.labels)}


ARRAYS = ("truth", "target", "subject", "split")


def known_label(word: str, where: str) -> str:
    """The project's word for a label; raises DatasetError naming the picture when it is neither affect nor emotion."""
    label = canonical_label(word)
    if label not in ORDER:
        raise DatasetError(
            f"{where} has the label {word!r}, which is no affect and no emotion. Use one of {', '.join(dict.fromkeys(ORDER))}."
        )
    return label


def classes_of(labels: Sequence[str], asked: Sequence[str] | None) -> tuple[str, ...]:
    """The classes that are asked for, or all that occur, in the project's order. Raises DatasetError."""
    occurring = set(labels)
    classes = tuple(dict.fromkeys(name for name in ORDER if name in (occurring if asked is None else set(asked))))
    if asked is not None and (missing := [name for name in asked if name not in occurring]):
        raise DatasetError(f"No picture has the label {missing[0]}. There are {', '.join(sorted(occurring))}.")
    if len(classes) < 2:
        raise DatasetError(f"All pictures have the label {', '.join(classes)}; at least two classes are needed.")
    return classes


def one_hot(truth: np.ndarray, count: int) -> np.ndarray:
    """(N, C) float32 with all weight on the truth."""
    return np.eye(count, dtype=np.float32)[truth]


def own_subjects(count: int) -> np.ndarray:
    """(N,) str: a subject of its own for every picture."""
    return np.array([f"picture {index}" for index in range(count)])
