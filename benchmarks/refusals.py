"""Measure how many pictures of what is no readable infant get a plain answer: `python -m benchmarks.refusals [--data FOLDER]`.

Every picture goes through the whole pipeline; it counts as answered when any of its faces gets the verdict "answer". Animals,
objects and adults are pictures that installed packages bring along; cartoon faces and blank pictures are drawn. FOLDER holds
the research data: older faces of the dev part of older_faces.zip, drawn faces, dolls and unusable pictures among the dev rows
of infants.csv, and its dev infants scaled so that brow to chin is 12 px, as they are and enlarged again.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from infant_fer.analyzer import Analyzer
from infant_fer.data.labeled_images import LabeledImages
from infant_fer.images import Photo, load_photo
from infant_fer.metrics import Proportion
from infant_fer.training.infant_face.data import read_infants, read_older

ROOT = Path(__file__).resolve().parent.parent
ANIMALS_AND_OBJECTS = {
    "skimage": [f"data/{name}" for name in ("chelsea.png", "horse.png", "coffee.png", "coins.png", "rocket.jpg", "motorcycle_left.png")],
    "sklearn": ["datasets/images/china.jpg", "datasets/images/flower.jpg"],
    "gradio": [f"media_assets/images/{name}" for name in ("cheetah.jpg", "cheetah1.jpg", "lion.jpg", "tower.jpg", "groot.jpeg")],
}  # fmt: skip
ADULTS = {"skimage": ["data/astronaut.png"], "matplotlib": ["mpl-data/sample_data/grace_hopper.jpg"]}
ADULT_YEARS = 18
SMALL_PX = 12  # from the brows to the chin
ENLARGED = 16  # times
BLANK_WH = (640, 480)
GREY = 128

Group = Iterator[Photo]


def main() -> None:
    """Read every group, print its share of plain answers, and write the JSON if --json is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--checkpoint", help="default: infant-fer-small")
    parser.add_argument("--limit", type=int, default=200, help="pictures of each group of the research data")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    analyzer, found = Analyzer.from_pretrained(options.checkpoint), {}
    for name, photos in groups(analyzer, options.data, options.limit):
        verdicts = [[face.assessment.verdict for face in analyzer.analyze(photo).faces] for photo in photos]
        if not verdicts:
            continue
        found[name] = {
            "answered": Proportion.of(np.array(["answer" in each for each in verdicts])).to_dict(),
            "with caution": sum("caution" in each and "answer" not in each for each in verdicts),
            "no face found": sum(not each for each in verdicts),
        }
        print(f"{name}: {summary(found[name])}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def summary(figures: dict) -> str:
    """Return the figures of one group in a line."""
    answered = Proportion.from_dict(figures["answered"])
    return (
        f"answered {answered.short}; with caution {figures['with caution']}, no face found {figures['no face found']}"
    )


def groups(analyzer: Analyzer, data: Path | None, limit: int) -> Iterator[tuple[str, Group]]:
    """Yield each group's name and pictures; those of the research data only with its folder."""
    yield "animals and objects", of_packages(ANIMALS_AND_OBJECTS)
    yield "adults of packages", of_packages(ADULTS)
    yield "cartoon faces", cartoons()
    yield "blank pictures", blanks()
    examples = [load_photo(file) for file in sorted((ROOT / "examples").glob("*.jpg"))]
    yield f"rendered infants, {SMALL_PX} px", smaller(analyzer, examples)
    yield f"rendered infants, {SMALL_PX} px enlarged", smaller(analyzer, examples, ENLARGED)
    if data is None:
        return
    older, infants = read_older(data), read_infants(data)
    years = np.array([int(os.path.basename(member).split("_")[0]) for member in older.members])
    adults = (older.split == "dev") & (years >= ADULT_YEARS)
    yield f"older faces from {ADULT_YEARS} years", pictures(older, adults, limit)
    dev, usable = infants.split == "dev", infants.heads["usable"] != 0
    yield "drawn faces, dolls and what shows no child", pictures(infants, dev & ~usable, limit)
    small = list(pictures(infants, dev & usable, limit))
    yield f"infants, {SMALL_PX} px", smaller(analyzer, small)
    yield f"infants, {SMALL_PX} px enlarged", smaller(analyzer, small, ENLARGED)


def of_packages(files: dict[str, list[str]]) -> Group:
    """Yield pictures that installed packages bring along; a package that is not there is left out."""
    for package, names in files.items():
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            continue
        for name in names:
            file = Path(spec.origin).parent / name
            if file.is_file():
                yield load_photo(file)


def cartoons(count: int = 80, size: int = 480) -> Group:
    """Yield drawn faces with outlines, round eyes and a smiling, straight, sad or open mouth, in colours of skin or of none."""
    generator = np.random.default_rng(0)
    for number in range(count):
        image = np.full((size, size, 3), generator.integers(120, 256, 3), np.uint8)
        skin = np.array([[235, 190, 160], [150, 105, 80], [245, 220, 90], [160, 210, 160]][number % 4])
        dark = tuple(int(each) for each in skin * 0.35)
        wide, high = generator.uniform(0.24, 0.3), generator.uniform(0.28, 0.34)

        def at(x: float, y: float, wide=wide, high=high) -> tuple[int, int]:
            """Return pixels of a place in half widths and half heights of the head."""
            return round(size * (0.5 + x * wide)), round(size * (0.52 + y * high))

        axes = round(size * wide), round(size * high)
        cv2.ellipse(image, at(0, 0), axes, 0, 0, 360, skin.tolist(), -1, cv2.LINE_AA)
        cv2.ellipse(image, at(0, 0), axes, 0, 0, 360, dark, 3, cv2.LINE_AA)
        eye = round(size * generator.uniform(0.03, 0.055))
        for side in (-0.42, 0.42):
            cv2.circle(image, at(side, -0.1), eye, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(
                image, at(side, -0.08), round(eye * 0.6), generator.integers(0, 110, 3).tolist(), -1, cv2.LINE_AA
            )
            cv2.circle(image, at(side, -0.08), round(eye * 0.3), (10, 10, 10), -1, cv2.LINE_AA)
            tilt = generator.uniform(-12, 12) * np.sign(side)
            cv2.ellipse(
                image, at(side, -0.3), (round(eye * 1.3), round(eye * 0.6)), tilt, 200, 340, dark, 4, cv2.LINE_AA
            )
            cv2.circle(image, at(1.3 * side, 0.28), eye, (skin * (1.0, 0.8, 0.8)).tolist(), -1, cv2.LINE_AA)
        cv2.ellipse(image, at(0, 0.18), (round(eye * 0.5), round(eye * 0.4)), 0, 0, 180, dark, 3, cv2.LINE_AA)
        mouth = round(size * wide * 0.4), round(size * high * generator.uniform(0.08, 0.22))
        start, end = [(0, 180), (180, 360), (0, 360), (0, 180)][number // 4 % 4]
        filled = number // 4 % 4 >= 2  # open
        place = at(0, 0.5 if start == 0 else 0.62)
        cv2.ellipse(
            image, place, mouth, 0, start, end, (140, 40, 50) if filled else dark, -1 if filled else 4, cv2.LINE_AA
        )
        shade = np.linspace(1.08, 0.86, size)[None, :, None] * np.linspace(1.05, 0.9, size)[:, None, None]
        yield _photo(cv2.GaussianBlur(image, (0, 0), generator.uniform(0.5, 2.0)) * shade)


def blanks(count: int = 20) -> Group:
    """Yield pictures without content: one colour, a ramp, and noise, `count` of each."""
    width, height = BLANK_WH
    generator = np.random.default_rng(0)
    for level in np.linspace(0, 255, count):
        yield _photo(np.full((height, width, 3), level))
    for level in np.linspace(50, 255, count):
        yield _photo(np.linspace(0, level, width)[None, :, None] * np.ones((height, 1, 3)))
    for deviation in np.linspace(4, 80, count):
        yield _photo(generator.normal(GREY, deviation, (height, width, 3)))


def pictures(images: LabeledImages, chosen: np.ndarray, limit: int) -> Group:
    """Yield at most `limit` of the chosen pictures, evenly spaced."""
    rows = np.flatnonzero(chosen)
    spaced = rows[np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(int)] if len(rows) else rows
    for row in spaced:
        yield load_photo(images.read(int(row)))


def smaller(analyzer: Analyzer, photos: list[Photo], enlarged: int = 1) -> Group:
    """Yield photos in whose first face SMALL_PX lie between brows and chin, then enlarged; without a face none."""
    for photo in photos:
        faces = analyzer.analyze(photo).faces
        if not faces:
            continue
        height, width = photo.rgb.shape[:2]
        scale = SMALL_PX / faces[0].face.height_px
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(photo.rgb, size, interpolation=cv2.INTER_AREA)
        large = cv2.resize(small, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC)
        yield _photo(large)


def _photo(values: np.ndarray) -> Photo:
    rgb = np.asarray(values).round().clip(0, 255).astype(np.uint8)
    return Photo(rgb, rgb.shape[1::-1])


if __name__ == "__main__":
    main()
