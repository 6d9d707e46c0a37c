"""What did a model answer, and what would have been right? All that an evaluation needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from infant_fer.training import metrics
from infant_fer.training.batches import Collator, Crops
from infant_fer.training.metrics import Share
from infant_fer.training.pictures import Pictures


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's probabilities for N pictures beside the truth."""

    labels: tuple[str, ...]
    probabilities: np.ndarray  # (N, C) float64, rows sum to 1
    truth: np.ndarray  # (N,) int
    members: tuple[str, ...]  # names of the pictures
    subgroups: dict[str, np.ndarray]  # further columns, (N,) str each

    @property
    def predicted(self) -> np.ndarray:
        """(N,) int: the most probable class."""
        return self.probabilities.argmax(1)

    @property
    def accuracy(self) -> Share:
        """The share of right answers."""
        return metrics.accuracy(self.predicted, self.truth)


@torch.inference_mode()
def answers_of(model: torch.nn.Module, processor, pictures: Pictures, crops: np.ndarray) -> Answers:
    """Ask a model in float32 about (N, S, S, 3) uint8 crops, as the app does: mirrored too if its config asks for it."""
    model.eval()
    mirrored = bool(getattr(model.config, "test_time_mirror", False))
    temperature = float(getattr(model.config, "logit_temperature", None) or 1.0)
    logits = []
    for part in torch.utils.data.DataLoader(Crops(crops, pictures.target), 64, collate_fn=Collator(processor)):
        pixels = part["pixel_values"].to(model.device)
        answer = model(pixel_values=pixels).logits
        logits.append((answer + model(pixel_values=pixels.flip(-1)).logits) / 2 if mirrored else answer)
    probabilities = (torch.cat(logits).double() / temperature).softmax(1).cpu().numpy()
    return Answers(pictures.labels, probabilities, pictures.truth, pictures.members, pictures.subgroups)


def joined_answers(parts: list[Answers]) -> Answers:
    """The answers for several sets of pictures under each other, such as those of the folds of a cross-validation."""
    first = parts[0]
    return Answers(
        first.labels,
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.truth for part in parts]),
        tuple(member for part in parts for member in part.members),
        {name: np.concatenate([part.subgroups[name] for part in parts]) for name in first.subgroups},
    )
