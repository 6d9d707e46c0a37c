"""In what precision are gradients computed? A copy of a model in which they cost less.

No clock decides: on one machine the same model, seed and options give the same map.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from transformers import PreTrainedModel

PRECISIONS = ("auto", "float32", "bfloat16")
# Least cosine of a copy's gradients to the model's own: in bfloat16 rounding differs by sample and averages out in a map.
LEAST_COSINE = {"float32": 0.9999, "bfloat16": 0.98}


def explained_copy(model: nn.Module, size: int, precision: str = "auto") -> tuple[nn.Module, str]:
    """Return a frozen copy of an image classifier for input gradients of (size, size) crops, and its precision.

    In "float32" batch normalization is folded into the convolutions, which is exact. In "bfloat16" the convolutions, or
    the whole network where it has no batch normalization, compute in bfloat16; that pays only where the processor has
    instructions for it. "auto" is bfloat16 where that makes a map at least three times as fast: in a network without
    batch normalization (a transformer) on a CPU with such instructions; else float32.

    A copy that raises, or whose gradients differ by more than rounding, is not taken: float32 is then used, and the
    model itself where nothing can be folded. A copy is called as the model is, with float32 tensors; its logits may be
    bfloat16. The model is left as it is.
    """
    crops = torch.randn((2, 3, size, size), generator=torch.Generator().manual_seed(0))
    crops = crops.to(next(model.parameters()).device)
    own = _gradients(model, crops).flatten()
    for candidate in dict.fromkeys((_automatic(model) if precision == "auto" else precision, "float32")):
        try:
            copied = _copy(model, candidate)
            gradients = _gradients(copied, crops).flatten()
        except (RuntimeError, TypeError, ValueError):  # an architecture that cannot be folded or mixes dtypes
            continue
        if torch.cosine_similarity(gradients, own, dim=0) >= LEAST_COSINE[candidate]:
            return copied, candidate
    return model, "float32"


def _automatic(model: nn.Module) -> str:
    on_cpu = next(model.parameters()).device.type == "cpu"
    features = torch.cpu.get_capabilities() if on_cpu else {}
    fast = any(features.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return "bfloat16" if fast and not _normalizes(model) else "float32"


def _normalizes(model: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def _copy(model: nn.Module, precision: str) -> nn.Module:
    """Return the model itself, folded if it has batch normalizations, or a frozen copy in bfloat16."""
    if precision == "float32":
        return _folded(model) if _normalizes(model) else model
    return _bfloat16_convolutions(_folded(model)) if _normalizes(model) else _all_bfloat16(model)


def _folded(model: nn.Module) -> nn.Module:
    """Return a channels-last copy in which each batch normalization is part of the convolution before it."""
    folded = copy.deepcopy(model).eval()
    for parent in list(folded.modules()):
        for (first_name, first), (second_name, second) in pairwise(list(parent.named_children())):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                setattr(parent, first_name, fuse_conv_bn_eval(first, second))
                setattr(parent, second_name, nn.Identity())
    return folded.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _bfloat16_convolutions(folded: nn.Module) -> nn.Module:
    """Let the convolutions of a folded copy take float32, compute in bfloat16 and return float32."""
    for module in folded.modules():
        if isinstance(module, nn.Conv2d):
            module.to(torch.bfloat16)
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].to(torch.bfloat16),))
            module.register_forward_hook(lambda _, inputs, output: output.float())
    return folded


def _all_bfloat16(model: nn.Module) -> nn.Module:
    """Return a bfloat16 copy; its attention is written out, whose gradient costs less than the fused kernel's."""
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
    """Return the float32 gradient of each crop's first logit with respect to the crop."""
    with torch.enable_grad():
        pixels = crops.clone().requires_grad_()
        (gradients,) = torch.autograd.grad(model(pixel_values=pixels).logits[:, 0].float().sum(), pixels)
    return gradients
