"""May this checkpoint be loaded? Checks of a folder's config.json and weights, before any of it reaches torch."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

from infant_fer.errors import CheckpointError
from infant_fer.labels import affect_of_labels
from infant_fer.models.ensemble import EnsembleConfig
from infant_fer.models.infant_face import InfantFaceConfig
from infant_fer.models.part_tokens import PartTokensConfig
from infant_fer.models.two_stream import TwoStreamConfig

CONFIG, PROCESSOR, CARD = "config.json", "preprocessor_config.json", "README.md"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
TRUST_SETTINGS, TRUST_TENSORS = "trust.json", "trust.safetensors"  # both or none; trust.store checks their content
TIMM = "timm_wrapper"  # transformers' model type for the networks of timm, whose own configs name no type
TIMM_NAME = re.compile(r"[a-z0-9_]+")  # of timm's registry; with a colon or slash timm reads the Hub or another folder
# What a config may hand to timm's constructor: sizes, nothing that names a file or an address.
TIMM_SIZES = ("img_size", "in_chans", "patch_size", "window_size", "embed_dim", "embed_dims", "dims", "growth_rate")
TIMM_COUNTS = ("num_classes", "depth", "depths", "layers", "block_config", "num_heads", "mlp_ratio", "mlp_ratios")
TIMM_ARGUMENTS = frozenset((*TIMM_SIZES, *TIMM_COUNTS, "channel_multiplier", "depth_multiplier", "global_pool"))
OWN_TYPES = {each.model_type for each in (InfantFaceConfig, PartTokensConfig, TwoStreamConfig)}
SINGLE_TYPES = frozenset(MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES) | OWN_TYPES
NESTED = "processor_config.json"  # transformers prefers what it says of the image processor to PROCESSOR
ADAPTER = "adapter_config.json"  # names weights elsewhere that would be added to the checked ones
UNSAFE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".pt2", ".h5", ".msgpack")

CODE_KEYS = ("auto_map", "custom_pipelines", "use_kernels", "kernel_config")
OTHER_FILE_KEYS = ("configuration_files", "transformers_weights")  # they name files that are read instead
BUILT_IN_ATTENTION = (None, "eager", "sdpa")  # any other name may be that of a compiled kernel on the Hub

MAX_JSON_BYTES = 2**20
MAX_DEPTH = 16
MAX_HEADER_BYTES = 100 * 2**20  # the format's own limit
MAX_LABELS = 32
MAX_CROP = 1024  # px; the largest picture side of an image classifier in use
MAX_LIST = 64  # entries, but of words; no architecture has as many stages, and no ensemble as many members
LARGEST_NUMBER = 70_000  # above any size or vocabulary of an image model; 10⁹ layers would never finish loading
# What architectures count layers by, those of transformers, of timm and the project's own: each is built, before any size is known.
LAYER_COUNTS = (
    *("num_hidden_layers", "num_layers", "n_layer", "depth", "depths", "blocks_per_stage", "transformer_layers"),
    *("num_stages", "num_blocks", "num_encoder_blocks", "num_self_attends_per_block", "stage_num_blocks"),
    *("stage_numb_of_layers", "focal_levels", "n_attn_blocks", "num_adapter_layers", "auxiliary_num_convs"),
)
LARGEST = {
    **dict.fromkeys(LAYER_COUNTS, 64),
    "layers": 128,  # of each stage, in timm; ResNet-RS has 87
    "block_config": 128,
    "num_block_repeats": 16,  # EfficientNet multiplies them by
    "depth_coefficient": 10,  # of which it has at most 5.3, and its widths by
    "width_coefficient": 10,
    "hidden_size": 4096,
    "hidden_sizes": 4096,
    "widths": 4096,
    "intermediate_size": 16384,
    "image_size": MAX_CROP,
    "num_channels": 4,
    "members": 32,
}
SOURCE_HINT = "Use a transformers image classifier saved with save_pretrained."


def check_folder(folder: Path, name: str, labelled: bool = True) -> None:
    """Check that a folder has a safe config, a preprocessor and sound safetensors weights. Raises CheckpointError.

    What is only to be trained further need not be `labelled` with affects or emotions.
    """
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{name} has no {CONFIG}. {SOURCE_HINT}")
    check_config(folder / CONFIG, name, labelled)
    if needs_processor(folder / CONFIG, name) and not (folder / PROCESSOR).is_file():
        raise CheckpointError(
            f"{name} has no {PROCESSOR}. Save the image processor beside the model with save_pretrained."
        )
    for file in (PROCESSOR, NESTED):
        if (folder / file).is_file():
            check_processor(folder / file, name)
    check_file_names([path.name for path in folder.iterdir()], name)
    for weights in weight_names(folder, name):
        if not (folder / weights).is_file():
            raise CheckpointError(f"{name} lacks its file {weights}. Get it again, whole.")
        _check_header(folder / weights, name)


def needs_processor(config_file: Path, name: str) -> bool:
    """Return whether a PROCESSOR belongs to a config; timm's own configs hold the preprocessing. Raises CheckpointError."""
    return not isinstance(_json_object(config_file, name).get("pretrained_cfg"), dict)


def check_config(config_file: Path, name: str, labelled: bool = True) -> None:
    """Refuse a config.json that could run code, exhaust memory or leaves the classes unnamed. Raises CheckpointError."""
    config = _json_object(config_file, name)
    _refuse_code(config, CONFIG, name)
    _check_model_type(config, name)
    _check_lists(config, name)
    _check_crop(config.get("face_crop"), name)
    temperature = config.get("logit_temperature")
    if temperature is not None and not (isinstance(temperature, (int, float)) and 0.01 <= temperature <= 100):
        raise CheckpointError(f"{name} has logit_temperature = {temperature} in {CONFIG}; 0.01 to 100 is possible.")
    for key, value in _numbers(config):
        largest = LARGEST.get(key, LARGEST_NUMBER)
        if not abs(value) <= largest or (key in LARGEST and value < 0):  # NaN is not, either
            raise CheckpointError(f"{name} has {key} = {_shown(value)} in {CONFIG}; 0 to {largest} is possible.")
    if labelled:
        names = config.get("label_names")
        listed = dict(zip(map(str, range(len(names))), names, strict=True)) if isinstance(names, list) else None
        _check_labels(listed if _is_timm(config) else config.get("id2label"), name)


def check_processor(processor_file: Path, name: str) -> None:
    """Refuse settings of an image processor that could run code or ask for huge pictures. Raises CheckpointError.

    They are a preprocessor_config.json, or the part `image_processor` of a processor_config.json.
    """
    file, processor = processor_file.name, _json_object(processor_file, name)
    _refuse_code(processor, file, name)
    if file == NESTED:
        processor = processor.get("image_processor", {})
        if not isinstance(processor, dict):
            raise CheckpointError(f"{file} of {name} holds no settings. Save the checkpoint again.")
    for key, value in _numbers({key: processor.get(key) for key in ("size", "crop_size")}):
        if not 0 < value <= MAX_CROP:
            raise CheckpointError(f"{name} has {key} = {_shown(value)} in {file}; 1 to {MAX_CROP} pixels are possible.")


def check_file_names(files: list[str], name: str) -> None:
    """Refuse a checkpoint without safetensors weights, or with an adapter to other weights. Raises CheckpointError."""
    if ADAPTER in files:
        raise CheckpointError(
            f"{name} has {ADAPTER}, which would add other weights to the checked ones. "
            "Save the model alone with save_pretrained."
        )
    if SINGLE in files or INDEX in files:
        return
    unsafe = sorted(file for file in files if file.endswith(UNSAFE_SUFFIXES))
    if unsafe:
        raise CheckpointError(
            f"{name} has its weights as {unsafe[0]}, a format that can run code. "
            "Save them again with save_pretrained, which writes safetensors."
        )
    raise CheckpointError(f"{name} has no {SINGLE}. {SOURCE_HINT}")


def weight_names(folder: Path, name: str) -> list[str]:
    """Return the names of the safetensors files that a folder's weights are in: a single one, or the shards of its index."""
    if (folder / SINGLE).is_file() or not (folder / INDEX).is_file():
        return [SINGLE]
    shards = _json_object(folder / INDEX, name).get("weight_map")
    names = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else []
    if not names or any(Path(shard).name != shard or not shard.endswith(".safetensors") for shard in names):
        raise CheckpointError(f"{INDEX} of {name} names no safetensors files beside it. {SOURCE_HINT}")
    return names


def _refuse_code(settings: object, file: str, name: str, depth: int = 0) -> None:
    """Refuse settings, at any depth, that run code, name other files or stand for other than plain weights."""
    if depth > MAX_DEPTH:
        raise CheckpointError(f"{file} of {name} is nested more than {MAX_DEPTH} deep; it is no ordinary checkpoint.")
    if isinstance(settings, list):
        for value in settings:
            _refuse_code(value, file, name, depth + 1)
    for key, value in settings.items() if isinstance(settings, dict) else ():
        kernel = key in ("attn_implementation", "experts_implementation") and value not in BUILT_IN_ATTENTION
        if kernel or key in CODE_KEYS or key.startswith(("_attn", "_experts")):
            raise CheckpointError(
                f"{name} asks for code of its own ({key} in {file}). Only plain checkpoints are loaded."
            )
        if key in OTHER_FILE_KEYS:
            raise CheckpointError(f"{name} names other files to read ({key} in {file}). {SOURCE_HINT}")
        if key == "quantization_config":
            raise CheckpointError(f"{name} is quantised ({key} in {file}); explanations need the plain weights.")
        if key not in ("id2label", "label2id"):
            _refuse_code(value, file, name, depth + 1)


def _check_model_type(config: dict, name: str) -> None:
    """Refuse what is neither an image classifier nor an ensemble of such."""
    described: list = [config]
    if config.get("model_type") == EnsembleConfig.model_type:
        unlike = config.get("unlike") or [{"config": config.get("member")}]
        described = [each.get("config") if isinstance(each, dict) else None for each in _list(unlike)]
    for each in described:
        kind = each.get("model_type") if isinstance(each, dict) else None
        if isinstance(each, dict) and _is_timm(each):
            _check_timm(each, name)
        elif str(kind) not in SINGLE_TYPES:
            raise CheckpointError(f"{name} has the model type {kind!r}, no image classifier known here. {SOURCE_HINT}")


def _is_timm(config: dict) -> bool:
    """Return whether a config describes a network of timm: transformers' wrapper, or timm's own config without a type."""
    return config.get("model_type") == TIMM or ("model_type" not in config and "pretrained_cfg" in config)


def _check_timm(config: dict, name: str) -> None:
    """Refuse what timm would look for elsewhere: a name that is an address, or an argument that names a file."""
    architecture = config.get("architecture")
    if not isinstance(architecture, str) or not TIMM_NAME.fullmatch(architecture):
        raise CheckpointError(f"{name} has the architecture {architecture!r}; a name of timm's registry is needed.")
    arguments = config.get("model_args") or {}
    unknown = sorted(set(arguments) - TIMM_ARGUMENTS) if isinstance(arguments, dict) else ["model_args"]
    if unknown:
        raise CheckpointError(f"{name} hands {unknown[0]} to timm in {CONFIG}; only sizes are passed on.")


def _list(value: object) -> list:
    return value if isinstance(value, list) and value else [None]


def _check_lists(settings: object, name: str, key: str = "") -> None:
    """Refuse a list, at any depth, that is longer than MAX_LIST; lists of words, such as the names of classes, may be."""
    if isinstance(settings, dict):
        for each, value in settings.items():
            _check_lists(value, name, str(each))
    elif isinstance(settings, list) and not all(isinstance(value, str) for value in settings):
        if len(settings) > MAX_LIST:
            raise CheckpointError(f"{name} has {len(settings)} entries of {key} in {CONFIG}; {MAX_LIST} are possible.")
        for value in settings:
            _check_lists(value, name, key)


def _shown(value: float) -> str:
    """Return a number for people; JSON may have an integer that is larger than any float."""
    return f"{max(min(value, 1e300), -1e300):g}"


def _numbers(settings: object, key: str = ""):
    """Yield (nearest name, number) for every number in nested settings, the keys of label tables aside."""
    if isinstance(settings, dict):
        for name, value in settings.items():
            if name != "label2id":
                own = key if key in ("size", "crop_size") else str(name)
                yield from _numbers(value, own)
    elif isinstance(settings, list):
        for value in settings:
            yield from _numbers(value, key)
    elif isinstance(settings, (int, float)) and not isinstance(settings, bool):
        yield key, settings


def _json_object(file: Path, name: str) -> dict:
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise CheckpointError(f"{file.name} of {name} is larger than 1 MB; it is no ordinary checkpoint.")
        content = json.loads(file.read_bytes())
    except (ValueError, OSError, RecursionError):
        raise CheckpointError(f"{file.name} of {name} is not valid JSON. Save the checkpoint again.") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{file.name} of {name} holds no settings. Save the checkpoint again.")
    return content


def _check_labels(id2label: object, name: str) -> None:
    hint = 'Set id2label in its config.json, such as {"0": "positive", "1": "neutral", "2": "negative"}.'
    if not isinstance(id2label, dict) or not id2label:
        raise CheckpointError(f"{name} names no classes. {hint}")
    if len(id2label) > MAX_LABELS:
        raise CheckpointError(f"{name} has {len(id2label)} classes; affects or emotions are expected. {hint}")
    if set(id2label) != {str(index) for index in range(len(id2label))}:
        raise CheckpointError(f"The classes of {name} are not numbered from 0 without a gap. {hint}")
    labels = [str(id2label[str(index)]) for index in range(len(id2label))]
    if any(label.upper().startswith("LABEL_") for label in labels):
        raise CheckpointError(f"{name} has unnamed classes ({labels[0]}, ...). {hint}")
    affect_of_labels(labels)


def _check_crop(face_crop: object, name: str) -> None:
    if face_crop is None:
        return
    size, margin = None, None
    if isinstance(face_crop, dict) and set(face_crop) <= {"size", "margin"}:
        size, margin = face_crop.get("size", 1), face_crop.get("margin", 0)
    sound = isinstance(size, int) and 0 < size <= MAX_CROP and isinstance(margin, (int, float)) and 0 <= margin <= 2
    if not sound:
        raise CheckpointError(
            f"{name} has face_crop = {face_crop} in {CONFIG}; a size of 1 to {MAX_CROP} and a margin of 0 to 2 are possible."
        )


def _check_header(weights: Path, name: str) -> None:
    """Refuse a file that is not an 8-byte length, that much JSON, and as many bytes as its offsets say."""
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
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        sound = False
    if not sound:
        raise CheckpointError(f"{weights.name} of {name} is damaged or no safetensors file. Get it again.")
