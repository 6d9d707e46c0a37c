"""Class activation maps: which cells of the last grid raise the score? Grad-CAM and LayerCAM.

Selvaraju et al. 2017, arXiv 1610.02391; Jiang et al. 2021, doi:10.1109/TIP.2021.3089943.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from infant_fer.errors import ExplanationError
from infant_fer.explain.layers import as_grid, enlarged, grid_of, networks, private_copy, recorded_outputs
from infant_fer.explain.saliency import Method, SaliencyMap, Score, check_crop

NO_GRID = (
    "This checkpoint has no layer whose grid still reaches the answer, so class activation maps do not apply to it."
)


@dataclass(frozen=True)
class GradCAM(Method):
    """Sum the channels of the last grid, each weighted by its mean gradient; what lowers the score is left out.

    The grid is the last convolution's, or the tokens' before they are pooled. The maps of several ensemble members are
    added up. The signed map keeps what lowers the score. captum's LayerGradCam knows neither tokens nor members; on a
    single convolutional network both agree. Raises ExplanationError where no grid reaches the answer.
    """

    name = "gradcam"
    title = "Grad-CAM"
    reading = (
        "Bright areas hold the features of the last layer that speak for the class. "
        "The map is coarse: a few cells for the whole face."
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
    """Sum the channels of the last grid, each cell weighted by its own gradient: sharper than Grad-CAM.

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
    """Return for every network in the score its last grid that reaches the answer, and the score's gradient there.

    Both are (C, G, G) float32. A class token's network is read before its last attention, where patches still count.
    Raises ExplanationError when there is none.
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
            for output, gradient in reversed(list(zip(reached, gradients, strict=True))):
                grid = None if gradient is None else grid_of(gradient)
                if grid is not None and grid.abs().max() > 0:
                    found.append((as_grid(output)[0].detach().float(), grid[0].float()))
                    break
    if not found:
        raise ExplanationError(NO_GRID)
    return found
