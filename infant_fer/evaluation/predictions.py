"""What did a model answer, and what would have been right? All that an evaluation needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from infant_fer import metrics
from infant_fer.data.labeled_images import LabeledImages
from infant_fer.metrics import Proportion
from infant_fer.models.infant_face import InfantFaceModel
from infant_fer.training.batches import Collator, Crops

BATCH = 64


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


@torch.inference_mode()
def predict(
    model: torch.nn.Module,
    processor,
    pictures: LabeledImages,
    crops: np.ndarray,
    geometry: np.ndarray | None = None,
    found: np.ndarray | None = None,
) -> Predictions:
    """Ask a model in float32 about (N, S, S, 3) uint8 crops, as the app does: mirrored too if its config asks for it.

    A model with a geometry stream gets the (N, G) `geometry` of those faces that were `found`.
    """
    model.eval()
    mirrored = bool(getattr(model.config, "test_time_mirror", False))
    temperature = float(getattr(model.config, "logit_temperature", None) or 1.0)
    logits = []
    loader = torch.utils.data.DataLoader(Crops(crops, pictures.target), BATCH, collate_fn=Collator(processor))
    for start, part in zip(range(0, len(crops), BATCH), loader, strict=True):
        pixels = part["pixel_values"].to(model.device)
        answer = model(pixel_values=pixels).logits
        if mirrored:
            answer = (answer + model(pixel_values=pixels.flip(-1)).logits) / 2
        if geometry is not None and isinstance(model, InfantFaceModel) and model.geometry is not None:
            rows = slice(start, start + BATCH)
            seen = torch.from_numpy(found[rows, None]).to(model.device)
            answer = answer + seen * model.geometry(torch.from_numpy(geometry[rows]).to(model.device))
        logits.append(answer)
    probabilities = (torch.cat(logits).double() / temperature).softmax(1).cpu().numpy()
    return Predictions(pictures.labels, probabilities, pictures.truth, pictures.members, pictures.subgroups)
