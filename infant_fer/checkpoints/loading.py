"""How is a checkpoint loaded? Any transformers image classifier, with one clear error for what does not fit."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
    ViTImageProcessorPil,
)
from transformers.utils import is_timm_available

from infant_fer.alignment import CropSpec
from infant_fer.checkpoints.hub import Progress
from infant_fer.checkpoints.safety import PROCESSOR, TIMM, TRUST_TENSORS
from infant_fer.checkpoints.sources import resolve
from infant_fer.errors import CheckpointError
from infant_fer.labels import canonical_label
from infant_fer.models.ensemble import EnsembleConfig
from infant_fer.models.infant_face import InfantFaceModel

if TYPE_CHECKING:
    from transformers import BaseImageProcessor

MAX_PARAMETERS = 1_000_000_000  # ViT-Large has 304 million

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LoadedCheckpoint:
    """A model in evaluation mode with its preprocessing, labels and card."""

    model: PreTrainedModel
    processor: BaseImageProcessor
    crop: CropSpec
    name: str
    card: str
    folder: Path
    labels: tuple[str, ...]  # the classes that its weights were trained on, by canonical_label
    fresh: tuple[str, ...] = ()  # names of weights that the checkpoint does not have and that are random


@contextmanager
def one_clear_error(name: str):
    """Convert any exception of a library on a checkpoint's files into a CheckpointError.

    Everything is caught: the files are untrusted, and transformers raises a dozen kinds of exceptions on them.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0].rstrip(".: ") or type(error).__name__
        raise CheckpointError(f"{name} could not be loaded: its files do not fit together ({reason}).") from error


def load_checkpoint(
    source: str | Path | None = None,
    revision: str | None = None,
    on_progress: Progress | None = None,
    new_labels: Sequence[str] | None = None,
) -> LoadedCheckpoint:
    """Load a folder, a Hub id or the default checkpoint; no code of the folder runs. Raises CheckpointError.

    With `new_labels` the model is to be trained on these classes: it gets a head for them, what the checkpoint has no
    weights for is random, and its own classes need not be affects or emotions. A head of the project's own architecture
    that the weights lack is left out, and a warning is logged.
    """
    checkpoint = resolve(source, revision, on_progress, labelled=new_labels is None)
    with one_clear_error(checkpoint.name):
        trusted = {"local_files_only": True, "trust_remote_code": False}
        config = AutoConfig.from_pretrained(checkpoint.path, **trusted)
        labels = tuple(canonical_label(config.id2label[index]) for index in sorted(config.id2label))
        if new_labels is not None:
            _set_labels(config, new_labels)
        if TIMM in _architectures(config):
            require_timm(checkpoint.name)
        if config.model_type == TIMM:
            (config.model_args or {}).pop("num_classes", None)  # timm saves it here, too; the wrapper hands on its own
        config._attn_implementation = _built_in_attention(config)
        _check_size(config, checkpoint.name)
        if (checkpoint.path / PROCESSOR).is_file():
            processor = AutoImageProcessor.from_pretrained(checkpoint.path, backend="pil", **trusted)
        else:
            processor = _timm_processor(config)
        model, info = AutoModelForImageClassification.from_pretrained(
            checkpoint.path, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True,
            ignore_mismatched_sizes=True, **trusted,
        )  # fmt: skip
        copy_shared_weights(model)
        fresh = sorted({*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])})
        if isinstance(model, InfantFaceModel) and (absent := model.heads_without_weights(info["missing_keys"])):
            model.remove_heads(absent)
            fresh = [name for name in fresh if name in model.state_dict()]
            logger.warning("%s has no weights for its heads %s; they are left out.", checkpoint.name, ", ".join(absent))
        if fresh and new_labels is None:
            raise CheckpointError(
                f"The weights of {checkpoint.name} do not fit its config.json ({len(fresh)} parameters, such as {fresh[0]}). "
                "Save the model again with save_pretrained."
            )
        crop = crop_spec(config, processor, checkpoint.name)
    return LoadedCheckpoint(
        model.eval(), processor, crop, checkpoint.name, checkpoint.card, checkpoint.path, labels, tuple(fresh)
    )


def require_timm(name: str) -> None:
    """Make all networks of timm and those of torchvision known. Raises CheckpointError where timm, which `name` needs, is missing."""
    if not is_timm_available():
        raise CheckpointError(f"{name} is a network of timm, which is not installed. Install it: pip install timm.")
    import infant_fer.models.torchvision_networks  # noqa: F401


def _architectures(config: PreTrainedConfig) -> set[str]:
    """Return the model types of a config and of an ensemble's members."""
    members = [config.member, *(each["config"] for each in config.unlike)] if isinstance(config, EnsembleConfig) else []
    return {config.model_type, *(each.get("model_type") for each in members)}


def copy_shared_weights(model: torch.nn.Module) -> None:
    """Give the state of a model a copy for every name of a layer that several blocks share, as CoaT's do.

    transformers saves no tensor under two names, and would draw the second name's weights anew when it loads.
    """

    model.register_state_dict_post_hook(_copy_repeated)


def _copy_repeated(module: torch.nn.Module, state: dict[str, torch.Tensor], prefix: str, metadata: object) -> None:
    places = set()
    for name, tensor in state.items():
        if tensor.data_ptr() in places:
            state[name] = tensor.clone()
        places.add(tensor.data_ptr())


def weights_sha256(folder: Path) -> str:
    """Return the SHA-256 of a folder's weights in the order of their files' names; of one file it is what sha256sum gives."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        if path.name != TRUST_TENSORS:  # statistics, fitted after the weights
            with path.open("rb") as stream:
                for block in iter(lambda: stream.read(2**20), b""):
                    digest.update(block)
    return digest.hexdigest()


def _timm_processor(config) -> BaseImageProcessor:
    """Return what timm's own config says of the preprocessing, without its crop: faces are cropped by alignment."""
    described = config.pretrained_cfg
    height, width = described["input_size"][-2:]
    size = {"height": height, "width": width}
    return ViTImageProcessorPil(size=size, image_mean=list(described["mean"]), image_std=list(described["std"]))


def _set_labels(config, labels: Sequence[str]) -> None:
    """Give a config other classes; those of an ensemble's members are the same."""
    before = tuple(config.id2label.values())
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: index for index, name in enumerate(labels)}}
    config.id2label, config.label2id = names["id2label"], names["label2id"]
    if isinstance(config, EnsembleConfig):
        config.member = {**config.member, **names} if config.member else {}
        config.unlike = [{**each, "config": {**each["config"], **names}} for each in config.unlike]
        config.class_weights = (
            config.class_weights if before == tuple(labels) else None
        )  # else they are of other classes


def _built_in_attention(config) -> str:
    """Return torch's own attention where the architecture has it, else the plain one: never one that a config names.

    Any other name may be that of a compiled kernel, which transformers would download and run.
    """
    kind = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(config)]
    kinds = kind if isinstance(kind, (list, tuple)) else (kind,)
    return "sdpa" if all(one._supports_sdpa for one in kinds) else "eager"


def _check_size(config, name: str) -> None:
    with torch.device("meta"):  # shapes without memory
        parameters = sum(p.numel() for p in AutoModelForImageClassification.from_config(config).parameters())
    if parameters > MAX_PARAMETERS:
        raise CheckpointError(f"{name} has {parameters:,} parameters; at most a billion is loaded.")


def crop_spec(config, processor, name: str) -> CropSpec:
    """Return the crop of a checkpoint's config; without one, a crop with the side of the processor's pictures."""
    size = processor.crop_size if getattr(processor, "do_center_crop", False) else processor.size
    sides = {size[key] for key in ("height", "width", "shortest_edge") if size.get(key)}
    if len(sides) != 1:
        raise CheckpointError(f"{name} wants pictures of {dict(size)}; only square ones are possible.")
    spec = CropSpec(**(getattr(config, "face_crop", None) or {"size": int(*sides)}))
    if {spec.size} != sides:
        raise CheckpointError(
            f"{name} has face_crop of {spec.size} px in config.json and {sides.pop()} px in preprocessor_config.json; "
            "they must agree."
        )
    return spec
