"""What does training start from? A checkpoint of any image classifier with a new head, or random weights of a known shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import transformers as hf

from infant_fer.alignment import CropSpec
from infant_fer.checkpoints.loading import LoadedCheckpoint, load_checkpoint
from infant_fer.classifier import model_inputs
from infant_fer.errors import CheckpointError
from infant_fer.models.ensemble import EnsembleModel
from infant_fer.models.infant_face import InfantFaceModel
from infant_fer.models.part_tokens import PartTokensConfig
from infant_fer.models.two_stream import TwoStreamConfig
from infant_fer.training.batches import normalised

RANDOM = "random:"
_VIT = {"image_size": 224, "patch_size": 16}
_TINY = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768}
_SMALL = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536}
_RESNET18 = {"embedding_size": 64, "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"}
# Published sizes: Dosovitskiy et al. 2021, Touvron et al. 2021, He et al. 2016, Sandler et al. 2018, Liu et al. 2022.
SHAPES: dict[str, Callable] = {
    "vit-tiny": lambda: hf.ViTConfig(**_VIT, **_TINY),
    "vit-small": lambda: hf.ViTConfig(**_VIT, **_SMALL),
    "vit-base": lambda: hf.ViTConfig(**_VIT),
    "resnet18": lambda: hf.ResNetConfig(**_RESNET18),
    "mobilenet-v2": lambda: hf.MobileNetV2Config(),
    "convnext-tiny": lambda: hf.ConvNextConfig(),
    "part-tokens": PartTokensConfig,
    "two-stream": TwoStreamConfig,
    "image-stream": lambda: TwoStreamConfig(landmarks=False),
}


@dataclass(frozen=True, eq=False)
class PretrainedModel:
    """A model ready to be trained on `labels`, with the processor that normalises its (S, S) crops."""

    model: hf.PreTrainedModel
    processor: hf.BaseImageProcessor
    crop: CropSpec
    name: str
    fresh: tuple[str, ...]  # names of the weights that are new and random

    @property
    def whole(self) -> bool:
        """Whether every weight was trained before, the head's too."""
        return not self.fresh

    def __str__(self) -> str:
        if self.whole:
            return f"{self.name}, every weight kept"
        if len(self.fresh) == len(self.model.state_dict()):
            return self.name  # random:SHAPE says so itself
        return f"{self.name}, {len(self.fresh)} new weights: {', '.join(self.fresh[:4])}" + " ..." * (
            len(self.fresh) > 4
        )


def load_pretrained(source: str | Path, labels: Sequence[str], size: int | None = None) -> PretrainedModel:
    """Load a folder, a Hub id, or "random:SHAPE" (one of SHAPES), with a head for `labels`. Raises CheckpointError.

    The head is kept when its classes are the same ones in the same order. `size` in px is for random weights only;
    weights that were trained keep theirs. Of the project's own model the image stream is taken, for its own classes only.
    """
    if str(source).startswith(RANDOM):
        return _random(str(source).removeprefix(RANDOM), labels, size)
    checkpoint = load_checkpoint(source, new_labels=labels)
    _check_preprocessing(checkpoint)
    model, fresh, same = checkpoint.model, list(checkpoint.fresh), checkpoint.labels == tuple(labels)
    if isinstance(model, InfantFaceModel):
        if not same:
            raise CheckpointError(
                f"{checkpoint.name} can be trained on {', '.join(checkpoint.labels)} only, not on {', '.join(labels)}."
            )
        model.geometry, model.config.geometry_size = None, 0  # it is fitted by itself, and the Trainer does not feed it
        fresh = [name for name in fresh if not name.startswith("geometry.")]
    if not same and not fresh:
        fresh = _renew_heads(model)
    model.config.face_crop = asdict(checkpoint.crop)
    return PretrainedModel(model, checkpoint.processor, checkpoint.crop, checkpoint.name, tuple(fresh))


def _random(shape: str, labels: Sequence[str], size: int | None) -> PretrainedModel:
    if shape not in SHAPES:
        raise CheckpointError(f"There is no shape {shape!r} for random weights; there are {', '.join(SHAPES)}.")
    config = SHAPES[shape]()
    config.id2label = dict(enumerate(labels))
    config.label2id = {name: index for index, name in enumerate(labels)}
    crop = CropSpec(size or getattr(config, "image_size", 224))  # type: ignore[arg-type]
    if hasattr(config, "image_size"):
        config.image_size = crop.size
    model = hf.AutoModelForImageClassification.from_config(config)
    model.config.face_crop = asdict(crop)
    processor = hf.ViTImageProcessorPil(size={"height": crop.size, "width": crop.size})
    return PretrainedModel(model, processor, crop, f"{shape} with random weights", tuple(model.state_dict()))


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
