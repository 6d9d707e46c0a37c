"""Find and align the faces of a data set once, as the app does, and keep them on disk for every later run."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from tqdm import tqdm

from infant_fer.alignment import CropSpec, align_face, whole_picture
from infant_fer.analyzer import Analyzer
from infant_fer.checkpoints.sources import face_bundle, read_bundle
from infant_fer.classifier import AffectClassifier
from infant_fer.data.labeled_images import AlignedDataset, ImageStore, LabeledImages, named
from infant_fer.errors import DatasetError, ImageError
from infant_fer.face import LANDMARK_COUNT, Face, HeadPose
from infant_fer.face_detection import FaceDetector
from infant_fer.files import write_atomically
from infant_fer.images import load_image
from infant_fer.models.geometry import GEOMETRY_SIZE, geometry_features

# Raise these when what they name changes: older caches are then left alone. The choice among several faces depends on
# the embedded checkpoint's weights too, but not the key: a run may replace them, and must still find its own faces.
DETECTION, FACE_CHOICE, GEOMETRY, ALIGNMENT = 1, 1, 1, 1
SHARD = 64  # pictures in one file: so much work is lost at most when a run is stopped


def align_images(
    images: LabeledImages, spec: CropSpec, cache: Path, adults: bool = False, log: Callable[[str], None] = print
) -> AlignedDataset:
    """Return the aligned faces of all pictures that can be read; they are found on all cores and kept as they are found.

    Of several faces in a picture the one that Analyzer puts first counts: the first infant's, after a second search where
    the first shows no infant. In pictures of `adults` the most prominent face counts. Pictures that cannot be read are
    left out, counted and named. Raises DatasetError, and FaceModelError when the landmark bundle is missing or damaged.
    """
    job = _Job(ImageStore(images.archives, images.members), spec, cache / f"faces-{_key(images, adults)}", adults)
    missing = [
        start for start in job.starts if not (job.faces_file(start).is_file() and job.crops_file(start).is_file())
    ]
    if missing:
        read_bundle(face_bundle())  # a worker that cannot start would only be a broken pool
        _find(job, missing)
    faces = [_load(job.faces_file(start)) for start in job.starts]
    fault, landmarks, geometry, found = (
        np.concatenate([shard[name] for shard in faces]) for name in ("fault", "landmarks_px", "geometry", "found")
    )
    crops = np.concatenate([_load(job.crops_file(start))["crops"] for start in job.starts])
    dataset, readable = AlignedDataset(images, crops, geometry, landmarks, found), fault == ""
    if not readable.any():
        raise DatasetError(f"None of the {len(images)} pictures could be read. The first: {fault[0]}")
    if readable.all():
        return dataset
    log(
        f"{(~readable).sum()} of {len(images)} pictures cannot be read and are left out: {named(list(fault[~readable]))}"
    )
    return dataset.rows(readable)


@dataclass(frozen=True)
class _Job:
    """What a worker needs to find the faces of one shard."""

    images: ImageStore
    spec: CropSpec
    folder: Path
    adults: bool

    @property
    def starts(self) -> range:
        return range(0, len(self.images), SHARD)

    def faces_file(self, start: int) -> Path:
        return self.folder / f"faces-{start:07}.npz"

    def crops_file(self, start: int) -> Path:
        return self.folder / f"crops-{self.spec.size}-{self.spec.margin:g}-{ALIGNMENT}-{start:07}.npz"


def _key(images: ImageStore, adults: bool) -> str:
    """Return a hash of the pictures and of how a face is found in them; not of the crop, which needs no new search."""
    digest = hashlib.sha256(f"{DETECTION} {FACE_CHOICE} {GEOMETRY} {adults} {SHARD}".encode())
    for archive in sorted({archive for archive in images.archives if archive is not None}):
        with archive.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    for index, holder in enumerate(images.archives):
        name = images.digest(index) if holder is None else images.members[index]  # a file may be moved
        digest.update(f"{name}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _find(job: _Job, missing: list[int]) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = min(os.cpu_count() or 1, len(missing))
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        with (
            tqdm(total=len(missing) * SHARD, unit="face", desc="Finding faces") as progress,
            ProcessPoolExecutor(processes, spawn, _start_worker, (job.adults,)) as pool,
        ):
            futures = [pool.submit(_fill_shard, job, start) for start in missing]
            try:
                for future in as_completed(futures):
                    future.result()
                    progress.update(SHARD)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    except BrokenProcessPool:
        raise DatasetError(
            "A process that finds faces ended before its time, perhaps for lack of memory. "
            "Run the same command again: it goes on with the faces found so far."
        ) from None
    except OSError as error:
        raise DatasetError(f"The faces could not be kept in {job.folder}: {error.strerror or error}.") from None


# Of a worker, set when it starts.
_detector: FaceDetector
_analyzer: Analyzer | None


def _start_worker(adults: bool) -> None:
    global _detector, _analyzer
    torch.set_num_threads(1)  # there is a process for every core
    _detector = FaceDetector()
    _analyzer = None if adults else Analyzer(_detector, AffectClassifier.from_pretrained(device="cpu"))


def _fill_shard(job: _Job, start: int) -> None:
    """Find and align the faces of one shard, and write them."""
    indices = range(start, min(start + SHARD, len(job.images)))
    file, side = job.faces_file(start), job.spec.size
    known = _load(file) if file.is_file() else None
    shape = len(indices)
    fault = np.full(shape, "", object)
    landmarks, geometry = np.zeros((shape, LANDMARK_COUNT, 2), np.float32), np.zeros((shape, GEOMETRY_SIZE), np.float32)
    found, crops = np.zeros(shape, bool), np.zeros((shape, side, side, 3), np.uint8)
    for row, index in enumerate(indices):
        try:
            photo_rgb = load_image(job.images.read(index))
        except (DatasetError, ImageError) as error:
            fault[row] = str(error) if isinstance(error, DatasetError) else f"{job.images.where(index)}: {error}"
            continue
        if known is not None:
            face = Face(known["landmarks_px"][row], {}, HeadPose(0, 0, 0)) if known["found"][row] else None
        elif (face := _found_face(photo_rgb)) is not None:
            landmarks[row], geometry[row], found[row] = face.landmarks_px, geometry_features(face), True
        crops[row] = (
            whole_picture(photo_rgb, job.spec) if face is None else align_face(photo_rgb, face, job.spec)
        ).crop_rgb
    if known is None:
        _save(file, fault=fault.astype(str), landmarks_px=landmarks, geometry=geometry, found=found)
    _save(job.crops_file(start), crops=crops)


def _found_face(photo_rgb: np.ndarray) -> Face | None:
    if _analyzer is None:
        return next(iter(_detector.find(photo_rgb)), None)
    return next((read.face for read in _analyzer.analyze(photo_rgb).faces), None)


def _load(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise DatasetError(f"{file} is damaged ({error}). Delete it and run the same command again.") from None


def _save(file: Path, **arrays: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(file, buffer.getvalue())
