"""Occlusion, computed by captum. Zeiler and Fergus 2014, arXiv 1311.2901."""

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
    mean_colour,
)

WINDOW_SHARE = 1 / 6  # of the crop's side: an eye, or half a mouth
WINDOWS_PER_SIDE = 11  # each window overlaps the next by half


@dataclass(frozen=True)
class Occlusion(Method):
    """Measure how much the score changes when a square patch is covered with the crop's mean colour.

    The patches form a fixed grid of 11 × 11 and overlap by half.
    """

    name = "occlusion"
    title = "Occlusion"

    def maps(self, score: Score, pixel_values: torch.Tensor) -> Iterator[SaliencyMap]:
        """Yield the one map."""
        from captum.attr import Occlusion as CaptumOcclusion  # takes a second to import

        check_crop(pixel_values)
        side = pixel_values.shape[-1]
        window = max(1, round(side * WINDOW_SHARE))
        stride = max(1, -(-(side - window) // (WINDOWS_PER_SIDE - 1)))
        attribution = CaptumOcclusion(score).attribute(
            pixel_values,
            sliding_window_shapes=(pixel_values.shape[1], window, window),
            strides=(pixel_values.shape[1], stride, stride),
            baselines=mean_colour(pixel_values),
            perturbations_per_eval=batch_size(pixel_values),
        )
        patches = (-(-(side - window) // stride) + 1) ** 2
        yield self.saliency_map(score, channel_magnitude(attribution[0]), patches)
