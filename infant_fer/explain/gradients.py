"""Gradients of a class's score with respect to the crop: SmoothGrad and its variants, and integrated gradients.

Smilkov et al. 2017, arXiv 1706.03825; Hooker et al. 2019, arXiv 1806.10758; Sundararajan et al. 2017, arXiv 1703.01365.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from infant_fer.explain.saliency import (
    Method,
    SaliencyMap,
    Score,
    batch_size,
    channel_magnitude,
    check_crop,
    check_samples,
    mean_colour,
)


@dataclass(frozen=True)
class SmoothGrad(Method):
    """Average signed gradients over noisy copies, then take their magnitude over the channels.

    Each copy adds normal noise whose standard deviation is `noise` times the crop's range; what the noise flips cancels
    out. The noise comes from `seed` alone: the same map for every batch size and device up to rounding, and torch's
    global random numbers stay untouched. The signed map is the mean gradient times the crop's distance from its mean
    colour, summed over the channels: above 0 where a pixel, as it differs from a blank picture, raises the score.
    Raises ValueError on fewer than one sample or negative noise.
    """

    name = "smoothgrad"
    title = "SmoothGrad"
    is_signed = True
    reading = (
        "Bright pixels are those where a small change of light would move the answer most. "
        "Thin edges often show, whether or not they matter as a whole."
    )

    samples: int = 50  # the original work's n; the map hardly changes beyond it
    noise: float = 0.15  # of the input's range; Smilkov et al. 2017 find 0.1 to 0.2 best
    seed: int = 0
    batch: int | None = field(default=None, repr=False)  # copies per call of the score; None: by the crop's size

    def __post_init__(self):
        check_samples(self.samples, self.noise)

    def maps(self, score: Score, pixel_values: torch.Tensor) -> Iterator[SaliencyMap]:
        """Yield the map after every batch of noisy copies."""
        check_crop(pixel_values)
        batch = self.batch or batch_size(pixel_values)
        total = torch.zeros_like(pixel_values[0], dtype=torch.float32)
        distance = (pixel_values - mean_colour(pixel_values))[0].float()
        generator = torch.Generator().manual_seed(self.seed)
        for done in range(0, self.samples, batch):
            copies = _noisy_copies(pixel_values, min(batch, self.samples - done), self.noise, generator)
            total += self._per_copy(_gradients(score, copies)).sum(0)
            drawn = done + len(copies)
            yield self.saliency_map(
                score, self._magnitude(total), drawn, self.samples, self._signed(total / drawn, distance)
            )

    def _per_copy(self, gradients: torch.Tensor) -> torch.Tensor:
        return gradients

    def _magnitude(self, total: torch.Tensor) -> np.ndarray:
        return channel_magnitude(total)

    def _signed(self, mean: torch.Tensor, distance: torch.Tensor) -> np.ndarray | None:
        """Return (S, S) evidence from the (3, S, S) mean gradient and the crop's distance from its mean colour."""
        return (mean * distance).sum(0).cpu().numpy()


@dataclass(frozen=True)
class AbsoluteSmoothGrad(SmoothGrad):
    """Average the magnitudes of the gradients: nothing cancels. The variant of Smilkov et al. 2017, section 3.2.1."""

    name = "smoothgrad_absolute"
    title = "SmoothGrad, absolute values"
    is_signed = False
    reading = (
        "As SmoothGrad, but effects that cancel between noisy copies still count. "
        "It shows where the answer is sensitive, not in which direction."
    )

    def _per_copy(self, gradients: torch.Tensor) -> torch.Tensor:
        return gradients.abs()

    def _signed(self, mean: torch.Tensor, distance: torch.Tensor) -> None:
        return None


@dataclass(frozen=True)
class SmoothGradSquared(AbsoluteSmoothGrad):
    """Average squared gradients and sum them over the channels: sharper, but nothing cancels. Hooker et al. 2019."""

    name = "smoothgrad_squared"
    title = "SmoothGrad squared"
    reading = (
        "As SmoothGrad with squared gradients: strong places stand out. "
        "It shows where the answer is sensitive, not in which direction."
    )

    def _magnitude(self, total: torch.Tensor) -> np.ndarray:
        return total.sum(0).cpu().numpy()

    def _per_copy(self, gradients: torch.Tensor) -> torch.Tensor:
        return gradients.square()


@dataclass(frozen=True)
class IntegratedGradients(Method):
    """Integrate gradients along the straight path from the crop's mean colour to the crop; computed by captum.

    The signed map is the sum over the channels; over the whole crop it adds up to the score's distance from that of the
    blank picture. Raises ValueError on fewer than one sample.
    """

    name = "integrated_gradients"
    title = "Integrated gradients"
    is_signed = True
    reading = (
        "Each pixel gets its part of the difference between this picture and a blank one. "
        "The parts add up to the whole difference."
    )

    samples: int = 50  # steps of the path

    def __post_init__(self):
        check_samples(self.samples)

    def maps(self, score: Score, pixel_values: torch.Tensor) -> Iterator[SaliencyMap]:
        """Yield the one map."""
        from captum.attr import IntegratedGradients as CaptumIntegratedGradients  # takes a second to import

        check_crop(pixel_values)
        attribution = CaptumIntegratedGradients(score, multiply_by_inputs=True).attribute(
            pixel_values,
            baselines=mean_colour(pixel_values),
            n_steps=self.samples,
            internal_batch_size=batch_size(pixel_values),
        )[0]
        signed = attribution.float().sum(0).cpu().numpy()
        yield self.saliency_map(score, channel_magnitude(attribution), self.samples, signed=signed)


def _noisy_copies(pixel_values: torch.Tensor, count: int, noise: float, generator: torch.Generator) -> torch.Tensor:
    """Return (count, 3, S, S) in the crop's dtype; drawn one by one on the CPU, so that the batch size changes nothing."""
    deviation = noise * float(pixel_values.max() - pixel_values.min())
    draws = torch.stack([torch.randn(pixel_values.shape[1:], generator=generator) for _ in range(count)])
    return (pixel_values.float() + deviation * draws.to(pixel_values.device)).to(pixel_values.dtype)


def _gradients(score: Score, copies: torch.Tensor) -> torch.Tensor:
    """Return the float32 gradient of each copy's score with respect to it; gradients of the weights are not computed."""
    with torch.enable_grad():
        copies.requires_grad_(True)
        (gradients,) = torch.autograd.grad(score(copies).sum(), copies)
    return gradients.float()
