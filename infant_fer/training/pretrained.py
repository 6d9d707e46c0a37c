"""What does training start from? A checkpoint of any image classifier with a new head, or random weights of a known shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from transformers.utils import is_timm_available

from infant_fer.alignment import CropSpec
from infant_fer.checkpoints.loading import LoadedCheckpoint, copy_shared_weights, load_checkpoint, require_timm
from infant_fer.checkpoints.sources import local_path
from infant_fer.classifier import model_inputs
from infant_fer.errors import CheckpointError
from infant_fer.models.ensemble import EnsembleModel
from infant_fer.models.image_streams import use_torch_rates
from infant_fer.models.infant_face import InfantFaceModel
from infant_fer.models.part_tokens import PartTokensConfig
from infant_fer.models.two_stream import (
    DINOV2_SETTINGS,
    MOBILENET_SETTINGS,
    TwoStreamConfig,
    TwoStreamModel,
    least_side,
)
from infant_fer.training.batches import normalised

RANDOM = "random:"
TIMM = "timm:"  # a checkpoint of timm's on the Hub, such as timm:resnet18.a1_in1k
_VIT = {"image_size": 224, "patch_size": 16}
_TINY = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768}
_SMALL = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536}
_SMALL_14 = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6}
_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_B0 = {"width_coefficient": 1.0, "depth_coefficient": 1.0}
_RESNET18 = {"embedding_size": 64, "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"}
# Published sizes: Dosovitskiy et al. 2021, Touvron et al. 2021, Oquab et al. 2023, Liu et al. 2021, He et al. 2016, Sandler et al.
# 2018, Tan and Le 2019, Liu et al. 2022.
SHAPES: dict[str, Callable] = {
    "vit-tiny": lambda: hf.ViTConfig(**_VIT, **_TINY),
    "vit-small": lambda: hf.ViTConfig(**_VIT, **_SMALL),
    "vit-base": lambda: hf.ViTConfig(**_VIT),
    "vit-large": lambda: hf.ViTConfig(**_VIT, **_LARGE),
    "dinov2-small": lambda: hf.Dinov2Config(image_size=224, patch_size=14, **_SMALL_14),
    "swin-tiny": lambda: hf.SwinConfig(),
    "resnet18": lambda: hf.ResNetConfig(**_RESNET18),
    "mobilenet-v2": lambda: hf.MobileNetV2Config(),
    "efficientnet-b0": lambda: hf.EfficientNetConfig(image_size=224, hidden_dim=1280, dropout_rate=0.2, **_B0),
    "convnext-tiny": lambda: hf.ConvNextConfig(),
    "part-tokens": PartTokensConfig,
    "two-stream": TwoStreamConfig,
    "late-fusion": lambda: TwoStreamConfig(fusion="late"),
    "image-stream": lambda: TwoStreamConfig(fusion="none"),
}
# Shapes whose image stream can be a trained network, such as two-stream:FOLDER, and by model type the settings to keep of it.
# After PAIR a second one may follow, from which landmarks get their features.
OVER_BACKBONE = {"two-stream": "window", "late-fusion": "late", "image-stream": "none"}
PAIR = "+"
BACKBONES = {"mobilenet_v1": "MobileNet-v1", "dinov2": "DINOv2"}
BACKBONE_SETTINGS = {"mobilenet_v1": ("mobilenet", MOBILENET_SETTINGS), "dinov2": ("dinov2", DINOV2_SETTINGS)}


@dataclass(frozen=True, eq=False)
class PretrainedModel:
    """A model ready to be trained on `labels`, with the processor that normalises its (S, S) crops."""

    model: hf.PreTrainedModel
    processor: hf.BaseImageProcessor
    crop: CropSpec
    name: str
    fresh: tuple[str, ...]  # names of the weights that are new and random
    left_out: tuple[str, ...] = ()  # streams and heads of the project's own model that the training would not move

    @property
    def whole(self) -> bool:
        """Whether every weight was trained before, the head's too."""
        return not self.fresh

    def __str__(self) -> str:
        if self.whole:
            without = f" but those of {', '.join(self.left_out)}" if self.left_out else ""
            return f"{self.name}, every weight kept{without}"
        if len(self.fresh) == len(self.model.state_dict()):
            return self.name  # random:SHAPE says so itself
        return f"{self.name}, {len(self.fresh)} new weights: {', '.join(self.fresh[:4])}" + " ..." * (
            len(self.fresh) > 4
        )


def load_pretrained(
    source: str | Path,
    labels: Sequence[str],
    size: int | None = None,
    architecture: Sequence[tuple[str, float]] = (),
) -> PretrainedModel:
    """Load a folder, a Hub id, "timm:NAME", "random:SHAPE" or "two-stream:FOLDER", with a head for `labels`. Raises CheckpointError.

    A shape is one of SHAPES or a network of timm. timm:NAME is timm's checkpoint of that name on the Hub. two-stream:FOLDER,
    late-fusion:FOLDER and image-stream:FOLDER (or a Hub id) are two streams over the MobileNet-v1 or DINOv2 of that folder;
    two-stream:FOLDER+OTHER and late-fusion:FOLDER+OTHER read the landmarks from the MobileNet-v1 of another.

    The head is kept when its classes are the same ones in the same order. `size` in px and `architecture`, names and values of
    the shape's config, are for random weights only; weights that were trained keep theirs. Of the project's own model the image
    stream and the head of the affects are taken, for its own classes only: its other heads are of features that change.
    """
    if str(source).startswith(RANDOM):
        return _random(str(source).removeprefix(RANDOM), labels, size, architecture)
    shape, colon, folder = str(source).partition(":")
    if colon and shape in OVER_BACKBONE:
        return _over_backbone(shape, folder, labels)
    if str(source).startswith(TIMM):
        source = f"timm/{str(source).removeprefix(TIMM)}"
    checkpoint = load_checkpoint(source, new_labels=labels)
    _check_preprocessing(checkpoint)
    model, fresh, same = checkpoint.model, list(checkpoint.fresh), checkpoint.labels == tuple(labels)
    left_out: tuple[str, ...] = ()
    if isinstance(model, InfantFaceModel):
        if not same:
            raise CheckpointError(
                f"{checkpoint.name} can be trained on {', '.join(checkpoint.labels)} only, not on {', '.join(labels)}."
            )
        left_out = _keep_affect_alone(model)
        fresh = [name for name in fresh if name in model.state_dict()]
    if not same and not fresh:
        fresh = _renew_heads(model)
    use_torch_rates(model)
    model.config.face_crop = asdict(checkpoint.crop)
    return PretrainedModel(model, checkpoint.processor, checkpoint.crop, checkpoint.name, tuple(fresh), left_out)


def _keep_affect_alone(model: InfantFaceModel) -> tuple[str, ...]:
    """Leave out what the Trainer does not train, the geometry stream and the heads beside the affect; return their names."""
    heads = tuple(name for name in model.config.heads if name != "affect")
    geometry = ("geometry",) if model.takes_geometry else ()
    model.geometry, model.config.geometry_size = None, 0
    model.remove_heads(heads)
    return (*geometry, *heads)


def _over_backbone(shape: str, source: str, labels: Sequence[str]) -> PretrainedModel:
    """Return random two streams over the trained network of a folder, or of FOLDER+OTHER. Raises CheckpointError."""
    image_source, landmark_source = _backbone_sources(source)
    if landmark_source is not None and OVER_BACKBONE[shape] == "none":
        raise CheckpointError(f"{shape}: reads no landmarks; leave out {PAIR}{landmark_source}.")
    image = _trained_backbone(f"{shape}: takes", image_source, labels, tuple(BACKBONES))
    key, names = BACKBONE_SETTINGS[image.model.config.model_type]
    settings = {key: {name: getattr(image.model.config, name) for name in names}}
    landmarks = None
    if landmark_source is not None:
        landmarks = _trained_backbone(f"{shape}: reads landmarks from", landmark_source, labels, ("mobilenet_v1",))
        own = {name: getattr(landmarks.model.config, name) for name in MOBILENET_SETTINGS}
        settings["landmark_mobilenet"] = own | _pixel_conversion(image.processor, landmarks.processor)
    unit = least_side(settings.get("dinov2"), settings.get("landmark_mobilenet"))
    if image.crop.size % unit:
        raise CheckpointError(
            f"{shape}: needs crops of a multiple of {unit} px; {image.name} has {image.crop.size} px."
        )
    config = TwoStreamConfig(
        image_size=image.crop.size,
        fusion=OVER_BACKBONE[shape],
        face_crop=asdict(image.crop),
        id2label=dict(enumerate(labels)),
        label2id={name: index for index, name in enumerate(labels)},
        **settings,
    )
    model = TwoStreamModel(config)
    _take_weights(shape, image, model.load_backbone)
    if landmarks is not None:
        _take_weights(shape, landmarks, model.load_landmark_backbone)
    use_torch_rates(model)
    fresh = tuple(name for name in model.state_dict() if not name.startswith(("image.backbone.", "landmark_maps.")))
    name = f"{shape} over {image.name}" + (f" and {landmarks.name}" if landmarks else "")
    return PretrainedModel(model, image.processor, image.crop, name, fresh)


def _backbone_sources(source: str) -> tuple[str, str | None]:
    """Return the sources of the image stream and of the landmarks' backbone, None where there is none."""
    if local_path(source).is_dir():  # its own name may have a plus
        return source, None
    image, plus, landmarks = source.partition(PAIR)
    return image, landmarks if plus else None


def _trained_backbone(what: str, source: str, labels: Sequence[str], kinds: Sequence[str]) -> LoadedCheckpoint:
    """Load a trained network of one of these model types; `what` begins the sentence that refuses another. Raises CheckpointError."""
    checkpoint = load_checkpoint(source, new_labels=labels)
    _check_preprocessing(checkpoint)
    model_type = checkpoint.model.config.model_type
    if model_type not in kinds:
        named = " or ".join(BACKBONES[kind] for kind in kinds)
        raise CheckpointError(f"{what} a {named}; {checkpoint.name} is a {model_type}.")
    return checkpoint


def _take_weights(shape: str, trained: LoadedCheckpoint, load: Callable[[dict[str, torch.Tensor]], None]) -> None:
    try:
        load(trained.model.base_model.state_dict())
    except RuntimeError as error:  # a variant of the architecture that its settings do not tell
        raise CheckpointError(f"{shape}: the layers of {trained.name} are not those of its architecture.") from error


def _pixel_conversion(source: hf.BaseImageProcessor, target: hf.BaseImageProcessor) -> dict[str, list[float]]:
    """Return "scale" and "shift" by channel that turn what one processor makes of a pixel into what another makes of it."""
    ends = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    (low, high), (target_low, target_high) = (normalised(ends, each).view(2, 3) for each in (source, target))
    scale = (target_high - target_low) / (high - low)
    return {"scale": scale.tolist(), "shift": (target_low - scale * low).tolist()}


def _random(
    shape: str, labels: Sequence[str], size: int | None, architecture: Sequence[tuple[str, float]]
) -> PretrainedModel:
    config = SHAPES[shape](**dict(architecture)) if shape in SHAPES else _timm_config(shape, size)
    config.id2label = dict(enumerate(labels))
    config.label2id = {name: index for index, name in enumerate(labels)}
    own_size = getattr(config, "image_size", 224) if shape in SHAPES else _timm_size(config)
    crop = CropSpec(own_size if size is None else size)
    if hasattr(config, "image_size"):
        config.image_size = crop.size
    model = _untrained(config, crop, shape)
    copy_shared_weights(model)
    model.config.face_crop = asdict(crop)
    use_torch_rates(model)
    processor = hf.ViTImageProcessorPil(size={"height": crop.size, "width": crop.size})
    settings = f" ({', '.join(f'{name}={value:g}' for name, value in architecture)})" if architecture else ""
    return PretrainedModel(model, processor, crop, f"{shape}{settings} with random weights", tuple(model.state_dict()))


def _untrained(config: hf.PreTrainedConfig, crop: CropSpec, shape: str) -> hf.PreTrainedModel:
    """Return a network with random weights that answers on such crops. Raises CheckpointError where it cannot."""
    try:
        type(config).from_dict(config.to_dict())  # checked as when the finished checkpoint is loaded
        model = hf.AutoModelForImageClassification.from_config(config).eval()
        with torch.inference_mode():
            model(torch.zeros(1, 3, crop.size, crop.size))
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{shape} cannot take crops of {crop.size} px ({reason}). Give another --size."
        ) from error
    return model.train()


def _timm_config(name: str, size: int | None) -> hf.TimmWrapperConfig:
    """Return the config of a network of timm, for crops of `size` px or of its own size. Raises CheckpointError."""
    if not is_timm_available():
        raise CheckpointError(
            f"There is no shape {name!r} for random weights; there are {', '.join(SHAPES)}, and after pip install timm its networks."
        )
    require_timm(name)
    import timm

    if not timm.is_model(name):
        raise CheckpointError(f"Neither {', '.join(SHAPES)} nor timm has a network {name!r}.")
    own = timm.get_pretrained_cfg(name)
    if own is None or not own.fixed_input_size:
        return hf.TimmWrapperConfig(architecture=name)
    return hf.TimmWrapperConfig(architecture=name, model_args={"img_size": size or own.input_size[-1]})


def _timm_size(config: hf.TimmWrapperConfig) -> int:
    return (config.model_args or {}).get("img_size", 224)


def _check_preprocessing(checkpoint: LoadedCheckpoint) -> None:
    """Refuse a processor that does more to a crop than training repeats, such as to swap its channels.

    Raises CheckpointError.
    """
    crop = np.random.default_rng(0).integers(0, 256, (1, checkpoint.crop.size, checkpoint.crop.size, 3), np.uint8)
    in_training = normalised(torch.from_numpy(crop).permute(0, 3, 1, 2).float() / 255, checkpoint.processor)
    if not torch.allclose(in_training, model_inputs(checkpoint.processor, crop), rtol=1e-4, atol=1e-4):
        raise CheckpointError(
            f"The image processor of {checkpoint.name} does more than to scale and normalize ({type(checkpoint.processor).__name__}); "
            "it cannot be trained here. Choose another base."
        )


def _renew_heads(model: hf.PreTrainedModel) -> list[str]:
    """Draw anew the last linear layer of the model, or of each member of an ensemble, and return their names.

    For a head that fits in size but has other classes, or the same ones in another order.
    """
    prefixes = (
        [f"members.{index}." for index in range(len(model.members))] if isinstance(model, EnsembleModel) else [""]
    )
    layers = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    heads = [[name for name in layers if name.startswith(prefix)][-1] for prefix in prefixes]
    for name in heads:
        layers[name].reset_parameters()
    return heads
