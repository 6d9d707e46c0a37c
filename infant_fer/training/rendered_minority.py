"""Can renders stand for a class that has few pictures? Rendered infants fill the train split of one class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from infant_fer.alignment import CropSpec
from infant_fer.data.face_cache import align_images
from infant_fer.data.labeled_images import UNKNOWN, AlignedDataset, LabeledImages, one_hot
from infant_fer.data.tables import read_rows
from infant_fer.errors import DatasetError
from infant_fer.labels import AFFECTS
from infant_fer.synthetic.expressions import EXPRESSIONS
from infant_fer.synthetic.render_jobs import MANIFEST, RenderJob, run_job

RENDERED_PX = 256  # at least the crops' size of every recipe
TURNED, COVERED = 1.0, 0.0  # head poses as the renderer draws them by default; nothing before the face


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
    images = dataset.images
    affect = "positive" if label == "happy" else label  # the renderer's smiles and laughs
    names = [name for name, each in EXPRESSIONS.items() if (each.affect if affect in AFFECTS else name) == affect]
    if label not in images.labels or not names:
        possible = [each for each in images.labels if each in (*AFFECTS, "happy", *EXPRESSIONS)]
        raise DatasetError(f"{label!r} cannot be rendered for these classes; {', '.join(possible) or 'none'} can.")
    missing = missing_faces(images, splits, label, log)
    if not missing:
        return dataset, splits
    job = RenderJob(cache / f"renders-{label}", 0, RENDERED_PX, TURNED, COVERED, tuple(names))
    run_job(job, missing)
    found = align_images(_rendered(job, missing, images, label), crop, cache, log=log)
    found = found.rows(found.found)
    own = images.rows(splits == "train").counts()[label]
    log(f"{len(found)} renders of {label} are added to its {own} train pictures")
    return dataset.followed_by(found), np.concatenate([splits, np.full(len(found), "train", splits.dtype)])


def missing_faces(images: LabeledImages, splits: np.ndarray, label: str, log: Callable[[str], None] = print) -> int:
    """Return how many train pictures a class has less than the others in the median; 0, and a line in the log, for none."""
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
    """Return rendered train pictures with the classes, subgroups and heads of others; what the heads are is unknown."""
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
        heads=unknown_heads(like, count),
    )


def unknown_heads(like: LabeledImages, count: int) -> dict[str, np.ndarray]:
    """Return targets of `count` pictures for the heads that others have, all unknown."""
    return {name: _unknown(values, count) for name, values in like.heads.items()}


def _unknown(values: np.ndarray, count: int) -> np.ndarray:
    nothing = np.nan if values.dtype.kind == "f" and values.ndim == 1 else 0 if values.dtype.kind == "f" else UNKNOWN
    return np.full((count, *values.shape[1:]), nothing, values.dtype)
