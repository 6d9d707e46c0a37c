"""Integrated gradients and occlusion, computed by captum: second opinions beside SmoothGrad."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from captum.attr import IntegratedGradients, Occlusion

from infant_fer.explain.saliency import SaliencyMap, Score, batch_size, channel_magnitude, check_inputs, scaled

WINDOW_SHARE = 1 / 6  # of the crop's side: an eye, or half a mouth
WINDOWS_PER_SIDE = 11  # each window overlaps the next by half


def integrated_gradients(
    score: Score, pixel_values: torch.Tensor, target: str, n: int = 50, noise: float = 0.0, seed: int = 0
) -> Iterator[SaliencyMap]:
    """Yield one map: gradients along the straight path from a plain crop to this one, in `n` steps.

    Sundararajan et al. 2017, arXiv 1703.01365. The plain crop has this crop's mean colour everywhere: no face, and no
    change of light. `noise` and `seed` are accepted as every method's and not used.
    Raises ValueError on a wrong shape or n < 1.
    """
    check_inputs(pixel_values, n)
    attribution = IntegratedGradients(score, multiply_by_inputs=True).attribute(
        pixel_values, baselines=_plain(pixel_values), n_steps=n, internal_batch_size=batch_size(pixel_values)
    )
    yield SaliencyMap(scaled(channel_magnitude(attribution[0])), "integrated_gradients", target, n, n, 0.0, seed)


def occlusion(
    score: Score, pixel_values: torch.Tensor, target: str, n: int = 50, noise: float = 0.0, seed: int = 0
) -> Iterator[SaliencyMap]:
    """Yield one map: how much the score changes when a square patch is covered with the crop's mean colour.

    Zeiler and Fergus 2014, arXiv 1311.2901. The patches lie on a fixed grid of 11 × 11 and overlap by half, so `n`,
    `noise` and `seed` are accepted as every method's and not used. Raises ValueError on a wrong shape.
    """
    check_inputs(pixel_values, n)
    side = pixel_values.shape[-1]
    window = max(1, round(side * WINDOW_SHARE))
    stride = max(1, -(-(side - window) // (WINDOWS_PER_SIDE - 1)))
    attribution = Occlusion(score).attribute(
        pixel_values,
        sliding_window_shapes=(pixel_values.shape[1], window, window),
        strides=(pixel_values.shape[1], stride, stride),
        baselines=_plain(pixel_values),
        perturbations_per_eval=batch_size(pixel_values),
    )
    patches = (-(-(side - window) // stride) + 1) ** 2
    yield SaliencyMap(scaled(channel_magnitude(attribution[0])), "occlusion", target, patches, patches, 0.0, seed)


def _plain(pixel_values: torch.Tensor) -> torch.Tensor:
    """The crop's mean colour everywhere, same shape."""
    return pixel_values.mean((2, 3), keepdim=True).expand_as(pixel_values)
