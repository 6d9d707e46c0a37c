"""Which faces does the recipe train and measure on? Its three sets with the raters' labels, without copies of held-out infants.

Also the batches that its networks see of them, and the networks' outputs for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from transformers import ViTImageProcessorPil

from infant_fer.alignment import CropSpec
from infant_fer.classifier import forward_crops
from infant_fer.data.face_cache import align_images
from infant_fer.data.labeled_images import UNKNOWN, AlignedDataset, LabeledImages, archive_members, own_subjects
from infant_fer.data.leakage import unlike
from infant_fer.data.published import vote_distributions
from infant_fer.data.tables import read_rows, splits_in
from infant_fer.errors import DatasetError
from infant_fer.labels import AFFECTS, AGE_GROUPS, EMOTIONS, VOTED_EMOTIONS, canonical_label
from infant_fer.models.infant_face import InfantFaceModel, InfantFaceOutput, luminance_crops

COLUMNS = {"file", "source", "split", "affect", "p_positive", "p_neutral", "p_negative", "emotion_1", "age", "flags"}
OLDER_USABLE_UNTIL = 8  # years; above it a face counts as no infant's, between 4 and it nothing is said
ADULT_YEARS = 18
OLDER_AGES = (f"4 to {OLDER_USABLE_UNTIL} years", f"{OLDER_USABLE_UNTIL + 1} to {ADULT_YEARS - 1} years", "adults")
AGE_GROUP = "age group"  # a subgroup
# The emotion head has FER2013's seven classes; a crying face is one of sadness there.
EMOTION_OF_WORD = {**{name: index for index, name in enumerate(EMOTIONS)}, "cry": EMOTIONS.index("sad")}
VOTE_OF_EMOTION = [VOTED_EMOTIONS.index(name) for name in EMOTIONS]
VOTES_FILE = "ferplus.csv"
OFFICIAL_SPLITS = {"Training": "train", "PublicTest": "dev", "PrivateTest": "test"}  # `usage` of FER+
FER2013_SPLITS = {"train": "train", "public_test": "dev", "private_test": "test"}
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 96, "width": 96},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


DIGESTED_HEADS = (
    *("age", "emotion", "emotion_index", "eyes_closed", "mouth_covered", "usable", "valence_arousal", "votes"),
)


class TrainingSets(NamedTuple):
    """The faces that a network is fine-tuned on."""

    infants: AlignedDataset
    older: AlignedDataset
    fer: AlignedDataset


@dataclass(frozen=True, eq=False)
class RecipeData:
    """Infants, older faces and FER2013; the kept rows are those of the train split unlike any held-out infant."""

    infants: AlignedDataset
    infants_kept: np.ndarray  # (N,) bool
    older: AlignedDataset
    fer: AlignedDataset
    fer_kept: np.ndarray  # (N,) bool, of FER2013's own train split
    voted_kept: (
        np.ndarray
    )  # (N,) bool, of the official train split, with votes and unlike any held-out picture of FER2013

    def training_sets(self, voted: bool = False) -> TrainingSets:
        """Return the kept rows of the infants, the train rows of the older faces, and the kept rows of FER2013 or FER+.

        Raises DatasetError when `voted` and there are no votes.
        """
        older = self.older.rows(self.older.images.split == "train")
        return TrainingSets(self.infants.rows(self.infants_kept), older, self.emotion_rows(voted))

    def emotion_rows(self, voted: bool) -> AlignedDataset:
        """Return the kept rows of FER2013, or of FER+. Raises DatasetError when `voted` and there are no votes."""
        if voted and not self.voted_kept.any():
            raise DatasetError(f"No training picture has votes: {VOTES_FILE} belongs beside fer2013.zip.")
        return self.fer.rows(self.voted_kept if voted else self.fer_kept)


def digest(*datasets: AlignedDataset) -> str:
    """Return a SHA-256 of faces with their targets: another table, split or crop gives another."""
    summed = hashlib.sha256()
    for dataset in datasets:
        heads = [dataset.images.heads[name] for name in DIGESTED_HEADS]
        for array in (dataset.crops, dataset.geometry, dataset.found, dataset.images.target, *heads):
            summed.update(np.ascontiguousarray(array).data)
    return summed.hexdigest()


def load(folder: Path, cache: Path, log: Callable[[str], None] = print) -> RecipeData:
    """Read the sets and find their faces, from the cache after the first time. Raises DatasetError."""
    infants, older, fer = (
        align_images(read(folder), CropSpec(), cache, adults=read is not read_infants, log=log)
        for read in (read_infants, read_older, read_fer2013)
    )
    luminance, held_out = luminance_crops(infants.crops), infants.images.split != "train"
    held_out_crops = luminance[held_out]
    infants_kept = ~held_out & unlike(luminance, held_out_crops)
    fer_kept = (fer.images.split == "train") & unlike(luminance_crops(fer.crops), held_out_crops)
    fer_kept &= ~np.isin(fer.images.members, np.array(infants.images.members)[held_out])
    for name, kept, dataset in (("infants", infants_kept, infants), ("FER2013", fer_kept, fer)):
        train = (dataset.images.split == "train").sum()
        log(f"{kept.sum()} of {train} training pictures of {name} are unlike the held-out infants")
    return RecipeData(infants, infants_kept, older, fer, fer_kept, _voted_kept(fer, held_out_crops, infants))


def _voted_kept(fer: AlignedDataset, held_out_infants: torch.Tensor, infants: AlignedDataset) -> np.ndarray:
    """Return which rows of FER2013 to learn from by their votes, (N,) bool.

    Those of the official train split with votes, except what nearly equals a picture held out there, in the zip's folders,
    or among the infants. `held_out_infants` are (M, S, S) luminance crops.
    """
    official, voted = fer.images.subgroups["official split"], fer.images.heads["votes"].sum(1) > 0
    train = (official == "train") & voted
    if not train.any():
        return train
    luminance = luminance_crops(fer.crops)
    held_out = np.isin(official, ("dev", "test")) | ((official == "") & (fer.images.split != "train"))
    names = np.array(infants.images.members)[infants.images.split != "train"]
    apart = unlike(luminance, torch.cat([luminance[torch.from_numpy(held_out)], held_out_infants]))
    return train & apart & ~np.isin(fer.images.members, names)


def read_infants(folder: Path) -> LabeledImages:
    """Read infants.csv with infants.zip and fer2013.zip beside it. Raises DatasetError.

    The labels are AFFECTS; surprise, mixed and unusable faces have none. Heads as in `_labeled`.
    """
    table = folder / "infants.csv"
    rows = read_rows(table)
    if missing := COLUMNS - set(rows):
        raise DatasetError(f"{table} lacks columns: {', '.join(sorted(missing))}.")
    usable = (rows["affect"] != "unusable").to_numpy()
    votes = np.stack([_numbers(rows, f"p_{affect}") for affect in AFFECTS], 1)
    total = votes.sum(1, keepdims=True) * usable[:, None]  # votes on what is no child's face say nothing of children
    emotions = np.stack(
        [_indices(rows[name], EMOTION_OF_WORD) for name in ("emotion_1", "emotion_2") if name in rows], 1
    )
    return _labeled(
        archives=[folder / ("fer2013.zip" if file.startswith("fer2013/") else "infants.zip") for file in rows["file"]],
        members=rows["file"].tolist(),
        source=rows["source"].to_numpy(str),
        split=splits_in(rows, "file"),
        targets={
            "affect": _indices(rows["affect"], {name: index for index, name in enumerate(AFFECTS)}),
            "affect_target": np.where(total >= 0.5, votes / np.maximum(total, 1e-9), 0),
            "emotions": emotions,
            "valence_arousal": np.stack([_numbers(rows, "valence"), _numbers(rows, "arousal")], 1),
            "age": _indices(rows["age"], {name: index for index, name in enumerate(AGE_GROUPS)}),
            "usable": usable & ~rows["flags"].str.contains("d"),
            "eyes_closed": rows["flags"].str.contains("c"),
            "mouth_covered": rows["flags"].str.contains("m"),
        },
        subject=rows["group"].to_numpy(str) if "group" in rows else None,
    )


def read_older(folder: Path) -> LabeledImages:
    """Read older_faces.zip: faces of 4 to 115 years, named AGE_SEX_...; a third is held out, half of it for dev."""
    archive = folder / "older_faces.zip"
    members = [name for name in archive_members(archive) if name.endswith(".jpg")]
    years = np.array([int(Path(name).name.split("_")[0]) for name in members])
    draw = np.random.default_rng(0).random(len(members))
    images = _labeled(
        archives=[archive] * len(members),
        members=members,
        source="older",
        split=np.where(draw < 2 / 3, "train", np.where(draw < 5 / 6, "dev", "test")),
        targets={
            "age": AGE_GROUPS.index("older"),
            "usable": np.where(years > OLDER_USABLE_UNTIL, 0.0, np.nan),
        },
    )
    ranges = np.select([years <= OLDER_USABLE_UNTIL, years < ADULT_YEARS], OLDER_AGES[:2], OLDER_AGES[2])
    return replace(images, subgroups={**images.subgroups, AGE_GROUP: ranges})


def read_fer2013(folder: Path) -> LabeledImages:
    """Read fer2013.zip: train, public_test as dev, private_test as test; seven emotions.

    With ferplus.csv beside it the head "votes" has the distributions of FER+, and the subgroup "official split" says train,
    dev or test; both are empty for pictures that it does not name.
    """
    archive = folder / "fer2013.zip"
    members = [name for name in archive_members(archive) if name.endswith(".jpg")]
    paths = [name.split("/") for name in members]
    for name, path in zip(members, paths, strict=True):
        if len(path) != 4 or path[1] not in FER2013_SPLITS or path[2] not in EMOTIONS:
            raise DatasetError(f"{name} in {archive} is not fer2013/SPLIT/EMOTION/NAME.jpg.")
    votes, official = _votes(folder / VOTES_FILE, members)
    images = _labeled(
        archives=[archive] * len(members),
        members=members,
        source="fer2013",
        split=np.array([FER2013_SPLITS[path[1]] for path in paths]),
        targets={"emotions": np.array([[EMOTIONS.index(path[2])] for path in paths]), "votes": votes},
    )
    return replace(images, subgroups={**images.subgroups, "official split": official})


def _votes(table: Path, members: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the (N, 8) float32 distributions of FER+ and the (N,) official splits of pictures, empty where it has none.

    See vote_distributions. Raises DatasetError.
    """
    votes, official = np.zeros((len(members), len(VOTED_EMOTIONS)), np.float32), np.full(len(members), "", "<U5")
    if not table.is_file():
        return votes, official
    rows = read_rows(table).set_index("file")
    columns = {canonical_label(name): name for name in rows}
    if missing := {*VOTED_EMOTIONS, "usage", "unknown", "nf"} - set(columns):
        raise DatasetError(f"{table} lacks columns: {', '.join(sorted(missing))}.")
    named = pd.Index(members).isin(rows.index)
    rows = rows.loc[np.array(members)[named]].reset_index()
    official[named] = rows[columns["usage"]].map(OFFICIAL_SPLITS).fillna("")
    counts = np.stack([_numbers(rows, columns[name], table.name) for name in VOTED_EMOTIONS], 1)
    others = np.stack([_numbers(rows, columns[name], table.name) for name in ("unknown", "nf")], 1)
    votes[named] = vote_distributions(counts, others)
    return votes, official


def _labeled(
    archives: list[Path], members: list[str], source: str | np.ndarray, split: np.ndarray, targets: dict, subject=None
) -> LabeledImages:
    """Return images with the targets of every head of an InfantFaceModel; those that `targets` lacks are unknown.

    `targets` are scalars, which hold for all, or arrays: "affect" (N,) int, "affect_target" (N, 3) and "emotions" (N, R)
    int, the raters'. They become `truth`, `target` and the heads "emotion" (N, 7) float32 distributions and
    "emotion_index" (N,) int, the first rater's; "votes" (N, 8) float32 is the former's distribution over VOTED_EMOTIONS
    where `targets` has none. The others are heads of their own: "valence_arousal" (N, 2) float32; "age"
    (N,) int index into AGE_GROUPS; "usable", "eyes_closed" and "mouth_covered" (N,) float32, 1 or 0.
    """
    n = len(members)
    emotions = targets.get("emotions", np.full((n, 1), UNKNOWN))
    counts = (emotions[..., None] == np.arange(len(EMOTIONS))).sum(1)
    emotion = (counts / np.maximum(counts.sum(1, keepdims=True), 1)).astype(np.float32)
    votes = np.zeros((n, len(VOTED_EMOTIONS)), np.float32)
    votes[:, VOTE_OF_EMOTION] = emotion
    flags = ("usable", "eyes_closed", "mouth_covered")
    age = _filled(targets.get("age", UNKNOWN), np.int64, n)
    return LabeledImages(
        archives=tuple(archives),
        members=tuple(members),
        labels=AFFECTS,
        truth=_filled(targets.get("affect", UNKNOWN), np.int64, n),
        target=_filled(targets.get("affect_target", 0), np.float32, n, len(AFFECTS)),
        subject=own_subjects(n) if subject is None else subject,
        split=split,
        subgroups={
            "source": _filled(source, str, n),
            AGE_GROUP: np.array([*AGE_GROUPS, ""])[age.clip(-1)],  # UNKNOWN becomes -1, the last name
        },
        subjects_known=subject is not None,
        heads={
            "emotion": emotion,
            "votes": targets.get("votes", votes),
            "emotion_index": emotions[:, 0].astype(np.int64),
            "valence_arousal": _filled(targets.get("valence_arousal", np.nan), np.float32, n, 2),
            "age": age,
            **{name: _filled(targets.get(name, np.nan), np.float32, n) for name in flags},
        },
    )


def _filled(values, dtype: type, *shape: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(values).astype(dtype), shape).copy()


def _indices(words: pd.Series, index_of: dict[str, int]) -> np.ndarray:
    return words.map(index_of).fillna(UNKNOWN).to_numpy(np.int64)


def _numbers(rows: pd.DataFrame, column: str, table: str = "infants.csv") -> np.ndarray:
    """Return (N,) float32 with NaN for empty cells. Raises DatasetError naming line and column."""
    numbers = pd.to_numeric(rows[column], errors="coerce")
    if (wrong := numbers.isna() & (rows[column] != "")).any():
        line = wrong.idxmax()
        raise DatasetError(f"Line {line + 2} of {table} has {rows[column][line]!r} as {column}, which is no number.")
    return numbers.to_numpy(np.float32)


@dataclass(frozen=True, eq=False)
class FaceBatch:
    """Rows of an AlignedDataset as tensors on one device; unknown targets are as in LabeledImages."""

    luminance: torch.Tensor  # (N, S, S) in 0..255: uint8, or float32 where the pictures have colour
    affect: torch.Tensor  # (N, 3) distributions
    emotion: torch.Tensor  # (N, 7) distributions
    votes: torch.Tensor  # (N, 8) distributions
    valence_arousal: torch.Tensor  # (N, 2)
    age: torch.Tensor  # (N,) indices
    usable: torch.Tensor  # (N,) 1, 0 or NaN
    eyes_closed: torch.Tensor  # (N,) 1, 0 or NaN
    mouth_covered: torch.Tensor  # (N,) 1, 0 or NaN

    @classmethod
    def of(cls, dataset: AlignedDataset, device: torch.device | str = "cpu") -> FaceBatch:
        """Return all rows of `dataset` in the memory of `device`."""
        heads = {name: torch.from_numpy(values) for name, values in dataset.images.heads.items()}
        names = [field.name for field in fields(cls)[2:]]
        batch = (luminance_crops(dataset.crops), torch.from_numpy(dataset.images.target), *(heads[n] for n in names))
        return cls(*(values.to(device) for values in batch))

    def __len__(self) -> int:
        return len(self.luminance)

    def rows(self, index: np.ndarray) -> FaceBatch:
        """Return some of the rows, by indices."""
        chosen = torch.from_numpy(index)
        return FaceBatch(*(getattr(self, field.name)[chosen] for field in fields(self)))


def joined(batches: list[FaceBatch]) -> FaceBatch:
    """Return the rows of several batches under each other."""
    return FaceBatch(*(torch.cat([getattr(batch, field.name) for batch in batches]) for field in fields(FaceBatch)))


def as_input(luminance: torch.Tensor) -> torch.Tensor:
    """Return (B, 3, S, S) in -1..1, channels last, from (B, 1, S, S) in 0..1."""
    return (luminance.expand(-1, 3, -1, -1) * 2 - 1).contiguous(memory_format=torch.channels_last)


def outputs(model: InfantFaceModel, dataset: AlignedDataset) -> InfantFaceOutput:
    """Return every head's output for all rows in float32 on the CPU, as the app computes them; see forward_crops.

    The model computes on its own device.
    """
    heads = forward_crops(model, ViTImageProcessorPil(**PROCESSOR), dataset.crops, dataset.geometry, dataset.found)
    return InfantFaceOutput(**heads)
