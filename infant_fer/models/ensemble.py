"""Several classifiers as one checkpoint: the mean of their probabilities, such as those of a cross-validation's folds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

MOST_MEMBERS = 32


class EnsembleConfig(PreTrainedConfig):
    """`member` is the config that all members share, as a dictionary; label names and the crop are those of the whole."""

    model_type = "infant_ensemble"

    def __init__(self, member: dict | None = None, members: int = 1, face_crop: dict | None = None, **kwargs):
        if not 1 <= members <= MOST_MEMBERS:
            raise ValueError(f"An ensemble has 1 to {MOST_MEMBERS} members; {members} were given.")
        self.member, self.members, self.face_crop = member or {}, members, face_crop
        super().__init__(**kwargs)


class EnsembleModel(PreTrainedModel):
    """Several image classifiers of one shape whose probabilities are averaged."""

    config_class = EnsembleConfig
    main_input_name = "pixel_values"

    def __init__(self, config: EnsembleConfig):
        super().__init__(config)
        kind = {name: value for name, value in config.member.items() if name != "model_type"}
        shared = AutoConfig.for_model(config.member["model_type"], **kind)
        self.members = nn.ModuleList(AutoModelForImageClassification.from_config(shared) for _ in range(config.members))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave initialization to the members."""

    def forward(self, pixel_values: torch.Tensor, **_) -> ImageClassifierOutput:
        """Return (B, C) logits for (B, 3, S, S) normalized crops: the logarithm of the members' mean probabilities."""
        logits = torch.stack([member(pixel_values=pixel_values).logits.float() for member in self.members])
        return ImageClassifierOutput(logits=logits.log_softmax(2).logsumexp(0) - torch.tensor(len(logits)).log())


def ensemble_of(models: Sequence[PreTrainedModel]) -> EnsembleModel:
    """Return an ensemble of models of one shape and one set of classes; their weights are shared, not copied."""
    first = models[0].config
    names = {"id2label": first.id2label, "label2id": first.label2id}
    config = EnsembleConfig(first.to_dict(), len(models), getattr(first, "face_crop", None), **names)
    joined = EnsembleModel(config)
    joined.members = nn.ModuleList(models)
    return joined.eval()


AutoConfig.register("infant_ensemble", EnsembleConfig)
AutoModelForImageClassification.register(EnsembleConfig, EnsembleModel)
