"""A transformer over the parts of a face: patches of brows, eyes, nose and mouth as tokens (after Galagain 2023), from scratch."""

from __future__ import annotations

from math import inf

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

from infant_fer.alignment import MESH_HEIGHT, TEMPLATE, CropSpec

# Centre and half size (x, y) of each part in the frame of alignment.TEMPLATE, whose unit is the distance from eyes to mouth.
EYES, MOUTH = TEMPLATE[:2].tolist(), TEMPLATE[2].tolist()
PARTS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "right brow": ((EYES[0][0], EYES[0][1] - 0.35), (0.45, 0.25)),
    "left brow": ((EYES[1][0], EYES[1][1] - 0.35), (0.45, 0.25)),
    "right eye": ((EYES[0][0], EYES[0][1]), (0.45, 0.30)),
    "left eye": ((EYES[1][0], EYES[1][1]), (0.45, 0.30)),
    "nose": ((0.0, 0.05), (0.40, 0.35)),
    "mouth": ((MOUTH[0], MOUTH[1]), (0.65, 0.40)),
}
PATCH = 24  # px, to which every part is sampled
DROPOUT = 0.1
FILTER_GRID = 12  # side of the map that a filter's token sees


class PartTokensConfig(PreTrainedConfig):
    """`filters` are learned convolution filters, each a token of its own beside the parts; 0 leaves the parts alone.

    `enlarged` is the factor on the sides of the patches; 1 is the plain part. Both are what Galagain compared.
    """

    model_type = "part_tokens"

    image_size: int = 96
    hidden_size: int = 128
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    filters: int = 8
    enlarged: float = 1.3
    face_crop: dict | None = None

    def __post_init__(self, **kwargs) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"{self.hidden_size} features cannot be shared by {self.num_attention_heads} heads.")
        if self.filters < 0 or not 0 < self.enlarged < inf:
            raise ValueError(
                f"filters must be at least 0 and enlarged above 0; {self.filters}, {self.enlarged} were given."
            )
        super().__post_init__(**kwargs)


class PartTokensModel(PreTrainedModel):
    """Classify an aligned face by its parts. The patches lie where the crop's template puts them, so no landmark is needed."""

    config_class = PartTokensConfig
    main_input_name = "pixel_values"
    off_grid = ("blocks",)  # sequences of parts and filters: explain.layers

    def __init__(self, config: PartTokensConfig):
        super().__init__(config)
        width = config.hidden_size
        self.patch = nn.Linear(3 * PATCH**2, width)
        if config.filters:
            self.convolutions = nn.Sequential(
                nn.Conv2d(3, 16, 7, stride=2, padding=3), nn.GELU(), nn.Conv2d(16, config.filters, 5, stride=2, padding=2),
                nn.GELU(), nn.AdaptiveAvgPool2d(FILTER_GRID),
            )  # fmt: skip
            self.filter = nn.Linear(FILTER_GRID**2, width)
        self.start = nn.Parameter(torch.zeros(1, 1, width))
        self.which = nn.Parameter(torch.randn(1, len(PARTS) + config.filters, width) * 0.02)
        self.blocks = nn.ModuleList(_Block(width, config.num_attention_heads) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave torch's initialization as it is."""

    def forward(self, pixel_values: torch.Tensor, **_) -> ImageClassifierOutput:
        """Return (B, C) logits for (B, 3, S, S) normalized crops."""
        return ImageClassifierOutput(logits=self.classifier(self._encoded(pixel_values)[0]))

    @torch.no_grad()
    def part_attention(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return for each part, and for "filters" together, the (B,) share of the attention that the answer's token pays.

        The mean over heads and layers, without what the token pays to itself; the shares sum to 1. That of the filters is 0
        where there are none.
        """
        _, weights = self._encoded(pixel_values)
        paid = torch.stack(weights).mean(0)[:, 0, 1:]  # (B, P + F)
        paid = paid / paid.sum(1, keepdim=True)
        shares = dict(zip(PARTS, paid[:, : len(PARTS)].unbind(1), strict=True))
        return shares | {"filters": paid[:, len(PARTS) :].sum(1)}

    def part_attention_map(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return (B, S, S): each pixel of the crops has the attention of its part, the larger where two patches overlap.

        Outside all patches it is 0; the filters, which see the whole crop, are left out.
        """
        side, shares = pixel_values.shape[-1], self.part_attention(pixel_values)
        places = (torch.arange(side, device=pixel_values.device) + 0.5) / side
        found = torch.zeros(len(pixel_values), side, side, device=pixel_values.device)
        for name, (x, y, half_x, half_y) in part_boxes(self.config).items():
            inside = ((places - y).abs() <= half_y)[:, None] & ((places - x).abs() <= half_x)[None, :]
            found = torch.maximum(found, shares[name][:, None, None] * inside)
        return found

    def _encoded(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return (B, W) features and each layer's (B, T, T) attention, averaged over heads."""
        count = len(pixel_values)
        seen = self.patch(part_patches(pixel_values, self.config).flatten(2))
        if self.config.filters:
            seen = torch.cat([seen, self.filter(self.convolutions(pixel_values).flatten(2))], 1)
        tokens = torch.cat([self.start.expand(count, -1, -1), seen + self.which], 1)
        weights = []
        for block in self.blocks:
            tokens, attention = block(tokens)
            weights.append(attention)
        return self.norm(tokens[:, 0]), weights


class _Block(nn.Module):
    """A transformer layer, normalized before (Xiong et al. 2020)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout=DROPOUT, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (B, T, W) tokens and the (B, T, T) attention, averaged over heads."""
        inner = self.before(tokens)
        mixed, attention = self.attention(inner, inner, inner, need_weights=True)
        tokens = tokens + mixed
        return tokens + self.mlp(self.between(tokens)), attention


def part_boxes(config: PartTokensConfig) -> dict[str, tuple[float, float, float, float]]:
    """Return each part's centre x, y and half width and height as shares of the crop's side."""
    crop = CropSpec(**config.face_crop) if config.face_crop else CropSpec(config.image_size)
    unit = 1 / (MESH_HEIGHT * (1 + crop.margin))
    return {
        name: (x * unit + 0.5, y * unit + 0.5, half_x * unit * config.enlarged, half_y * unit * config.enlarged)
        for name, ((x, y), (half_x, half_y)) in PARTS.items()
    }


def part_patches(pixel_values: torch.Tensor, config: PartTokensConfig) -> torch.Tensor:
    """Return the (B, P, 3, PATCH, PATCH) patches of (B, 3, S, S) crops; outside the crop its border repeats."""
    count = len(pixel_values)
    rows = [[[2 * w, 0, 2 * x - 1], [0, 2 * h, 2 * y - 1]] for x, y, w, h in part_boxes(config).values()]
    grid = F.affine_grid(pixel_values.new_tensor(rows), [len(PARTS), 3, PATCH, PATCH], align_corners=False)
    crops = pixel_values.repeat_interleave(len(PARTS), 0)
    patches = F.grid_sample(crops, grid.repeat(count, 1, 1, 1), padding_mode="border", align_corners=False)
    return patches.unflatten(0, (count, len(PARTS)))


AutoConfig.register("part_tokens", PartTokensConfig)
AutoModelForImageClassification.register(PartTokensConfig, PartTokensModel)
