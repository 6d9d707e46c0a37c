"""Landmarks that look into the picture: window cross-attention at three scales (after Da Re 2023)."""

from __future__ import annotations

from math import lcm

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

from infant_fer.alignment import MESH_HEIGHT, CropSpec
from infant_fer.face import BLENDSHAPE_COUNT
from infant_fer.models.geometry import POINTS

WINDOWS = (4, 2, 1)  # windows along a side at each scale; all have as many pixels
STRIDES = (4, 8, 16)  # px of the crop for a pixel of each scale's map
CHANNELS = (48, 96, 160)
MOBILENET_TAPS = (5, 9, 21)  # layers of MobileNet-v1 after which the maps have these strides
# Of MobileNet's maps the second is sampled at landmarks, 14 x 14 cells at 112 px: a cell sees 43 px, all of an eye or of the mouth
# where the eyes are 41 px apart, and brow and eye lie in different cells. One of the first, of 28 x 28, sees 19 px: an edge.
LANDMARK_STRIDE, LANDMARK_TAP = STRIDES[1], MOBILENET_TAPS[1]
MOBILENET_SETTINGS = ("depth_multiplier", "min_depth", "hidden_act", "tf_padding", "layer_norm_eps")
DINOV2_SETTINGS = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "mlp_ratio", "patch_size", "image_size",
    "hidden_act", "layer_norm_eps", "layerscale_value", "use_swiglu_ffn", "qkv_bias", "use_mask_token", "num_channels",
)  # fmt: skip
FUSIONS = ("window", "late", "none")


class TwoStreamConfig(PreTrainedConfig):
    """`fusion` says what the landmarks do.

    "window": they query the windows of the picture. "late": learned tokens query them, and a stream of the landmarks by
    itself joins before the classifier. "none": the image stream alone. `mobilenet` has MOBILENET_SETTINGS of a MobileNet-v1
    whose maps are the image stream's, `dinov2` DINOV2_SETTINGS of a DINOv2; without either it is a small convolutional one.
    `landmark_mobilenet` has MOBILENET_SETTINGS of another MobileNet-v1, whose early maps give each landmark features of the
    picture, and three numbers each of "scale" and "shift", by which the crop's channels become what that network takes.
    """

    model_type = "two_stream"

    image_size: int = 96
    hidden_size: int = 96
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    dropout: float = 0.1
    fusion: str = "window"
    mobilenet: dict | None = None
    dinov2: dict | None = None
    landmark_mobilenet: dict | None = None
    face_crop: dict | None = None

    def __post_init__(self, **kwargs) -> None:
        unit = least_side(self.dinov2, self.landmark_mobilenet)
        if self.image_size % unit:
            raise ValueError(f"Crops must be a multiple of {unit} px wide; {self.image_size} were given.")
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion can be {', '.join(FUSIONS)}; {self.fusion!r} was given.")
        if self.landmark_mobilenet and self.fusion == "none":
            raise ValueError("fusion 'none' has no landmarks to read; leave out landmark_mobilenet.")
        super().__post_init__(**kwargs)


class TwoStreamModel(PreTrainedModel):
    """Classify an aligned face by image windows that its landmarks query. Where no landmarks are given, learned tokens query.

    A landmark's query is its place, and with a backbone for landmarks what that saw there.
    """

    config_class = TwoStreamConfig
    main_input_name = "pixel_values"
    # Attention within windows, sequences of several scales' windows or of landmarks, and what is read at landmarks: explain.layers
    off_grid = ("cross", "encoder", "landmarks", "landmark_maps")

    def __init__(self, config: TwoStreamConfig):
        super().__init__(config)
        width, heads = config.hidden_size, config.num_attention_heads
        self.image = _image_stream(config)
        self.narrow = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in self.image.channels)
        self.whole = nn.Linear(self.image.width, width)
        if self.takes_geometry:
            self.point = nn.Sequential(nn.Linear(2, width), nn.GELU(), nn.Linear(width, width))
            self.which = nn.Parameter(torch.randn(len(POINTS), width) * 0.02)
        self.landmark_maps = _LandmarkMaps(config.landmark_mobilenet) if config.landmark_mobilenet else None
        if self.landmark_maps is not None:
            self.seen = nn.Sequential(
                nn.LayerNorm(self.landmark_maps.width), nn.Linear(self.landmark_maps.width, width)
            )
        self.cross = nn.ModuleList(_WindowCrossAttention(width, heads, side, config.dropout) for side in WINDOWS)
        self.start = nn.Parameter(torch.zeros(1, 1, width))
        self.encoder = nn.ModuleList(_layer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(width)
        self.landmarks = nn.Sequential(_layer(config), nn.LayerNorm(width)) if config.fusion == "late" else None
        self.classifier = nn.Linear(2 * width if config.fusion == "late" else width, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave torch's initialization as it is."""

    @property
    def takes_geometry(self) -> bool:
        """Return whether `forward` has a use for models.geometry's features."""
        return self.config.fusion != "none"

    def forward(
        self,
        pixel_values: torch.Tensor,
        geometry: torch.Tensor | None = None,
        found: torch.Tensor | None = None,
        **_,
    ) -> ImageClassifierOutput:
        """Return (B, C) logits for (B, 3, S, S) normalized crops and (B, G) float32 `geometry` of models.geometry.

        S is the config's `image_size`; other crops raise ValueError. Of `geometry` only the landmarks are used; rows
        whose (B,) bool `found` is False go without.
        """
        side = self.config.image_size
        if tuple(pixel_values.shape[-2:]) != (side, side):
            raise ValueError(f"Crops must be {side} x {side} px; {tuple(pixel_values.shape[-2:])} were given.")
        points = tokens = None
        if geometry is not None and self.takes_geometry:
            points = self._points(geometry)
            tokens = self.point(points - 0.5) + self.which
            if self.landmark_maps is not None:
                tokens = tokens + self.seen(self.landmark_maps(pixel_values, points))
        queries = tokens if self.config.fusion == "window" else None
        if queries is not None and found is not None:
            queries = queries * found.view(-1, 1, 1)
        maps, whole = self.image(pixel_values)
        queried = [
            cross(narrow(each), queries, points)
            for each, narrow, cross in zip(maps, self.narrow, self.cross, strict=True)
        ]
        sequence = torch.cat([self.start.expand(len(pixel_values), -1, -1), self.whole(whole)[:, None], *queried], 1)
        for layer in self.encoder:
            sequence = layer(sequence)
        features = self.norm(sequence[:, 0])
        if self.landmarks is not None:
            features = torch.cat([features, self._landmark_features(tokens, found, features)], 1)
        return ImageClassifierOutput(logits=self.classifier(features))

    def _landmark_features(
        self, tokens: torch.Tensor | None, found: torch.Tensor | None, like: torch.Tensor
    ) -> torch.Tensor:
        """Return the (B, W) features of the landmark stream, zeros where there are no landmarks."""
        if tokens is None or self.landmarks is None:
            return torch.zeros_like(like)
        features = self.landmarks(tokens).mean(1)
        return features if found is None else features * found.view(-1, 1)

    def load_backbone(self, weights: dict[str, torch.Tensor]) -> None:
        """Give the image stream the weights of a MobileNetV1Model or Dinov2Model. Raises RuntimeError if they do not fit."""
        self.image.get_submodule("backbone").load_state_dict(weights)

    def load_landmark_backbone(self, weights: dict[str, torch.Tensor]) -> None:
        """Give the layers that landmarks are read from the weights of a MobileNetV1Model, whose deeper layers are left out.

        Raises RuntimeError if they do not fit.
        """
        backbone = self.get_submodule("landmark_maps.backbone")
        kept = backbone.state_dict()
        backbone.load_state_dict({name: values for name, values in weights.items() if name in kept})

    def _points(self, geometry: torch.Tensor) -> torch.Tensor:
        """Return the (B, P, 2) landmarks as shares of the crop's side."""
        crop = CropSpec(**self.config.face_crop) if self.config.face_crop else CropSpec(self.config.image_size)
        flat = geometry[:, BLENDSHAPE_COUNT : BLENDSHAPE_COUNT + 2 * len(POINTS)]
        return flat.unflatten(1, (len(POINTS), 2)) / (MESH_HEIGHT * (1 + crop.margin)) + 0.5


class _WindowCrossAttention(nn.Module):
    """In each window the mean token of the landmarks inside queries the window's pixels."""

    def __init__(self, width: int, heads: int, side: int, dropout: float):
        super().__init__()
        self.side = side
        self.window = nn.Parameter(torch.randn(side * side, width) * 0.02)
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, maps: torch.Tensor, tokens: torch.Tensor | None, points: torch.Tensor | None) -> torch.Tensor:
        """Return (B, side², W) tokens for (B, W, G, G) maps, (B, P, W) landmark tokens and (B, P, 2) places in 0..1."""
        count, width = maps.shape[:2]
        step = maps.shape[2] // self.side
        pixels = maps.unfold(2, step, step).unfold(3, step, step)  # (B, W, side, side, step, step)
        pixels = pixels.permute(0, 2, 3, 4, 5, 1).reshape(count * self.side**2, step * step, width)
        query = self.window.expand(count, -1, -1)
        if tokens is not None and points is not None:
            query = query + window_means(tokens, points, self.side)
        flat = self.before(query).reshape(-1, 1, width)
        seen, _ = self.attention(flat, pixels, pixels, need_weights=False)
        query = query + seen.reshape(count, -1, width)
        return query + self.mlp(self.between(query))


def window_means(tokens: torch.Tensor, points: torch.Tensor, side: int) -> torch.Tensor:
    """Return (B, side², W): in each window the mean of the (B, P, W) tokens whose (B, P, 2) x, y in 0..1 lie in it, else 0."""
    cell = (points * side).floor().clamp(0, side - 1).long()
    inside = nn.functional.one_hot(cell[..., 1] * side + cell[..., 0], side * side).to(tokens.dtype)  # (B, P, side²)
    return inside.transpose(1, 2) @ tokens / inside.sum(1).clamp_min(1)[..., None]


class _ConvolutionalMaps(nn.Module):
    """A small convolutional stem, whose maps have STRIDES."""

    channels = CHANNELS
    width = CHANNELS[-1]

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            _stage(before, after, halvings)
            for before, after, halvings in zip((3, *CHANNELS), CHANNELS, (2, 1, 1), strict=False)
        )

    def forward(self, pixel_values: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return the maps of each scale, and the (B, C) mean over the last one, for (B, 3, S, S)."""
        maps, current = [], pixel_values
        for stage in self.stages:
            current = stage(current)
            maps.append(current)
        return maps, current.mean((2, 3))


class _MobileNetMaps(nn.Module):
    """MobileNet-v1 (Howard et al. 2017, arXiv 1704.04861): its maps of STRIDES, and the mean over its last grid."""

    def __init__(self, settings: dict):
        super().__init__()
        self.backbone = _backbone("mobilenet_v1", settings, MOBILENET_SETTINGS)
        self.channels = [self.backbone.layer[index].convolution.out_channels for index in MOBILENET_TAPS]
        self.width = self.backbone.layer[-1].convolution.out_channels

    def forward(self, pixel_values: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return what _ConvolutionalMaps does."""
        maps, current = [], self.backbone.conv_stem(pixel_values)
        for index, layer in enumerate(self.backbone.layer):
            current = layer(current)
            if index in MOBILENET_TAPS:
                maps.append(current)
        return maps, current.mean((2, 3))


class _LandmarkMaps(nn.Module):
    """The first layers of a MobileNet-v1 of its own, whose map is sampled at landmarks."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, settings: dict):
        super().__init__()
        self.backbone = _backbone("mobilenet_v1", settings, MOBILENET_SETTINGS)
        self.backbone.layer = self.backbone.layer[: LANDMARK_TAP + 1]
        self.width = self.backbone.layer[-1].convolution.out_channels
        for name in ("scale", "shift"):
            self.register_buffer(name, torch.tensor(settings[name]).view(1, 3, 1, 1))

    def forward(self, pixel_values: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Return the (B, P, C) features at (B, P, 2) x, y in 0..1 of (B, 3, S, S) crops as the image stream takes them."""
        current = self.backbone.conv_stem(pixel_values * self.scale + self.shift)
        for layer in self.backbone.layer:
            current = layer(current)
        # TensorFlow pads at the far side alone, so that each halving moves the centre of a cell by half its stride.
        first_px = LANDMARK_STRIDE - 1 if self.backbone.config.tf_padding else 0
        cells = (points * pixel_values.shape[-1] - first_px) / LANDMARK_STRIDE
        return sampled(current, cells)


def sampled(maps: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """Return the (B, P, C) values of (B, C, G, G) maps at (B, P, 2) x, y, bilinear; 0 is the centre of the first cell.

    Beyond the centres of the outermost cells they are those of the border.
    """
    last = maps.shape[-1] - 1
    places = cells.clamp(0, last) * (2 / max(last, 1)) - 1
    values = F.grid_sample(maps.to(places.dtype), places[:, :, None], align_corners=True)  # (B, C, P, 1)
    return values[..., 0].transpose(1, 2)


class _Dinov2Maps(nn.Module):
    """DINOv2 (Oquab et al. 2023, arXiv 2304.07193): the last patch tokens at every scale, and the class token."""

    def __init__(self, settings: dict):
        super().__init__()
        self.backbone = _backbone("dinov2", settings, DINOV2_SETTINGS)
        self.width = self.backbone.config.hidden_size
        self.channels = [self.width] * len(WINDOWS)

    def forward(self, pixel_values: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return what _ConvolutionalMaps does; the maps are one grid of patches."""
        side = pixel_values.shape[-1] // self.backbone.config.patch_size
        tokens = self.backbone(pixel_values).last_hidden_state
        grid = tokens[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        return [grid] * len(WINDOWS), tokens[:, 0]


def least_side(dinov2: dict | None, landmark_mobilenet: dict | None = None) -> int:
    """Return of how many px a crop's side must be a multiple, so that windows and the landmarks' map have whole cells."""
    side = WINDOWS[0] * dinov2["patch_size"] if dinov2 else STRIDES[-1]
    return lcm(side, LANDMARK_STRIDE) if landmark_mobilenet else side


def _image_stream(config: TwoStreamConfig) -> _Dinov2Maps | _MobileNetMaps | _ConvolutionalMaps:
    if config.dinov2:
        return _Dinov2Maps(config.dinov2)
    return _MobileNetMaps(config.mobilenet) if config.mobilenet else _ConvolutionalMaps()


def _backbone(model_type: str, settings: dict, names: tuple[str, ...]) -> PreTrainedModel:
    known = {name: value for name, value in settings.items() if name in names}
    return AutoModel.from_config(AutoConfig.for_model(model_type, **known))


def _layer(config: TwoStreamConfig) -> nn.TransformerEncoderLayer:
    width, heads = config.hidden_size, config.num_attention_heads
    return nn.TransformerEncoderLayer(
        width, heads, 2 * width, config.dropout, "gelu", batch_first=True, norm_first=True
    )


def _stage(before: int, after: int, halvings: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(halvings):
        layers += [
            nn.Conv2d(before if index == 0 else after, after, 3, 2, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.GELU(),
        ]
    return nn.Sequential(*layers, nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after), nn.GELU())


AutoConfig.register("two_stream", TwoStreamConfig)
AutoModelForImageClassification.register(TwoStreamConfig, TwoStreamModel)
