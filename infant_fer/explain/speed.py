"""How are input gradients had sooner? A copy of a model in which they cost less and stay the same."""

from __future__ import annotations

import copy
import time
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from transformers import PreTrainedModel

from infant_fer.explain.saliency import batch_size

LEAST_GAIN = 1.15  # a copy must be faster by this factor; smaller differences are the clock's
LEAST_COSINE = 0.98  # of its gradients to the model's own: rounding differs by sample and averages out in a map
TIMING_SECONDS = 0.5  # after one batch each, the copies are timed in turn for so long


def faster_copy(model: nn.Module, size: int) -> nn.Module:
    """Give a frozen copy of an image classifier whose input gradients cost least on this machine, or the model itself.

    On the CPU these are tried on crops of (size, size) and timed in turn: batch normalisation folded into the
    convolutions, then the convolutions in bfloat16, and everything in bfloat16, which pay only where the processor has
    instructions for it. A copy is called as the model is, with float32 tensors; its logits may come in bfloat16.
    A copy whose gradients differ by more than rounding is not taken. The model is left as it is.
    """
    if next(model.parameters()).device.type != "cpu":
        return model
    count = max(1, batch_size(torch.empty(1, 3, size, size)) // 2)
    crops = torch.randn((count, 3, size, size), generator=torch.Generator().manual_seed(0))
    own = _gradients(model, crops).flatten()
    alike = [
        candidate
        for candidate in _candidates(model)
        if torch.cosine_similarity(_gradients(candidate, crops).flatten(), own, dim=0) >= LEAST_COSINE
    ]
    own_seconds, *seconds = _timed_in_turn([model, *alike], crops)
    if not alike or min(seconds) * LEAST_GAIN > own_seconds:
        return model
    return alike[seconds.index(min(seconds))]


def _candidates(model: nn.Module) -> list[nn.Module]:
    """Frozen copies to try; networks without batch normalisation have little in convolutions."""
    if not any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        return [_all_bfloat16(model)]
    folded = _folded(model)
    return [folded, _bfloat16_convolutions(folded), _all_bfloat16(folded)]


def _folded(model: nn.Module) -> nn.Module:
    """A copy in channels-last layout in which each batch normalisation is part of the convolution before it."""
    folded = copy.deepcopy(model).eval()
    for parent in list(folded.modules()):
        for (first_name, first), (second_name, second) in pairwise(list(parent.named_children())):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                setattr(parent, first_name, fuse_conv_bn_eval(first, second))
                setattr(parent, second_name, nn.Identity())
    return folded.requires_grad_(False).to(memory_format=torch.channels_last)


def _bfloat16_convolutions(folded: nn.Module) -> nn.Module:
    """A copy whose convolutions take float32, work in bfloat16 and give float32; all between them stays as it is."""
    mixed = copy.deepcopy(folded)
    for module in mixed.modules():
        if isinstance(module, nn.Conv2d):
            module.to(torch.bfloat16)
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].to(torch.bfloat16),))
            module.register_forward_hook(lambda _, inputs, output: output.float())
    return mixed


def _all_bfloat16(model: nn.Module) -> nn.Module:
    """A copy that works in bfloat16; its attention is written out, whose gradient costs less than the fused kernel's."""
    lower = copy.deepcopy(model).eval().requires_grad_(False).to(torch.bfloat16)
    if isinstance(lower, PreTrainedModel):
        lower.set_attn_implementation("eager")
    lower.register_forward_pre_hook(_lower_inputs, with_kwargs=True)
    return lower


def _lower_inputs(_, inputs: tuple, named_inputs: dict) -> tuple[tuple, dict]:
    def lower(value):
        return value.to(torch.bfloat16) if isinstance(value, torch.Tensor) else value

    return tuple(map(lower, inputs)), {name: lower(value) for name, value in named_inputs.items()}


def _gradients(model: nn.Module, crops: torch.Tensor) -> torch.Tensor:
    """Gradient of each crop's first logit with respect to the crop, float32."""
    with torch.enable_grad():
        pixels = crops.clone().requires_grad_()
        (gradients,) = torch.autograd.grad(model(pixel_values=pixels).logits[:, 0].float().sum(), pixels)
    return gradients


def _timed_in_turn(models: list[nn.Module], crops: torch.Tensor) -> list[float]:
    """Least seconds of a batch for each model; in turn, so that a busy moment hits them all."""
    least = [float("inf")] * len(models)
    begin = time.perf_counter()
    while time.perf_counter() - begin < TIMING_SECONDS or least[-1] == float("inf"):
        for index, model in enumerate(models):
            start = time.perf_counter()
            _gradients(model, crops)
            least[index] = min(least[index], time.perf_counter() - start)
    return least
