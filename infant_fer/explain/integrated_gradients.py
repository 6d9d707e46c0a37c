"""Integrated gradients, computed by captum. Sundararajan et al. 2017, arXiv 1703.01365."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
class IntegratedGradients(Method):
    """Integrate gradients along the straight path from the crop's mean colour to the crop.

    Raises ValueError on fewer than one sample.
    """

    name = "integrated_gradients"
    title = "Integrated gradients"

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
        )
        yield self.saliency_map(score, channel_magnitude(attribution[0]), self.samples)
