"""Class activation maps: which cells of a late grid raise the score? Grad-CAM and LayerCAM.

Selvaraju et al. 2017, arXiv 1610.02391; Jiang et al. 2021, doi:10.1109/TIP.2021.3089943.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from infant_fer.errors import ExplanationError
from infant_fer.explain.layers import as_grid, enlarged, grid_of, networks, private_copy, recorded_outputs
from infant_fer.explain.saliency import Method, SaliencyMap, Score, check_crop

# Cells of a grid's side. The last grid of a network for crops of 96 px may have 3 × 3 cells, too few to tell eyes from mouth. On 32
# dev pictures the embedded checkpoint's deletion area fell from .58 to .40 (LayerCAM: .58 to .44; random .68) with this choice;
# 12 × 12 cells gave .60 (.43).
FINE_GRID = 6
NO_GRID = (
    "This checkpoint has no layer whose grid still reaches the answer, so class activation maps do not apply to it."
)


@dataclass(frozen=True)
class GradCAM(Method):
    """Sum the channels of a late grid, each weighted by its mean gradient; what lowers the score is left out.

    The grid is the last one of at least FINE_GRID cells a side, of a convolution or of the tokens before they are pooled.
    Each ensemble member has its own, and their maps are added up. The signed map keeps what lowers the score. captum's
    LayerGradCam knows neither tokens nor members; on a single convolutional network both agree. Raises ExplanationError
    where no grid reaches the answer.
    """

    name = "gradcam"
    title = "Grad-CAM"
    is_signed = True
    reads_layers = True
    reading = (
        "Bright areas hold the features of a late layer that speak for the class. "
        "The map is coarse: each network is read at its last layer with at least 6 by 6 cells."
    )

    def maps(self, score: Score, pixel_values: torch.Tensor) -> Iterator[SaliencyMap]:
        """Yield the one map."""
        check_crop(pixel_values)
        side = pixel_values.shape[-1]
        total = torch.zeros(side, side)
        for grid, gradient in grids_and_gradients(score, pixel_values):
            total += enlarged(self._evidence(grid, gradient), side)
        yield self.saliency_map(score, total.clamp(min=0).numpy(), 1, signed=total.numpy())

    def _evidence(self, grid: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Return (G, G) evidence of a (C, G, G) grid and its gradient."""
        return (gradient.mean((1, 2), keepdim=True) * grid).sum(0)


@dataclass(frozen=True)
class LayerCAM(GradCAM):
    """Sum the channels of the same grid, each cell weighted by its own gradient: sharper than Grad-CAM.

    The map keeps positive gradients only, as in the original work; the signed map has them all.
    """

    name = "layercam"
    title = "LayerCAM"
    reading = "As Grad-CAM, but every cell is weighted by its own gradient, so that small areas stand out."

    def maps(self, score: Score, pixel_values: torch.Tensor) -> Iterator[SaliencyMap]:
        """Yield the one map."""
        check_crop(pixel_values)
        side = pixel_values.shape[-1]
        total, signed = torch.zeros(side, side), torch.zeros(side, side)
        for grid, gradient in grids_and_gradients(score, pixel_values):
            total += enlarged((gradient.clamp(min=0) * grid).sum(0).clamp(min=0), side)
            signed += enlarged((gradient * grid).sum(0), side)
        yield self.saliency_map(score, total.numpy(), 1, signed=signed.numpy())


def grids_and_gradients(score: Score, pixel_values: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return for every network in the score its last fine grid that reaches the answer, and the score's gradient there.

    Both are (C, G, G) float32 with G ≥ FINE_GRID; where no grid is that fine, the last one of the finest. A class token's network
    is read before its last attention, where patches still count. Raises ExplanationError when there is none.
    """
    model = private_copy(score.model)
    found = []
    with torch.enable_grad():
        inputs = pixel_values.clone().requires_grad_()
        with ExitStack() as stack:
            records = [stack.enter_context(recorded_outputs(network)) for network in networks(model)]
            value = score.of_logits(model(inputs)).sum()
        for outputs in records:
            reached = [output for output in outputs if output.requires_grad]
            gradients = torch.autograd.grad(value, reached, allow_unused=True, retain_graph=True) if reached else ()
            pairs = [(as_grid(output)[0], gradient) for output, gradient in zip(reached, gradients, strict=True)]
            if best := _last_fine(pairs):
                found.append(best)
    if not found:
        raise ExplanationError(NO_GRID)
    return found


def _last_fine(
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor | None]],
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return the last fine (C, G, G) grid and its gradient, of grids in the order of execution and the gradients of their layers."""
    best = None
    for output, gradient in reversed(pairs):
        grid = None if gradient is None else grid_of(gradient)
        if grid is None or not grid.abs().max() > 0:
            continue
        if best is None or grid.shape[-1] > best[1].shape[-1]:
            best = output.detach().float(), grid[0].float()
        if best[1].shape[-1] >= FINE_GRID:
            break
    return best
