"""What did a model answer, and what would have been right? All that an evaluation needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from infant_fer import metrics
from infant_fer.classifier import forward_crops
from infant_fer.data.labeled_images import LabeledImages
from infant_fer.metrics import Proportion


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's probabilities for N pictures beside the truth."""

    labels: tuple[str, ...]
    probabilities: np.ndarray  # (N, C) float64, rows sum to 1
    truth: np.ndarray  # (N,) int
    members: tuple[str, ...]  # names of the pictures
    subgroups: dict[str, np.ndarray]  # further columns, (N,) str each

    def rows(self, chosen: np.ndarray) -> Predictions:
        """Some of the answers, by mask."""
        members = tuple(member for member, taken in zip(self.members, chosen, strict=True) if taken)
        subgroups = {name: values[chosen] for name, values in self.subgroups.items()}
        return Predictions(self.labels, self.probabilities[chosen], self.truth[chosen], members, subgroups)

    @property
    def predicted(self) -> np.ndarray:
        """(N,) int: the most probable class."""
        return self.probabilities.argmax(1)

    @property
    def accuracy(self) -> Proportion:
        """The share of right answers."""
        return metrics.accuracy(self.predicted, self.truth)


def predict(
    model: torch.nn.Module,
    processor,
    pictures: LabeledImages,
    crops: np.ndarray,
    geometry: np.ndarray | None = None,
    found: np.ndarray | None = None,
) -> Predictions:
    """Return the model's probabilities for (N, S, S, 3) uint8 crops, as the app computes them; see forward_crops."""
    temperature = float(getattr(model.config, "logit_temperature", None) or 1.0)
    logits = forward_crops(model, processor, crops, geometry, found)["logits"]
    probabilities = (logits.double() / temperature).softmax(1).numpy()
    return Predictions(pictures.labels, probabilities, pictures.truth, pictures.members, pictures.subgroups)
