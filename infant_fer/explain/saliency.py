"""What a saliency map is, and how raw attributions become one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch

# What an explanation is given: (B, 3, S, S) normalised crops to (B,) differentiable scores of the explained class.
Score = Callable[[torch.Tensor], torch.Tensor]

ROBUST_MAXIMUM = 99.0  # per cent; single wild pixels must not dim the rest (Smilkov et al. 2017, section 3.2.1)
# Pixels of crops per call of the score: five crops of 224 px, where larger batches gained nothing on two cores.
PIXELS_PER_CALL = 5 * 224**2
DISPLAY_BLUR = (
    1 / 64
)  # of the crop's side: 1.5 px at 96, just wider than the grid that strided layers leave in a gradient
LARGEST_BATCH = 10  # so that a map of 50 samples still arrives in five steps


@dataclass(frozen=True, eq=False)
class SaliencyMap:
    """How much each pixel of a crop mattered to one class: `values` (S, S) float32 in 0..1, in the crop's frame.

    The sign is dropped: a bright pixel may speak for the class or against it. `samples` of `asked_samples` model
    evaluations (noisy copies, path steps or covered patches) are in the map. `noise` is the noise's standard deviation
    as a share of the input's range, and 0 where the method adds none.
    """

    values: np.ndarray
    method: str  # a key of explain.METHODS
    target: str  # affect
    samples: int
    asked_samples: int
    noise: float
    seed: int

    def for_display(self) -> np.ndarray:
        """(S, S) float32 in 0..1 for the eye: a light Gaussian blur, rescaled; figures come from `values`.

        Raw maps of small crops are speckled, because layers with a stride let every second pixel weigh more.
        """
        return scaled(cv2.GaussianBlur(self.values, (0, 0), self.values.shape[0] * DISPLAY_BLUR))


def channel_magnitude(attribution: torch.Tensor) -> np.ndarray:
    """Euclidean length over the channels of a signed (3, S, S) attribution, as (S, S) float32.

    It does not depend on the colour axes chosen, as the sum or the largest of the magnitudes would.
    """
    return attribution.float().norm(dim=0).cpu().numpy()


def scaled(magnitude: np.ndarray) -> np.ndarray:
    """Bring an (S, S) magnitude to 0..1: its 99th percentile becomes 1 and what exceeds it is clipped."""
    top = np.percentile(magnitude, ROBUST_MAXIMUM)
    top = top if top > 0 else magnitude.max()  # fewer than one pixel in a hundred matters
    return np.clip(magnitude / top, 0, 1).astype(np.float32) if top > 0 else np.zeros_like(magnitude, np.float32)


def check_inputs(pixel_values: torch.Tensor, n: int, noise: float = 0.0) -> None:
    """Raise ValueError unless there is one square crop, at least one sample and no negative noise."""
    shape = tuple(pixel_values.shape)
    if len(shape) != 4 or shape[:2] != (1, 3) or shape[2] != shape[3]:
        raise ValueError(f"pixel_values must be one square crop (1, 3, S, S); got {shape}.")
    if n < 1 or noise < 0:
        raise ValueError(f"An explanation needs n of at least 1 and noise of at least 0; got n={n}, noise={noise}.")


def batch_size(pixel_values: torch.Tensor) -> int:
    """How many crops of this size the score gets at once."""
    return max(1, min(LARGEST_BATCH, PIXELS_PER_CALL // (pixel_values.shape[-1] * pixel_values.shape[-2])))
