"""Compare the recall of quiet negative faces: `python -m benchmarks.quiet_negatives A B ... --data FOLDER [--cache CACHE]`.

FOLDER holds the research data. Quiet are negative faces to which the raters gave a mean valence of -1 or more; those of the dev
and the test rows are read by every checkpoint of the project's own architecture. Each is compared with the first, A, face by
face: the mean difference, in points, has a bootstrap over infants. Where no face is found, the whole picture is read, as on the cards.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from infant_fer.alignment import CropSpec
from infant_fer.checkpoints.loading import load_checkpoint
from infant_fer.data.face_cache import align_images
from infant_fer.labels import AFFECTS
from infant_fer.metrics import Mean, Proportion
from infant_fer.training.infant_face.data import outputs, read_infants
from infant_fer.training.infant_face.figures import QUIET

NEGATIVE = AFFECTS.index("negative")


def main() -> None:
    """Print the recall of every checkpoint on dev, test and both, and its difference from the first one's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("data-cache"))
    options = parser.parse_args()
    images = read_infants(options.data)
    quiet = (images.truth == NEGATIVE) & (images.heads["valence_arousal"][:, 0] >= QUIET)
    images = images.rows(quiet & np.isin(images.split, ("dev", "test")))
    faces = align_images(images, CropSpec(), options.cache)
    base = None
    for folder in options.checkpoints:
        right = outputs(load_checkpoint(folder).model, faces).logits.argmax(1).numpy() == NEGATIVE
        base = right if base is None else base
        for name, rows in (
            ("dev", images.split == "dev"),
            ("test", images.split == "test"),
            ("both", images.split != ""),
        ):
            gain = Mean.of(100.0 * right[rows] - 100.0 * base[rows], images.subject[rows])
            print(
                f"{folder.name}, {name}: {Proportion.of(right[rows], images.subject[rows])}; more than the first: {gain.short}"
            )


if __name__ == "__main__":
    main()
