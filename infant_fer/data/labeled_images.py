"""What is a data set? Images with labels, targets, subjects and splits, whatever their layout; then with aligned faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.utils.data import Dataset

from infant_fer.data.image_store import ImageStore
from infant_fer.errors import DatasetError
from infant_fer.labels import AFFECTS, EMOTION_TO_AFFECT, EMOTIONS, canonical_label

ORDER = (*AFFECTS, *EMOTIONS, *EMOTION_TO_AFFECT)  # classes come in this order
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev", "public_test": "dev",
    "test": "test", "testing": "test", "private_test": "test",
}  # fmt: skip


UNKNOWN = -100  # an index that is not known; torch's ignore_index


@dataclass(frozen=True, eq=False)
class LabeledImages(ImageStore):
    """N pictures of one data set, each with a label, and perhaps with targets of further heads.

    A distribution that sums to 0, an index of UNKNOWN and a value of NaN mean that a target is not known: it does not
    count in training or in a score. A picture whose subject is not known is its own subject.
    """

    labels: tuple[str, ...]  # the C classes, canonical names
    truth: np.ndarray  # (N,) int index into labels, or UNKNOWN
    target: np.ndarray  # (N, C) float32 distributions: votes where there are some, else all on the truth
    subject: np.ndarray  # (N,) str
    split: np.ndarray  # (N,) str: train, dev, test, or "" where the source says none
    subgroups: dict[str, np.ndarray]  # further columns, (N,) str each
    subjects_known: bool = False
    left_out: tuple[str, ...] = ()  # what the source holds and this does not, for the log
    notes: tuple[str, ...] = ()  # what was guessed, in sentences for the log
    heads: dict[str, np.ndarray] = field(default_factory=dict)  # (N, ...) targets of further heads by name

    def rows(self, chosen: np.ndarray) -> LabeledImages:
        """Return some of the pictures, by mask or indices."""
        index = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        return replace(
            self,
            archives=tuple(self.archives[i] for i in index),
            members=tuple(self.members[i] for i in index),
            **{name: getattr(self, name)[index] for name in ("truth", "target", "subject", "split")},
            subgroups={key: values[index] for key, values in self.subgroups.items()},
            heads={key: values[index] for key, values in self.heads.items()},
        )

    def counts(self) -> dict[str, int]:
        """Return how many pictures each class has."""
        return {name: int((self.truth == index).sum()) for index, name in enumerate(self.labels)}


@dataclass(frozen=True, eq=False)
class AlignedDataset(Dataset):
    """N aligned faces with their labels; as a torch dataset, an item is {"crop": (3, S, S) uint8, "labels": (C,) float32}.

    Where no face was found, the crop is the whole picture and landmarks and geometry are 0.
    """

    images: LabeledImages
    crops: np.ndarray  # (N, S, S, 3) uint8 RGB
    geometry: np.ndarray  # (N, G) float32, see models.geometry
    landmarks_px: np.ndarray  # (N, 478, 2) float32 in the frame of the decoded photo
    found: np.ndarray  # (N,) bool

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        crop = torch.from_numpy(self.crops[index]).permute(2, 0, 1)
        return {"crop": crop, "labels": torch.from_numpy(self.images.target[index])}

    def rows(self, chosen: np.ndarray) -> AlignedDataset:
        """Return some of the rows, by mask or indices."""
        arrays = (self.crops, self.geometry, self.landmarks_px, self.found)
        return AlignedDataset(self.images.rows(chosen), *(array[chosen] for array in arrays))

    def with_target(self, target: np.ndarray) -> AlignedDataset:
        """Return the same faces with other (N, C) float32 targets."""
        return replace(self, images=replace(self.images, target=target))

    def with_head(self, name: str, target: np.ndarray) -> AlignedDataset:
        """Return the same faces with other targets of one head."""
        return replace(self, images=replace(self.images, heads={**self.images.heads, name: target}))


def known_label(word: str, where: str) -> str:
    """Return the canonical name of a label. Raises DatasetError naming the picture when it is neither affect nor emotion."""
    label = canonical_label(word)
    if label not in ORDER:
        raise DatasetError(
            f"{where} has the label {word!r}, which is no affect and no emotion. Use one of {', '.join(dict.fromkeys(ORDER))}."
        )
    return label


def classes_of(labels: Sequence[str], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Return the wanted classes, or all that occur, in the order of ORDER. Raises DatasetError."""
    occurring = set(labels)
    classes = tuple(dict.fromkeys(name for name in ORDER if name in (occurring if wanted is None else set(wanted))))
    if wanted is not None and (missing := [name for name in wanted if name not in occurring]):
        raise DatasetError(f"No picture has the label {missing[0]}. There are {', '.join(sorted(occurring))}.")
    if len(classes) < 2:
        raise DatasetError(f"All pictures have the label {', '.join(classes)}; at least two classes are needed.")
    return classes


def one_hot(truth: np.ndarray, count: int) -> np.ndarray:
    """Return (N, C) float32 distributions with all weight on the truth."""
    return np.eye(count, dtype=np.float32)[truth]


def own_subjects(count: int) -> np.ndarray:
    """Return (N,) str: a subject of its own for every picture."""
    return np.array([f"picture {index}" for index in range(count)])
