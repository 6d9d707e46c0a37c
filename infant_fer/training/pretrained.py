"""What does training start from? A checkpoint of any image classifier with a new head, or random weights of a known shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import transformers as hf

from infant_fer.alignment import CropSpec
from infant_fer.checkpoints.loading import crop_spec, one_clear_error
from infant_fer.checkpoints.sources import resolve
from infant_fer.errors import CheckpointError
from infant_fer.labels import canonical_label
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel

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
}


@dataclass(frozen=True, eq=False)
class PretrainedModel:
    """A model ready to be trained on `labels`, with the processor that normalises its (S, S) crops."""

    model: hf.PreTrainedModel
    processor: object
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
        return f"{self.name}, {len(self.fresh)} new weights: {', '.join(self.fresh[:4])}" + " ..." * (
            len(self.fresh) > 4
        )


def load_pretrained(source: str | Path, labels: Sequence[str], size: int | None = None) -> PretrainedModel:
    """Load a folder, a Hub id, or "random:SHAPE" (one of SHAPES), with a head for `labels`. Raises CheckpointError.

    The head is kept when its classes are the same ones in the same order. `size` in px is for random weights only;
    weights that were trained keep theirs. Of the project's own model the image stream is taken, for its own classes only.
    """
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: index for index, name in enumerate(labels)}}
    if str(source).startswith(RANDOM):
        return _random(str(source).removeprefix(RANDOM), names, size)
    checkpoint = resolve(source, labelled=False)
    trusted = {"local_files_only": True, "trust_remote_code": False}
    with one_clear_error(checkpoint.name):
        config = hf.AutoConfig.from_pretrained(checkpoint.path, **trusted)
        known = [canonical_label(config.id2label[index]) for index in sorted(config.id2label)]
        same = known == list(labels)
        if isinstance(config, InfantFaceConfig) and not same:
            raise CheckpointError(
                f"{checkpoint.name} can be trained on {', '.join(known)} only, not on {', '.join(labels)}."
            )
        processor = hf.AutoImageProcessor.from_pretrained(checkpoint.path, backend="pil", **trusted)
        model, loaded = hf.AutoModelForImageClassification.from_pretrained(
            checkpoint.path, dtype=torch.float32, use_safetensors=True, ignore_mismatched_sizes=True,
            output_loading_info=True, **names, **trusted,
        )  # fmt: skip
        crop = crop_spec(config, processor, checkpoint.name)
    fresh = sorted({*loaded["missing_keys"], *(entry[0] for entry in loaded["mismatched_keys"])})
    if isinstance(model, InfantFaceModel):
        model.geometry, model.config.geometry_size = None, 0  # it is fitted by itself, and the Trainer does not feed it
        fresh = [name for name in fresh if not name.startswith("geometry.")]
    if not same and not fresh:
        fresh = _renew_head(model)
    model.config.face_crop = asdict(crop)
    return PretrainedModel(model, processor, crop, checkpoint.name, tuple(fresh))


def _random(shape: str, names: dict, size: int | None) -> PretrainedModel:
    if shape not in SHAPES:
        raise CheckpointError(f"There is no shape {shape!r} for random weights; there are {', '.join(SHAPES)}.")
    config = SHAPES[shape]()
    for key, value in names.items():
        setattr(config, key, value)
    crop = CropSpec(size or getattr(config, "image_size", 224))
    if hasattr(config, "image_size"):
        config.image_size = crop.size
    model = hf.AutoModelForImageClassification.from_config(config)
    model.config.face_crop = asdict(crop)
    processor = hf.ViTImageProcessorPil(size={"height": crop.size, "width": crop.size})
    return PretrainedModel(model, processor, crop, f"{shape} with random weights", tuple(model.state_dict()))


def _renew_head(model: hf.PreTrainedModel) -> list[str]:
    """Draw the last linear layer anew, for a head that fits in size but answers another question; gives its name."""
    name, head = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)][-1]
    head.reset_parameters()
    return [name]
