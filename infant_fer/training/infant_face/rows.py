"""Faces as training needs them: crops, geometry and targets side by side, and a model's answers for all of them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from infant_fer.data.aligned_dataset import AlignedDataset
from infant_fer.models.infant_face import InfantFaceModel, InfantFaceOutput, luminance_crops

HEADS = ("valence_arousal", "age", "usable", "eyes_closed", "mouth_covered")  # beside affect and emotion


@dataclass(frozen=True, eq=False)
class Faces:
    """N faces. Distributions that sum to 0, NaN and UNKNOWN mean that a target is not known and does not count."""

    grey: torch.Tensor  # (N, S, S) in 0..255: uint8, or float32 where the pictures have colour
    geometry: torch.Tensor  # (N, G) float32, 0 where no face was found
    found: torch.Tensor  # (N,) bool
    affect_soft: torch.Tensor  # (N, 3) distributions
    emotion_soft: torch.Tensor  # (N, 7) distributions
    valence_arousal: torch.Tensor  # (N, 2)
    age: torch.Tensor  # (N,) indices
    usable: torch.Tensor  # (N,) 1, 0 or NaN
    eyes_closed: torch.Tensor  # (N,) 1, 0 or NaN
    mouth_covered: torch.Tensor  # (N,) 1, 0 or NaN

    def __len__(self) -> int:
        return len(self.grey)

    def rows(self, index: np.ndarray | slice) -> Faces:
        """Some of the rows, by indices, mask or slice."""
        index = index if isinstance(index, slice) else torch.from_numpy(index)
        return Faces(*(getattr(self, field.name)[index] for field in fields(self)))

    def on(self, device: torch.device) -> Faces:
        """The same faces in that device's memory."""
        return Faces(*(getattr(self, field.name).to(device) for field in fields(self)))

    def with_targets(self, affect: torch.Tensor, emotion: torch.Tensor) -> Faces:
        """The same faces with other affect and emotion targets."""
        return replace(self, affect_soft=affect, emotion_soft=emotion)


def joined(parts: list[Faces]) -> Faces:
    """Several tables under each other."""
    return Faces(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Faces)))


def faces_of(dataset: AlignedDataset) -> Faces:
    """Return the luminance of the crops, their geometry and the targets of every head as tensors."""
    heads = dataset.pictures.heads
    return Faces(
        luminance_crops(dataset.crops),
        torch.from_numpy(dataset.geometry),
        torch.from_numpy(dataset.found),
        torch.from_numpy(dataset.pictures.target),
        torch.from_numpy(heads["emotion"]),
        *(torch.from_numpy(heads[name]) for name in HEADS),
    )


def as_input(grey: torch.Tensor) -> torch.Tensor:
    """(B, 3, S, S) in -1..1, channels last, from (B, 1, S, S) in 0..1."""
    return (grey.expand(-1, 3, -1, -1) * 2 - 1).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def outputs(model: InfantFaceModel, rows: Faces) -> InfantFaceOutput:
    """Every head's answers in float32, averaged over crop and mirror image; the image alone where no face was found.

    It computes where `model` lies; the answers lie in the CPU's memory.
    """
    model.eval()
    parts = []
    for start in range(0, len(rows), 128):
        part = rows.rows(slice(start, start + 128)).on(model.device)
        pictures = as_input(part.grey[:, None].float() / 255)
        views = [model(view, part.geometry) for view in (pictures, pictures.flip(-1))]
        mean = {name: (views[0][name] + views[1][name]) / 2 for name in views[0]}
        if "geometry_logits" in mean:
            mean["geometry_logits"] = mean["geometry_logits"] * part.found[:, None]
            mean["logits"] = mean["image_logits"] + mean["geometry_logits"]
        parts.append(mean)
    return InfantFaceOutput(**{name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]})
