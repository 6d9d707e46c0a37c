"""How are weights moved? Losses with soft targets, parameter groups with their rates, schedule, averaged weights."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from infant_fer.models.infant_face import HEADS as INFANT_FACE_HEADS

MAX_GRADIENT_NORM = 5.0
NUMBERED_LAYER = re.compile(r".*?\.(?:layers?|blocks|stages)\.\d+\.")  # from the start of a parameter's name
ENSEMBLE_MEMBER = re.compile(r"^(?:readers|members)\.\d+\.")
AUXILIARY = "auxiliary"  # a model's attribute while it trains: the linear head of a second task
HEADS = frozenset(("classifier", "head", AUXILIARY, *INFANT_FACE_HEADS))
TIMM_HEAD = "timm_model.fc."  # of timm's residual networks; elsewhere "fc" is a layer inside a block


def averaged_model(model: torch.nn.Module, decay: float) -> AveragedModel:
    """Return an exponential moving average of a model's weights; `.module` has them, buffers are the model's own.

    Update number n (from 1) uses the decay min(`decay`, (1 + n) / (10 + n)), so that the random start is soon forgotten.
    """

    def move(averaged: Sequence[torch.Tensor], current: Sequence[torch.Tensor], updates: torch.Tensor | int) -> None:
        n = int(updates)
        torch._foreach_lerp_(list(averaged), list(current), 1 - min(decay, (1 + n) / (10 + n)))

    average = AveragedModel(model, multi_avg_fn=move).requires_grad_(False)
    set_updates(average, 0)
    return average


def set_updates(average: AveragedModel, count: int) -> None:
    """Set the number of updates; torch's first update would replace the start, so it counts from 1."""
    average.n_averaged.fill_(count + 1)


def parameter_groups(
    model: torch.nn.Module, rate: float, weight_decay: float, layer_decay: float = 1.0, head_rate: float = 1.0
) -> list[dict]:
    """Return groups of trainable parameters for AdamW; biases and norms have no weight decay.

    The heads learn at `rate` times `head_rate`; each numbered layer below at `layer_decay` times the rate of the one above
    it, the last at that times `rate`. What follows the last numbered layer, such as the final norm, learns at `rate`
    (BEiT, Bao et al. 2022).
    """
    below = _layers_below_head([name for name, parameter in model.named_parameters() if parameter.requires_grad])
    groups: dict[tuple, dict] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = weight_decay if parameter.ndim > 1 else 0.0
            factor = layer_decay ** below[name] * (head_rate if is_head(name) else 1.0)
            group = {"params": [], "lr": rate * factor, "weight_decay": decay}
            groups.setdefault((factor, decay), group)["params"].append(parameter)
    return list(groups.values())


def image_stream_trainable(model: torch.nn.Module) -> None:
    """Let gradients reach all parameters of an InfantFaceModel but those of its geometry stream, which is trained apart."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith("geometry."))


def is_head(name: str) -> bool:
    """Return whether a parameter of this name belongs to the classification head."""
    return not HEADS.isdisjoint(name.split(".")) or name.startswith(TIMM_HEAD)


def soft_cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of (B, C) logits with (B, C) distributions; a row of zeros is unknown, not counted."""
    return -(target * logits.float().log_softmax(1)).sum() / target.sum().clamp_min(1)


def known_cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean binary cross-entropy of (N, C) logits over the targets that are not NaN; 0 without any."""
    known = ~target.isnan()
    if not known.any():
        return logits.sum() * 0
    return F.binary_cross_entropy_with_logits(logits[known], target[known])


def cosine_factor(done: int, steps: int, warmup: float) -> float:
    """Return the learning-rate factor: up linearly over the first `warmup` share, then down along a cosine to 0."""
    share = (done + 1) / max(1, steps)
    return (
        share / warmup if share < warmup else 0.5 * (1 + math.cos(math.pi * min(1.0, (share - warmup) / (1 - warmup))))
    )


def step(optimizer: torch.optim.Optimizer, loss: torch.Tensor, model: torch.nn.Module) -> None:
    """Take one optimizer step with the gradient's norm clipped to MAX_GRADIENT_NORM."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
    optimizer.step()


def _layers_below_head(names: Sequence[str]) -> dict[str, int]:
    """Return how many numbered layers each parameter lies below the head, from the names in the order of definition.

    An unnumbered parameter belongs to the numbered layer before it; before the first one it is below all.
    """
    numbered = list(dict.fromkeys(filter(None, map(_layer, names))))
    below, position, member = {}, -1, None
    for name in names:
        found, layer = ENSEMBLE_MEMBER.match(name), _layer(name)
        if found and found.group() != member:
            position, member = -1, found.group()
        position = numbered.index(layer) if layer else position
        after_last = layer is None and numbered and position == len(numbered) - 1
        below[name] = 0 if is_head(name) or after_last else max(1, len(numbered)) - position
    return below


def _layer(name: str) -> str | None:
    """Return the numbered layer of a parameter, the same in every member of an ensemble; None outside of them."""
    found = NUMBERED_LAYER.match(f".{ENSEMBLE_MEMBER.sub('', name)}")
    return found.group() if found else None
