"""SmoothGrad: the mean gradient of a class's score over noisy copies of the crop.

Smilkov et al. 2017, arXiv 1706.03825.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from infant_fer.explain.saliency import SaliencyMap, Score, batch_size, channel_magnitude, check_inputs, scaled


def smoothgrad(
    score: Score,
    pixel_values: torch.Tensor,
    target: str,
    n: int = 50,
    noise: float = 0.15,
    seed: int = 0,
    batch: int | None = None,
    squared: bool = False,
) -> Iterator[SaliencyMap]:
    """Yield maps of more and more noisy copies, the last one of all `n`; close the iterator to stop the work.

    `pixel_values` is one normalised crop (1, 3, S, S); each copy adds normal noise whose standard deviation is `noise`
    times the crop's range. Signed gradients are averaged first and their magnitude over the channels taken afterwards,
    so what the noise flips cancels out. `squared` averages squared gradients instead and sums them over the channels
    (SmoothGrad squared, Hooker et al. 2019, arXiv 1806.10758): sharper, but nothing cancels.
    `batch` copies go to `score` at once (default: by crop size). The noise comes from `seed` alone: the same map for
    every batch size and device up to rounding, and torch's global random numbers stay untouched.
    Raises ValueError on a wrong shape, n < 1 or negative noise.
    """
    check_inputs(pixel_values, n, noise)
    batch = batch or batch_size(pixel_values)
    method = "smoothgrad_squared" if squared else "smoothgrad"
    total = torch.zeros_like(pixel_values[0], dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    for done in range(0, n, batch):
        copies = _noisy_copies(pixel_values, min(batch, n - done), noise, generator)
        gradients = _gradients(score, copies)
        total += (gradients.square() if squared else gradients).sum(0)
        magnitude = total.sum(0).cpu().numpy() if squared else channel_magnitude(total)
        yield SaliencyMap(scaled(magnitude), method, target, done + len(copies), n, noise, seed)


def smoothgrad_squared(
    score: Score, pixel_values: torch.Tensor, target: str, n: int = 50, noise: float = 0.15, seed: int = 0
) -> Iterator[SaliencyMap]:
    """SmoothGrad with the mean of squared gradients; see smoothgrad."""
    return smoothgrad(score, pixel_values, target, n, noise, seed, squared=True)


def _noisy_copies(pixel_values: torch.Tensor, count: int, noise: float, generator: torch.Generator) -> torch.Tensor:
    """(count, 3, S, S) in the crop's dtype; drawn one by one on the CPU, so that the batch size changes nothing."""
    deviation = noise * float(pixel_values.max() - pixel_values.min())
    draws = torch.stack([torch.randn(pixel_values.shape[1:], generator=generator) for _ in range(count)])
    return (pixel_values.float() + deviation * draws.to(pixel_values.device)).to(pixel_values.dtype)


def _gradients(score: Score, copies: torch.Tensor) -> torch.Tensor:
    """Float32 gradient of each copy's score with respect to that copy; those of the weights are never computed."""
    with torch.enable_grad():
        copies.requires_grad_(True)
        (gradients,) = torch.autograd.grad(score(copies).sum(), copies)
    return gradients.float()
