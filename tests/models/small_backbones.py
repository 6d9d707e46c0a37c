"""Small random networks under two streams, saved as trained ones are, and landmarks for them."""

import torch
from transformers import (
    Dinov2Config,
    Dinov2ForImageClassification,
    MobileNetV1Config,
    MobileNetV1ForImageClassification,
    ViTImageProcessorPil,
)

from infant_fer.models.geometry import GEOMETRY_SIZE
from tests.tiny_checkpoints import edit


def random_geometry(count: int = 3) -> torch.Tensor:
    return torch.randn(count, GEOMETRY_SIZE, generator=torch.Generator().manual_seed(0))


def small_mobilenet(folder):
    """Its statistics are those of a batch: with the first ones the maps of random weights are all but 0."""
    config = MobileNetV1Config(depth_multiplier=0.25, image_size=96, num_labels=3)
    model = MobileNetV1ForImageClassification(config).train()
    model(torch.randn(4, 3, 96, 96))
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 96, "width": 96}).save_pretrained(folder)
    return folder


def small_dinov2(folder, side: int = 96, **settings):
    """Patches of 8 px; the positions are those of another size, as in the published weights."""
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8, "image_size": 48}
    Dinov2ForImageClassification(Dinov2Config(**(sizes | settings), num_labels=3)).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": side, "width": side}).save_pretrained(folder)
    return folder


def small_pair(folder, **sizes) -> str:
    """Return the source of an image network and one for landmarks, each of which normalizes pixels in its own way."""
    image, landmarks = small_dinov2(folder / "image", **sizes), small_mobilenet(folder / "landmarks")
    edit(image / "preprocessor_config.json", image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
    return f"{image}+{landmarks}"
