"""How do action units teach a network beside the classes? Targets of real faces and renders, and a second head while it trains.

Nobody has labelled the action units of real infants. MediaPipe's blendshapes and the raters' affect stand for some of them;
the strengths in renders are known. The head is linear, on the features from which the classes are predicted (Caruana 1997); it is
taken off again, so the checkpoint is one of its family as without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from infant_fer.alignment import CropSpec, similarity
from infant_fer.classifier import forward_crops
from infant_fer.data.labeled_images import UNKNOWN, AlignedDataset, LabeledImages
from infant_fer.errors import DatasetError
from infant_fer.face import BLENDSHAPES, LANDMARK_COUNT
from infant_fer.labels import ACTION_UNITS, affect_of
from infant_fer.training.minority import rows_like
from infant_fer.training.optimization import AUXILIARY
from infant_fer.training.pretrained import PretrainedModel
from infant_fer.training.provenance import is_distributed
from infant_fer.training.rendered import RenderedFaces, rendered_faces
from infant_fer.training.trainer import AUXILIARY_TARGET

RENDERS = 400  # those of every HELD_OUT-th infant only measure the head
HELD_OUT = 5
RESAMPLES = 500  # of the interval of a correlation
# MediaPipe's blendshapes that respond on infants, but jawOpen, which reads too little in laughing and crying ones, and
# mouthShrugLower, with which the head did not find AU17 in renders (correlation -0.07).
UNIT_OF_BLENDSHAPE = {
    "browInnerUp": "AU1", "browDown": "AU4", "mouthSmile": "AU12", "eyeBlink": "AU43",
}  # fmt: skip
SMILE_OF_POSITIVE = 0.6  # least AU12 of a face that its raters call positive
ABSENT = {
    "positive": ("AU9", "AU15"),
    "neutral": ("AU9", "AU12", "AU15", "AU20"),
    "negative": ("AU12",),
}  # by the raters' affect


def observed_action_units(faces: AlignedDataset) -> np.ndarray:
    """Return (N, len(ACTION_UNITS)) float32 in 0..1 of real faces, NaN where nothing responds to a unit.

    From blendshapes (the stronger side) where a face was found, and from the labels, affects or emotions: a positive face
    smiles, what is ABSENT by the affect is 0, closed eyes are AU43.
    """
    images = faces.images
    units = np.full((len(faces), len(ACTION_UNITS)), np.nan, np.float32)
    column = {unit: index for index, unit in enumerate(ACTION_UNITS)}
    for name, unit in UNIT_OF_BLENDSHAPE.items():
        sides = [index for index, shape in enumerate(BLENDSHAPES) if shape.startswith(name)]
        units[faces.found, column[unit]] = faces.geometry[faces.found][:, sides].max(1)
    shown = _affects(images)
    for affect, absent in ABSENT.items():
        units[np.ix_(shown == affect, [column[unit] for unit in absent])] = 0
    smile = column["AU12"]
    units[shown == "positive", smile] = np.fmax(units[shown == "positive", smile], SMILE_OF_POSITIVE)
    if "eyes_closed" in images.heads:
        units[images.heads["eyes_closed"] == 1, column["AU43"]] = 1
    return units.clip(0, 1)


def _affects(images: LabeledImages) -> np.ndarray:
    """Return (N,) str: the affect that each label stands for, "" where none is known; surprise is no neutral face here."""
    names = ["" if label == "surprise" else affect_of(label) for label in images.labels]
    return np.where(images.truth >= 0, np.array(names)[np.maximum(images.truth, 0)], "")


@dataclass(frozen=True)
class UnitCorrelations:
    """How the logit of each action unit goes with its target over `n` faces of `infants`, -1..1."""

    mean: float  # over the units
    interval: tuple[float, float]  # of the mean, 95 %, bootstrap over infants
    n: int
    infants: int
    per_unit: dict[str, float]  # without units whose target has one value alone

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        counts = {"n": self.n, "infants": self.infants}
        return {"mean correlation": self.mean, "interval95": list(self.interval), **counts, "per unit": self.per_unit}


@dataclass(frozen=True)
class ActionUnitFigures:
    """What a second task has learned, by held-out renders and by dev, and the number of renders that taught it."""

    renders: UnitCorrelations
    dev: UnitCorrelations
    train_renders: int

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        figures = {"renders": self.renders.to_dict(), "dev": self.dev.to_dict()}
        return {**figures, "train renders": self.train_renders}


def check_action_units(base: PretrainedModel) -> None:
    """Raise DatasetError where a network cannot learn action units beside its classes."""
    if getattr(base.model, "takes_geometry", False) or is_distributed() or torch.cuda.device_count() > 1:
        raise DatasetError(
            "--aux action-units needs a network that reads the picture alone, trained by one process on one device."
        )


@dataclass(frozen=True, eq=False)
class ActionUnitTask:
    """The renders that a training with action units has beside its own faces, and those that measure what was learned."""

    taught: AlignedDataset
    held_out: AlignedDataset

    @classmethod
    def of(cls, like: AlignedDataset, spec: CropSpec, cache: Path) -> ActionUnitTask:
        """Return the task for faces `like` these, cut as `spec` says; renders are made once and kept in `cache`.

        Raises DatasetError without the packages that render.
        """
        rendered = rendered_faces(RENDERS, covered=False, cache=cache)
        faces = _dataset(rendered, like, spec)
        apart = rendered.infant % HELD_OUT == 0
        return cls(faces.rows(~apart), faces.rows(apart))

    def with_targets(self, train: AlignedDataset) -> AlignedDataset:
        """Return train faces with action units as a further target, and the renders after them, whose class is unknown."""
        return train.with_head(AUXILIARY_TARGET, observed_action_units(train)).followed_by(self.taught)

    def attach(self, base: PretrainedModel) -> None:
        """Give the network the head, with random weights. Raises DatasetError where it cannot learn it."""
        check_action_units(base)
        width = forward_crops(base.model, base.processor, self.taught.crops[:1])["features"].shape[1]
        setattr(base.model, AUXILIARY, torch.nn.Linear(width, len(ACTION_UNITS)))

    def detach(self, base: PretrainedModel, dev: AlignedDataset) -> ActionUnitFigures:
        """Take the head off and return how its strengths go with the truth, in the held-out renders and in dev."""
        known = dev.with_head(AUXILIARY_TARGET, observed_action_units(dev))
        figures = ActionUnitFigures(_correlations(base, self.held_out), _correlations(base, known), len(self.taught))
        delattr(base.model, AUXILIARY)
        return figures


def _dataset(rendered: RenderedFaces, like: AlignedDataset, spec: CropSpec) -> AlignedDataset:
    """Return renders as faces of no class, in the crop of `spec`."""
    own, count = CropSpec(), len(rendered.luminance)
    matrix = similarity(own.anchors_px, spec.anchors_px)
    shape = (spec.size, spec.size)
    luminance = [cv2.warpAffine(each, matrix, shape, borderMode=cv2.BORDER_REPLICATE) for each in rendered.luminance]
    images = rows_like(
        like.images,
        members=tuple(f"render {number}" for number in range(count)),
        truth=np.full(count, UNKNOWN),
        target=np.zeros((count, len(like.images.labels)), np.float32),
        subject=np.array([f"rendered {infant}" for infant in rendered.infant]),
    )
    faces = AlignedDataset(
        images,
        np.repeat(np.stack(luminance)[..., None], 3, 3),
        np.zeros((count, like.geometry.shape[1]), np.float32),
        np.zeros((count, LANDMARK_COUNT, 2), np.float32),
        np.zeros(count, bool),
    )
    return faces.with_head(AUXILIARY_TARGET, rendered.action_units)


def _correlations(base: PretrainedModel, faces: AlignedDataset) -> UnitCorrelations:
    features = forward_crops(base.model, base.processor, faces.crops)["features"].float()
    with torch.inference_mode():
        logits = getattr(base.model, AUXILIARY)(features.to(base.model.device)).cpu().numpy()
    target = faces.images.heads[AUXILIARY_TARGET]
    varied = np.flatnonzero(~np.isnan(_per_unit(logits, target)))
    per_unit = _per_unit(logits[:, varied], target[:, varied])
    infants, number = np.unique(faces.images.subject, return_inverse=True)
    rows_of = [np.flatnonzero(number == index) for index in range(len(infants))]
    random, means = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        rows = np.concatenate([rows_of[index] for index in random.integers(len(infants), size=len(infants))])
        drawn = _per_unit(logits[rows][:, varied], target[rows][:, varied])
        if not np.isnan(drawn).all():  # few infants: none of the units varied in the draw
            means.append(np.nanmean(drawn))
    low, high = np.quantile(means, (0.025, 0.975))
    by_unit = {ACTION_UNITS[unit]: float(value) for unit, value in zip(varied, per_unit, strict=True)}
    return UnitCorrelations(float(per_unit.mean()), (float(low), float(high)), len(faces), len(infants), by_unit)


def _per_unit(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the (U,) correlations of (N, U) columns over the targets that are known, NaN for a target that does not vary."""
    known = ~np.isnan(target)
    counts = known.sum(0)
    x, y = (np.where(known, each, 0.0).astype(np.float64) for each in (logits, target))
    x, y = (np.where(known, each - each.sum(0) / np.maximum(counts, 1), 0.0) for each in (x, y))
    spread = np.sqrt((x**2).sum(0) * (y**2).sum(0))
    return np.divide((x * y).sum(0), spread, out=np.full(len(counts), np.nan), where=spread > 1e-9)
