"""What do the networks see of the rows? Batches of luminance and targets on a device, and every head's predictions."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from transformers import ViTImageProcessorPil

from infant_fer.classifier import forward_crops
from infant_fer.data.aligned_dataset import AlignedDataset
from infant_fer.models.infant_face import InfantFaceModel, InfantFaceOutput, luminance_crops

PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 96, "width": 96},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


@dataclass(frozen=True, eq=False)
class FaceBatch:
    """Rows of an AlignedDataset as tensors on one device; unknown targets are as in LabeledImages."""

    luminance: torch.Tensor  # (N, S, S) in 0..255: uint8, or float32 where the pictures have colour
    affect: torch.Tensor  # (N, 3) distributions
    emotion: torch.Tensor  # (N, 7) distributions
    valence_arousal: torch.Tensor  # (N, 2)
    age: torch.Tensor  # (N,) indices
    usable: torch.Tensor  # (N,) 1, 0 or NaN
    eyes_closed: torch.Tensor  # (N,) 1, 0 or NaN
    mouth_covered: torch.Tensor  # (N,) 1, 0 or NaN

    @classmethod
    def of(cls, dataset: AlignedDataset, device: torch.device | str = "cpu") -> FaceBatch:
        """Return all rows of `dataset` in the memory of `device`."""
        heads = {name: torch.from_numpy(values) for name, values in dataset.pictures.heads.items()}
        names = [field.name for field in fields(cls)[2:]]
        batch = (luminance_crops(dataset.crops), torch.from_numpy(dataset.pictures.target), *(heads[n] for n in names))
        return cls(*(values.to(device) for values in batch))

    def __len__(self) -> int:
        return len(self.luminance)

    def rows(self, index: np.ndarray) -> FaceBatch:
        """Return some of the rows, by indices."""
        chosen = torch.from_numpy(index)
        return FaceBatch(*(getattr(self, field.name)[chosen] for field in fields(self)))


def joined(batches: list[FaceBatch]) -> FaceBatch:
    """Return the rows of several batches under each other."""
    return FaceBatch(*(torch.cat([getattr(batch, field.name) for batch in batches]) for field in fields(FaceBatch)))


def as_input(luminance: torch.Tensor) -> torch.Tensor:
    """Return (B, 3, S, S) in -1..1, channels last, from (B, 1, S, S) in 0..1."""
    return (luminance.expand(-1, 3, -1, -1) * 2 - 1).contiguous(memory_format=torch.channels_last)


def outputs(model: InfantFaceModel, dataset: AlignedDataset) -> InfantFaceOutput:
    """Return every head's output for all rows in float32 on the CPU, as the app computes them; see forward_crops.

    The model computes on its own device.
    """
    heads = forward_crops(model, ViTImageProcessorPil(**PROCESSOR), dataset.crops, dataset.geometry, dataset.found)
    return InfantFaceOutput(**heads)
