"""Draw what many faces have in common: `python -m infant_fer.evaluation.faces --data D --out DIR [--checkpoint C]`.

Writes mean_face.png (all aligned faces averaged into one, and those of each class), triangles.png (which parts of the face
moved), with a checkpoint emotions.png (its emotions on the plane of valence and arousal), and faces.json: how well the
triangles alone tell the classes, and how closely two alignments bring faces together. Writes neutral_face.csv, too, the
mean neutral face of the train rows, and prints how strongly faces differ from it; what deformation.py compares a face with
is a copy in infant_fer/. The averages are of at least LEAST_INFANTS infants; mean_face.png still is made of private pixels and
belongs into no card.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from infant_fer.alignment import TEMPLATE, CropSpec, aligned_landmarks
from infant_fer.checkpoints.loading import LoadedCheckpoint, load_checkpoint
from infant_fer.checkpoints.safety import CONFIG
from infant_fer.classifier import forward_crops
from infant_fer.data.datasets import read_labeled_images
from infant_fer.data.face_cache import align_images
from infant_fer.data.labeled_images import AlignedDataset, LabeledImages
from infant_fer.data.leakage import trainable_rows
from infant_fer.data.splits import split
from infant_fer.deformation import aligned_points
from infant_fer.errors import DatasetError, exit_status
from infant_fer.evaluation.plots import png
from infant_fer.evaluation.triangles import (
    LEAST_INFANTS,
    draw_triangles,
    neutral_face,
    neutral_rows,
    triangle_predictions,
    typical_differences,
)
from infant_fer.files import check_output_folder, write_atomically
from infant_fer.labels import EMOTIONS
from infant_fer.regions import OUTLINES

RECORD = "faces.json"
SOMETIMES = {
    "emotions.png",
    "mean_face.png",
    "neutral_face.csv",
}  # files that a run without a checkpoint, or of few infants, lacks


def main(arguments: list[str] | None = None) -> int:
    """Write the figures; return 1 after one sentence when something cannot be used."""
    return exit_status(partial(_run, _parser().parse_args(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m infant_fer.evaluation.faces", description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="what train.py takes as --data")
    parser.add_argument(
        "--pictures", type=Path, nargs="+", action="extend", default=[], help="where a table's images are"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the figures")
    parser.add_argument("--checkpoint", help="a checkpoint with emotions, valence and arousal")
    parser.add_argument("--part", choices=["dev", "test"], default="dev", help="the split that is measured and drawn")
    parser.add_argument("--cache", type=Path, default=Path("data-cache"), help="where found faces are kept")
    return parser


def _run(options: argparse.Namespace) -> None:
    check_output_folder(options.out, _is_own)
    checkpoint = load_checkpoint(options.checkpoint) if options.checkpoint else None
    images = read_labeled_images(options.data, pictures=options.pictures, cache=options.cache)
    dataset = _split_faces(images, checkpoint.crop if checkpoint else CropSpec(), options.cache)
    train, measured = (dataset.rows(dataset.images.split == name) for name in ("train", options.part))
    for name, rows in (("train", train), (options.part, measured)):
        if not len(rows):
            raise DatasetError(f"No face was found in a picture of the split {name!r}, so there is nothing to draw.")
    triangles, predictions = triangle_predictions(train, measured)
    figures = {
        "triangles.png": draw_triangles(
            triangles, aligned_points(measured.landmarks_px), measured.images.truth, images.labels
        )
    }
    try:
        figures["mean_face.png"] = draw_mean_faces(measured)
    except DatasetError as error:
        print(error.sentence)
    spread = {name: alignment_spread(measured.landmarks_px, name == "irises") for name in ("corners", "irises")}
    found: dict[str, object] = {
        "split": options.part,
        "triangles": {"count": len(triangles.triangles), "accuracy": predictions.accuracy.to_dict()},
        "spread of the landmarks": spread,
    }
    if checkpoint is not None:
        plane = emotion_plane(checkpoint, measured)
        figures["emotions.png"] = draw_plane(plane)
        found["emotions"] = plane
    try:
        neutral = neutral_face(train)
    except DatasetError as error:
        print(error.sentence)
    else:
        seen = dataset.rows(dataset.images.split != "test")
        differences = typical_differences(seen, neutral)
        figures["neutral_face.csv"] = _as_csv(neutral)
        found["differences from the average face"] = {name: mean.to_dict() for name, mean in differences.items()}
        for name, mean in differences.items():
            print(f"share of full colour, {name}: {mean.short} of {mean.infants} infants")
    options.out.mkdir(parents=True, exist_ok=True)
    for name, content in figures.items():
        write_atomically(options.out / name, content)
    for name in SOMETIMES - figures.keys():
        (options.out / name).unlink(missing_ok=True)  # of an earlier run
    write_atomically(options.out / RECORD, json.dumps(found, indent=1))
    print(f"triangles alone, {options.part}: {predictions.accuracy}")
    for name, value in spread.items():
        print(f"landmarks after alignment by {name} and mouth: spread {value:.4f} of the outlines' height")


def _split_faces(images: LabeledImages, crop: CropSpec, cache: Path) -> AlignedDataset:
    """Return the faces that were found, with the data set's own splits, or else drawn ones.

    Equal files and near-duplicates are one infant before splits are drawn. Raises DatasetError where no picture is neutral.
    """
    given = (images.split != "").any()
    neutral_rows(images.rows(images.split == "train") if given else images)  # refused before the faces are searched
    faces = trainable_rows(align_images(images, crop, cache), whole_pictures=False, log=print)
    return replace(faces, images=replace(faces.images, split=split(faces.images, "given" if given else "subject")))


def _is_own(folder: Path) -> bool:
    """Tell whether an earlier run wrote the folder. A checkpoint is none: whoever publishes it would publish the mean face, too."""
    return (folder / RECORD).is_file() and not (folder / CONFIG).exists()


def _as_csv(points: np.ndarray) -> bytes:
    """Return one line a point: x and y in the frame of alignment.TEMPLATE."""
    return "".join(f"{x:.4f},{y:.4f}\n" for x, y in points).encode()


def mean_faces(dataset: AlignedDataset) -> dict[str, np.ndarray]:
    """Return the (S, S, 3) uint8 mean crop of "all" faces and of each class that has faces of at least LEAST_INFANTS.

    Equal files and near-duplicates should be joined before. Raises DatasetError when there are fewer infants altogether.
    """
    labels, truth = dataset.images.labels, dataset.images.truth
    groups = {"all": np.ones(len(dataset), bool)} | {name: truth == index for index, name in enumerate(labels)}
    infants = {name: len(np.unique(dataset.images.subject[rows])) for name, rows in groups.items()}
    if infants["all"] < LEAST_INFANTS:
        raise DatasetError(f"A mean face needs faces of {LEAST_INFANTS} infants; there are {infants['all']}.")
    return {
        name: dataset.crops[rows].mean(0).round().astype(np.uint8)
        for name, rows in groups.items()
        if infants[name] >= LEAST_INFANTS
    }


def draw_mean_faces(dataset: AlignedDataset) -> bytes:
    """Draw the mean faces beside each other."""
    means = mean_faces(dataset)
    counts = {"all": len(dataset)} | {
        name: int((dataset.images.truth == index).sum()) for index, name in enumerate(dataset.images.labels)
    }
    figure = Figure(figsize=(2.2 * len(means), 2.5), layout="constrained")
    for axes, (name, crop) in zip(figure.subplots(1, len(means), squeeze=False)[0], means.items(), strict=True):
        axes.imshow(crop)
        axes.set(title=f"{name} (n = {counts[name]})")
        axes.set_axis_off()
    return png(figure)


def alignment_spread(landmarks_px: np.ndarray, irises: bool = False) -> float:
    """Return how far landmarks of different faces lie apart after alignment, as a share of the outlines' height.

    It is the root mean square distance of the drawn outlines' points from their means over (N, 478, 2) faces, after a
    similarity on the eyes' corners, or irises, and the mouth's corners, and scaled so that brow to chin is alike.
    """
    outline = sorted({index for paths in OUTLINES.values() for path in paths for index in path})
    points = aligned_landmarks(landmarks_px, TEMPLATE, irises)[:, outline]
    points /= np.ptp(points.mean(0)[:, 1])  # the two alignments scale a little differently
    return float(np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean()))


def emotion_plane(checkpoint: LoadedCheckpoint, faces: AlignedDataset) -> dict[str, dict[str, float]]:
    """Return valence, arousal and n by emotion: the mean over the faces that the checkpoint gives this emotion.

    Raises DatasetError for a checkpoint without these heads.
    """
    heads = forward_crops(checkpoint.model, checkpoint.processor, faces.crops, faces.geometry, faces.found)
    if "emotion_logits" not in heads or "valence_arousal" not in heads:
        raise DatasetError(f"{checkpoint.name} has no heads for emotions, valence and arousal. Use infant-fer-small.")
    emotion, plane = heads["emotion_logits"].argmax(1).numpy(), heads["valence_arousal"].numpy()
    rows = {name: plane[emotion == index] for index, name in enumerate(EMOTIONS)}
    return {
        name: {"valence": float(values[:, 0].mean()), "arousal": float(values[:, 1].mean()), "n": len(values)}
        for name, values in rows.items()
        if len(values)
    }


def draw_plane(plane: dict[str, dict[str, float]]) -> bytes:
    """Draw the emotions as points on the plane of valence (−2 to 2) and arousal (0 to 2), larger where more faces are."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, each in plane.items():
        axes.scatter(each["valence"], each["arousal"], s=20 + 4 * np.sqrt(each["n"]) ** 1.5, color="#0072B2", alpha=0.7)
        axes.annotate(
            f"{name} ({each['n']:.0f})", (each["valence"], each["arousal"]), xytext=(-10, 9), textcoords="offset points"
        )
    axes.set(xlabel="valence", ylabel="arousal", xlim=(-2, 2), ylim=(0, 2))
    axes.grid(alpha=0.3)
    return png(figure)


if __name__ == "__main__":
    sys.exit(main())
