"""Which layers of a network still know where things are? Their outputs, as grids over the crop, for methods that read them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import isqrt

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel


def private_copy(model: nn.Module) -> nn.Module:
    """Return a copy that shares the weights but has modules of its own, so that hooks do not meet other threads."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared).eval()


def networks(model: nn.Module) -> list[nn.Module]:
    """Return the networks that read the crop: the ensemble members inside `model`, or the model itself.

    Members are the entries of the first ModuleList named `readers` (InfantFaceModel) or `members` (EnsembleModel).
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and name.split(".")[-1] in ("readers", "members"):
            return [inner for member in module for inner in networks(member)]
    return [model]


def network_shares(model: nn.Module) -> list[float]:
    """Return the share of each of `networks(model)` in the answer, in 0..1, in that order; they sum to 1.

    By `member_weights` or `class_weights` (their mean over the classes) in the config of the members' owner, else all alike.
    """
    for name, module in model.named_modules():
        owner, _, last = name.rpartition(".")
        if isinstance(module, nn.ModuleList) and last in ("readers", "members"):
            config = getattr(model.get_submodule(owner), "config", None)
            by_class, weights = getattr(config, "class_weights", None), getattr(config, "member_weights", None)
            if by_class is not None:
                weights = [sum(row) / len(row) for row in by_class]
            weights = [1.0] * len(module) if weights is None else weights
            pairs = zip(module, weights, strict=True)
            return [weight / sum(weights) * share for member, weight in pairs for share in network_shares(member)]
    return [1.0]


def grid_of(values: torch.Tensor) -> torch.Tensor | None:
    """Return a layer's output as (B, C, G, G) with G ≥ 2; None when it is no square grid.

    Takes (B, C, G, G) maps and (B, T, C) tokens, of which the first T - G² (class and register tokens) are left out.
    """
    if values.ndim == 4 and values.shape[2] == values.shape[3] >= 2:
        return values
    if values.ndim == 3:
        side = isqrt(values.shape[1])
        if side >= 2 and values.shape[1] - side**2 < min(8, 2 * side):  # a few leading tokens, not half a grid
            return values[:, values.shape[1] - side**2 :].transpose(1, 2).unflatten(2, (side, side))
    return None


def as_grid(values: torch.Tensor) -> torch.Tensor:
    """Return a layer's output as `grid_of` does. Raises ValueError when it is no grid."""
    grid = grid_of(values)
    if grid is None:
        raise ValueError(f"A layer's output of shape {tuple(values.shape)} is no square grid.")
    return grid


def enlarged(grid: torch.Tensor, side: int) -> torch.Tensor:
    """Return a (G, G) map as (side, side) float32 on the CPU, bilinear between the cells' centres."""
    return F.interpolate(grid[None, None].float(), size=(side, side), mode="bilinear")[0, 0].cpu()


def _placed(network: nn.Module) -> list[nn.Module]:
    """Return the modules but those inside the parts that a model names in `off_grid`: their sequences lie on no grid."""
    parts = [getattr(owner, name) for owner in network.modules() for name in getattr(owner, "off_grid", ())]
    left_out = {id(inner) for part in parts if part is not None for inner in part.modules()}
    return [module for module in network.modules() if id(module) not in left_out]


@contextmanager
def recorded_outputs(network: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Record, in the order of execution, the outputs of modules that are grids; linear maps inside a block do not count."""
    outputs: list[torch.Tensor] = []

    def record(module: nn.Module, _, output) -> None:
        if isinstance(output, torch.Tensor) and grid_of(output) is not None:
            outputs.append(output)

    with ExitStack() as stack:
        for module in _placed(network):
            if not isinstance(module, nn.Linear):
                stack.callback(module.register_forward_hook(record).remove)
        yield outputs


@dataclass(frozen=True, eq=False)
class Attention:
    """One attention layer of one forward pass.

    `weights` (B, heads, T, T) float has rows that sum to 1; `source` is the tensor of the graph that they are a view of,
    (B, heads, T, T) or (B · heads, T, T). `output` (B, T, C) is what the layer gives on.
    """

    weights: torch.Tensor
    source: torch.Tensor
    output: torch.Tensor


@contextmanager
def recorded_attention(network: nn.Module) -> Iterator[list[Attention]]:
    """Record, in the order of execution, every self-attention; attention within windows has one sequence per window.

    Understands torch's MultiheadAttention and transformers' attention modules, which return weights once their
    implementation is "eager"; `network` is changed to that, so it must be a private copy.
    """
    layers: list[Attention] = []

    def ask_for_weights(_, inputs: tuple, named_inputs: dict) -> tuple[tuple, dict]:
        return inputs, {**named_inputs, "need_weights": True, "average_attn_weights": False}

    def record(_, __, output) -> None:
        if not isinstance(output, Sequence) or len(output) < 2 or not isinstance(output[1], torch.Tensor):
            return
        values, weights = output[0], output[1]
        known = any(weights is layer.weights for layer in layers)  # an outer module hands the inner one's result on
        if not known and weights.ndim == 4 and weights.shape[2] == weights.shape[3] == values.shape[1]:
            source = weights._base if weights._is_view() and weights._base is not None else weights
            layers.append(Attention(weights, source, values))

    with ExitStack() as stack:
        for module in _placed(network):
            if isinstance(module, PreTrainedModel):
                module.set_attn_implementation("eager")
            if isinstance(module, nn.MultiheadAttention):
                stack.callback(module.register_forward_pre_hook(ask_for_weights, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(record).remove)
        yield layers
