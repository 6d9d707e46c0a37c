"""What are a network's last features of a face? The inputs and outputs of its affect layers, for any architecture."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

import torch
from torch import nn

from infant_fer.models.ensemble import EnsembleModel
from infant_fer.models.infant_face import InfantFaceModel

Seen = dict[nn.Module, tuple[torch.Tensor, torch.Tensor]]  # a layer's input and output
SAMPLED = 64  # values of each tensor that enter the fingerprint

_seen: ContextVar[Seen | None] = ContextVar("_seen", default=None)


class Recorder:
    """Read features and members' logits from the affect layers that a forward pass has gone through."""

    def __init__(self, layers: list[nn.Linear], seen: Seen):
        self._layers, self._seen = layers, seen

    def heads(self) -> dict[str, torch.Tensor]:
        """Return "features" (B, D) and, of an ensemble of M, "member_logits" (B, M, C); features of members stand side by side.

        Features of tokens or positions are averaged. Empty unless the forward pass went through every affect layer.
        """
        if not self._layers or any(layer not in self._seen for layer in self._layers):
            return {}
        inputs, outputs = zip(*(self._seen[layer] for layer in self._layers), strict=True)
        heads = {"features": torch.cat([_pooled(each.float()) for each in inputs], 1)}
        if len(outputs) > 1:
            heads["member_logits"] = torch.stack([_pooled(each.float()) for each in outputs], 1)
        return heads


@contextmanager
def recorded(model: nn.Module) -> Iterator[Recorder]:
    """Record the forward passes of this thread through the affect layers of `model`; others are not disturbed."""
    seen: Seen = {}
    layers = affect_layers(model)
    for layer in layers:
        if _remember not in layer._forward_hooks.values():  # it stays: removing it would disturb another thread's pass
            layer.register_forward_hook(_remember)
    token = _seen.set(seen)
    try:
        yield Recorder(layers, seen)
    finally:
        _seen.reset(token)


def affect_layers(model: nn.Module) -> list[nn.Linear]:
    """Return the linear layers whose outputs are the logits: one for each member of an ensemble, else the last of their size."""
    if isinstance(model, InfantFaceModel):
        return [cast(nn.Linear, reader.affect) for reader in model.readers]
    if isinstance(model, EnsembleModel):
        return [layer for member in model.members for layer in affect_layers(member)]
    classes = getattr(model.config, "num_labels", None)
    fitting = [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == classes]
    return fitting[-1:]


def fingerprint(model: nn.Module) -> str:
    """Return a SHA-256 of names, shapes and evenly spaced values of all weights: another training gives another one."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().flatten()
        values = flat[:: max(1, len(flat) // SAMPLED)].to("cpu", torch.float32).contiguous()
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode() + values.numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def _remember(layer: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
    seen = _seen.get()
    if seen is not None:
        seen[layer] = (inputs[0], output)


def _pooled(values: torch.Tensor) -> torch.Tensor:
    """Return (B, D) of (B, ..., D)."""
    return values if values.dim() == 2 else values.flatten(1, -2).mean(1)
