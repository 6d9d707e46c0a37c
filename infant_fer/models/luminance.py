"""What of a crop does the project's own model see? Its luminance."""

from __future__ import annotations

import numpy as np
import torch

from infant_fer.models.infant_face import LUMINANCE


def luminance_crops(crops: np.ndarray) -> torch.Tensor:
    """(N, S, S) luminance of (N, S, S, 3) uint8 crops: the model sees no colour, so training need not carry it.

    uint8 where every crop is grey already; else float32 in 0..255, unrounded, so that the logits are the app's.
    """
    if (crops == crops[..., :1]).all():
        return torch.from_numpy(crops[..., 0].copy())
    return torch.from_numpy(crops @ np.array(LUMINANCE, np.float32))
