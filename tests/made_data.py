"""Made tables, archives and drawn faces for the tests of training."""

import csv
import zipfile
from pathlib import Path

import cv2
import numpy as np

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
COLUMNS = ["file", "source", "split", "affect", "p_positive", "p_neutral", "p_negative", "p_surprise"]
COLUMNS += ["emotion_1", "valence", "arousal", "age", "flags"]
MOUTHS = {"positive": (0, 180), "neutral": (175, 185), "negative": (180, 360)}  # arc of the mouth in degrees


def infant_row(file="infants/web/a.jpg", split="train", affect="positive", votes=(2, 0, 0, 0), **others) -> dict:
    """One row of infants.csv; `votes` are p_positive, p_neutral, p_negative, p_surprise."""
    row = dict(zip(COLUMNS, (file, "web", split, affect, *votes, "happy", "1.5", "0.5", "baby", ""), strict=True))
    return {**row, **others}


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


def drawn_face(affect: str, seed: int, size: int = 96) -> np.ndarray:
    """(S, S, 3) uint8: a disc with eyes and a mouth that curves by affect, in tints that grey pictures lack."""
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
