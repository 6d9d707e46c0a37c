"""How does the score change when something is covered? Occlusion by patch and by face part, and random masks (RISE).

Zeiler and Fergus 2014, arXiv 1311.2901; Petsiuk et al. 2018, arXiv 1806.07421.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional as F

from infant_fer.errors import ExplanationError
from infant_fer.explain.saliency import (
    Method,
    SaliencyMap,
    Score,
    batch_size,
    check_crop,
    check_samples,
    mean_colour,
)
from infant_fer.regions import PARTS

WINDOW_SHARE = 1 / 6  # of the crop's side: an eye, or half a mouth
WINDOWS_PER_SIDE = 11  # each window overlaps the next by half
MASK_CELLS = 7  # of a random mask's side; Petsiuk et al. 2018
MASK_KEPT = 0.5  # probability that a cell is left visible; theirs


@dataclass(frozen=True)
class Occlusion(Method):
    """Measure how much the score changes when a square patch is covered with the crop's mean colour; by captum.

    The patches form a fixed grid of 11 × 11 and overlap by half. The signed map is above 0 where covering lowers the score.
    """

    name = "occlusion"
    title = "Occlusion by patch"
    is_signed = True
    reading = (
        "A patch is moved over the face; bright places are those that the answer cannot do without. "
        "It needs no gradient, so what it shows was really tried."
    )

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
        signed = attribution[0].float().mean(0).cpu().numpy()  # the same in all three channels
        yield self.saliency_map(score, np.abs(signed), patches, signed=signed)


@dataclass(frozen=True)
class PartOcclusion(Method):
    """Measure how much the score changes when a whole face part is covered with the crop's mean colour.

    Every pixel of a part has the same value. `parts` is the crop's part map (regions.part_map). Raises ExplanationError
    without it.
    """

    name = "part_occlusion"
    title = "Occlusion by face part"
    is_signed = True
    reading = (
        "Each part of the face is covered alone; the colour says how much the answer lost. "
        "Two parts that can stand in for each other both look unimportant."
    )

    parts: np.ndarray | None = field(default=None, repr=False, compare=False)  # (S, S) uint8

    def maps(self, score: Score, pixel_values: torch.Tensor) -> Iterator[SaliencyMap]:
        """Yield the one map."""
        check_crop(pixel_values)
        if self.parts is None or self.parts.shape != tuple(pixel_values.shape[2:]):
            raise ExplanationError(
                "Occlusion by face part needs the face parts of the crop, as `part_map` returns them."
            )
        present = [index for index in range(len(PARTS)) if (self.parts == index).any()]
        masks = torch.from_numpy(np.stack([self.parts == index for index in present]))[:, None].to(pixel_values.device)
        covered = torch.where(masks, mean_colour(pixel_values), pixel_values)
        with torch.no_grad():
            whole = score(pixel_values)
            drops = whole - torch.cat([score(chunk) for chunk in covered.split(batch_size(pixel_values))])
        by_part = np.zeros(len(PARTS), np.float32)
        by_part[present] = drops.cpu().numpy()
        signed = by_part[self.parts]
        yield self.saliency_map(score, np.abs(signed), len(present), signed=signed)


@dataclass(frozen=True)
class Rise(Method):
    """Average random masks, each weighted by the target's probability when only what the mask leaves is visible.

    A mask is a grid of 7 × 7 cells, each left with probability 0.5, enlarged smoothly and shifted at random; the hidden
    part has the crop's mean colour. The signed map is the mean over the masks of the probability's distance from its
    mean, so above 0 where seeing a place raises it. The masks come from `seed` alone. Raises ValueError on fewer than
    one sample.
    """

    name = "rise"
    title = "RISE"
    is_signed = True
    reading = (
        "The face is seen through many random masks; bright places were visible when the answer was sure. "
        "Coarse, but it treats the network as a closed box."
    )

    samples: int = 50  # the page's slider; every one stands for MASKS_PER_SAMPLE masks
    seed: int = 0

    MASKS_PER_SAMPLE = 8  # 400 masks in all; the original work took 4,000 and more

    def __post_init__(self):
        check_samples(self.samples)

    def maps(self, score: Score, pixel_values: torch.Tensor) -> Iterator[SaliencyMap]:
        """Yield the map after every tenth of the masks."""
        check_crop(pixel_values)
        blank, generator = mean_colour(pixel_values), torch.Generator().manual_seed(self.seed)
        count, step = self.samples * self.MASKS_PER_SAMPLE, batch_size(pixel_values)
        shown = max(step, -(-count // 10))
        weighted, total, probabilities = torch.zeros(2, *pixel_values.shape[2:]), 0, 0.0
        done = 0
        while done < count:
            until = min(count, done + shown)
            for start in range(done, until, step):
                masks = _masks(min(step, until - start), pixel_values.shape[-1], generator).to(pixel_values.device)
                answers = score.probability(blank + masks * (pixel_values - blank)).cpu()
                weighted += torch.stack([(answers[:, None, None] * masks[:, 0].cpu()).sum(0), masks[:, 0].cpu().sum(0)])
                total, probabilities = total + len(masks), probabilities + float(answers.sum())
            done = until
            signed = (weighted[0] / weighted[1].clamp(min=1e-6) - probabilities / total).numpy()
            signed = np.where(np.abs(signed) < 1e-6, 0, signed)  # rounding, where the score never changes
            magnitude = np.clip(signed, 0, None)
            yield self.saliency_map(score, magnitude, -(-done // self.MASKS_PER_SAMPLE), self.samples, signed)


def _masks(count: int, side: int, generator: torch.Generator) -> torch.Tensor:
    """Return (count, 1, side, side) float32 in 0..1; drawn one by one, so that the batch size changes nothing."""
    cell = -(-side // MASK_CELLS)
    masks = []
    for _ in range(count):
        grid = (torch.rand((1, 1, MASK_CELLS + 1, MASK_CELLS + 1), generator=generator) < MASK_KEPT).float()
        large = F.interpolate(grid, size=(cell * (MASK_CELLS + 1),) * 2, mode="bilinear", align_corners=False)
        top, left = (int(torch.randint(cell, (), generator=generator)) for _ in range(2))
        masks.append(large[0, :, top : top + side, left : left + side])
    return torch.stack(masks)
