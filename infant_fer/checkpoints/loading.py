"""How does a checked folder become a model? Any transformers image classifier, with one clear error for what does not fit."""

from __future__ import annotations

from contextlib import contextmanager

import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

from infant_fer.alignment import CropSpec
from infant_fer.checkpoints.sources import Checkpoint, resolve
from infant_fer.errors import CheckpointError
from infant_fer.models import infant_face  # noqa: F401  registers the project's own architecture

MAX_PARAMETERS = 1_000_000_000  # ViT-Large has 304 million


@contextmanager
def one_clear_error(name: str):
    """Turn whatever a library raises about settings that passed the checks and still do not work into a CheckpointError.

    Everything is caught: strangers wrote these files, and transformers answers them with a dozen kinds of exceptions.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0].rstrip(".: ") or type(error).__name__
        raise CheckpointError(f"{name} could not be loaded: its files do not fit together ({reason}).") from error


def loaded_checkpoint(source: str) -> tuple[torch.nn.Module, object, CropSpec, str]:
    """Model, processor, crop and name of a folder or Hub id. Raises CheckpointError."""
    checkpoint = resolve(source)
    with one_clear_error(checkpoint.name):
        model, processor = loaded(checkpoint)
        return model.eval(), processor, crop_spec(model.config, processor, checkpoint.name), checkpoint.name


def loaded(checkpoint: Checkpoint) -> tuple[torch.nn.Module, object]:
    """Model and image processor from a checked folder; no request is made, no code of the folder runs."""
    trusted = {"local_files_only": True, "trust_remote_code": False}
    config = AutoConfig.from_pretrained(checkpoint.path, **trusted)
    with torch.device("meta"):  # shapes without memory
        parameters = sum(p.numel() for p in AutoModelForImageClassification.from_config(config).parameters())
    if parameters > MAX_PARAMETERS:
        raise CheckpointError(f"{checkpoint.name} has {parameters:,} parameters; at most a billion is loaded.")
    processor = AutoImageProcessor.from_pretrained(checkpoint.path, backend="pil", **trusted)
    model, info = AutoModelForImageClassification.from_pretrained(
        checkpoint.path, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True,
        ignore_mismatched_sizes=True, **trusted,
    )  # fmt: skip
    wrong = [*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])]
    if wrong:
        raise CheckpointError(
            f"The weights of {checkpoint.name} do not fit its config.json ({len(wrong)} parameters, such as {wrong[0]}). "
            "Save the model again with save_pretrained."
        )
    return model, processor


def crop_spec(config, processor, name: str) -> CropSpec:
    """What the checkpoint's config says of its crop; without that, the side of the processor's pictures."""
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
