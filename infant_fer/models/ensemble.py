"""Several classifiers as one checkpoint: the folds of a cross-validation, or unlike architectures that vote class by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

MOST_MEMBERS = 32


class EnsembleConfig(PreTrainedConfig):
    """`member` is the config that all members share, as a dictionary; label names and the crop are those of the whole.

    Members of unlike architectures are in `unlike` instead: for each its `config` and its input, `size` in px, `mean` and
    `std` of values in 0..1. `class_weights` are M lists of C weights of a vote; without them all members count alike.
    Where a member was loaded from is not kept: the config is published with the checkpoint.
    """

    model_type = "infant_ensemble"

    def __init__(
        self,
        member: dict | None = None,
        members: int = 1,
        face_crop: dict | None = None,
        unlike: list[dict] | None = None,
        class_weights: list[list[float]] | None = None,
        **kwargs,
    ):
        members = len(unlike) if unlike else members
        if not 1 <= members <= MOST_MEMBERS:
            raise ValueError(f"An ensemble has 1 to {MOST_MEMBERS} members; {members} were given.")
        if class_weights and len(class_weights) != members:
            raise ValueError(f"{len(class_weights)} rows of weights do not fit {members} members.")
        self.member, self.members, self.face_crop = _without_paths(member or {}), members, face_crop
        self.unlike, self.class_weights = _without_paths(unlike or []), class_weights
        super().__init__(**kwargs)


class EnsembleModel(PreTrainedModel):
    """Several image classifiers whose probabilities are averaged, if given by a weight for each member and class."""

    config_class = EnsembleConfig
    main_input_name = "pixel_values"

    def __init__(self, config: EnsembleConfig):
        super().__init__(config)
        described = [each["config"] for each in config.unlike] or [config.member] * config.members
        self.members = nn.ModuleList(AutoModelForImageClassification.from_config(_config(each)) for each in described)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave initialization to the members."""

    @property
    def takes_geometry(self) -> bool:
        """Return whether a member has a use for models.geometry's features."""
        return any(getattr(member, "takes_geometry", False) for member in self.members)

    @property
    def is_mean(self) -> bool:
        """Return whether it answers with the plain mean of members that see one input."""
        return not self.config.unlike and self.config.class_weights is None and temperature_of(self.config) == 1

    def forward(
        self,
        pixel_values: torch.Tensor,
        geometry: torch.Tensor | None = None,
        found: torch.Tensor | None = None,
        **_,
    ) -> ImageClassifierOutput:
        """Return (B, C) logits for (B, 3, S, S) crops: the logarithm of the members' weighted mean probabilities.

        The crops are normalized, or, for unlike members, in 0..1: each member has a size and a normalization of its own.
        (B, G) `geometry` and (B,) bool `found` go to the members that use them.
        """
        logits = [
            self._member_logits(index, self._input(pixel_values, index), {"geometry": geometry, "found": found})
            for index in range(len(self.members))
        ]
        log_probabilities = torch.stack(logits).log_softmax(2)  # (M, B, C)
        if self.config.class_weights is None:
            return ImageClassifierOutput(logits=log_probabilities.logsumexp(0) - torch.tensor(len(logits)).log())
        weights = log_probabilities.new_tensor(self.config.class_weights)[:, None]  # (M, 1, C)
        return ImageClassifierOutput(logits=(log_probabilities + weights.log()).logsumexp(0).log_softmax(1))

    def _member_logits(
        self, index: int, pixel_values: torch.Tensor, streams: dict[str, torch.Tensor | None]
    ) -> torch.Tensor:
        member = self.members[index]
        used = streams if getattr(member, "takes_geometry", False) else {}
        return member(pixel_values=pixel_values, **used).logits.float() / temperature_of(member.config)

    def _input(self, pixel_values: torch.Tensor, index: int) -> torch.Tensor:
        if not self.config.unlike:
            return pixel_values
        described = self.config.unlike[index]
        size = described["size"]
        if pixel_values.shape[-1] != size:
            pixel_values = F.interpolate(pixel_values, size=(size, size), mode="bilinear", antialias=True)
        mean, std = (pixel_values.new_tensor(described[name]).view(3, 1, 1) for name in ("mean", "std"))
        return (pixel_values - mean) / std


def ensemble_of(models: Sequence[PreTrainedModel]) -> EnsembleModel:
    """Return an ensemble of models of one shape and one set of classes; their weights are shared, not copied."""
    first = models[0].config
    names = {"id2label": first.id2label, "label2id": first.label2id}
    config = EnsembleConfig(first.to_dict(), len(models), getattr(first, "face_crop", None), **names)
    return _joined(config, models)


def vote_of(
    models: Sequence[PreTrainedModel],
    processors: Sequence,
    crop: dict,
    sizes: Sequence[int],
    class_weights: Sequence[Sequence[float]] | np.ndarray | None = None,
) -> EnsembleModel:
    """Return a vote of classifiers of unlike architectures for one set of classes, in one order.

    Its input are crops of `crop` in 0..1; `sizes` in px are what the members expect, and `processors` say how each
    normalizes. `class_weights` are (M, C). A member's own temperature applies before the vote.
    """
    first = models[0].config
    unlike = [
        {"config": model.config.to_dict(), "size": size, **_normalization(processor)}
        for model, processor, size in zip(models, processors, sizes, strict=True)
    ]
    weights = None if class_weights is None else [[float(each) for each in row] for row in class_weights]
    names = {"id2label": first.id2label, "label2id": first.label2id}
    return _joined(EnsembleConfig(unlike=unlike, class_weights=weights, face_crop=crop, **names), models)


def _normalization(processor) -> dict[str, list[float]]:
    """Return mean and deviation of values in 0..1 by which (x - mean) / std is what the processor gives."""
    scale = processor.rescale_factor * 255 if processor.do_rescale else 255.0
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ([0.0] * 3, [1.0] * 3)
    return {"mean": [float(each) / scale for each in mean], "std": [float(each) / scale for each in std]}


def _joined(config: EnsembleConfig, models: Sequence[PreTrainedModel]) -> EnsembleModel:
    joined = EnsembleModel(config)
    joined.members = nn.ModuleList(models)
    return joined.eval()


def _without_paths(described: Any) -> Any:
    """Return a described config, or a list of them, without the paths that transformers records in it, at any depth."""
    if isinstance(described, dict):
        return {name: _without_paths(value) for name, value in described.items() if name != "_name_or_path"}
    return [_without_paths(each) for each in described] if isinstance(described, list) else described


def _config(described: dict) -> PreTrainedConfig:
    return AutoConfig.for_model(
        described["model_type"], **{name: value for name, value in described.items() if name != "model_type"}
    )


def temperature_of(config: PreTrainedConfig) -> float:
    """Return by what a model's logits are divided before softmax; 1 where none was fitted (Guo et al. 2017)."""
    return float(getattr(config, "logit_temperature", None) or 1.0)


AutoConfig.register("infant_ensemble", EnsembleConfig)
AutoModelForImageClassification.register(EnsembleConfig, EnsembleModel)
