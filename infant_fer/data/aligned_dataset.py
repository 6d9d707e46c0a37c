"""What does training see? The aligned faces of a data set beside its labels: the one container of crops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import Dataset

from infant_fer.data.labeled_images import LabeledImages
from infant_fer.data.leakage import near_pairs
from infant_fer.data.splits import joined_subjects
from infant_fer.errors import DatasetError
from infant_fer.models.infant_face import luminance_crops

MAX_NAMED = 10  # pictures that one line of the log names


@dataclass(frozen=True, eq=False)
class AlignedDataset(Dataset):
    """N aligned faces with their labels; as a torch dataset, an item is {"crop": (3, S, S) uint8, "labels": (C,) float32}.

    Where no face was found, the crop is the whole picture and landmarks and geometry are 0.
    """

    pictures: LabeledImages
    crops: np.ndarray  # (N, S, S, 3) uint8 RGB
    geometry: np.ndarray  # (N, G) float32, see models.geometry
    landmarks_px: np.ndarray  # (N, 478, 2) float32 in the frame of the decoded photo
    found: np.ndarray  # (N,) bool

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        crop = torch.from_numpy(self.crops[index]).permute(2, 0, 1)
        return {"crop": crop, "labels": torch.from_numpy(self.pictures.target[index])}

    def rows(self, chosen: np.ndarray) -> AlignedDataset:
        """Return some of the rows, by mask or indices."""
        arrays = (self.crops, self.geometry, self.landmarks_px, self.found)
        return AlignedDataset(self.pictures.rows(chosen), *(array[chosen] for array in arrays))

    def with_target(self, target: np.ndarray) -> AlignedDataset:
        """Return the same faces with other (N, C) float32 targets."""
        return replace(self, pictures=replace(self.pictures, target=target))

    def with_head(self, name: str, target: np.ndarray) -> AlignedDataset:
        """Return the same faces with other targets of one head."""
        return replace(self, pictures=replace(self.pictures, heads={**self.pictures.heads, name: target}))


def trainable_rows(dataset: AlignedDataset, whole_pictures: bool, log: Callable[[str], None]) -> AlignedDataset:
    """Return the rows to train and measure on: those with a face, or all if `whole_pictures` is set.

    Near-duplicates become one subject. Raises DatasetError when no face was found at all.
    """
    if not dataset.found.all():
        names = named([dataset.pictures.where(int(index)) for index in np.flatnonzero(~dataset.found)])
        what = "used whole" if whole_pictures else "left out"
        log(f"no face in {(~dataset.found).sum()} of {len(dataset)} pictures, {what}: {names}")
    kept = dataset.rows(dataset.found | whole_pictures)
    if not len(kept):
        raise DatasetError("No face was found in any picture. Use --whole-pictures if they are faces cut out already.")
    if not kept.pictures.subjects_known:
        log("the data set does not tell its infants apart: only near-duplicates are kept together")
    subject = joined_subjects(kept.pictures.subject, near_pairs(luminance_crops(kept.crops)))
    return replace(kept, pictures=replace(kept.pictures, subject=subject))


def named(names: list[str]) -> str:
    """Return the first names as a list for people."""
    return ", ".join(names[:MAX_NAMED]) + ", ..." * (len(names) > MAX_NAMED)
