"""Which faces does the recipe train and measure on? Its three sets, aligned, without copies of held-out infants."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infant_fer.alignment import CropSpec
from infant_fer.data.aligned_dataset import AlignedDataset
from infant_fer.data.face_cache import align_images
from infant_fer.data.leakage import unlike
from infant_fer.models.infant_face import luminance_crops
from infant_fer.training.infant_face.manifest import read_fer2013, read_infants, read_older


@dataclass(frozen=True, eq=False)
class RecipeData:
    """Infants, older faces and FER2013; the kept rows are those of the train split unlike any held-out infant."""

    infants: AlignedDataset
    infants_kept: np.ndarray  # (N,) bool
    older: AlignedDataset
    fer: AlignedDataset
    fer_kept: np.ndarray  # (N,) bool

    def training_sets(self) -> tuple[AlignedDataset, AlignedDataset, AlignedDataset]:
        """Return the kept rows of the infants, the train rows of the older faces, and the kept rows of FER2013."""
        older = self.older.rows(self.older.pictures.split == "train")
        return self.infants.rows(self.infants_kept), older, self.fer.rows(self.fer_kept)

    def digest(self) -> str:
        """Return a SHA-256 of the training faces with their targets: another table, split or crop gives another."""
        summed = hashlib.sha256()
        for dataset in self.training_sets():
            heads = [dataset.pictures.heads[name] for name in sorted(dataset.pictures.heads)]
            for array in (dataset.crops, dataset.geometry, dataset.found, dataset.pictures.target, *heads):
                summed.update(np.ascontiguousarray(array).data)
        return summed.hexdigest()


def load(folder: Path, cache: Path, log: Callable[[str], None] = print) -> RecipeData:
    """Read the sets and find their faces, from the cache after the first time. Raises DatasetError."""
    infants, older, fer = (
        align_images(read(folder), CropSpec(), cache, adults=read is not read_infants, log=log)
        for read in (read_infants, read_older, read_fer2013)
    )
    luminance, held_out = luminance_crops(infants.crops), infants.pictures.split != "train"
    held_out_crops = luminance[held_out]
    infants_kept = ~held_out & unlike(luminance, held_out_crops)
    fer_kept = (fer.pictures.split == "train") & unlike(luminance_crops(fer.crops), held_out_crops)
    fer_kept &= ~np.isin(fer.pictures.members, np.array(infants.pictures.members)[held_out])
    for name, kept, dataset in (("infants", infants_kept, infants), ("FER2013", fer_kept, fer)):
        train = (dataset.pictures.split == "train").sum()
        log(f"{kept.sum()} of {train} training pictures of {name} are unlike the held-out infants")
    return RecipeData(infants, infants_kept, older, fer, fer_kept)
