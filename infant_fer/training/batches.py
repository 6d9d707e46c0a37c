"""What does one training step see? Crops in a repeatable random order, augmented, normalised and mixed.

Mixing is one of Cutout, Mixup, CutMix and FMix, which blend or hide regions of pictures; labels follow the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Sampler

from infant_fer.training.augmentation import augment, jitter

CUTOUT_SIDE = 0.4  # of the crop's side; DeVries and Taylor 2017 cover a sixth of the area
ALPHA = 1.0  # of the Beta distribution of shares (Zhang et al. 2018; Yun et al. 2019; Harris et al. 2020)
FMIX_DECAY = 3.0  # how much low frequencies dominate FMix's masks (Harris et al. 2020)


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
    """Return (B, 3, S, S) as the processor would give it, from values in 0..1."""
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


def cutout(pixels: torch.Tensor, target: torch.Tensor, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Set one square of each (B, C, S, S) picture to 0, the normalised mean; the targets stay (DeVries and Taylor 2017)."""
    masks = torch.stack([_square(pixels.shape[-1], CUTOUT_SIDE**2, random, inside=False) for _ in pixels])
    return pixels * ~masks[:, None], target


def mixup(pixels: torch.Tensor, target: torch.Tensor, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend each picture and (B, K) target with another's by one drawn share (Zhang et al. 2018)."""
    share, order = _share(random), torch.randperm(len(pixels), generator=random)
    return torch.lerp(pixels[order], pixels, share), torch.lerp(target[order], target, share)


def cutmix(pixels: torch.Tensor, target: torch.Tensor, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste a square of another picture; the target's share is exactly that of the pixels (Yun et al. 2019)."""
    return _pasted(pixels, target, _square(pixels.shape[-1], 1 - _share(random), random), random)


def fmix(pixels: torch.Tensor, target: torch.Tensor, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste the pixels of another picture under a mask of soft, irregular shape (Harris et al. 2020)."""
    return _pasted(pixels, target, fourier_mask(pixels.shape[-1], 1 - _share(random), random), random)


def fourier_mask(side: int, area: float, random: torch.Generator) -> torch.Tensor:
    """Return an (S, S) bool mask with round(area * S²) pixels set: the largest values of low-frequency noise."""
    noise = torch.complex(*(torch.randn(side, side // 2 + 1, generator=random) for _ in range(2)))
    vertical, horizontal = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None]
    frequency = (vertical**2 + horizontal**2).sqrt().clamp_min(1 / side)
    values = torch.fft.irfft2(noise / frequency**FMIX_DECAY, s=(side, side))
    mask = torch.zeros(side * side, dtype=torch.bool)
    mask[values.flatten().argsort(descending=True)[: round(area * side * side)]] = True
    return mask.view(side, side)


MIXINGS: dict[str, Callable] = {"cutout": cutout, "mixup": mixup, "cutmix": cutmix, "fmix": fmix}


def _pasted(pixels, target, mask, random) -> tuple[torch.Tensor, torch.Tensor]:
    """Return other pictures where the (S, S) mask is set, and targets mixed by the mask's mean."""
    order = torch.randperm(len(pixels), generator=random)
    return torch.where(mask, pixels[order], pixels), torch.lerp(target, target[order], mask.float().mean())


def _square(side: int, area: float, random: torch.Generator, inside: bool = True) -> torch.Tensor:
    """Return (S, S) bool: a square of about `area` of the crop, whole if `inside`, else cut at the border."""
    length = round(side * math.sqrt(area))
    low, high = (0, side - length) if inside else (-(length // 2), side - (length + 1) // 2)
    top, left = (int(torch.randint(low, high + 1, (1,), generator=random)) for _ in range(2))
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[max(top, 0) : top + length, max(left, 0) : left + length] = True
    return mask


def _share(random: torch.Generator) -> float:
    """Return a draw of Beta(ALPHA, ALPHA); uniform for ALPHA = 1."""
    first, second = (
        torch._standard_gamma(torch.tensor(ALPHA, dtype=torch.float64), generator=random) for _ in range(2)
    )
    return float(first / (first + second))
