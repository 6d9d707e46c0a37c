"""The project's own architecture: an image stream and a geometry stream, fused late, with several heads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from infant_fer.labels import ACTION_UNITS, AFFECTS, AGE_GROUPS, EMOTIONS, VOTED_EMOTIONS
from infant_fer.models.image_streams import CONV_TRANSFORMER, FAMILIES, LUMINANCE, image_stream

MOST_MEMBERS = 8
# The heads over the image's features: name in the config and the weights, output, and number of logits. A head is added
# by one entry here, which old checkpoints do not have, and one field of InfantFaceOutput.
HEADS = {
    "affect": ("image_logits", len(AFFECTS)),
    "emotion": ("emotion_logits", len(EMOTIONS)),
    "valence_arousal": ("valence_arousal", 2),
    "age": ("age_logits", len(AGE_GROUPS)),
    "usable": ("usable_logit", 1),
    "eyes_closed": ("eyes_closed_logit", 1),
    "mouth_covered": ("mouth_covered_logit", 1),
    "votes": ("vote_logits", len(VOTED_EMOTIONS)),
    "action_units": ("action_unit_logits", len(ACTION_UNITS)),
}
FIRST_HEADS = tuple(HEADS)[:7]  # of checkpoints whose config names none


class InfantFaceConfig(PreTrainedConfig):
    """Sizes of the streams; label names, crop and test-time settings travel with it.

    `members` networks read the image, and their outputs are averaged with `member_weights` (None: all alike). `families`
    names the image stream of each, of image_streams.FAMILIES; None means that all are of the first. `backbones` has, by
    family, the config of a pretrained backbone. `heads` are names of HEADS, "affect" among them; a name that this version
    does not know is left out.
    """

    model_type = "infant_face"

    def __init__(  # transformers builds a config from keyword arguments, one for each key of config.json
        self,
        image_size: int = 96,
        stem_width: int = 32,
        widths: tuple[int, ...] = (48, 96, 192),
        blocks_per_stage: int = 2,
        transformer_layers: int = 2,
        attention_heads: int = 4,
        members: int = 1,
        families: Sequence[str] | None = None,
        backbones: dict[str, dict] | None = None,
        member_weights: Sequence[float] | None = None,
        geometry_size: int = 0,
        geometry_width: int = 96,
        logit_temperature: float = 1.0,
        test_time_mirror: bool = True,
        face_crop: dict | None = None,
        heads: Sequence[str] = FIRST_HEADS,
        **kwargs,
    ):
        if not 1 <= members <= MOST_MEMBERS:
            raise ValueError(f"A model has 1 to {MOST_MEMBERS} members; {members} were given.")
        self.families = list(families or [CONV_TRANSFORMER] * members)
        if len(self.families) != members or not set(self.families) <= set(FAMILIES):
            raise ValueError(f"{members} members need as many families of {', '.join(FAMILIES)}, not {self.families}.")
        if member_weights is not None and (len(member_weights) != members or min(member_weights) < 0):
            raise ValueError(f"{members} members need as many weights of 0 or more, not {member_weights}.")
        self.backbones = backbones or {}
        self.member_weights = None if member_weights is None else list(member_weights)
        self.heads = [name for name in HEADS if name in heads or name == "affect"]
        self.image_size = image_size
        self.stem_width = stem_width
        self.widths = list(widths)
        self.blocks_per_stage = blocks_per_stage
        self.transformer_layers = transformer_layers
        self.attention_heads = attention_heads
        self.members = members
        self.geometry_size = geometry_size
        self.geometry_width = geometry_width
        self.logit_temperature = logit_temperature
        self.test_time_mirror = test_time_mirror
        self.face_crop = face_crop or {"size": image_size, "margin": 0.15}
        kwargs.setdefault("id2label", dict(enumerate(AFFECTS)))
        kwargs.setdefault("label2id", {name: i for i, name in enumerate(AFFECTS)})
        super().__init__(**kwargs)


@dataclass
class InfantFaceOutput(ModelOutput):
    """The outputs for B faces. Every head gives logits, except valence (-2..2) and arousal (0..2).

    logits (B, 3) is the fusion, in the order of AFFECTS; image_logits and geometry_logits (B, 3) are its two summands.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor = None  # type: ignore[assignment]  # always set; a ModelOutput needs defaults
    emotion_logits: torch.Tensor | None = None  # (B, 7), order of EMOTIONS
    valence_arousal: torch.Tensor | None = None  # (B, 2)
    age_logits: torch.Tensor | None = None  # (B, 4), order of AGE_GROUPS
    usable_logit: torch.Tensor | None = None  # (B,)
    eyes_closed_logit: torch.Tensor | None = None  # (B,)
    mouth_covered_logit: torch.Tensor | None = None  # (B,)
    vote_logits: torch.Tensor | None = None  # (B, 8), order of VOTED_EMOTIONS
    action_unit_logits: torch.Tensor | None = None  # (B, 12), order of ACTION_UNITS
    image_logits: torch.Tensor | None = None
    geometry_logits: torch.Tensor | None = None
    features: torch.Tensor | None = None  # (B, D) and
    member_logits: torch.Tensor | None = None  # (B, M, 3): set by classifier.forward_crops, not by forward


class InfantFaceModel(PreTrainedModel):
    """Affect, emotion, valence, arousal, age group and usability of an aligned face."""

    config_class = InfantFaceConfig
    main_input_name = "pixel_values"

    def __init__(self, config: InfantFaceConfig):
        super().__init__(config)
        self.readers = nn.ModuleList(ImageReader(config, family) for family in config.families)
        self.geometry = GeometryStream(config) if config.geometry_size else None
        self.post_init()

    @property
    def image_readers(self) -> list[ImageReader]:
        """Return the members, as what they are."""
        return cast("list[ImageReader]", list(self.readers))

    def _init_weights(self, module: nn.Module) -> None:
        """Keep torch's own initialization; the model is trained from scratch."""

    @property
    def takes_geometry(self) -> bool:
        """Return whether `forward` has a use for models.geometry's features."""
        return self.geometry is not None

    def heads_without_weights(self, missing: Collection[str]) -> list[str]:
        """Return the names of the optional heads among whose weights some are `missing` (names in the state dict)."""
        return [
            name
            for name in self.config.heads
            if name != "affect" and any(weight.split(".")[2:3] == [name] for weight in missing)
        ]

    def add_head(self, name: str) -> None:
        """Give every member a new head of HEADS with random weights."""
        self.config.heads = [each for each in HEADS if each in self.config.heads or each == name]
        for reader in self.image_readers:
            setattr(reader, name, nn.Linear(reader.image.width, HEADS[name][1]))

    def remove_heads(self, names: Collection[str]) -> None:
        """Leave out optional heads; their outputs are None from now on."""
        self.config.heads = [name for name in self.config.heads if name not in names]
        for reader in self.readers:
            for name in names:
                delattr(reader, name)

    def forward(
        self,
        pixel_values: torch.Tensor,
        geometry: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        found: torch.Tensor | None = None,
        **_,
    ) -> InfantFaceOutput:
        """Return every head's output for B crops, (B, 3, S, S) in -1..1; `geometry` (B, G) or None for the image alone.

        Where the (B,) bool `found` is False the geometry does not count. `labels` are class indices (B,) or
        distributions (B, 3); with them the loss is the cross-entropy of the fusion.
        """
        read = [reader(pixel_values) for reader in self.readers]
        answers = {name: self._mean([answer[name] for answer in read]) for name in read[0]}
        geometry_logits = self.geometry(geometry) if self.geometry is not None and geometry is not None else None
        if geometry_logits is not None and found is not None:
            geometry_logits = geometry_logits * found[:, None]
        image_logits = answers["image_logits"]
        logits = image_logits if geometry_logits is None else image_logits + geometry_logits
        return InfantFaceOutput(
            loss=None if labels is None else F.cross_entropy(logits.float(), labels),
            logits=logits,
            geometry_logits=geometry_logits,
            **answers,
        )

    def _mean(self, outputs: list[torch.Tensor]) -> torch.Tensor:
        """Return the members' (weighted) mean output, (B, ...)."""
        stacked = torch.stack(outputs)
        if self.config.member_weights is None:
            return stacked.mean(0)
        weights = torch.tensor(self.config.member_weights, dtype=stacked.dtype, device=stacked.device)
        return torch.tensordot(weights / weights.sum(), stacked, dims=1)


def joined(models: Sequence[InfantFaceModel]) -> InfantFaceModel:
    """Return one model whose members are those of all `models`; the geometry stream is new.

    Families count alike, however many members each has. A head that not all models have is left out.
    """
    configs = [model.config for model in models]
    families = [family for config in configs for family in config.families]
    shares = [1 / families.count(family) for family in families]
    config = InfantFaceConfig(
        **{
            **configs[0].to_dict(),
            "members": len(families),
            "families": families,
            "backbones": {name: value for each in configs for name, value in each.backbones.items()},
            "member_weights": None if len(set(shares)) == 1 else shares,
            "heads": [name for name in HEADS if all(name in each.heads for each in configs)],
        }
    )
    whole = InfantFaceModel(config)
    readers = [reader for model in models for reader in model.readers]
    for mine, reader in zip(whole.readers, readers, strict=True):
        kept = mine.state_dict()
        mine.load_state_dict({name: value for name, value in reader.state_dict().items() if name in kept})
    return whole.eval()


def separated(model: InfantFaceModel) -> list[InfantFaceModel]:
    """Return each member as a model by itself, with a new geometry stream; they share no weights with `model`."""
    singles = []
    for family, reader in zip(model.config.families, model.readers, strict=True):
        one = {"members": 1, "families": [family], "member_weights": None}
        single = InfantFaceModel(InfantFaceConfig(**{**model.config.to_dict(), **one}))
        single.readers[0].load_state_dict(reader.state_dict())
        singles.append(single.eval())
    return singles


def luminance_crops(crops: np.ndarray) -> torch.Tensor:
    """Return the (N, S, S) luminance of (N, S, S, 3) uint8 crops: the model sees no colour, so training need not carry it.

    uint8 where no crop has colour; else float32 in 0..255, unrounded, so that the logits are the app's.
    """
    if (crops == crops[..., :1]).all():
        return torch.from_numpy(crops[..., 0].copy())
    return torch.from_numpy(crops @ np.array(LUMINANCE, np.float32))


class ImageReader(nn.Module):
    """An image stream with the config's heads; its outputs are fields of an InfantFaceOutput."""

    def __init__(self, config: InfantFaceConfig, family: str):
        super().__init__()
        self.image = image_stream(family, config)
        for name in config.heads:
            setattr(self, name, nn.Linear(self.image.width, HEADS[name][1]))

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return each head's (B, ...) output for (B, 3, S, S) crops."""
        features = self.image(pixel_values)
        heads = {HEADS[name][0]: getattr(self, name)(features) for name in HEADS if hasattr(self, name)}
        return {name: values.squeeze(-1) if name.endswith("_logit") else values for name, values in heads.items()}


class GeometryStream(nn.Module):
    """A perceptron over geometry features; the features' mean and deviation are part of the weights."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, config: InfantFaceConfig):
        super().__init__()
        self.register_buffer("mean", torch.zeros(config.geometry_size))
        self.register_buffer("deviation", torch.ones(config.geometry_size))
        self.layers = nn.Sequential(
            nn.Linear(config.geometry_size, config.geometry_width),
            nn.GELU(),
            nn.Linear(config.geometry_width, config.geometry_width),
            nn.GELU(),
            nn.Linear(config.geometry_width, len(AFFECTS)),
        )

    def forward(self, geometry: torch.Tensor) -> torch.Tensor:
        """Return (B, 3) affect logits of (B, G) features, which count up to five deviations from their mean."""
        return self.layers(((geometry - self.mean) / self.deviation).clamp(-5, 5))


AutoConfig.register("infant_face", InfantFaceConfig)
AutoModelForImageClassification.register(InfantFaceConfig, InfantFaceModel)
