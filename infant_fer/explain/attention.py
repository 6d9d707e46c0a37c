"""What do a transformer's attention layers pass on? Attention rollout and class-specific attention relevance.

Abnar and Zuidema 2020, arXiv 2005.00928; Chefer et al. 2021, arXiv 2103.15679 (the generic rule, for self-attention).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch

from infant_fer.errors import ExplanationError
from infant_fer.explain.layers import (
    Attention,
    as_grid,
    enlarged,
    grid_of,
    network_shares,
    networks,
    private_copy,
    recorded_attention,
)
from infant_fer.explain.saliency import Method, SaliencyMap, Score, check_crop
from infant_fer.locales import Message
from infant_fer.models.part_tokens import PartTokensModel

NO_ATTENTION = "This checkpoint has no attention over the whole crop, so attention maps do not apply to it."
NO_RELEVANCE = (
    "This checkpoint's tokens are parts of the face; see attention rollout, which shows how much each of them gets."
)


@dataclass(frozen=True)
class AttentionRollout(Method):
    """Multiply the attention of all layers, each averaged over its heads and mixed half and half with the identity.

    It shows where information comes from, for every class alike, and has no sign. Rows are those of the tokens that the
    answer reads. The maps of several networks are averaged by the networks' shares in the answer. A network without
    attention has none: the map's `coverage` then says how many are shown. Raises ExplanationError for a model without any.
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
        shares = network_shares(score.model)
        found = {**dict(self._part_maps(score, pixel_values)), **dict(self._grid_maps(score, pixel_values))}
        counted = [index for index in found if shares[index] > 0]
        if not counted:
            raise ExplanationError(NO_ATTENTION)
        total = torch.stack([self._weight(shares[index]) * found[index] for index in counted]).sum(0)
        yield replace(self.saliency_map(score, total.numpy(), 1), coverage=_coverage(shares, counted))

    def _weight(self, share: float) -> float:
        """Return the weight of a network's map by the network's share in the answer."""
        return share

    def _part_maps(self, score: Score, pixel_values: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield index and (S, S) attention that the answer's token pays to each part, of every network whose tokens are parts.

        In units of even attention to all tokens, as the maps of grids are. Each network sees what a pass of the whole model
        gives it: an ensemble of unlike members normalizes the crop for each.
        """
        for index, model, seen in _readers_of_parts(score, pixel_values):
            yield index, enlarged(model.part_attention_map(seen)[0] * model.which.shape[1], pixel_values.shape[-1])

    def _grid_maps(self, score: Score, pixel_values: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield index and (S, S) relevance of the patches, of every network whose tokens lie on a grid."""
        for index, layers in _stacks(score, pixel_values):
            relevance = torch.eye(layers[0].weights.shape[-1], device=pixel_values.device)
            for layer in layers:
                relevance = self._passed_on(layer) @ relevance
            tokens = self._read(layers[-1].read, relevance)[None, :, None]
            yield index, enlarged(as_grid(tokens)[0, 0], pixel_values.shape[-1])

    def _read(self, read: torch.Tensor, relevance: torch.Tensor) -> torch.Tensor:
        """Return the (T,) relevance of the first tokens to the answer, which reads the last ones with the weights `read`.

        In units of even attention, so that the maps of grids of all sizes can be averaged.
        """
        return read @ relevance * len(read)

    def _passed_on(self, layer: _Layer) -> torch.Tensor:
        """Return (T, T): how much each token's new value comes from each old one."""
        mixed = layer.weights.mean(0) + torch.eye(layer.weights.shape[-1], device=layer.weights.device)
        return mixed / mixed.sum(1, keepdim=True)


@dataclass(frozen=True)
class AttentionRelevance(AttentionRollout):
    """Multiply the attention of all layers, each weighted by the score's gradient where that is positive.

    Unlike rollout it depends on the class: R ← R + mean over heads of max(0, gradient · attention) R, from the identity.
    The identity itself is left out at the end: where all tokens are pooled it would hide the rest under an even grey.
    The maps of several networks are added up, for the gradient at each has its share in the answer already.
    """

    name = "attention_relevance"
    title = "Attention relevance (Chefer)"
    reading = (
        "Attention counts only where more of it would raise this class. "
        "Bright patches passed on what the answer rests on."
    )

    def _weight(self, share: float) -> float:
        return 1.0

    def _part_maps(self, score: Score, pixel_values: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        if any(isinstance(module, PartTokensModel) for module in score.model.modules()):
            raise ExplanationError(NO_RELEVANCE)
        return iter(())

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


def _coverage(shares: Sequence[float], shown: Sequence[int]) -> Message | None:
    """Return how many of the networks with these shares in the answer a map shows; None where it shows all that count."""
    counted = [share for share in shares if share > 0]
    if len(shown) == len(counted):
        return None
    return Message(
        "This map shows {shown} of {networks} networks, which give {share:.0%} of the answer; the others have no attention to show.",
        shown=len(shown),
        networks=len(counted),
        share=sum(shares[index] for index in shown),
    )


def _readers_of_parts(score: Score, pixel_values: torch.Tensor) -> list[tuple[int, PartTokensModel, torch.Tensor]]:
    """Return index and network of a score whose tokens are parts of the face, each with the (1, 3, S', S') that it is given."""
    model, found = private_copy(score.model), list[tuple[int, PartTokensModel, torch.Tensor]]()

    def record(network: PartTokensModel, inputs: tuple, named_inputs: dict) -> None:
        found.append((readers[network], network, inputs[0] if inputs else named_inputs["pixel_values"]))

    readers = {
        module: index
        for index, network in enumerate(networks(model))
        for module in network.modules()
        if isinstance(module, PartTokensModel)
    }
    with torch.no_grad(), ExitStack() as stack:
        for reader in readers:
            stack.callback(reader.register_forward_pre_hook(record, with_kwargs=True).remove)
        if readers:
            model(pixel_values)
    return found


def _stacks(score: Score, pixel_values: torch.Tensor) -> list[tuple[int, list[_Layer]]]:
    """Return index and attention layers, first to last, of every network in the score whose tokens lie on a grid."""
    model = private_copy(score.model)
    found = []
    for index, network in enumerate(networks(model)):
        with torch.enable_grad(), recorded_attention(network) as layers:
            value = score.of_logits(model(pixel_values.clone().requires_grad_())).sum()
            whole = all(len(layer.weights) == 1 and grid_of(layer.output) is not None for layer in layers)
            if layers and whole and len({layer.weights.shape for layer in layers}) == 1:
                found.append((index, _with_gradients(value, layers)))
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
