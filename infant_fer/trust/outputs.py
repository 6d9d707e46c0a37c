"""What does a checkpoint say of many faces? Its affect probabilities, features and heads beside the raters' labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from transformers import PreTrainedModel

from infant_fer.classifier import affect_probabilities, forward_crops, member_disagreement, summed_by_affect
from infant_fer.data.labeled_images import UNKNOWN, AlignedDataset, LabeledImages
from infant_fer.labels import AFFECTS, affect_of, affect_of_labels
from infant_fer.metrics import entropy
from infant_fer.models.ensemble import temperature_of

FLAGS = ("usable", "mouth_covered")


@dataclass(frozen=True, eq=False)
class FaceOutputs:
    """One checkpoint's outputs for N faces. Classes are AFFECTS; emotions are summed."""

    probabilities: np.ndarray  # (N, 3) float64, as the app gives them
    truth: np.ndarray  # (N,) int, or UNKNOWN
    votes: np.ndarray  # (N, 3) float, the raters' distribution; sums to 0 where there is none
    subject: np.ndarray  # (N,) str
    subgroups: dict[str, np.ndarray]  # further columns of the data set, (N,) str each
    features: np.ndarray | None  # (N, D) float32; None where the architecture shows none
    usable: np.ndarray | None  # (N,) probability of a usable infant's face; None without such a head
    mouth_covered: np.ndarray | None  # (N,) probability
    disagreement: np.ndarray | None  # (N,) nats between the members of an ensemble

    def __len__(self) -> int:
        return len(self.probabilities)

    def rows(self, chosen: np.ndarray) -> FaceOutputs:
        """Return some of the faces, by mask or indices."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        subgroups = {name: each[chosen] for name, each in columns.pop("subgroups").items()}
        arrays = {name: each[chosen] for name, each in columns.items() if each is not None}
        return replace(self, subgroups=subgroups, **arrays)

    @property
    def labelled(self) -> FaceOutputs:
        """Return the faces whose affect is known."""
        return self.rows(self.truth != UNKNOWN)

    @property
    def right(self) -> np.ndarray:
        """Return (N,) bool: the most probable affect is the true one."""
        return self.probabilities.argmax(1) == self.truth

    @property
    def doubt(self) -> np.ndarray:
        """Return the (N,) entropy of the probabilities in nats: answers of large doubt are withheld first."""
        return entropy(self.probabilities)


def outputs_for(model: PreTrainedModel, processor, dataset: AlignedDataset) -> FaceOutputs:
    """Return what a checkpoint says of aligned faces; see `classifier.forward_crops`."""
    return outputs_of(model, forward_crops(model, processor, dataset.crops, dataset.geometry, dataset.found), dataset)


def outputs_of(model: PreTrainedModel, heads: Mapping[str, torch.Tensor], dataset: AlignedDataset) -> FaceOutputs:
    """Return the outputs that `classifier.forward_crops` gave for aligned faces."""
    names = model.config.id2label
    affects = affect_of_labels([names[index] for index in sorted(names)])
    temperature = temperature_of(model.config)
    members, features = heads.get("member_logits"), heads.get("features")
    shown = {name: heads[f"{name}_logit"].sigmoid().numpy() for name in FLAGS if f"{name}_logit" in heads}
    truth, votes = _affects_of(dataset.images)
    return FaceOutputs(
        probabilities=affect_probabilities(heads["logits"], temperature, affects),
        truth=truth,
        votes=votes,
        subject=dataset.images.subject,
        subgroups=dataset.images.subgroups,
        features=None if features is None else features.numpy(),
        usable=shown.get("usable"),
        mouth_covered=shown.get("mouth_covered"),
        disagreement=None if members is None else member_disagreement(members).numpy(),
    )


def outputs_of_probabilities(dataset: AlignedDataset, probabilities: np.ndarray) -> FaceOutputs:
    """Return the outputs of a model of which only (N, C) probabilities in the data set's classes are known."""
    truth, votes = _affects_of(dataset.images)
    summed = summed_by_affect(probabilities, affect_of_labels(dataset.images.labels))
    images = dataset.images
    return FaceOutputs(summed, truth, votes, images.subject, images.subgroups, None, None, None, None)


def _affects_of(images: LabeledImages) -> tuple[np.ndarray, np.ndarray]:
    """Return (N,) truths and (N, 3) votes in AFFECTS of images labelled with affects or emotions."""
    affects = [AFFECTS.index(affect_of(name)) for name in images.labels]
    truth = np.where(images.truth == UNKNOWN, UNKNOWN, np.array(affects)[images.truth.clip(0)])
    votes = np.zeros((len(images), len(AFFECTS)))
    np.add.at(votes.T, affects, images.target.T)
    return truth, votes
