"""What does one training step see? Crops in a repeatable random order, augmented, normalised and mixed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Sampler

from infant_fer.training.augmentation import augment, jitter
from infant_fer.training.mixing import MIXINGS


@dataclass(frozen=True)
class Collator:
    """Stack items of an AlignedDataset into `pixel_values` (B, 3, S, S), normalised by the processor, and `labels` (B, C).

    Augmentation and mixing draw from torch's global generator, whose state the Trainer saves and restores.
    """

    processor: object
    augmentation: str = "none"
    mixing: str = ""

    def __call__(self, items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        pixels = torch.stack([item["crop"] for item in items]).float() / 255
        labels = torch.stack([item["labels"] for item in items])
        if self.augmentation != "none":
            pixels = (augment if self.augmentation == "strong" else jitter)(pixels)
        pixels = normalised(pixels, self.processor)
        if self.mixing:
            pixels, labels = MIXINGS[self.mixing](pixels, labels, torch.default_generator)
        return {"pixel_values": pixels, "labels": labels}


def normalised(pixels: torch.Tensor, processor) -> torch.Tensor:
    """(B, 3, S, S) as the processor would give it, from values in 0..1."""
    values = pixels * 255 * processor.rescale_factor if processor.do_rescale else pixels * 255
    if not processor.do_normalize:
        return values
    mean, deviation = (torch.tensor(each).view(3, 1, 1) for each in (processor.image_mean, processor.image_std))
    return (values - mean) / deviation


class EpochSampler(Sampler):
    """Indices in an order that depends on seed and epoch only, so that a resumed run goes on as it would have.

    `plain` draws every picture once; `weighted` draws as many, classes alike, with repeats; `undersampled` draws as many
    of each class as there are of the rarest.
    """

    def __init__(self, truth: np.ndarray, kind: str, seed: int):
        self.truth, self.kind, self.seed, self.epoch = truth, kind, seed, 0
        self.counts = np.bincount(truth)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; the Trainer calls it before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        present = self.counts[self.counts > 0]
        return int(present.min() * len(present)) if self.kind == "undersampled" else len(self.truth)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        if self.kind == "plain":
            return iter(random.permutation(len(self.truth)).tolist())
        if self.kind == "weighted":
            weight = 1 / self.counts[self.truth]
            return iter(random.choice(len(self.truth), len(self), p=weight / weight.sum()).tolist())
        each = self.counts[self.counts > 0].min()
        drawn = [random.choice(np.flatnonzero(self.truth == c), each, replace=False) for c in np.unique(self.truth)]
        return iter(random.permutation(np.concatenate(drawn)).tolist())
