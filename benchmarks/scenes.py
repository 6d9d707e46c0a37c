"""Measure detection and accuracy in difficult scenes: `python -m benchmarks.scenes --data FOLDER [--checkpoint C] [--json OUT]`.

FOLDER holds scenes.csv and scenes.zip: full pictures with the face's position, height, visibility and affect, annotated by
eye. A detection is right when its centre lies within three quarters of the face's height of that position. No checkpoint was
trained on these pictures; their faces are small, dark, rotated or noisy, so accuracy is lower there.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from infant_fer.analyzer import Analyzer
from infant_fer.face import Face
from infant_fer.images import load_photo
from infant_fer.labels import AFFECTS
from infant_fer.metrics import Proportion


def main() -> None:
    """Search every scene, print a table for both halves and for all, and write the JSON if --json is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", help="default: infant-fer-small")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with (options.data / "scenes.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    with ZipFile(options.data / "scenes.zip") as archive:
        results = list(searched(rows, archive, Analyzer.from_pretrained(options.checkpoint)))
    halves = {"tuned": [r for r in results if r["half"] == 0], "held out": [r for r in results if r["half"] == 1]}
    table = {name: figures(part) for name, part in {**halves, "all": results}.items()}
    for name, part in table.items():
        print(name, *(f"{key}: {value}" for key, value in part.items()), sep="\n  ")
    if options.json:
        options.json.write_text(json.dumps(table, indent=1, default=str))


def searched(rows: Iterable[dict], archive: ZipFile, analyzer: Analyzer) -> Iterable[dict]:
    """Yield for each scene what `figures` needs: its half, its group of like pictures, what was found and read, and CPU seconds."""
    for row in rows:
        photo = load_photo(archive.read(row["file"]))
        start = time.process_time()
        faces = analyzer.analyze(photo).faces
        seconds = time.process_time() - start
        right = [face for face in faces if is_right(face.face, row, photo.rgb.shape)]
        half = int(hashlib.md5(row["group"].encode()).hexdigest(), 16) % 2
        yield {
            "half": half,
            "group": row["group"],
            "visible": row["visible"],
            "affect": row["affect"],
            "found": bool(right),
            "false": len(right) < len(faces),
            "answer": right[0].prediction.label if right else None,
            "seconds": seconds,
        }


def is_right(face: Face, row: dict, shape: tuple[int, ...]) -> bool:
    """Tell whether a detection is the annotated face."""
    if row["visible"] == "none":
        return False
    height, width = shape[:2]
    place = np.array([float(row["x_percent"]) * width, float(row["y_percent"]) * height]) / 100
    marked = float(row["height_percent"]) * height / 100
    left, top, right, bottom = face.box_xyxy
    apart = np.hypot((left + right) / 2 - place[0], (top + bottom) / 2 - place[1])
    return apart < max(0.75 * marked, 0.6 * face.height_px) and face.height_px < 4 * marked + 10


def figures(results: list[dict]) -> dict:
    """Return proportions with intervals over the groups of like pictures, and CPU seconds per picture."""
    seconds, labelled = [r["seconds"] for r in results], [r for r in results if r["found"] and r["affect"] in AFFECTS]
    of_affect = {affect: [r for r in labelled if r["affect"] == affect] for affect in AFFECTS}
    return {
        "fully visible faces found": _proportion([r for r in results if r["visible"] == "full"], _is_found),
        "partly visible faces found": _proportion([r for r in results if r["visible"] == "part"], _is_found),
        "pictures with a false detection": _proportion(results, lambda r: r["false"]),
        "faces read as labelled, of those found": _proportion(labelled, _is_read),
        **{
            f"{affect} faces read as {affect}, of those found": _proportion(rows, _is_read)
            for affect, rows in of_affect.items()
            if rows
        },
        "CPU seconds per picture, median and largest": f"{np.median(seconds):.2f}, {max(seconds):.2f}",
    }


def _is_found(result: dict) -> bool:
    return result["found"]


def _is_read(result: dict) -> bool:
    return result["answer"] == result["affect"]


def _proportion(results: list[dict], is_right: Callable[[dict], bool]) -> Proportion:
    return Proportion.of(np.array([is_right(r) for r in results], bool), np.array([r["group"] for r in results]))


if __name__ == "__main__":
    main()
