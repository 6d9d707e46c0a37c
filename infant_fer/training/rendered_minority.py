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
    counts = images.rows(splits == "train").counts()
    missing = int(np.median([count for name, count in counts.items() if name != label])) - counts[label]
    if missing <= 0:
        log(f"no render is added: {label} has {counts[label]} train pictures already")
        return dataset, splits
    job = RenderJob(cache / f"renders-{label}", 0, RENDERED_PX, TURNED, COVERED, tuple(names))
    run_job(job, missing)
    found = align_images(_rendered(job, missing, images, label), crop, cache, log=log)
    found = found.rows(found.found)
    log(f"{len(found)} renders of {label} are added to its {counts[label]} train pictures")
    return _joined(dataset, found), np.concatenate([splits, np.full(len(found), "train", splits.dtype)])


def _rendered(job: RenderJob, count: int, like: LabeledImages, label: str) -> LabeledImages:
    """Return the first `count` renders of a job with the label, and the targets of further heads unknown."""
    rows = read_rows(job.folder / MANIFEST)[:count]
    truth = np.full(len(rows), like.labels.index(label))
    return replace(
        like,
        archives=(None,) * len(rows),
        members=tuple(str(job.folder / name) for name in rows["file"]),
        truth=truth,
        target=one_hot(truth, len(like.labels)),
        subject=np.array([f"rendered {name}" for name in rows["subject"]]),
        split=np.full(len(rows), "train"),
        subgroups={name: np.full(len(rows), "rendered") for name in like.subgroups},
        heads={name: _unknown(values, len(rows)) for name, values in like.heads.items()},
    )


def _unknown(values: np.ndarray, count: int) -> np.ndarray:
    nothing = np.nan if values.dtype.kind == "f" and values.ndim == 1 else 0 if values.dtype.kind == "f" else UNKNOWN
    return np.full((count, *values.shape[1:]), nothing, values.dtype)


def _joined(first: AlignedDataset, second: AlignedDataset) -> AlignedDataset:
    """Return the rows of both; classes, subgroups and heads are those of the first."""
    one, two = first.images, second.images
    images = replace(
        one,
        archives=one.archives + two.archives,
        members=one.members + two.members,
        truth=np.concatenate([one.truth, two.truth]),
        target=np.concatenate([one.target, two.target]),
        subject=np.concatenate([one.subject, two.subject]),
        split=np.concatenate([one.split, two.split]),
        subgroups={name: np.concatenate([each, two.subgroups[name]]) for name, each in one.subgroups.items()},
        heads={name: np.concatenate([each, two.heads[name]]) for name, each in one.heads.items()},
    )
    arrays = ("crops", "geometry", "landmarks_px", "found")
    return AlignedDataset(
        images, *(np.concatenate([getattr(each, name) for each in (first, second)]) for name in arrays)
    )
