"""One of four ways to blend or hide parts of training pictures: Cutout, Mixup, CutMix, FMix. Labels follow the pixels."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

CUTOUT_SIDE = 0.4  # of the crop's side; DeVries and Taylor 2017 cover a sixth of the area
ALPHA = 1.0  # of the Beta distribution of shares (Zhang et al. 2018; Yun et al. 2019; Harris et al. 2020)
FMIX_DECAY = 3.0  # how much low frequencies dominate FMix's masks (Harris et al. 2020)


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
    """(S, S) bool mask with round(area * S²) pixels set: the largest values of low-frequency noise."""
    noise = torch.complex(*(torch.randn(side, side // 2 + 1, generator=random) for _ in range(2)))
    vertical, horizontal = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None]
    frequency = (vertical**2 + horizontal**2).sqrt().clamp_min(1 / side)
    values = torch.fft.irfft2(noise / frequency**FMIX_DECAY, s=(side, side))
    mask = torch.zeros(side * side, dtype=torch.bool)
    mask[values.flatten().argsort(descending=True)[: round(area * side * side)]] = True
    return mask.view(side, side)


MIXINGS: dict[str, Callable] = {"cutout": cutout, "mixup": mixup, "cutmix": cutmix, "fmix": fmix}


def _pasted(pixels, target, mask, random) -> tuple[torch.Tensor, torch.Tensor]:
    """Other pictures where the (S, S) mask is set, and targets mixed by the mask's mean."""
    order = torch.randperm(len(pixels), generator=random)
    return torch.where(mask, pixels[order], pixels), torch.lerp(target, target[order], mask.float().mean())


def _square(side: int, area: float, random: torch.Generator, inside: bool = True) -> torch.Tensor:
    """(S, S) bool: a square of about `area` of the crop, whole if `inside`, else centred anywhere and cut at the border."""
    length = round(side * math.sqrt(area))
    low, high = (0, side - length) if inside else (-(length // 2), side - (length + 1) // 2)
    top, left = (int(torch.randint(low, high + 1, (1,), generator=random)) for _ in range(2))
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[max(top, 0) : top + length, max(left, 0) : left + length] = True
    return mask


def _share(random: torch.Generator) -> float:
    """A draw of Beta(ALPHA, ALPHA); uniform for ALPHA = 1."""
    first, second = (
        torch._standard_gamma(torch.tensor(ALPHA, dtype=torch.float64), generator=random) for _ in range(2)
    )
    return float(first / (first + second))
