"""Which pictures does the recipe train on, and what did the raters say? Reads the research data's tables and archives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from infant_fer.data.image_store import archive_members
from infant_fer.data.labeled_images import UNKNOWN, LabeledImages, own_subjects
from infant_fer.data.tables import read_rows
from infant_fer.errors import DatasetError
from infant_fer.labels import AFFECTS, AGE_GROUPS, EMOTIONS

COLUMNS = {"file", "source", "split", "affect", "p_positive", "p_neutral", "p_negative", "emotion_1", "age", "flags"}
OLDER_USABLE_UNTIL = 8  # years; above it a face counts as no infant's, between 4 and it nothing is said
# The emotion head has FER2013's seven classes; a crying face is one of sadness there.
EMOTION_OF_WORD = {**{name: index for index, name in enumerate(EMOTIONS)}, "cry": EMOTIONS.index("sad")}
FER2013_SPLITS = {"train": "train", "public_test": "dev", "private_test": "test"}


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
        split=rows["split"].to_numpy(str),
        affect=_indices(rows["affect"], {name: index for index, name in enumerate(AFFECTS)}),
        affect_target=np.where(total >= 0.5, votes / np.maximum(total, 1e-9), 0),
        emotions=emotions,
        subject=rows["group"].to_numpy(str) if "group" in rows else None,
        valence_arousal=np.stack([_numbers(rows, "valence"), _numbers(rows, "arousal")], 1),
        age=_indices(rows["age"], {name: index for index, name in enumerate(AGE_GROUPS)}),
        usable=usable & ~rows["flags"].str.contains("d"),
        eyes_closed=rows["flags"].str.contains("c"),
        mouth_covered=rows["flags"].str.contains("m"),
    )


def read_older(folder: Path) -> LabeledImages:
    """Read older_faces.zip: faces of 4 to 116 years, named AGE_SEX_...; a third is held out, half of it for dev."""
    archive = folder / "older_faces.zip"
    members = [name for name in archive_members(archive) if name.endswith(".jpg")]
    years = np.array([int(Path(name).name.split("_")[0]) for name in members])
    draw = np.random.default_rng(0).random(len(members))
    return _labeled(
        archives=[archive] * len(members),
        members=members,
        source="older",
        split=np.where(draw < 2 / 3, "train", np.where(draw < 5 / 6, "dev", "test")),
        age=AGE_GROUPS.index("older"),
        usable=np.where(years > OLDER_USABLE_UNTIL, 0.0, np.nan),
    )


def read_fer2013(folder: Path) -> LabeledImages:
    """Read fer2013.zip: train, public_test as dev, private_test as test; seven emotions."""
    archive = folder / "fer2013.zip"
    members = [name for name in archive_members(archive) if name.endswith(".jpg")]
    paths = [name.split("/") for name in members]
    for name, path in zip(members, paths, strict=True):
        if len(path) != 4 or path[1] not in FER2013_SPLITS or path[2] not in EMOTIONS:
            raise DatasetError(f"{name} in {archive} is not fer2013/SPLIT/EMOTION/NAME.jpg.")
    return _labeled(
        archives=[archive] * len(members),
        members=members,
        source="fer2013",
        split=np.array([FER2013_SPLITS[path[1]] for path in paths]),
        emotions=np.array([[EMOTIONS.index(path[2])] for path in paths]),
    )


def _labeled(
    *, archives: list[Path], members: list[str], source, split, affect=UNKNOWN, affect_target=0.0, emotions=None,
    subject=None, valence_arousal=np.nan, age=UNKNOWN, usable=np.nan, eyes_closed=np.nan, mouth_covered=np.nan,
) -> LabeledImages:  # fmt: skip
    """Return pictures with the targets of every head of an InfantFaceModel; a scalar holds for all, the defaults are unknown.

    heads: "emotion" (N, 7) float32 distributions over the raters' emotions and "emotion_index" (N,) int, the first
    rater's, both from `emotions` (N, R) int; "valence_arousal" (N, 2) float32; "age" (N,) int index into AGE_GROUPS;
    "usable", "eyes_closed" and "mouth_covered" (N,) float32, 1 or 0.
    """
    n = len(members)
    emotions = np.full((n, 1), UNKNOWN) if emotions is None else emotions
    counts = (emotions[..., None] == np.arange(len(EMOTIONS))).sum(1)
    return LabeledImages(
        archives=tuple(archives),
        members=tuple(members),
        labels=AFFECTS,
        truth=_filled(affect, np.int64, n),
        target=_filled(affect_target, np.float32, n, len(AFFECTS)),
        subject=own_subjects(n) if subject is None else subject,
        split=split,
        subgroups={"source": _filled(source, str, n)},
        subjects_known=subject is not None,
        heads={
            "emotion": (counts / np.maximum(counts.sum(1, keepdims=True), 1)).astype(np.float32),
            "emotion_index": emotions[:, 0].astype(np.int64),
            "valence_arousal": _filled(valence_arousal, np.float32, n, 2),
            "age": _filled(age, np.int64, n),
            "usable": _filled(usable, np.float32, n),
            "eyes_closed": _filled(eyes_closed, np.float32, n),
            "mouth_covered": _filled(mouth_covered, np.float32, n),
        },
    )


def _filled(values, dtype: type, *shape: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(values).astype(dtype), shape).copy()


def _indices(words: pd.Series, index_of: dict[str, int]) -> np.ndarray:
    return words.map(index_of).fillna(UNKNOWN).to_numpy(np.int64)


def _numbers(rows: pd.DataFrame, column: str) -> np.ndarray:
    """Return (N,) float32 with NaN for empty cells. Raises DatasetError naming line and column."""
    numbers = pd.to_numeric(rows[column], errors="coerce")
    if (wrong := numbers.isna() & (rows[column] != "")).any():
        line = wrong.idxmax()
        raise DatasetError(
            f"Line {line + 2} of infants.csv has {rows[column][line]!r} as {column}, which is no number."
        )
    return numbers.to_numpy(np.float32)
