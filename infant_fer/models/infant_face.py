"""The project's own architecture: an image stream and a geometry stream, fused late, with several heads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from infant_fer.labels import AFFECTS, AGE_GROUPS, EMOTIONS

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
}
FIRST_HEADS = tuple(HEADS)[:7]  # of checkpoints whose config names none
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601: colour and black-and-white photos are alike to the model


class InfantFaceConfig(PreTrainedConfig):
    """Sizes of the streams; label names, crop and test-time settings travel with it.

    `members` networks of one shape read the image, and their outputs are averaged. `heads` are names of HEADS, "affect"
    among them; a name that this version does not know is left out.
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
        self.readers = nn.ModuleList(ImageReader(config) for _ in range(config.members))
        self.geometry = GeometryStream(config) if config.geometry_size else None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Keep torch's own initialization; the model is trained from scratch."""

    def heads_without_weights(self, missing: Collection[str]) -> list[str]:
        """Return the names of the optional heads among whose weights some are `missing` (names in the state dict)."""
        return [
            name
            for name in self.config.heads
            if name != "affect" and any(weight.split(".")[2:3] == [name] for weight in missing)
        ]

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
        answers = {name: torch.stack([answer[name] for answer in read]).mean(0) for name in read[0]}
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


def joined(models: Sequence[InfantFaceModel]) -> InfantFaceModel:
    """Return one model whose members are those of all `models`, which must be of one shape; the geometry stream is new."""
    first = models[0].config
    config = InfantFaceConfig(**{**first.to_dict(), "members": sum(model.config.members for model in models)})
    whole = InfantFaceModel(config)
    readers = [reader for model in models for reader in model.readers]
    for mine, reader in zip(whole.readers, readers, strict=True):
        mine.load_state_dict(reader.state_dict())
    return whole.eval()


def luminance_crops(crops: np.ndarray) -> torch.Tensor:
    """Return the (N, S, S) luminance of (N, S, S, 3) uint8 crops: the model sees no colour, so training need not carry it.

    uint8 where no crop has colour; else float32 in 0..255, unrounded, so that the logits are the app's.
    """
    if (crops == crops[..., :1]).all():
        return torch.from_numpy(crops[..., 0].copy())
    return torch.from_numpy(crops @ np.array(LUMINANCE, np.float32))


class ImageReader(nn.Module):
    """An image stream with the config's heads; its outputs are fields of an InfantFaceOutput."""

    def __init__(self, config: InfantFaceConfig):
        super().__init__()
        self.image = ImageStream(config)
        for name in config.heads:
            setattr(self, name, nn.Linear(config.widths[-1], HEADS[name][1]))

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return each head's (B, ...) output for (B, 3, S, S) crops."""
        features = self.image(pixel_values)
        heads = {HEADS[name][0]: getattr(self, name)(features) for name in HEADS if hasattr(self, name)}
        return {name: values.squeeze(-1) if name.endswith("_logit") else values for name, values in heads.items()}


class ImageStream(nn.Module):
    """Luminance, convolutional stem, residual stages, transformer layers over the last grid, mean over the grid."""

    luminance: torch.Tensor

    def __init__(self, config: InfantFaceConfig):
        super().__init__()
        self.register_buffer("luminance", torch.tensor(LUMINANCE).view(1, 3, 1, 1))
        self.stem = nn.Sequential(
            nn.Conv2d(1, config.stem_width, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(config.stem_width),
            nn.ReLU(),
        )
        stages, width_in = [], config.stem_width
        for width in config.widths:
            for block in range(config.blocks_per_stage):
                stages.append(ResidualBlock(width_in, width, stride=2 if block == 0 else 1))
                width_in = width
        self.stages = nn.Sequential(*stages)
        grid = config.image_size // 2 ** (1 + len(config.widths))
        self.position = nn.Parameter(torch.zeros(1, grid * grid, width_in))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width_in, config.attention_heads, 2 * width_in, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(config.transformer_layers)
        )
        self.norm = nn.LayerNorm(width_in)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return (B, C) features of (B, 3, S, S) crops."""
        luminance = (pixel_values * self.luminance).sum(1, keepdim=True)
        mean, deviation = luminance.mean((2, 3), keepdim=True), luminance.std((2, 3), keepdim=True)
        maps = self.stages(self.stem((luminance - mean) / (deviation + 0.05)))
        tokens = maps.flatten(2).transpose(1, 2) + self._positions(maps.shape[-1])
        for layer in self.layers:
            tokens = layer(tokens)
        return self.norm(tokens.mean(1))

    def _positions(self, side: int) -> torch.Tensor:
        """Return (1, side², C): one learned position for each cell of the grid, interpolated when crops of another size come."""
        learned = round(self.position.shape[1] ** 0.5)
        if side == learned:
            return self.position
        grid = self.position.transpose(1, 2).unflatten(2, (learned, learned))
        return F.interpolate(grid, size=(side, side), mode="bilinear").flatten(2).transpose(1, 2)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut (He et al. 2016)."""

    def __init__(self, width_in: int, width: int, stride: int):
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(width_in, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or width_in != width:
            self.shortcut = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, C, H / stride, W / stride) for (B, C_in, H, W)."""
        return F.relu(self.shortcut(x) + self.second(self.first(x)))


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
