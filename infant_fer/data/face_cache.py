"""Faces found and aligned once, by the app's own functions, and kept on disk for every later run."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from infant_fer.alignment import CropSpec, align_face, whole_picture
from infant_fer.checkpoints.sources import resolve
from infant_fer.classifier import AffectClassifier
from infant_fer.data.image_store import ImageStore
from infant_fer.errors import DatasetError, ImageError
from infant_fer.face import Face
from infant_fer.face_detection import FaceDetector
from infant_fer.images import load_image
from infant_fer.models.geometry import geometry_features

VERSION = "2"  # raise it when finding, aligning or the geometry features change


@dataclass(frozen=True, eq=False)
class FaceTable:
    """The faces of a data set, row by row: crops (N, S, S, 3) uint8, geometry (N, G) float32, and whether a face was found.

    Where none was, the whole picture is the crop and the geometry is 0.
    """

    crops: np.ndarray
    geometry: np.ndarray
    found: np.ndarray


def face_table(pictures: ImageStore, spec: CropSpec, folder: Path, adults: bool = False) -> FaceTable:
    """The pictures' faces, from the cache's folder or, the first time, found on all cores with a progress bar.

    Of several faces in a picture the first that the embedded checkpoint takes for an infant's counts, as in the app; in
    pictures of `adults` the most prominent.
    """
    file = folder / f"faces-{_key(pictures, spec, adults)}.npz"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _save(_found_faces(pictures, spec, adults), file)
    with np.load(file) as stored:
        return FaceTable(stored["crops"], stored["geometry"], stored["found"])


def _key(pictures: ImageStore, spec: CropSpec, adults: bool = False) -> str:
    """A hash of the archives' and files' contents, the members' names, the crop, and what chooses among several faces."""
    digest = hashlib.sha256(f"{VERSION} {spec}".encode())
    if not adults:
        digest.update((resolve().path / "model.safetensors").read_bytes())
    for archive in sorted({archive for archive in pictures.archives if archive is not None}):
        with archive.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    for index, archive in enumerate(pictures.archives):
        if archive is None:
            digest.update(hashlib.sha256(pictures.read(index)).digest())
    digest.update("\n".join(pictures.members).encode())
    return digest.hexdigest()[:16]


def _found_faces(pictures: ImageStore, spec: CropSpec, adults: bool) -> FaceTable:
    count = len(pictures)
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), _start_worker, (pictures, spec, adults)) as pool:
        rows = list(
            tqdm(pool.imap(_one_face, range(count), chunksize=16), total=count, unit="face", desc="Finding faces")
        )
    geometry_size = next((len(row[1]) for row in rows if row[2]), 0)
    geometry = np.stack([row[1] if row[2] else np.zeros(geometry_size, np.float32) for row in rows])
    return FaceTable(np.stack([row[0] for row in rows]), geometry, np.array([row[2] for row in rows]))


def _start_worker(pictures: ImageStore, spec: CropSpec, adults: bool) -> None:
    global _worker
    _worker = (FaceDetector(), pictures, spec, adults)


def _one_face(index: int) -> tuple[np.ndarray, np.ndarray | None, bool]:
    finder, pictures, spec, adults = _worker
    try:
        picture = load_image(pictures.read(index))
    except ImageError as error:
        raise DatasetError(f"{pictures.where(index)}: {error}") from None
    faces = finder.find(picture)
    if not faces:
        return whole_picture(picture, spec).crop_rgb, None, False
    face = faces[0] if adults or len(faces) == 1 else _infants_face(picture, faces)
    return align_face(picture, face, spec).crop_rgb, geometry_features(face), True


def _infants_face(picture: np.ndarray, faces: list[Face]) -> Face:
    """The first infant's face; the most prominent one where none looks like an infant's."""
    classifier = _embedded()
    read = ((face, classifier.predict(align_face(picture, face, classifier.crop), face)) for face in faces)
    return next((face for face, prediction in read if prediction.infant), faces[0])


@cache
def _embedded() -> AffectClassifier:
    return AffectClassifier.from_pretrained(device="cpu")


def _save(table: FaceTable, file: Path) -> None:
    """Write whole or not at all."""
    partial = file.with_suffix(".part.npz")
    np.savez(partial, crops=table.crops, geometry=table.geometry, found=table.found)
    partial.replace(file)
