"""How is a class with few pictures filled? Rendered infants, or other train faces that the mesh warps towards the class.

Both add faces to the train split alone. For a warped face the shift of each landmark is the class's mean minus the mean of the
class that gives the faces, in the frame of alignment; between the landmarks it is linear on the triangles of their Delaunay
triangulation (piecewise affine warping, Goshtasby 1986). What the mesh does not move stays as it was: no wrinkle, tooth or tear
appears. Warped faces are not written to disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from scipy.interpolate import LinearNDInterpolator

from infant_fer.alignment import CropSpec, aligned_landmarks
from infant_fer.data.face_cache import align_images
from infant_fer.data.labeled_images import AlignedDataset, LabeledImages, one_hot
from infant_fer.data.tables import read_rows
from infant_fer.errors import DatasetError
from infant_fer.labels import AFFECTS
from infant_fer.synthetic.expressions import EXPRESSIONS
from infant_fer.synthetic.render_jobs import MANIFEST, RenderJob, run_job

RENDERED_PX = 256  # at least the crops' size of every recipe
TURNED, COVERED = 1.0, 0.0  # head poses as the renderer draws them by default; nothing before the face
STRENGTHS = (0.7, 1.3)  # of a warped face's shift, drawn for each
LEAST_FACES = 10  # of a class, for the mean of its landmarks
CALM = "neutral"  # the class whose faces are warped, where there is one; else the largest


def with_renders(
    dataset: AlignedDataset,
    splits: np.ndarray,
    label: str,
    crop: CropSpec,
    cache: Path,
    log: Callable[[str], None] = print,
) -> tuple[AlignedDataset, np.ndarray]:
    """Return dataset and (N,) splits with renders of `label` in train: as many as lift it to the median of the other classes.

    The renders are kept in `cache`; their faces are found and aligned as those of any picture, and renders without a found
    face do not count. Dev and test stay as they are. Raises DatasetError for a class that cannot be rendered.
    """
    images, names = dataset.images, rendered_expressions(dataset.images.labels, label)
    missing = missing_faces(images, splits, label, log)
    if not missing:
        return dataset, splits
    job = RenderJob(class_folder(label, cache), 0, RENDERED_PX, TURNED, COVERED, names)
    run_job(job, missing)
    found = align_images(_rendered(job, missing, images, label), crop, cache, log=log)
    found = found.rows(found.found)
    own = images.rows(splits == "train").counts()[label]
    log(f"{len(found)} renders of {label} are added to its {own} train pictures")
    return dataset.followed_by(found), np.concatenate([splits, np.full(len(found), "train", splits.dtype)])


def rendered_expressions(labels: Sequence[str], label: str) -> tuple[str, ...]:
    """Return the renderer's expressions for one of the classes `labels`. Raises DatasetError for one that cannot be rendered."""
    affect = "positive" if label == "happy" else label  # the renderer's smiles and laughs
    names = [name for name, each in EXPRESSIONS.items() if (each.affect if affect in AFFECTS else name) == affect]
    if label not in labels or not names:
        possible = [each for each in labels if each in (*AFFECTS, "happy", *EXPRESSIONS)]
        raise DatasetError(f"{label!r} cannot be rendered for these classes; {', '.join(possible) or 'none'} can.")
    return tuple(names)


def class_folder(label: str, cache: Path) -> Path:
    """Return where `with_renders` keeps the renders of a class."""
    return cache / f"renders-{label}"


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
    points = aligned_landmarks(dataset.landmarks_px, crop.anchors_px)
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


def check_class(labels: Sequence[str], label: str) -> None:
    """Raise DatasetError for a class to fill that the data lack."""
    if label not in labels:
        raise DatasetError(f"There is no class {label!r} to fill; there are {', '.join(labels)}.")


def missing_faces(images: LabeledImages, splits: np.ndarray, label: str, log: Callable[[str], None] = print) -> int:
    """Return how many train pictures a class has less than the others in the median; 0, and a line in the log, for none.

    Raises DatasetError for a class that the data lack.
    """
    check_class(images.labels, label)
    counts = images.rows(splits == "train").counts()
    missing = int(np.median([count for name, count in counts.items() if name != label])) - counts[label]
    if missing <= 0:
        log(f"no picture is added: {label} has {counts[label]} train pictures already")
    return max(0, missing)


def _rendered(job: RenderJob, count: int, like: LabeledImages, label: str) -> LabeledImages:
    """Return the first `count` renders of a job with the label, and the targets of further heads unknown."""
    rows = read_rows(job.folder / MANIFEST)[:count]
    truth = np.full(len(rows), like.labels.index(label))
    members = tuple(str(job.folder / name) for name in rows["file"])
    subject = np.array([f"rendered {name}" for name in rows["subject"]])
    return rows_like(like, members, truth, one_hot(truth, len(like.labels)), subject)


def rows_like(
    like: LabeledImages, members: tuple[str, ...], truth: np.ndarray, target: np.ndarray, subject: np.ndarray
) -> LabeledImages:
    """Return rendered train pictures with the classes and subgroups of others."""
    count = len(members)
    return replace(
        like,
        archives=(None,) * count,
        members=members,
        truth=truth,
        target=target,
        subject=subject,
        split=np.full(count, "train"),
        subgroups={name: np.full(count, "rendered") for name in like.subgroups},
        heads={},
    )


def _of_label(donors: AlignedDataset, crops: np.ndarray, label: int) -> AlignedDataset:
    """Return the donors' rows with other crops and another label."""
    images, count = donors.images, len(crops)
    truth = np.full(count, label)
    images = replace(
        images,
        members=tuple(f"{member} (warped {number})" for number, member in enumerate(images.members)),
        truth=truth,
        target=one_hot(truth, len(images.labels)),
        heads={},
    )
    return AlignedDataset(
        images,
        crops,
        np.zeros_like(donors.geometry),
        np.zeros_like(donors.landmarks_px),
        np.zeros(count, bool),
    )
