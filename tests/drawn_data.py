"""Tables, archives and drawn faces for the tests of training."""

import csv
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from infant_fer.alignment import CropSpec
from infant_fer.data import face_cache
from infant_fer.data.labeled_images import UNKNOWN, AlignedDataset, ImageStore, LabeledImages, own_subjects
from infant_fer.face import LANDMARK_COUNT
from infant_fer.labels import AFFECTS

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
COLUMNS = ["file", "source", "split", "affect", "p_positive", "p_neutral", "p_negative", "p_surprise"]
COLUMNS += ["emotion_1", "valence", "arousal", "age", "flags"]
MOUTHS = {"positive": (0, 180), "neutral": (175, 185), "negative": (180, 360)}  # arc of the mouth in degrees


def infant_row(file="infants/web/a.jpg", split="train", affect="positive", votes=(2, 0, 0, 0), **others) -> dict:
    """Return one row of infants.csv; `votes` are p_positive, p_neutral, p_negative, p_surprise."""
    row = dict(zip(COLUMNS, (file, "web", split, affect, *votes, "happy", "1.5", "0.5", "baby", ""), strict=True))
    return {**row, **others}


def infant_rows(splits: Sequence[str]) -> list[dict]:
    """Return a row for each split: infants of their own, the affects in turn, both raters agreed."""
    rows = []
    for number, split in enumerate(splits):
        affect = AFFECTS[number % 3]
        votes = [2.0 * (name == affect) for name in AFFECTS] + [0]
        rows.append(infant_row(f"infants/web/{number:03}.jpg", split, affect, votes, valence=str(1 - number % 3)))
    return rows


def noisy_faces(rows: list[dict], random: np.random.Generator) -> np.ndarray:
    """Return (N, 96, 96, 3) uint8: a drawn face of each row's affect under noise, as drawn faces alone are near-duplicates."""
    noise = random.integers(0, 255, (len(rows), 8, 8, 3)).repeat(12, 1).repeat(12, 2)
    drawn = np.stack([drawn_face(row["affect"], number) for number, row in enumerate(rows)])
    return (drawn // 2 + noise // 2).astype(np.uint8)


def older_faces(folder: Path, each: int) -> None:
    """Write older_faces.zip with so many names of five years and of thirty."""
    named_pictures(folder / "older_faces.zip", [f"older/{age}_0_0_{n}.jpg" for age in (5, 30) for n in range(each)])


def write_table(folder: Path, rows: list[dict], columns=COLUMNS) -> Path:
    """Write infants.csv; gives its folder."""
    with (folder / "infants.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return folder


def write_zip(archive: Path, members: dict[str, bytes]) -> Path:
    """Write an archive of named contents."""
    with zipfile.ZipFile(archive, "w") as opened:
        for name, data in members.items():
            opened.writestr(name, data)
    return archive


def unlabelled(files: list[str]) -> LabeledImages:
    """Return files without labels or subjects, all of the class "positive"."""
    count = len(files)
    target = np.eye(len(AFFECTS), dtype=np.float32)[[0] * count]
    columns = {"truth": np.zeros(count, int), "target": target, "subject": own_subjects(count)}
    return LabeledImages((None,) * count, tuple(files), AFFECTS, **columns, split=np.full(count, ""), subgroups={})


def face_dataset(crops: np.ndarray, geometry: np.ndarray, affect: np.ndarray, **heads: np.ndarray) -> AlignedDataset:
    """Return faces of (N, S, S, 3) crops for the recipe infant_face, all found; heads that are not given are unknown."""
    count = len(crops)
    images = unlabelled([f"{number}.jpg" for number in range(count)])
    nothing = np.full(count, np.nan, np.float32)
    unknown = {
        "emotion": np.zeros((count, 7)),
        "votes": np.zeros((count, 8)),
        "valence_arousal": np.full((count, 2), np.nan),
        "age": np.full(count, UNKNOWN),
    }
    unknown |= {"usable": nothing, "eyes_closed": nothing, "mouth_covered": nothing}
    heads = {
        name: np.asarray(values, np.int64 if name == "age" else np.float32)
        for name, values in (unknown | heads).items()
    }
    images = replace(images, target=affect.astype(np.float32), truth=affect.argmax(1), heads=heads)
    landmarks = np.zeros((count, LANDMARK_COUNT, 2), np.float32)
    return AlignedDataset(images, crops, geometry.astype(np.float32), landmarks, np.ones(count, bool))


def named_pictures(archive: Path, names: list[str]) -> None:
    """Write an archive of members that differ in their content, which is no picture: their faces are stored."""
    write_zip(archive, {name: name.encode() for name in names})


def store_faces(images: ImageStore, cache: Path, crops: np.ndarray, geometry: np.ndarray, adults: bool = False) -> None:
    """Put faces into the cache as if they had been found: (N, S, S, 3) crops of CropSpec(S) with (N, G) geometry."""
    kept, digests = face_cache.FaceCache(cache, CropSpec(crops.shape[1]), adults), images.digests()
    for start in range(0, len(crops), face_cache.SHARD):
        rows = slice(start, start + face_cache.SHARD)
        count = len(crops[rows])
        found = {"landmarks_px": np.zeros((count, LANDMARK_COUNT, 2), np.float32), "found": np.ones(count, bool)}
        columns = {"fault": np.full(count, ""), "geometry": geometry[rows].astype(np.float32), **found}
        kept.folder.mkdir(parents=True, exist_ok=True)
        kept.save("faces", digests[rows], **columns)
        kept.save("crops", digests[rows], crops=crops[rows])


def drawn_face(affect: str, seed: int, size: int = 96) -> np.ndarray:
    """Return (S, S, 3) uint8: a disc with eyes and a mouth that curves by affect, in tints that black-and-white pictures lack."""
    random = np.random.default_rng(seed)
    face = random.integers(30, 90, (6, 6, 3)).astype(np.uint8)  # every background differs
    face = cv2.resize(face, (size, size), interpolation=cv2.INTER_CUBIC)
    skin = tuple(int(value) for value in random.integers(160, 230, 3))
    cv2.circle(face, (size // 2, size // 2), size * 2 // 5, skin, -1)
    for x in (size // 3, size * 2 // 3):
        cv2.circle(face, (x, size * 2 // 5), size // 18, (20, 20, 20), -1)
    first, last = MOUTHS[affect]
    cv2.ellipse(face, (size // 2, size * 2 // 3), (size // 5, size // 9), 0, first, last, (120, 20, 20), 4)
    if affect == "neutral":
        cv2.line(face, (size // 3, size * 2 // 3), (size * 2 // 3, size * 2 // 3), (120, 20, 20), 4)
    return face


def scene(label: str, number: int) -> np.ndarray:
    """(64, 64, 3): noise all its own, with a bright band whose height encodes the label; no face is in it."""
    picture = np.random.default_rng(number).integers(0, 90, (8, 8, 3)).astype(np.uint8)
    picture = cv2.resize(picture, (64, 64), interpolation=cv2.INTER_NEAREST)
    top = 4 + 22 * AFFECTS.index(label)
    picture[top : top + 14] = np.minimum(picture[top : top + 14].astype(int) + 120, 255)
    return picture
