"""Which pictures are there, and what did the raters say? Reads the research data's tables and zip archives."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infant_fer.data.image_store import ImageStore, archive_members
from infant_fer.errors import DatasetError
from infant_fer.labels import AFFECTS, AGE_GROUPS, EMOTIONS

UNKNOWN = -100  # torch's ignore_index
OLDER_USABLE_UNTIL = 8  # years; above it a face counts as no infant's, between 4 and it nothing is said
# The emotion head has FER2013's seven classes; a crying face is one of sadness there.
EMOTION_OF_WORD = {**{name: index for index, name in enumerate(EMOTIONS)}, "cry": EMOTIONS.index("sad")}


@dataclass(frozen=True, eq=False)
class MultiHeadImages(ImageStore):
    """N labelled pictures; unknown labels are UNKNOWN or NaN."""

    source: np.ndarray  # (N,) str
    split: np.ndarray  # (N,) str: train, dev or test
    affect: np.ndarray  # (N,) int index into AFFECTS, UNKNOWN for surprise, mixed and unusable
    affect_soft: np.ndarray  # (N, 3) float32 raters' votes, rows sum to 1, or to 0 where there are none
    emotion: np.ndarray  # (N,) int index into EMOTIONS: the first rater's, or the data set's
    emotion_soft: np.ndarray  # (N, 7) float32 distribution over both raters' emotions, or 0 where there are none
    valence_arousal: np.ndarray  # (N, 2) float32 with NaN
    age: np.ndarray  # (N,) int index into AGE_GROUPS
    usable: np.ndarray  # (N,) float32: 1, 0 or NaN
    eyes_closed: np.ndarray  # (N,) float32: 1, 0 or NaN
    mouth_covered: np.ndarray  # (N,) float32: 1, 0 or NaN


def read_infants(folder: Path) -> MultiHeadImages:
    """Read infants.csv with infants.zip and fer2013.zip beside it."""
    table = folder / "infants.csv"
    try:
        with table.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise DatasetError(f"{table} could not be opened: {error.strerror}.") from None
    if not rows or not {"file", "source", "split", "affect", "p_positive", "emotion_1", "age"} <= rows[0].keys():
        raise DatasetError(
            f"{table} lacks columns; it needs at least file, source, split, affect, p_positive, emotion_1, age."
        )
    archives = [folder / ("fer2013.zip" if row["file"].startswith("fer2013/") else "infants.zip") for row in rows]
    votes = np.array([[float(row[f"p_{affect}"]) for affect in AFFECTS] for row in rows], np.float32)
    usable = np.array([row["affect"] != "unusable" for row in rows])
    total = votes.sum(1, keepdims=True) * usable[:, None]  # votes on what is no child's face say nothing of children
    emotions = np.array([[_emotion(row["emotion_1"]), _emotion(row.get("emotion_2", ""))] for row in rows])
    return MultiHeadImages(
        archives=tuple(archives),
        members=tuple(row["file"] for row in rows),
        source=np.array([row["source"] for row in rows]),
        split=np.array([row["split"] for row in rows]),
        affect=np.array([AFFECTS.index(row["affect"]) if row["affect"] in AFFECTS else UNKNOWN for row in rows]),
        affect_soft=np.where(total >= 0.5, votes / np.maximum(total, 1e-9), 0).astype(np.float32),
        emotion=emotions[:, 0],
        emotion_soft=_shares(emotions),
        valence_arousal=np.array([[_number(row["valence"]), _number(row["arousal"])] for row in rows], np.float32),
        age=np.array([AGE_GROUPS.index(row["age"]) if row["age"] in AGE_GROUPS else UNKNOWN for row in rows]),
        usable=np.where(usable & np.array(["d" not in row["flags"] for row in rows]), 1, 0).astype(np.float32),
        eyes_closed=np.array([float("c" in row["flags"]) for row in rows], np.float32),
        mouth_covered=np.array([float("m" in row["flags"]) for row in rows], np.float32),
    )


def read_older(folder: Path) -> MultiHeadImages:
    """Read older_faces.zip: faces of 4 to 116 years, named AGE_SEX_...; a third is held out, half of it for dev."""
    archive = folder / "older_faces.zip"
    members = [name for name in archive_members(archive) if name.endswith(".jpg")]
    years = np.array([int(Path(name).name.split("_")[0]) for name in members])
    draw = np.random.default_rng(0).random(len(members))
    split = np.where(draw < 2 / 3, "train", np.where(draw < 5 / 6, "dev", "test"))
    usable = np.where(years > OLDER_USABLE_UNTIL, 0.0, np.nan)
    return _unrated(archive, members, "older", split, age=AGE_GROUPS.index("older"), usable=usable)


def read_fer2013(folder: Path) -> MultiHeadImages:
    """Read fer2013.zip: train, public_test as dev, private_test as test; seven emotions."""
    archive = folder / "fer2013.zip"
    members = [name for name in archive_members(archive) if name.endswith(".jpg")]
    parts = [name.split("/") for name in members]
    names = {"train": "train", "public_test": "dev", "private_test": "test"}
    wrong = next(
        (name for name, part in zip(members, parts, strict=True) if len(part) != 4 or part[2] not in EMOTIONS), None
    )
    if wrong:
        raise DatasetError(f"{wrong} in {archive} is not fer2013/PART/EMOTION/NAME.jpg.")
    split = np.array([names[part[1]] for part in parts])
    return _unrated(archive, members, "fer2013", split, emotion=np.array([EMOTIONS.index(part[2]) for part in parts]))


def _unrated(
    archive: Path, members: list[str], source: str, split: np.ndarray, *, emotion=None, age=UNKNOWN, usable=None
):
    n = len(members)
    emotion = np.full(n, UNKNOWN) if emotion is None else emotion
    return MultiHeadImages(
        archives=(archive,) * n,
        members=tuple(members),
        source=np.full(n, source),
        split=split,
        affect=np.full(n, UNKNOWN),
        affect_soft=np.zeros((n, len(AFFECTS)), np.float32),
        emotion=emotion,
        emotion_soft=_shares(emotion[:, None]),
        valence_arousal=np.full((n, 2), np.nan, np.float32),
        age=np.full(n, age),
        usable=np.full(n, np.nan, np.float32) if usable is None else usable.astype(np.float32),
        eyes_closed=np.full(n, np.nan, np.float32),
        mouth_covered=np.full(n, np.nan, np.float32),
    )


def _emotion(word: str) -> int:
    return EMOTION_OF_WORD.get(word, UNKNOWN)


def _shares(emotions: np.ndarray) -> np.ndarray:
    """(N, 7) float32 shares of the known among (N, R) emotion indices; rows without any are 0."""
    counts = (emotions[..., None] == np.arange(len(EMOTIONS))).sum(1)
    return (counts / np.maximum(counts.sum(1, keepdims=True), 1)).astype(np.float32)


def _number(text: str) -> float:
    return float(text) if text else float("nan")
