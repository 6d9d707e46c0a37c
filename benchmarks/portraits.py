"""Draw the portraits of the thesis's protocol in docs/studies.md: `python -m benchmarks.portraits --data RESEARCH_DATA --out DIR`.

150 pictures of as many infants of UTKFace, from the train and dev rows on which both readings agree, with the thesis's counts
of the classes. They are copied as NUMBER_LABEL.jpg into a folder that must not exist yet; they are private, as the data are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from infant_fer.data.datasets import read_labeled_images
from infant_fer.data.labeled_images import LabeledImages
from infant_fer.labels import AFFECTS

COUNTS = {"positive": 58, "neutral": 52, "negative": 40}


def main() -> None:
    """Draw, copy, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the research data")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    images = read_labeled_images(options.data / "infants.csv", AFFECTS)
    rows = drawn(images, np.random.default_rng(0))
    options.out.mkdir(parents=True)
    for number, row in enumerate(rows):
        (options.out / f"{number:03}_{images.labels[images.truth[row]]}.jpg").write_bytes(images.read(row))
    print(images.rows(np.array(rows)).counts())


def drawn(images: LabeledImages, random: np.random.Generator) -> list[int]:
    """Return the rows of COUNTS pictures of each class, of infants that occur once."""
    usable = (images.subgroups["source"] == "utkface") & np.isin(images.split, ("train", "dev"))
    usable &= images.target.max(1) == 1
    rows: list[int] = []
    for name, count in COUNTS.items():
        of_class = np.flatnonzero(usable & (images.truth == images.labels.index(name)))
        seen = set(images.subject[rows])
        for row in random.permutation(of_class):
            if images.subject[row] not in seen and count:
                seen.add(images.subject[row])
                rows.append(int(row))
                count -= 1
        if count:
            raise SystemExit(f"{count} pictures of {name} are missing.")
    return rows


if __name__ == "__main__":
    main()
