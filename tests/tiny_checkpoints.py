"""Tiny transformers checkpoints with random weights, saved as anyone would save theirs, and how they are spoilt and refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf

from infant_fer.alignment import AlignedFace
from infant_fer.classifier import AffectClassifier
from infant_fer.errors import CheckpointError

SEVEN = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
SHUFFLED_AFFECTS = ("neutral", "negative", "positive")
_SQUARE = {"height": 32, "width": 32}
_TRANSFORMER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_STAGES = {"hidden_sizes": [8, 16], "depths": [1, 1]}


def _names(labels: Sequence[str]) -> dict:
    return {"id2label": dict(enumerate(labels)), "label2id": {name: index for index, name in enumerate(labels)}}


def _vit(labels):
    config = hf.ViTConfig(image_size=32, patch_size=8, intermediate_size=64, **_TRANSFORMER, **_names(labels))
    return hf.ViTForImageClassification(config), hf.ViTImageProcessorPil(size=_SQUARE)


def _beit(labels):
    config = hf.BeitConfig(image_size=32, patch_size=8, intermediate_size=64, **_TRANSFORMER, **_names(labels))
    larger = {"height": 36, "width": 36}
    processor = hf.BeitImageProcessorPil(size=larger, crop_size=_SQUARE, do_center_crop=True)
    return hf.BeitForImageClassification(config), processor


def _swin(labels):
    sizes = {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2]}
    config = hf.SwinConfig(window_size=4, **sizes, **_names(labels))
    return hf.SwinForImageClassification(config), hf.ViTImageProcessorPil(size=_SQUARE)


def _resnet(labels):
    config = hf.ResNetConfig(embedding_size=8, layer_type="basic", **_STAGES, **_names(labels))
    return hf.ResNetForImageClassification(config), hf.ConvNextImageProcessorPil(size={"shortest_edge": 32})


def _mobilenet(labels):
    config = hf.MobileNetV2Config(image_size=32, depth_multiplier=0.35, **_names(labels))
    processor = hf.MobileNetV2ImageProcessorPil(size={"shortest_edge": 36}, crop_size=_SQUARE)
    return hf.MobileNetV2ForImageClassification(config), processor


def _convnext(labels):
    config = hf.ConvNextConfig(num_stages=2, **_STAGES, **_names(labels))
    return hf.ConvNextForImageClassification(config), hf.ConvNextImageProcessorPil(size={"shortest_edge": 32})


def _dinov2(labels):
    config = hf.Dinov2Config(image_size=56, patch_size=8, **_TRANSFORMER, **_names(labels))
    processor = hf.BitImageProcessorPil(size={"shortest_edge": 36}, crop_size=_SQUARE)
    return hf.Dinov2ForImageClassification(config), processor


def _levit(labels):
    sizes = {"hidden_sizes": [16, 24, 32], "num_attention_heads": [1, 2, 2], "key_dim": [8, 8, 8], "depths": [1, 1, 1]}
    config = hf.LevitConfig(image_size=32, **sizes, **_names(labels))
    processor = hf.LevitImageProcessorPil(size={"shortest_edge": 36}, crop_size=_SQUARE)
    return hf.LevitForImageClassification(config), processor


FAMILIES = {
    "vit": _vit,
    "beit": _beit,
    "swin": _swin,
    "resnet": _resnet,
    "mobilenet_v2": _mobilenet,
    "convnext": _convnext,
    "dinov2": _dinov2,
    "levit": _levit,
}


def save_tiny(folder: Path, family: str = "vit", labels: Sequence[str] = SEVEN, seed: int = 0, **saving) -> Path:
    """Save a 32 px classifier of a family with random weights; its logits differ clearly from picture to picture."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, processor = FAMILIES[family](labels)
        head = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
        torch.nn.init.normal_(head.weight, std=0.5)
        _settle_batch_norm(model)
    model.eval().save_pretrained(folder, **saving)
    processor.save_pretrained(folder)
    (folder / "README.md").write_text("# A tiny checkpoint\n")
    return folder


def _settle_batch_norm(model: torch.nn.Module) -> None:
    """Let batch normalisation see some noise; with its first statistics a deep network answers 0 to every picture."""
    layers = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for layer in layers:
        layer.momentum = 1.0
    if layers:
        model.train()(pixel_values=torch.rand(16, 3, 32, 32) * 2 - 1)


def edit(file: Path, **changes) -> None:
    """Change settings of a JSON file; None removes one."""
    settings = json.loads(file.read_text())
    for key, value in changes.items():
        settings.pop(key, None) if value is None else settings.update({key: value})
    file.write_text(json.dumps(settings))


def refusal(call, *arguments, **options) -> str:
    """Return the one sentence with which a checkpoint is refused."""
    with pytest.raises(CheckpointError) as caught:
        call(*arguments, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def load(folder, **options) -> AffectClassifier:
    return AffectClassifier.from_pretrained(folder, device="cpu", **options)


def crop(kind: str = "noise", size: int = 32, seed: int = 0) -> AlignedFace:
    pixels = {
        "black": np.zeros((size, size, 3), np.uint8),
        "white": np.full((size, size, 3), 255, np.uint8),
        "noise": np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8),
    }
    return AlignedFace(pixels[kind], np.eye(2, 3))
