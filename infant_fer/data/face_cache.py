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
from infant_fer.data.labeled_images import UNREADABLE, AlignedDataset, ImageStore, LabeledImages, named
from infant_fer.errors import DatasetError, ImageError
from infant_fer.face import LANDMARK_COUNT, Face, HeadPose
from infant_fer.face_detection import FaceDetector
from infant_fer.files import write_atomically
from infant_fer.images import load_image
from infant_fer.models.geometry import GEOMETRY_SIZE, geometry_features
from infant_fer.workers import end_with_parent

# Raise these when what they name changes: older caches are then left alone. The choice among several faces depends on
# the embedded checkpoint's weights too, but not the key: a run may replace them, and must still find its own faces.
DETECTION, FACE_CHOICE, GEOMETRY, ALIGNMENT = 2, 1, 1, 1
UNREAD = "not read"  # the fault of a picture that is not in the cache
SHARD = 64  # pictures in one file: so much work is lost at most when a run is stopped


def align_images(
    images: LabeledImages, spec: CropSpec, cache: Path, adults: bool = False, log: Callable[[str], None] = print
) -> AlignedDataset:
    """Return the aligned faces of all pictures that can be read; they are found on all cores and kept as they are found.

    Of several faces in a picture the one that Analyzer puts first counts: the first infant's, after a second search where
    the first shows no infant. In pictures of `adults` the most prominent face counts. A picture is known by its content,
    so that a part of a data set, or another one with the same pictures, needs no new search. Pictures that cannot be read
    are left out, counted and named. Raises DatasetError, and FaceModelError when the landmark bundle is missing or damaged.
    """
    kept = FaceCache(cache, spec, adults)
    digests = images.digests()
    _find_missing(kept, images, digests)
    faces, crops = kept.rows("faces", digests), kept.rows("crops", digests)
    fault = np.array([_fault(images, index, word) for index, word in enumerate(faces["fault"])])
    readable = fault == ""
    dataset = AlignedDataset(images, crops["crops"], faces["geometry"], faces["landmarks_px"], faces["found"])
    if not readable.any():
        raise DatasetError(f"None of the {len(images)} pictures could be read. The first: {fault[0]}")
    if readable.all():
        return dataset
    log(
        f"{(~readable).sum()} of {len(images)} pictures cannot be read and are left out: {named(list(fault[~readable]))}"
    )
    return dataset.rows(readable)


def whole_images(images: LabeledImages, spec: CropSpec, log: Callable[[str], None] = print) -> AlignedDataset:
    """Return all readable pictures whole, resized to the crop's size; no face is searched. Raises DatasetError."""
    crops, readable = np.zeros((len(images), spec.size, spec.size, 3), np.uint8), np.ones(len(images), bool)
    for index in range(len(images)):
        try:
            crops[index] = whole_picture(load_image(images.read(index)), spec).crop_rgb
        except (DatasetError, ImageError):
            readable[index] = False
    if not readable.any():
        raise DatasetError(f"None of the {len(images)} pictures could be read.")
    if not readable.all():
        names = named([images.where(int(index)) for index in np.flatnonzero(~readable)])
        log(f"{(~readable).sum()} of {len(images)} pictures cannot be read and are left out: {names}")
    nothing = _empty_faces(len(images))
    return AlignedDataset(images, crops, nothing["geometry"], nothing["landmarks_px"], nothing["found"]).rows(readable)


@dataclass(frozen=True)
class FaceCache:
    """Found faces and their crops on disk, each row under the SHA-256 of its encoded picture.

    The folder's name has the versions of the search. Of "faces" there are `fault`, `landmarks_px`, `geometry` and `found`,
    of "crops", which depend on `spec`, `crops`; a file of either has at most SHARD rows and their `sha256`.
    """

    root: Path
    spec: CropSpec
    adults: bool

    @property
    def folder(self) -> Path:
        return self.root / f"faces-{DETECTION}-{FACE_CHOICE}-{GEOMETRY}{'-adults' * self.adults}"

    def places(self, kind: str) -> dict[str, tuple[Path, int]]:
        """Return the file and row of every picture, by its SHA-256."""
        files = sorted(self.folder.glob(f"{self._prefix(kind)}*.npz"))
        return {digest: (file, row) for file in files for row, digest in enumerate(_load(file, "sha256")["sha256"])}

    def rows(self, kind: str, digests: np.ndarray) -> dict[str, np.ndarray]:
        """Return the arrays of the pictures with the (N,) `digests`; a picture that is not there has UNREAD and zeros."""
        places, size = self.places(kind), (len(digests), self.spec.size)
        of_file: dict[Path, list[tuple[int, int]]] = {}
        for index, digest in enumerate(digests):
            if digest in places:
                file, row = places[digest]
                of_file.setdefault(file, []).append((index, row))
        arrays = _empty_faces(len(digests)) if kind == "faces" else {"crops": np.zeros((*size, size[1], 3), np.uint8)}
        for file, pairs in of_file.items():
            stored, (here, there) = _load(file), np.transpose(pairs)
            for name, array in arrays.items():
                array[here] = stored[name][there]
        return arrays

    def save(self, kind: str, digests: np.ndarray, **arrays: np.ndarray) -> None:
        """Write one file of up to SHARD pictures atomically."""
        buffer = io.BytesIO()
        np.savez(buffer, sha256=digests, **arrays)  # type: ignore[arg-type]
        name = hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
        write_atomically(self.folder / f"{self._prefix(kind)}{name}.npz", buffer.getvalue())

    def _prefix(self, kind: str) -> str:
        return f"crops-{self.spec.size}-{self.spec.margin:g}-{ALIGNMENT}-" if kind == "crops" else "faces-"


def _empty_faces(count: int) -> dict[str, np.ndarray]:
    return {
        "fault": np.full(count, UNREAD, object),
        "landmarks_px": np.zeros((count, LANDMARK_COUNT, 2), np.float32),
        "geometry": np.zeros((count, GEOMETRY_SIZE), np.float32),
        "found": np.zeros(count, bool),
    }


def _fault(images: ImageStore, index: int, fault: str) -> str:
    """Return why a picture cannot be used, with its name; empty when it can."""
    if fault != UNREAD:
        return fault and f"{images.where(index)}: {fault}"
    try:
        images.read(index)
    except DatasetError as error:
        return str(error)
    return f"{images.where(index)} could not be read."


@dataclass(frozen=True)
class _Job:
    """The pictures of one shard for a worker; `known` are their "faces" where only the crops are missing."""

    cache: FaceCache
    images: ImageStore
    digests: np.ndarray
    known: dict[str, np.ndarray] | None


def _find_missing(kept: FaceCache, images: ImageStore, digests: np.ndarray) -> None:
    """Find and keep the faces and crops that the cache lacks; pictures that cannot be read stay missing."""
    first: dict[str, int] = {}
    for index, digest in enumerate(digests):
        if not digest.startswith(UNREADABLE):
            first.setdefault(digest, index)
    searched, cropped = kept.places("faces"), kept.places("crops")
    unsearched = np.array([digest for digest in first if digest not in searched])
    uncropped = np.array([digest for digest in first if digest in searched and digest not in cropped])
    known = kept.rows("faces", uncropped)
    jobs = []
    for missing, found in ((unsearched, None), (uncropped, known)):
        for start in range(0, len(missing), SHARD):
            shard = slice(start, start + SHARD)
            pictures = images.only([first[digest] for digest in missing[shard]])
            faces = found and {name: array[shard] for name, array in found.items()}
            jobs.append(_Job(kept, pictures, missing[shard], faces))
    if jobs:
        read_bundle(face_bundle())  # a worker that cannot start would only be a broken pool
        _find(kept, jobs)


def _find(kept: FaceCache, jobs: list[_Job]) -> None:
    """Find the faces of all jobs, one alone here, several in a process for every core."""
    spawn = multiprocessing.get_context("spawn")
    try:
        kept.folder.mkdir(parents=True, exist_ok=True)
        with tqdm(total=sum(len(job.digests) for job in jobs), unit="face", desc="Finding faces") as progress:
            if len(jobs) == 1:  # done before a process has started
                _FaceFinder.of(kept.adults).fill(jobs[0])
                progress.update(len(jobs[0].digests))
                return
            workers = min(os.cpu_count() or 1, len(jobs))
            with ProcessPoolExecutor(workers, spawn, _start_worker, (kept.adults,)) as pool:
                futures = {pool.submit(_fill_shard, job): len(job.digests) for job in jobs}
                try:
                    for future in as_completed(futures):
                        future.result()
                        progress.update(futures[future])
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
    except BrokenProcessPool:
        raise DatasetError(
            "A process that finds faces ended before its time, perhaps for lack of memory. "
            "Run the same command again: it goes on with the faces found so far."
        ) from None
    except OSError as error:
        raise DatasetError(f"The faces could not be kept in {kept.folder}: {error.strerror or error}.") from None


@dataclass(frozen=True)
class _FaceFinder:
    """What finds the face of a picture: the detector alone, or with the classifier that knows infants."""

    detector: FaceDetector
    analyzer: Analyzer | None

    @classmethod
    def of(cls, adults: bool) -> _FaceFinder:
        detector = FaceDetector()
        return cls(detector, None if adults else Analyzer(detector, AffectClassifier.from_pretrained(device="cpu")))

    def find(self, photo_rgb: np.ndarray) -> Face | None:
        if self.analyzer is None:
            return next(iter(self.detector.find(photo_rgb)), None)
        return next((read.face for read in self.analyzer.analyze(photo_rgb).faces), None)

    def fill(self, job: _Job) -> None:
        """Find and align the faces of one shard, and write them; a picture that has gone meanwhile is not written."""
        spec, count = job.cache.spec, len(job.digests)
        faces, known = _empty_faces(count), job.known
        crops = np.zeros((count, spec.size, spec.size, 3), np.uint8)
        for row in range(count):
            try:
                rgb = load_image(job.images.read(row))
            except (DatasetError, ImageError) as error:
                faces["fault"][row] = UNREAD if isinstance(error, DatasetError) else str(error)
                continue
            faces["fault"][row] = ""
            if known is not None:
                face = Face(known["landmarks_px"][row], {}, HeadPose(0, 0, 0)) if known["found"][row] else None
            elif (face := self.find(rgb)) is not None:
                faces["landmarks_px"][row], faces["geometry"][row] = face.landmarks_px, geometry_features(face)
                faces["found"][row] = True
            crops[row] = (whole_picture(rgb, spec) if face is None else align_face(rgb, face, spec)).crop_rgb
        read = faces["fault"] != UNREAD
        if not read.any():
            return
        if known is None:
            columns = {name: array[read] for name, array in faces.items()}
            job.cache.save("faces", job.digests[read], **columns | {"fault": columns["fault"].astype(str)})
        job.cache.save("crops", job.digests[read], crops=crops[read])


_finder: _FaceFinder  # of a worker, set when it starts


def _start_worker(adults: bool) -> None:
    global _finder
    end_with_parent()
    torch.set_num_threads(1)  # there is a process for every core
    _finder = _FaceFinder.of(adults)


def _fill_shard(job: _Job) -> None:
    _finder.fill(job)


def _load(file: Path, *names: str) -> dict[str, np.ndarray]:
    """Return the arrays of these names, or all, of a file."""
    try:
        with np.load(file) as stored:
            return {name: stored[name] for name in names or stored.files}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DatasetError(f"{file} is damaged ({error}). Delete it and run the same command again.") from None
