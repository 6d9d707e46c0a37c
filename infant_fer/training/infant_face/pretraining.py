"""Learn faces and their expressions from FER2013 first: seven emotions, strong augmentation."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from infant_fer.models.infant_face import InfantFaceModel
from infant_fer.training.augmentation import partly_mild
from infant_fer.training.infant_face.rows import as_input
from infant_fer.training.optimization import averaged_model, parameter_groups, step


@dataclass(frozen=True)
class PretrainingConfig:
    """What one round of pretraining does, saved with the run."""

    # (epochs, side of the crops in px): small crops first, as an epoch of them takes less than half the time.
    stages: tuple[tuple[int, int], ...] = ((24, 64), (8, 96))
    mild: float = 0.0  # share of each batch that is changed mildly only
    batch: int = 128
    learning_rate: float = 4e-3  # OneCycle's peak
    weight_decay: float = 0.05  # on matrices only
    label_smoothing: float = 0.1  # FER2013's labels are about 65 % agreed
    ema: float = 0.998
    warmup: float = 0.2


def pretrain(
    start: InfantFaceModel,
    grey: torch.Tensor,
    emotion: np.ndarray,
    dev_grey: torch.Tensor,
    dev_emotion: np.ndarray,
    settings: PretrainingConfig,
    seed: int = 0,
    log: Callable[[str], None] = print,
    line: int = 0,
) -> InfantFaceModel:
    """Train image stream and emotion head of a copy of `start` on (N, S, S) uint8 crops; gives the averaged (EMA) weights.

    It computes where `start` lies. `line` of the terminal shows the progress.
    """
    torch.manual_seed(seed)
    model = copy.deepcopy(start).requires_grad_(True).to(memory_format=torch.channels_last)
    grey, labels = grey.to(model.device), torch.from_numpy(emotion).long().to(model.device)
    sides = [side for epochs, side in settings.stages for _ in range(epochs)]
    optimizer = torch.optim.AdamW(
        parameter_groups(model, settings.learning_rate, settings.weight_decay), lr=settings.learning_rate
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        settings.learning_rate,
        total_steps=len(sides) * (len(grey) // settings.batch) + 1,
        pct_start=settings.warmup,
    )
    average = averaged_model(model, settings.ema)
    for epoch, side in enumerate(sides):
        began = time.monotonic()
        model.train()
        order = np.random.default_rng(epoch + 1000 * seed).permutation(len(grey))
        batches = _batches(order, settings.batch)
        for batch in tqdm(batches, f"Pretraining {epoch + 1}", unit="step", position=line, leave=False, disable=None):
            pictures = as_input(partly_mild(_resized(grey[batch], side), settings.mild))
            with torch.autocast(model.device.type, dtype=torch.bfloat16):
                logits = model(pictures).emotion_logits
            loss = F.cross_entropy(logits.float(), labels[batch], label_smoothing=settings.label_smoothing)
            step(optimizer, loss, model)
            schedule.step()
            average.update_parameters(model)
        score = (emotion_logits(average.module, dev_grey, side).argmax(1).numpy() == dev_emotion).mean()
        log(f"pretraining epoch {epoch + 1} at {side} px: dev {score:.3f}, {time.monotonic() - began:.0f} s")
    return average.module


@torch.inference_mode()
def emotion_logits(model: InfantFaceModel, grey: torch.Tensor, side: int | None = None) -> torch.Tensor:
    """(N, 7) mean logits of (N, S, S) uint8 crops and their mirror images, made `side` px large first if that is given."""
    model.eval()
    parts = []
    for part in grey.split(256):
        pictures = as_input(_resized(part.to(model.device), side or part.shape[-1]))
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            parts.append((model(pictures).emotion_logits.float() + model(pictures.flip(-1)).emotion_logits.float()) / 2)
    return torch.cat(parts).cpu()


def _resized(grey: torch.Tensor, side: int) -> torch.Tensor:
    """(B, 1, side, side) in 0..1 from (B, S, S) in 0..255."""
    pictures = grey[:, None].float() / 255
    return F.interpolate(pictures, size=side, mode="area") if side < grey.shape[-1] else pictures


def _batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
