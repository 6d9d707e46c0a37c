"""Which networks read the picture? The image streams of an InfantFaceModel, each from a crop to one row of features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModel,
    MobileNetV1ForImageClassification,
    MobileNetV2ForImageClassification,
    PreTrainedConfig,
)
from transformers.models.mobilenet_v1.modeling_mobilenet_v1 import MobileNetV1ConvLayer

from infant_fer.errors import CheckpointError

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601: colour and black-and-white photos are alike to the model
NORMALIZATION = ("image_mean", "image_std")  # of a backbone's settings beside its config, by channel
LAST_WIDTH = "last_width"  # also beside it: channels of a MobileNet's last layer, where it is narrower than the others
INPUT_SIDE = "input_side"  # also beside it: px to which a transformer's crops are enlarged
BATCH_NORM_MOMENTUM = 0.05  # of a new batch in the statistics that are kept
KEPT_SHARE_AS_DROPOUT = (MobileNetV1ForImageClassification, MobileNetV2ForImageClassification)


def use_torch_rates(model: nn.Module) -> None:
    """Convert the rates that transformers has taken over from TensorFlow, where they mean the opposite of torch's.

    MobileNet and EfficientNet have a momentum of batch normalization of 0.99 or more, in torch the weight of the newest batch:
    they would keep the statistics of the last one alone. MobileNet-v1 and -v2 have a dropout of 0.999 and 0.8, the share that
    their papers keep: next to nothing would reach the classifier.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None and module.momentum > 0.5:
            module.momentum = BATCH_NORM_MOMENTUM
        if isinstance(module, KEPT_SHARE_AS_DROPOUT) and module.dropout.p > 0.5:
            module.dropout.p = 1 - module.dropout.p


class ConvTransformerStream(nn.Module):
    """Convolutional stem over standardized luminance, residual stages, transformer layers over the last grid, mean over the grid."""

    luminance: torch.Tensor

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        self.width = config.widths[-1]
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


class BackboneStream(nn.Module):
    """A backbone of transformers over the luminance, repeated to three channels and normalized as in its pretraining.

    `settings` are the backbone's config as a dictionary, with "image_mean" and "image_std" of three numbers each.
    """

    model_type: str
    width: int
    luminance: torch.Tensor
    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, settings: dict[str, Any]):
        super().__init__()
        known = {
            name: value for name, value in settings.items() if name not in (*NORMALIZATION, LAST_WIDTH, INPUT_SIDE)
        }
        self.backbone = AutoModel.from_config(AutoConfig.for_model(self.model_type, **known))
        self.register_buffer("luminance", torch.tensor(LUMINANCE).view(1, 3, 1, 1))
        for name, key in zip(("mean", "deviation"), NORMALIZATION, strict=True):
            self.register_buffer(name, torch.tensor(settings[key]).view(1, 3, 1, 1))

    def normalized(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return (B, 3, S, S) input of the backbone for (B, 3, S, S) crops in -1..1."""
        luminance = (pixel_values * self.luminance).sum(1, keepdim=True)
        return ((luminance + 1) / 2 - self.mean) / self.deviation


class MobileNetStream(BackboneStream):
    """MobileNet-v1 (Howard et al. 2017, arXiv 1704.04861); the features are the mean over the last grid."""

    model_type = "mobilenet_v1"

    def __init__(self, settings: dict[str, Any]):
        super().__init__(settings)
        if LAST_WIDTH in settings:
            channels = self.backbone.layer[-1].convolution.in_channels
            layer = MobileNetV1ConvLayer(self.backbone.config, channels, settings[LAST_WIDTH], kernel_size=1)
            self.backbone.layer[-1] = layer
        self.width = self.backbone.layer[-1].convolution.out_channels
        use_torch_rates(self.backbone)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return (B, C) features of (B, 3, S, S) crops."""
        images = self.normalized(pixel_values).contiguous(memory_format=torch.channels_last)
        return self.backbone(images).pooler_output


class Dinov2Stream(BackboneStream):
    """A DINOv2 vision transformer (Oquab et al. 2023, arXiv 2304.07193); features: class token beside the patches' mean.

    Crops are enlarged to whole patches: 96 px become 98, which are 7 × 7 patches of 14 px, or more where the settings
    have an "input_side": 140 px are 10 × 10.
    """

    model_type = "dinov2"

    def __init__(self, settings: dict[str, Any]):
        super().__init__(settings)
        self.patch = self.backbone.config.patch_size
        self.input_side = settings.get(INPUT_SIDE)
        self.width = 2 * self.backbone.config.hidden_size

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return (B, 2C) features of (B, 3, S, S) crops."""
        side = -(-(self.input_side or pixel_values.shape[-1]) // self.patch) * self.patch
        images = F.interpolate(self.normalized(pixel_values), size=(side, side), mode="bilinear", align_corners=False)
        tokens = self.backbone(images).last_hidden_state
        return torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1)


# By family: the streams over a pretrained backbone. The first family, "conv_transformer", is trained from random weights.
BACKBONES: dict[str, type[BackboneStream]] = {"mobilenet": MobileNetStream, "dinov2": Dinov2Stream}
CONV_TRANSFORMER = "conv_transformer"
FAMILIES = (CONV_TRANSFORMER, *BACKBONES)


def image_stream(family: str, config: PreTrainedConfig) -> ConvTransformerStream | BackboneStream:
    """Return a new stream of a family, with `width` features; `config` is the InfantFaceConfig."""
    if family == CONV_TRANSFORMER:
        return ConvTransformerStream(config)
    return BACKBONES[family](config.backbones[family])


def backbone_settings(base: Path, side: int = 96, input_side: int | None = None) -> dict[str, Any]:
    """Return the config of the backbone in a folder of save_pretrained, with its normalization, for crops of `side` px.

    A transformer's crops are first enlarged to `input_side` px, where it is given. Raises CheckpointError where the folder
    holds no such backbone.
    """
    try:
        config = AutoConfig.from_pretrained(base, local_files_only=True).to_diff_dict()
        processor = json.loads((base / "preprocessor_config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{base} holds no pretrained network: {error}") from None
    dropped = ("architectures", "dtype", "id2label", "label2id", "model_type", "transformers_version", "_name_or_path")
    settings = {name: value for name, value in config.items() if name not in dropped}
    patch = settings.get("patch_size", 1)
    settings["image_size"] = -(-(input_side or side) // patch) * patch
    if input_side:
        settings[INPUT_SIDE] = input_side
    return settings | {key: processor[key] for key in NORMALIZATION}


@torch.no_grad()
def load_backbone(stream: BackboneStream, base: Path) -> None:
    """Copy the pretrained weights of a folder into a stream; positions of a transformer are interpolated to its grid.

    Raises CheckpointError where the folder holds another architecture.
    """
    pretrained = AutoModel.from_pretrained(base, dtype=torch.float32, local_files_only=True, use_safetensors=True)
    weights = pretrained.state_dict()
    positions = "embeddings.position_embeddings"
    if positions in weights:
        side, patch = stream.backbone.config.image_size, stream.backbone.config.patch_size
        tokens = torch.empty(1, (side // patch) ** 2 + 1, weights[positions].shape[2])
        weights[positions] = pretrained.embeddings.interpolate_pos_encoding(tokens, side, side)
    try:
        stream.backbone.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{base} is no {stream.model_type}: {str(error).splitlines()[0]}") from None
