"""Is this the same picture again, in another crop, light or encoding? Thumbnails of aligned faces are compared."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

# Correlation of thumbnails. Of the 10.6 million pairs in infants.csv, 69 of different groups lie above; those across
# splits were looked at: all 25 show one photograph twice.
NEAR_DUPLICATE = 0.95
THUMBNAIL = 16


def unlike(grey: torch.Tensor, held_out: torch.Tensor, limit: float = NEAR_DUPLICATE) -> np.ndarray:
    """(N,) bool: which of the (N, S, S) crops are no near-duplicate of the (M, S, S) held-out ones or their mirror images."""
    wanted = torch.cat([_thumbnails(held_out), _thumbnails(held_out.flip(-1))])
    nearest = [(part @ wanted.T).amax(1) for part in _thumbnails(grey).split(4096)]
    return (torch.cat(nearest) < limit).numpy()


def near_pairs(grey: torch.Tensor, limit: float = NEAR_DUPLICATE) -> np.ndarray:
    """(P, 2) int: the pairs i < j of (N, S, S) crops that show one picture, mirrored or not."""
    rows = torch.cat([_thumbnails(grey), _thumbnails(grey.flip(-1))])
    found = []
    for start in range(0, len(grey), 2048):
        close = rows[start : start + 2048].narrow(0, 0, min(2048, len(grey) - start)) @ rows.T >= limit
        first, second = torch.where(close)
        pairs = torch.stack([first + start, second % len(grey)], 1)
        found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    return torch.cat(found).unique(dim=0).numpy()


def _thumbnails(grey: torch.Tensor) -> torch.Tensor:
    """(N, 256) float32 rows of mean 0 and length 1."""
    small = [F.adaptive_avg_pool2d(part[:, None].float(), THUMBNAIL).flatten(1) for part in grey.split(2048)]
    rows = torch.cat(small)
    rows = rows - rows.mean(1, keepdim=True)
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-6)
