"""Can other faces stand for a class that has few pictures? Real train faces, warped by the mesh towards the class.

The shift of each landmark is the class's mean minus the mean of the class that gives the faces, in the frame of alignment;
between the landmarks it is linear on the triangles of the mesh (piecewise affine warping, Goshtasby 1986). What the mesh does
not move stays as it was: no wrinkle, tooth or tear appears. Nothing is written to disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from scipy.interpolate import LinearNDInterpolator

from infant_fer.alignment import CropSpec, similarity
from infant_fer.data.labeled_images import AlignedDataset, one_hot
from infant_fer.errors import DatasetError
from infant_fer.face import anchors
from infant_fer.training.rendered_minority import missing_faces, unknown_heads

STRENGTHS = (0.7, 1.3)  # of the shift, drawn for each face
LEAST_FACES = 10  # of a class, for the mean of its landmarks
CALM = "neutral"  # the class whose faces are warped, where there is one; else the largest


def with_warped(
    dataset: AlignedDataset,
    splits: np.ndarray,
    label: str,
    crop: CropSpec,
    seed: int = 0,
    log: Callable[[str], None] = print,
) -> tuple[AlignedDataset, np.ndarray]:
    """Return dataset and (N,) splits with warped faces of `label` in train: as many as lift it to the median of the others.

    A warped face belongs to the infant it was made of, and has neither landmarks nor geometry of its own. Dev and test stay
    as they are. Raises DatasetError where a class has too few faces for a mean.
    """
    images = dataset.images
    train = (splits == "train") & dataset.found
    missing = missing_faces(images, splits, label, log)
    if not missing:
        return dataset, splits
    others = {name: count for name, count in images.rows(train).counts().items() if name != label}
    source = CALM if CALM in others else max(others, key=lambda name: others[name])
    points = mesh_in_crops(dataset.landmarks_px, crop)
    classes = {name: np.flatnonzero(train & (images.truth == images.labels.index(name))) for name in (label, source)}
    if min(map(len, classes.values())) < LEAST_FACES:
        raise DatasetError(
            f"A mean face of {label} and of {source} needs {LEAST_FACES} train faces of each; use --balance weighted."
        )
    shift = points[classes[label]].mean(0) - points[classes[source]].mean(0)
    random = np.random.default_rng(seed)
    donors = random.choice(classes[source], missing, replace=missing > len(classes[source]))
    strengths = random.uniform(*STRENGTHS, size=missing)
    crops = np.stack(
        [
            warped(dataset.crops[row], points[row], strength * shift)
            for row, strength in zip(donors, strengths, strict=True)
        ]
    )
    log(f"{missing} faces of {source} are warped to {label}")
    more = dataset.followed_by(_of_label(dataset.rows(donors), crops, images.labels.index(label)))
    return more, np.concatenate([splits, np.full(missing, "train", splits.dtype)])


def mesh_in_crops(landmarks_px: np.ndarray, spec: CropSpec) -> np.ndarray:
    """Return (N, 478, 2) landmarks in crop pixels, of such in photo pixels."""
    moved = []
    for face in landmarks_px:
        matrix = similarity(anchors(face), spec.anchors_px)
        moved.append(face @ matrix[:, :2].T + matrix[:, 2])
    return np.stack(moved)


def warped(crop_rgb: np.ndarray, points_px: np.ndarray, shift_px: np.ndarray) -> np.ndarray:
    """Return the (S, S, 3) crop with each of its (P, 2) points moved by its (P, 2) shift; the crop's border stays."""
    size = len(crop_rgb)
    ends = np.linspace(0, size - 1, 5)
    border = np.array([(x, y) for x in ends for y in ends if {x, y} & {ends[0], ends[-1]}])
    after = np.concatenate([points_px + shift_px, border])
    back = np.concatenate([-shift_px, np.zeros_like(border)])
    y, x = np.mgrid[:size, :size]
    moved = LinearNDInterpolator(after, back, fill_value=0.0)(np.stack([x, y], -1).reshape(-1, 2))
    source = (np.stack([x, y], -1) + moved.reshape(size, size, 2)).astype(np.float32)
    return cv2.remap(crop_rgb, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _of_label(donors: AlignedDataset, crops: np.ndarray, label: int) -> AlignedDataset:
    """Return the donors' rows with other crops and another label; what further heads are is unknown."""
    images, count = donors.images, len(crops)
    truth = np.full(count, label)
    images = replace(
        images,
        members=tuple(f"{member} (warped {number})" for number, member in enumerate(images.members)),
        truth=truth,
        target=one_hot(truth, len(images.labels)),
        heads=unknown_heads(images, count),
    )
    return AlignedDataset(
        images,
        crops,
        np.zeros_like(donors.geometry),
        np.zeros_like(donors.landmarks_px),
        np.zeros(count, bool),
    )
