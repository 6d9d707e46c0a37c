"""The three sets of the recipe with their faces, and what of them may be trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from infant_fer.alignment import CropSpec
from infant_fer.data.face_cache import align_images
from infant_fer.data.labeled_images import LabeledImages
from infant_fer.data.leakage import unlike
from infant_fer.training.infant_face.manifest import read_fer2013, read_infants, read_older
from infant_fer.training.infant_face.rows import Faces, faces_of


@dataclass(frozen=True, eq=False)
class Data:
    """Infants, older faces and FER2013; the kept rows are those of the training parts unlike any held-out infant."""

    infants: LabeledImages
    infant_faces: Faces
    infants_kept: np.ndarray
    older: LabeledImages
    older_faces: Faces
    fer: LabeledImages
    fer_faces: Faces
    fer_kept: np.ndarray

    def training_faces(self) -> tuple[Faces, Faces, Faces]:
        """The train rows of infants and older faces, and the kept ones of FER2013."""
        older = self.older_faces.rows(self.older.split == "train")
        return self.infant_faces.rows(self.infants_kept), older, self.fer_faces.rows(self.fer_kept)

    def digest(self) -> str:
        """SHA-256 of the training faces with their targets: another table, split or crop gives another."""
        summed = hashlib.sha256()
        for faces in self.training_faces():
            for each in fields(faces):
                summed.update(getattr(faces, each.name).numpy().tobytes())
        return summed.hexdigest()


def load(folder: Path, cache: Path, log: Callable[[str], None] = print) -> Data:
    """Read the sets and find their faces, from the cache after the first time. Raises DatasetError."""
    aligned = [
        align_images(read(folder), CropSpec(), cache, adults=read is not read_infants, log=log)
        for read in (read_infants, read_older, read_fer2013)
    ]
    infants, older, fer = (each.pictures for each in aligned)
    infant_faces, older_faces, fer_faces = (faces_of(each) for each in aligned)
    held_out = infants.split != "train"
    held_out_faces = infant_faces.rows(held_out).grey
    infants_kept = ~held_out & unlike(infant_faces.grey, held_out_faces)
    fer_kept = (fer.split == "train") & ~np.isin(fer.members, np.array(infants.members)[held_out])
    fer_kept &= unlike(fer_faces.grey, held_out_faces)
    for name, kept, manifest in (("infants", infants_kept, infants), ("FER2013", fer_kept, fer)):
        log(
            f"{kept.sum()} of {(manifest.split == 'train').sum()} training pictures of {name} are unlike the held-out infants"
        )
    return Data(infants, infant_faces, infants_kept, older, older_faces, fer, fer_faces, fer_kept)
