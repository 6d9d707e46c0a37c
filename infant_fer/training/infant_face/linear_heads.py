"""How does a finished network get a head that it was not trained with? A linear layer over its frozen features, fitted by itself.

The votes of FER+ for networks that learned FER2013's labels, and action units for all.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from transformers import ViTImageProcessorPil

from infant_fer.classifier import forward_crops
from infant_fer.models.infant_face import InfantFaceModel
from infant_fer.training.action_units import observed_action_units
from infant_fer.training.infant_face.data import PROCESSOR, RecipeData
from infant_fer.training.optimization import known_cross_entropy, soft_cross_entropy
from infant_fer.training.provenance import accelerator
from infant_fer.training.rendered import RenderedFaces

LINEAR_HEADS = ("action_units",)  # no fine-tuning learns them, so they are fitted again to features that it changed
VOTED_FACES = 6000  # of FER+: enough for a linear layer, and minutes less than all
RIDGE = 1e-3  # on the weights of standardized features, in the mean loss
STEPS = 80  # of L-BFGS

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def add_missing_heads(model: InfantFaceModel, data: RecipeData, rendered: RenderedFaces | None) -> None:
    """Give every network of `model` the heads "votes", where the data have votes, and "action_units", where renders are given.

    The features are computed on the accelerator; the model is on the CPU afterwards.
    """
    model.to(accelerator())
    infants = data.infants.rows(data.infants_kept & (data.infants.images.heads["usable"] == 1))
    own = None
    if "votes" not in model.config.heads and data.voted_kept.any():
        own = features(model, infants.crops)
        chosen = np.flatnonzero(data.voted_kept)
        chosen = np.random.default_rng(0).permutation(chosen)[:VOTED_FACES]
        faces = data.fer.rows(np.sort(chosen))
        votes = np.concatenate([infants.images.heads["votes"], faces.images.heads["votes"]])
        add_head(model, "votes", np.concatenate([own, features(model, faces.crops)]), votes, soft_cross_entropy)
    if "action_units" not in model.config.heads and rendered is not None:
        own = features(model, infants.crops) if own is None else own
        crops = np.repeat(rendered.luminance[..., None], 3, 3)
        units = np.concatenate([observed_action_units(infants), rendered.action_units])
        add_head(model, "action_units", np.concatenate([own, features(model, crops)]), units, known_cross_entropy)
    model.to("cpu")


def features(model: InfantFaceModel, crops: np.ndarray) -> np.ndarray:
    """Return (N, D) float32 features of (N, S, S, 3) uint8 crops, those of the networks side by side."""
    return forward_crops(model, ViTImageProcessorPil(**PROCESSOR), crops)["features"].numpy()


def add_head(model: InfantFaceModel, name: str, seen: np.ndarray, target: np.ndarray, loss: Loss) -> None:
    """Fit a new head of each network to its own columns of (N, D) features `seen` and to the (N, C) `target`."""
    model.add_head(name)
    start = 0
    for reader in model.image_readers:
        layer, width = getattr(reader, name), reader.image.width
        weight, bias = _fitted(torch.from_numpy(seen[:, start : start + width]), torch.from_numpy(target), loss)
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        start += width


def _fitted(seen: torch.Tensor, target: torch.Tensor, loss: Loss) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight (C, D) and bias (C,) of the layer with the least regularized loss."""
    mean, deviation = seen.mean(0), seen.std(0).clamp_min(1e-4)
    standard = (seen - mean) / deviation
    weight = torch.zeros(target.shape[1], seen.shape[1], requires_grad=True)
    bias = torch.zeros(target.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def total() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(standard @ weight.T + bias, target) + RIDGE * weight.square().sum()
        value.backward()
        return value

    optimizer.step(total)
    scaled = (weight / deviation).detach()
    return scaled, bias.detach() - scaled @ mean
