"""What do a transformer's attention layers pass on? Attention rollout and class-specific attention relevance.

Abnar and Zuidema 2020, arXiv 2005.00928; Chefer et al. 2021, arXiv 2103.15679 (the generic rule, for self-attention).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from infant_fer.errors import ExplanationError
from infant_fer.explain.layers import Attention, as_grid, enlarged, grid_of, networks, private_copy, recorded_attention
from infant_fer.explain.saliency import Method, SaliencyMap, Score, check_crop
from infant_fer.models.part_tokens import PartTokensModel

NO_ATTENTION = "This checkpoint has no attention over the whole crop, so attention maps do not apply to it."
NO_RELEVANCE = (
    "This checkpoint's tokens are parts of the face; see attention rollout, which shows how much each of them gets."
)


@dataclass(frozen=True)
class AttentionRollout(Method):
    """Multiply the attention of all layers, each averaged over its heads and mixed half and half with the identity.

    It shows where information comes from, for every class alike, and has no sign. Rows are those of the tokens that the
    answer reads. The maps of several networks are averaged. Raises ExplanationError for a model without attention.
    """

    name = "rollout"
    title = "Attention rollout"
    reads_layers = True
    reading = (
        "Bright patches are those that the layers looked at, for every class alike. "
        "Looking is not yet using: test it by covering."
    )

    def maps(self, score: Score, pixel_values: torch.Tensor) -> Iterator[SaliencyMap]:
        """Yield the one map."""
        check_crop(pixel_values)
        if (parts := _reader_of_parts(score)) is not None:
            yield self.saliency_map(score, self._of_parts(parts, pixel_values), 1)
            return
        total = torch.zeros(pixel_values.shape[-2:])
        for layers in _stacks(score, pixel_values):
            relevance = torch.eye(layers[0].weights.shape[-1], device=pixel_values.device)
            for layer in layers:
                relevance = self._passed_on(layer) @ relevance
            tokens = self._read(layers[-1].read, relevance)[None, :, None]
            total += enlarged(as_grid(tokens)[0, 0], pixel_values.shape[-1])
        yield self.saliency_map(score, total.numpy(), 1)

    def _of_parts(self, model: PartTokensModel, pixel_values: torch.Tensor) -> np.ndarray:
        """Return the (S, S) attention that the answer's token pays to each part, for a model whose tokens are parts."""
        return model.part_attention_map(pixel_values)[0].cpu().numpy()

    def _read(self, read: torch.Tensor, relevance: torch.Tensor) -> torch.Tensor:
        """Return the (T,) relevance of the first tokens to the answer, which reads the last ones with the weights `read`."""
        return read @ relevance

    def _passed_on(self, layer: _Layer) -> torch.Tensor:
        """Return (T, T): how much each token's new value comes from each old one."""
        mixed = layer.weights.mean(0) + torch.eye(layer.weights.shape[-1], device=layer.weights.device)
        return mixed / mixed.sum(1, keepdim=True)


@dataclass(frozen=True)
class AttentionRelevance(AttentionRollout):
    """Multiply the attention of all layers, each weighted by the score's gradient where that is positive.

    Unlike rollout it depends on the class: R ← R + mean over heads of max(0, gradient · attention) R, from the identity.
    The identity itself is left out at the end: where all tokens are pooled it would hide the rest under an even grey.
    """

    name = "attention_relevance"
    title = "Attention relevance (Chefer)"
    reading = (
        "Attention counts only where more of it would raise this class. "
        "Bright patches passed on what the answer rests on."
    )

    def _of_parts(self, model: PartTokensModel, pixel_values: torch.Tensor) -> np.ndarray:
        raise ExplanationError(NO_RELEVANCE)

    def _read(self, read: torch.Tensor, relevance: torch.Tensor) -> torch.Tensor:
        return read @ relevance - read

    def _passed_on(self, layer: _Layer) -> torch.Tensor:
        weighted = (layer.gradient * layer.weights).clamp(min=0).mean(0)
        return weighted + torch.eye(weighted.shape[-1], device=weighted.device)


@dataclass(frozen=True, eq=False)
class _Layer:
    """One attention layer for one crop: (heads, T, T) weights and the score's gradient there, float32.

    `read` (T,) sums to 1: the share of each token of the layer's output in the score, by the gradient there.
    """

    weights: torch.Tensor
    gradient: torch.Tensor
    read: torch.Tensor


def _reader_of_parts(score: Score) -> PartTokensModel | None:
    """Return the network of a score if its tokens are parts of the face, which lie on no grid."""
    return next((module for module in score.model.modules() if isinstance(module, PartTokensModel)), None)


def _stacks(score: Score, pixel_values: torch.Tensor) -> list[list[_Layer]]:
    """Return the attention layers of every network in the score, first to last. Raises ExplanationError without any."""
    model = private_copy(score.model)
    found = []
    for network in networks(model):
        with torch.enable_grad(), recorded_attention(network) as layers:
            value = score.of_logits(model(pixel_values.clone().requires_grad_())).sum()
            whole = all(len(layer.weights) == 1 and grid_of(layer.output) is not None for layer in layers)
            if layers and whole and len({layer.weights.shape for layer in layers}) == 1:
                found.append(_with_gradients(value, layers))
    if not found:
        raise ExplanationError(NO_ATTENTION)
    return found


def _with_gradients(value: torch.Tensor, layers: list[Attention]) -> list[_Layer]:
    tensors = [tensor for layer in layers for tensor in (layer.source, layer.output)]
    gradients = iter(torch.autograd.grad(value, tensors, allow_unused=True))
    found = []
    for layer, of_weights, of_output in zip(layers, gradients, gradients, strict=True):
        weights = layer.weights[0].detach().float()
        gradient = torch.zeros_like(weights) if of_weights is None else of_weights.reshape(weights.shape).float()
        size = torch.ones(len(weights[0])) if of_output is None else of_output[0].float().norm(dim=1)
        read = size if size.sum() > 0 else torch.ones_like(size)
        found.append(_Layer(weights, gradient, read / read.sum()))
    return found
