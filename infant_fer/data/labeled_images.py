"""What is a data set? Images with labels, targets, subjects and splits, whatever their layout; then with aligned faces."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import takewhile
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from torch.utils.data import Dataset

from infant_fer.errors import DatasetError
from infant_fer.images import printable
from infant_fer.labels import AFFECTS, EMOTION_TO_AFFECT, EMOTIONS, canonical_label

# What zipfile raises for a damaged, encrypted (RuntimeError) or unsupported (NotImplementedError) member.
ARCHIVE_ERRORS = (OSError, KeyError, ValueError, EOFError, BadZipFile, zlib.error, LZMAError, RuntimeError)
UNREADABLE = "unreadable"  # the digest of a picture that cannot be read starts so
MAX_NAMED = 10  # pictures that one line of the log names
Place = tuple[Path | None, str]  # archive or None, and member or file


@dataclass(frozen=True, eq=False)
class ImageStore:
    """N encoded pictures: each is the member of an archive, or, where its archive is None, the file of that name."""

    archives: tuple[Path | None, ...]
    members: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.members)

    def read(self, index: int) -> bytes:
        """Return the encoded picture. Raises DatasetError naming it."""
        archive, member = self.archives[index], self.members[index]
        try:
            if archive is None:
                return Path(member).read_bytes()
            return _opened(archive, archive.stat().st_mtime_ns).read(member)
        except ARCHIVE_ERRORS as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise DatasetError(f"{self.where(index)} could not be read: {reason}.") from None

    def only(self, rows: Sequence[int]) -> ImageStore:
        """Return the pictures of these rows alone, without labels."""
        return ImageStore(tuple(self.archives[row] for row in rows), tuple(self.members[row] for row in rows))

    def digest(self, index: int) -> str:
        """Return the SHA-256 of the encoded picture; one that cannot be read equals no other."""
        try:
            return hashlib.sha256(self.read(index)).hexdigest()
        except DatasetError:
            return f"{UNREADABLE} {index}"

    def digests(self) -> np.ndarray:
        """Return the (N,) str SHA-256 of all pictures."""
        return np.array([self.digest(index) for index in range(len(self))])

    def where(self, index: int) -> str:
        """Return the picture's name for a message; bytes of a name that are not UTF-8 are escaped."""
        archive = self.archives[index]
        name = self.members[index] if archive is None else f"{self.members[index]} in {archive}"
        return printable(name)


def named(names: list[str]) -> str:
    """Return the first names as a list for people."""
    return ", ".join(names[:MAX_NAMED]) + ", ..." * (len(names) > MAX_NAMED)


class PictureIndex:
    """Find pictures of folders and archives by the ends of their paths."""

    def __init__(self, sources: Iterable[Path]):
        """List the pictures in `sources`, folders or zip archives. Raises DatasetError."""
        self._by_name: dict[str, list[tuple[tuple[str, ...], Place]]] = {}
        for source in sources:
            if source.is_dir():
                for file in folder_files(source)[0]:
                    self.add(file.relative_to(source).parts, (None, str(file)))
            else:
                for member in archive_members(source):
                    self.add(PurePosixPath(member).parts, (source, member))

    def add(self, parts: tuple[str, ...], place: Place) -> None:
        """Add a picture under the `parts` of its relative path."""
        self._by_name.setdefault(parts[-1], []).append((parts, place))

    def find(self, path: str, whole: bool = False) -> Place | None:
        """Return the one picture that shares the longest end of `path`; at least its name, or all of it if `whole` is set.

        None when there is none. Raises DatasetError naming two when several share as much: a guess could put a picture
        under a wrong label.
        """
        wanted = relative_parts(path)
        shared = [(_shared_end(wanted, parts), place) for parts, place in self._by_name.get(wanted[-1], ())]
        longest = max((length for length, _ in shared), default=0)
        if not longest or (whole and longest < len(wanted)):
            return None
        first, *others = [place for length, place in shared if length == longest]
        if others:
            raise DatasetError(
                f"{printable(path)} may mean {_place_name(first)} or {_place_name(others[0])}. "
                "Give paths relative to the data that distinguish them."
            )
        return first


def relative_parts(path: str) -> tuple[str, ...]:
    """Return the parts of a path as a table may write it, with slashes of either kind; raises DatasetError for none."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if not parts:
        raise DatasetError("A row of the table names no file.")
    return parts


def folder_files(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the sorted files under `folder`, and the names of the folders in it that cannot be opened.

    Links to folders are followed, except to one that the link is in. One that leads nowhere cannot be opened.
    """
    locked: list[str] = []
    files: list[Path] = []
    walk = os.walk(folder, onerror=lambda error: locked.append(printable(error.filename)), followlinks=True)
    for root, folders, names in walk:
        folders[:] = [name for name in folders if not _leads_back(Path(root, name), folder)]
        files += [Path(root, name) for name in names]
    locked += [printable(str(file)) for file in files if not file.suffix and file.is_symlink() and not file.exists()]
    return sorted(files), locked


def _leads_back(place: Path, root: Path) -> bool:
    """Return whether a folder below `root` is a link to one that it is in, or to what holds that."""
    if not place.is_symlink():
        return False
    target, above = place.resolve(), [each for each in place.parents if each.is_relative_to(root)]
    return any(each.resolve().is_relative_to(target) for each in above)


def _shared_end(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    pairs = zip(reversed(first), reversed(second), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _place_name(place: Place) -> str:
    return ImageStore((place[0],), (place[1],)).where(0)


def archive_members(archive: Path) -> list[str]:
    """Return the sorted names of an archive's files. Raises DatasetError."""
    try:
        with ZipFile(archive) as opened:
            return sorted(name for name in opened.namelist() if not name.endswith("/"))
    except ARCHIVE_ERRORS as error:
        raise DatasetError(f"{printable(archive)} could not be opened as a zip archive: {error}.") from None


@lru_cache(maxsize=4)
def _opened(archive: Path, _changed: int) -> ZipFile:
    """Keep an archive open: reading the directory of fer2013.zip anew for each of its pictures takes 0.1 s, an hour in all."""
    return ZipFile(archive)


ORDER = (*AFFECTS, *EMOTIONS, *EMOTION_TO_AFFECT)  # classes come in this order
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev", "public_test": "dev",
    "test": "test", "testing": "test", "private_test": "test",
}  # fmt: skip


ITEM_HEADS = ("action_units",)  # (N, 12) float32 targets of a second task
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
    subjects_guessed: bool = False  # known by file names alone, which may count something else
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
    """N aligned faces with their labels; as a torch dataset, an item is {"crop": (3, S, S) uint8, "labels": (C,)
    float32, "geometry": (G,) float32, "found": bool}.

    Where no face was found, the crop is the whole picture and landmarks and geometry are 0. Of the heads an item has
    ITEM_HEADS, where there are some.
    """

    images: LabeledImages
    crops: np.ndarray  # (N, S, S, 3) uint8 RGB
    geometry: np.ndarray  # (N, G) float32, see models.geometry
    landmarks_px: np.ndarray  # (N, 478, 2) float32 in the frame of the decoded photo
    found: np.ndarray  # (N,) bool

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {
            "crop": torch.from_numpy(self.crops[index]).permute(2, 0, 1),
            "labels": torch.from_numpy(self.images.target[index]),
            "geometry": torch.from_numpy(self.geometry[index]),
            "found": torch.tensor(bool(self.found[index])),
            **{
                name: torch.from_numpy(values[index])
                for name, values in self.images.heads.items()
                if name in ITEM_HEADS
            },
        }

    def rows(self, chosen: np.ndarray) -> AlignedDataset:
        """Return some of the rows, by mask or indices."""
        arrays = (self.crops, self.geometry, self.landmarks_px, self.found)
        return AlignedDataset(self.images.rows(chosen), *(array[chosen] for array in arrays))

    def followed_by(self, other: AlignedDataset) -> AlignedDataset:
        """Return the rows of both; classes are those of this one, whose subgroups and heads the other has, too."""
        one, two = self.images, other.images
        images = replace(
            one,
            archives=one.archives + two.archives,
            members=one.members + two.members,
            truth=np.concatenate([one.truth, two.truth]),
            target=np.concatenate([one.target, two.target]),
            subject=np.concatenate([one.subject, two.subject]),
            split=np.concatenate([one.split, two.split]),
            subgroups={name: np.concatenate([each, two.subgroups[name]]) for name, each in one.subgroups.items()},
            heads={name: np.concatenate([each, two.heads[name]]) for name, each in one.heads.items()},
        )
        arrays = ("crops", "geometry", "landmarks_px", "found")
        return AlignedDataset(
            images, *(np.concatenate([getattr(each, name) for each in (self, other)]) for name in arrays)
        )

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
