"""Compare the recall of quiet negative faces: `python -m benchmarks.quiet_negatives A B ... --data FOLDER [--cache CACHE]`.

FOLDER holds the research data. Quiet by valence are negative faces to which the raters gave a mean of -1 or more. Quiet by
emotion are negative faces that both raters called sad, fearful or angry, none crying, and whose inner lips are less than a tenth
of the distance from eyes to mouth apart (in three of four neutral faces they are less than 0.13 apart). Those of the dev and the
test rows are read by every checkpoint of the project's own architecture. Each is compared with the first, A, face by face: the
mean difference, in points, has a bootstrap over infants. Where no face is found, the whole picture is read, as on the cards; such
a face is never quiet by emotion, as its lips are not known.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from infant_fer.alignment import CropSpec
from infant_fer.checkpoints.loading import load_checkpoint
from infant_fer.data.face_cache import align_images
from infant_fer.data.labeled_images import AlignedDataset
from infant_fer.data.tables import read_rows
from infant_fer.labels import AFFECTS
from infant_fer.metrics import Mean, Proportion
from infant_fer.models.geometry import EDGES
from infant_fer.training.infant_face.data import outputs, read_infants
from infant_fer.training.infant_face.figures import QUIET

NEGATIVE = AFFECTS.index("negative")
QUIET_EMOTIONS = {"sad", "fear", "angry"}
LIP_GAP = EDGES.index((13, 14)) - len(EDGES) - 2  # column of geometry_features
CLOSED = 0.1  # of the distance from eyes to mouth


def quiet_by_emotion(faces: AlignedDataset, emotions: np.ndarray) -> np.ndarray:
    """Return which of N negative faces are quiet by emotion, (N,) bool; `emotions` (N, R) are the raters' words."""
    quiet = np.isin(emotions, list(QUIET_EMOTIONS)).all(1)
    return quiet & faces.found & (faces.geometry[:, LIP_GAP] < CLOSED)


def main() -> None:
    """Print the recall of every checkpoint on dev, test and both, and its difference from the first one's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("data-cache"))
    options = parser.parse_args()
    images = read_infants(options.data)
    images = images.rows((images.truth == NEGATIVE) & np.isin(images.split, ("dev", "test")))
    faces = align_images(images, CropSpec(), options.cache)
    words = read_rows(options.data / "infants.csv").set_index("file").loc[list(faces.images.members)]
    definitions = {
        "by valence": faces.images.heads["valence_arousal"][:, 0] >= QUIET,
        "by emotion": quiet_by_emotion(faces, words[["emotion_1", "emotion_2"]].to_numpy(str)),
    }
    base = None
    for folder in options.checkpoints:
        right = outputs(load_checkpoint(folder).model, faces).logits.argmax(1).numpy() == NEGATIVE
        base = right if base is None else base
        for name, quiet in definitions.items():
            for part, splits in (("dev", ["dev"]), ("test", ["test"]), ("both", ["dev", "test"])):
                rows = quiet & np.isin(faces.images.split, splits)
                found = Proportion.of(right[rows], faces.images.subject[rows])
                gain = Mean.of(100.0 * right[rows] - 100.0 * base[rows], faces.images.subject[rows])
                print(f"{folder.name}, {name}, {part}: {found}; more than the first: {gain.short}")


if __name__ == "__main__":
    main()
