"""Does a map depend on what the network has learned, and is it steady? Randomized layers, other seeds, a shifted crop.

Adebayo et al. 2018, arXiv 1810.03292 (cascading randomization); similarity by SSIM (Wang et al. 2004) and by ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import nn

from infant_fer.explain.covering import rank_correlation
from infant_fer.explain.layers import networks, private_copy
from infant_fer.explain.saliency import Method, SaliencyMap, Score
from infant_fer.locales import Message

SIMILAR = 0.5  # magnitude of the rank correlation above which a map of a wholly randomized network has not dissolved


@dataclass(frozen=True)
class Similarity:
    """How alike two maps of one crop are: 1 is the same; near 0 is unrelated; a map without any variation is `blank`."""

    ssim: float
    ranks: float  # Spearman's correlation over the pixels; 0 where it is not defined
    blank: bool = False  # one of the maps, or both: they cannot be compared

    @classmethod
    def of(cls, first: np.ndarray, second: np.ndarray) -> Similarity:
        """Compare two (S, S) maps in 0..1."""
        ranks = rank_correlation(first.ravel(), second.ravel())
        return cls(structural_similarity(first, second), 0.0 if ranks is None else ranks, ranks is None)

    @property
    def words(self) -> Message:
        """Return both figures, or that there are none."""
        if self.blank:
            return Message("one of the two maps marks nothing")
        return Message("SSIM {ssim:.2f}, rank correlation {ranks:.2f}", ssim=self.ssim, ranks=self.ranks)


def structural_similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean SSIM of two (S, S) maps in 0..1, with a Gaussian window of 1.5 px (Wang et al. 2004)."""

    def blurred(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT)

    a, b = first.astype(np.float64), second.astype(np.float64)
    mean_a, mean_b = blurred(a), blurred(b)
    variances = blurred(a * a) + blurred(b * b) - mean_a**2 - mean_b**2
    covariance = blurred(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    index = (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
    return float(index[5:-5, 5:-5].mean()) if min(a.shape) > 10 else float(index.mean())


def randomized(score: Score, share: float, pixel_values: torch.Tensor, seed: int = 0) -> Score:
    """Return the score of a copy whose layers are random from the top down to a `share` of them; 0 is the model itself.

    In every ensemble member the last ceil(share · count) of the modules with weights that reach the score, in the order in
    which a pass of `pixel_values` (1, 3, S, S) comes to them, get normal random numbers of the same mean and deviation,
    from `seed`. The model is left as it is. Raises ValueError unless the share is in 0..1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in 0..1; got {share}.")
    copied, generator = private_copy(score.model), torch.Generator().manual_seed(seed)
    for module in copied.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            setattr(
                module, name, nn.Parameter(weight.detach())
            )  # same values; the original need not require a gradient
    changed = replace(score, model=copied)
    for layers in _layers_of_score(changed, pixel_values):
        for module in layers[len(layers) - int(np.ceil(share * len(layers))) :]:
            for name, weight in list(module.named_parameters(recurse=False)):
                setattr(module, name, nn.Parameter(_random_like(weight, generator)))
    copied.requires_grad_(False)
    return changed


def _layers_of_score(score: Score, pixel_values: torch.Tensor) -> list[list[nn.Module]]:
    """Return, of every network, the modules with weights of their own that reach the score, in the order of execution.

    The heads of other answers do not count, wherever they are defined. All weights must require a gradient.
    """
    started: dict[nn.Module, int] = {}

    def note(module: nn.Module, _) -> None:
        started.setdefault(module, len(started))

    with torch.enable_grad(), ExitStack() as stack:
        for module in score.model.modules():
            stack.callback(module.register_forward_pre_hook(note).remove)
        value = score(pixel_values).sum()
    weights = list(score.model.parameters())
    gradients = torch.autograd.grad(value, weights, allow_unused=True) if weights else ()
    reached = {id(weight) for weight, gradient in zip(weights, gradients, strict=True) if gradient is not None}

    def placed(module: nn.Module, place: int) -> Iterator[tuple[int, nn.Module]]:
        place = started.get(module, place)  # attention reads the weights of its last layer without a call of it
        if any(id(weight) in reached for weight in module.parameters(recurse=False)):
            yield place, module
        for child in module.children():
            yield from placed(child, place)

    ordered = (sorted(placed(network, -1), key=lambda entry: entry[0]) for network in networks(score.model))
    return [list(dict.fromkeys(module for _, module in entries)) for entries in ordered]


def _random_like(weight: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return normal random numbers with the mean and deviation of `weight`; a constant tensor gets a deviation of 0.02."""
    values = weight.detach().float()
    deviation = float(values.std()) if values.numel() > 1 else 0.0
    drawn = torch.randn(values.shape, generator=generator) * (deviation or 0.02) + float(values.mean())
    return drawn.to(weight.device, weight.dtype)


@dataclass(frozen=True, eq=False)
class Randomization:
    """The map of a network with random layers beside the map of the network itself."""

    share: float
    saliency: SaliencyMap
    similarity: Similarity

    def sentence(self) -> Message:
        """Return one sentence for people on whether the map has dissolved."""
        if self.similarity.blank:
            return Message(
                "With {share:.0%} of the layers random, one of the two maps marks nothing: they cannot be compared.",
                share=self.share,
            )
        words = Message(
            "With {share:.0%} of the layers random, the map agrees with the real one by: {similarity}.",
            share=self.share,
            similarity=self.similarity.words,
        )
        if self.share < 1:
            return words
        if abs(self.similarity.ranks) > SIMILAR:  # the same places, bright or dark
            kept = Message("It has not dissolved: this method shows edges of the picture more than what was learned.")
            return Message.joined(words, kept)
        return Message.joined(words, "It has dissolved, as it must: the map shows what the network has learned.")


def randomization(
    method: Method, score: Score, pixel_values: torch.Tensor, real: SaliencyMap, share: float, seed: int = 0
) -> Randomization:
    """Explain a (1, 3, S, S) crop by a copy of the network with random layers, and compare with the `real` map."""
    saliency = method.map(randomized(score, share, pixel_values, seed), pixel_values)
    return Randomization(share, saliency, Similarity.of(real.values, saliency.values))


@dataclass(frozen=True)
class Steadiness:
    """How alike maps stay: over other seeds (None for methods without one), and when the crop is shifted by one pixel."""

    seeds: Similarity | None
    shift: Similarity


def steadiness(
    method: Method, score: Score, pixel_values: torch.Tensor, real: SaliencyMap, seeds: Sequence[int] = (1, 2)
) -> Steadiness:
    """Compare the `real` map of a (1, 3, S, S) crop with maps of other seeds, and of the crop one pixel further right."""
    across = None
    if "seed" in {*vars(method)}:
        others = [replace(method, seed=seed).map(score, pixel_values).values for seed in seeds]  # type: ignore[call-arg]
        found = [Similarity.of(real.values, each) for each in others]
        ssim, ranks = (float(np.mean([getattr(each, name) for each in found])) for name in ("ssim", "ranks"))
        across = Similarity(ssim, ranks, any(each.blank for each in found))
    shifted = torch.cat([pixel_values[..., :1], pixel_values[..., :-1]], dim=-1)
    moved = method.map(score, shifted).values
    return Steadiness(across, Similarity.of(real.values[:, :-1], moved[:, 1:]))
