"""From a checkpoint and labelled faces to its trust data: read and align the faces, compute outputs, fit and measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from infant_fer.alignment import CropSpec
from infant_fer.checkpoints.loading import LoadedCheckpoint
from infant_fer.data.datasets import read_labeled_images
from infant_fer.data.face_cache import align_images
from infant_fer.data.labeled_images import (
    UNKNOWN,
    AlignedDataset,
    LabeledImages,
    Place,
    archive_members,
    folder_files,
    own_subjects,
)
from infant_fer.data.leakage import with_joined_subjects
from infant_fer.data.splits import read_split, split
from infant_fer.errors import DatasetError
from infant_fer.images import PHOTO_SUFFIXES
from infant_fer.labels import AFFECTS
from infant_fer.models.features import fingerprint
from infant_fer.training.infant_face.data import AGE_GROUP, OLDER_AGES, read_infants, read_older
from infant_fer.trust.measurement import (
    CHANGED,
    MeasuredFaces,
    assessments,
    changed_crops,
    cross_fitted,
    separation,
    trust_figures,
)
from infant_fer.trust.outputs import outputs_for, outputs_of_probabilities
from infant_fer.trust.store import TrustData, TrustRows

RESEARCH_TABLE, OLDER = "infants.csv", "older_faces.zip"
UNUSABLE, OTHERS = "unusable rows", "others"
OWN_GROUPS = (UNUSABLE, OTHERS, *OLDER_AGES, *CHANGED)  # of faces that are to be declined
LEAST_HELD_OUT = 20  # dev faces with an affect: fewer say nothing of an error in 20
OTHERS_TRAIN = 2 / 3  # of the faces that are no infants'; the rest are held out


@dataclass(frozen=True)
class Infants:
    """Where the infants are that trust data are fitted on."""

    table: Path  # what train.py takes as --data, or infants.csv
    pictures: tuple[Path, ...] = ()  # folders and archives with the pictures of a table
    split_method: str | None = None  # of splits.METHODS, where the checkpoint records no split; None is the data's own


@dataclass(frozen=True, eq=False)
class TrustFaces:
    """Aligned infants with their splits, and other faces likewise; `heads["usable"]` is 0 where an infant's row shows none."""

    infants: AlignedDataset
    others: AlignedDataset | None
    measured: dict[str, AlignedDataset] = field(default_factory=dict)  # further groups to be declined, not fitted on
    distance: str | None = None  # of trust.distance.KINDS, the one to keep; None is the best of them

    def named(self, split_name: str) -> AlignedDataset:
        """Return the infants of one split."""
        return self.infants.rows(self.infants.images.split == split_name)


def read_faces(
    checkpoint: LoadedCheckpoint,
    data: Infants,
    others: Path | None,
    cache: Path,
    log: Callable[[str], None] = print,
) -> TrustFaces:
    """Read labelled infants, split as the checkpoint's training did, and perhaps faces that are no infants'.

    The research data infants.csv come with their own splits, unusable rows and older faces. As in a training, faces that
    are not found are left out, and near-duplicates are one infant. Raises DatasetError.
    """
    folder = data.table.parent
    research = data.table.name == RESEARCH_TABLE and (folder / OLDER).is_file()
    if research and data.pictures:
        raise DatasetError(f"The pictures of {RESEARCH_TABLE} lie beside it. Leave --pictures out.")
    images = read_infants(folder) if research else read_labeled_images(data.table, None, data.pictures, cache)
    infants = align_images(images, checkpoint.crop, cache)
    infants = with_joined_subjects(infants.rows(infants.found), log)
    splits = _as_trained(checkpoint.folder, infants.images)
    if splits is None:
        own = research and data.split_method is None
        splits = infants.images.split if own else split(infants.images, data.split_method or "given")
    elif data.split_method is not None:
        raise DatasetError(f"{checkpoint.name} records how its training split these pictures. Leave --split out.")
    infants = replace(infants, images=replace(infants.images, split=splits))
    if others is not None:
        other_images = read_others(others)
    elif research:
        other_images = read_older(folder)
    else:
        return TrustFaces(infants, None)
    aligned = align_images(other_images, checkpoint.crop, cache, adults=True)
    return TrustFaces(infants, aligned.rows(aligned.found))


def _as_trained(folder: Path, images: LabeledImages) -> np.ndarray | None:
    """Return the (N,) splits of the training of the checkpoint in `folder`, or None where it recorded none of these images.

    Images without an affect, from which no training learns, are where their infant was, or else where they are.
    """
    recorded = read_split(folder, images)
    if recorded is None:
        return None
    of_infant: dict[str, str] = {}
    for name in ("test", "dev", "train"):  # an infant that was trained on is not held out
        of_infant |= dict.fromkeys(images.subject[recorded == name], name)
    own = [of_infant.get(subject, given) for subject, given in zip(images.subject, images.split, strict=True)]
    return np.where((images.truth == UNKNOWN) & (recorded == ""), own, recorded)


def read_others(source: Path) -> LabeledImages:
    """Read a folder or zip of faces that are no infants'; a third, drawn by chance, is held out. Raises DatasetError."""
    places: list[Place]
    if source.is_dir():
        places = [(None, str(file)) for file in folder_files(source)[0]]
    else:
        places = [(source, member) for member in archive_members(source)]
    places = [place for place in places if Path(place[1]).suffix.lower() in PHOTO_SUFFIXES]
    if not places:
        raise DatasetError(f"{source} holds no picture.")
    count = len(places)
    return LabeledImages(
        archives=tuple(archive for archive, _ in places),
        members=tuple(member for _, member in places),
        labels=AFFECTS,
        truth=np.full(count, UNKNOWN),
        target=np.zeros((count, len(AFFECTS)), np.float32),
        subject=own_subjects(count),
        split=np.where(np.random.default_rng(0).random(count) < OTHERS_TRAIN, "train", "dev"),
        subgroups={},
    )


def read_groups(sources: Mapping[str, Path], crop: CropSpec, cache: Path) -> dict[str, AlignedDataset]:
    """Read folders or zips of pictures by the name of their group; one without a face is taken whole. Raises DatasetError."""
    return {name: align_images(read_others(source), crop, cache, adults=True) for name, source in sources.items()}


def has_test(faces: TrustFaces) -> bool:
    """Tell whether there are test faces with an affect to measure on."""
    return bool((_shown(faces.named("test")).images.truth != UNKNOWN).any())


def can_fit(faces: TrustFaces) -> bool:
    """Tell whether there are train faces, and LEAST_HELD_OUT dev faces with an affect, of more than one infant.

    The figures are cross-fitted: each dev infant is judged by trust data fitted on the others.
    """
    images = faces.infants.images
    known = images.truth != UNKNOWN
    held_out = (images.split == "dev") & known
    enough = held_out.sum() >= LEAST_HELD_OUT and len(np.unique(images.subject[held_out])) > 1
    return bool(((images.split == "train") & known).any() and enough)


def fit_trust(
    model: PreTrainedModel, processor, faces: TrustFaces, test: bool = False, log: Callable[[str], None] = print
) -> TrustData:
    """Fit a model's trust data on the train and dev infants; measure them on dev, cross-fitted, and if wanted on test.

    The model must have its final weights. Raises DatasetError, before the work, unless `can_fit`, and `has_test` for `test`.
    """

    def measured(dataset: AlignedDataset) -> MeasuredFaces:
        return MeasuredFaces(dataset, outputs_for(model, processor, dataset))

    train, dev = _shown(faces.named("train")), faces.named("dev")
    if not can_fit(faces):
        raise DatasetError(
            f"Trust data need train faces and at least {LEAST_HELD_OUT} dev faces of several infants with an affect."
        )
    if test and not has_test(faces):
        raise DatasetError("There is no test face with an affect to measure on. Leave --test out.")
    log(f"outputs for {len(train)} train and {len(dev)} dev faces")
    held_out = measured(dev)
    shown = _is_shown(dev)
    usable = held_out.rows(shown)
    others_train = others_dev = None
    if faces.others is not None:
        log("outputs for faces that are no infants'")
        split_names = faces.others.images.split
        others_dev = measured(faces.others.rows(split_names == "dev"))
        if held_out.outputs.usable is None:  # else there is no probe to fit
            others_train = measured(faces.others.rows(split_names == "train"))
    rows = TrustRows(
        measured(train).outputs,
        usable.outputs,
        others_train.outputs if others_train else None,
        others_dev.outputs if others_dev else None,
        faces.distance,
    )
    trust = TrustData.fit(fingerprint(model), rows)
    groups = _groups(held_out.rows(~shown), others_dev) | {
        name: measured(each) for name, each in faces.measured.items()
    }
    labelled = usable.rows(usable.outputs.truth != UNKNOWN)
    for name, crops in changed_crops(labelled.dataset).items():
        groups[name] = measured(replace(labelled.dataset, crops=crops))
    on_dev = trust_figures(cross_fitted(trust, rows, usable), usable.outputs)
    found = {"dev": replace(on_dev, out_of_distribution=separation(trust, rows, groups))}
    if test:
        unseen = measured(_shown(faces.named("test")))
        found["test"] = trust_figures(assessments(trust, unseen), unseen.outputs)
    return replace(trust, figures=found)


def fit_trust_of_folds(model: PreTrainedModel, faces: AlignedDataset, probabilities: np.ndarray) -> TrustData:
    """Fit the trust data of averaged folds: each face's (N, C) probabilities are of the fold that was not trained on its infant.

    The average of the folds is at least as good as each of them, so coverage and risk are rather better than stated
    (cross-conformal prediction, Vovk 2015). There is no distance: every face was trained on.
    """
    held_out = MeasuredFaces(faces, outputs_of_probabilities(faces, probabilities))
    rows = TrustRows(held_out.outputs, held_out.outputs)
    trust = TrustData.fit(fingerprint(model), rows)
    found = trust_figures(cross_fitted(trust, rows, held_out), held_out.outputs)
    return replace(trust, figures={"cross-validation": found})


def _groups(unusable: MeasuredFaces, others: MeasuredFaces | None) -> dict[str, MeasuredFaces]:
    """Return the groups of faces that are to be declined: unusable rows, and others, by their age group where they have one."""
    groups = {UNUSABLE: unusable} if len(unusable.outputs) else {}
    if others is None:
        return groups
    ages = others.outputs.subgroups.get(AGE_GROUP)
    if ages is None:
        return groups | {OTHERS: others}
    return groups | {age: others.rows(ages == age) for age in OLDER_AGES if (ages == age).any()}


def _is_shown(dataset: AlignedDataset) -> np.ndarray:
    """Return (N,) bool: not known to be unusable."""
    usable = dataset.images.heads.get("usable")
    return np.ones(len(dataset), bool) if usable is None else usable != 0


def _shown(dataset: AlignedDataset) -> AlignedDataset:
    return dataset.rows(_is_shown(dataset))
