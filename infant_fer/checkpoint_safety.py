"""May this checkpoint be loaded? Checks of a folder's config.json and weights, before any of it reaches torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from transformers import CONFIG_MAPPING

import infant_fer.models.infant_face  # noqa: F401  (registers the project's own architecture)
from infant_fer.errors import CheckpointError
from infant_fer.labels import affect_of_labels

CONFIG, PROCESSOR, CARD = "config.json", "preprocessor_config.json", "README.md"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
UNSAFE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".pt2", ".h5", ".msgpack")
MAX_JSON_BYTES = 2**20
MAX_HEADER_BYTES = 100 * 2**20  # the format's own limit
LARGEST = {
    "num_hidden_layers": 64,
    "hidden_size": 4096,
    "intermediate_size": 16384,
    "image_size": 1024,
    "num_channels": 4,
}
SOURCE_HINT = "Use a transformers image classifier saved with save_pretrained."


def check_config(config_file: Path, name: str) -> dict:
    """Read config.json and refuse what could run code, exhaust memory or leave the classes unnamed. Raises CheckpointError."""
    config = _json_object(config_file, name)
    suspicious = [key for key in config if key == "auto_map" or key.startswith("_attn")]
    if suspicious:
        raise CheckpointError(
            f"{name} asks for code of its own ({suspicious[0]} in config.json). Only plain checkpoints are loaded."
        )
    if config.get("model_type") not in CONFIG_MAPPING:
        raise CheckpointError(f"{name} has the unknown model type {config.get('model_type')!r}. {SOURCE_HINT}")
    for key, largest in LARGEST.items():
        value = config.get(key, 0)
        if isinstance(value, (int, float)) and not 0 <= value <= largest:
            raise CheckpointError(f"{name} has {key} = {value} in config.json; at most {largest} is loaded.")
    _check_labels(config.get("id2label"), name)
    return config


def check_folder(folder: Path, name: str) -> None:
    """Check that a folder has a safe config, a preprocessor and sound safetensors weights. Raises CheckpointError."""
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{name} has no {CONFIG}. {SOURCE_HINT}")
    check_config(folder / CONFIG, name)
    if not (folder / PROCESSOR).is_file():
        raise CheckpointError(
            f"{name} has no {PROCESSOR}. Save the image processor beside the model with save_pretrained."
        )
    _json_object(folder / PROCESSOR, name)
    if not any((folder / weights).is_file() for weights in WEIGHTS):
        check_weight_names([path.name for path in folder.iterdir()], name)
    for weights in folder.glob("*.safetensors"):
        _check_header(weights, name)


def check_weight_names(files: list[str], name: str) -> None:
    """Refuse a checkpoint whose file names show no safetensors weights. Raises CheckpointError."""
    if any(weights in files for weights in WEIGHTS):
        return
    unsafe = sorted(file for file in files if file.endswith(UNSAFE_SUFFIXES))
    if unsafe:
        raise CheckpointError(
            f"{name} has its weights as {unsafe[0]}, a format that can run code. "
            "Save them again with save_pretrained, which writes safetensors."
        )
    raise CheckpointError(f"{name} has no model.safetensors. {SOURCE_HINT}")


def _json_object(file: Path, name: str) -> dict:
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise CheckpointError(f"{file.name} of {name} is larger than 1 MB; it is no ordinary checkpoint.")
        content = json.loads(file.read_bytes())
    except (ValueError, OSError):
        raise CheckpointError(f"{file.name} of {name} is not valid JSON. Save the checkpoint again.") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{file.name} of {name} holds no settings. Save the checkpoint again.")
    return content


def _check_labels(id2label: object, name: str) -> None:
    if not isinstance(id2label, dict) or not 1 <= len(id2label) <= 100:
        raise CheckpointError(
            f"{name} names no classes. Set id2label in its config.json, such as {{0: 'positive', ...}}."
        )
    try:
        affect_of_labels([str(id2label[key]) for key in sorted(id2label, key=int)])
    except ValueError:
        raise CheckpointError(f"id2label in config.json of {name} has keys that are no numbers.") from None


def _check_header(weights: Path, name: str) -> None:
    """A safetensors file is an 8-byte length, that much JSON, and as many bytes as its offsets say."""
    size = weights.stat().st_size
    with weights.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else MAX_HEADER_BYTES + 1
        sound = length <= min(MAX_HEADER_BYTES, size - 8)
        header = stream.read(length) if sound else b""
    try:
        tensors = json.loads(header)
        tensors.pop("__metadata__", None)
        sound = 8 + length + max(tensor["data_offsets"][1] for tensor in tensors.values()) == size
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        sound = False
    if not sound:
        raise CheckpointError(f"{weights.name} of {name} is damaged or no safetensors file. Get it again.")
