"""How does a network learn faces and their expressions first? FER2013's seven emotions under strong augmentation."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from infant_fer.data.labeled_images import AlignedDataset
from infant_fer.models.infant_face import InfantFaceModel, luminance_crops
from infant_fer.training.batches import partly_mild
from infant_fer.training.infant_face.config import PretrainingConfig
from infant_fer.training.infant_face.data import as_input
from infant_fer.training.trainer import averaged_model, parameter_groups, step

EmotionSet = tuple[torch.Tensor, np.ndarray]  # (N, S, S) uint8 luminance crops, (N,) indices of emotions


def emotion_set(dataset: AlignedDataset) -> EmotionSet:
    """Return the luminance of a data set's crops and its emotions."""
    return luminance_crops(dataset.crops), dataset.images.heads["emotion_index"]


def pretrain(
    start: InfantFaceModel,
    train: EmotionSet,
    dev: EmotionSet,
    settings: PretrainingConfig,
    seed: int = 0,
    log: Callable[[str], None] = print,
    line: int = 0,
) -> InfantFaceModel:
    """Train image stream and emotion head of a copy of `start`; return the averaged (EMA) weights.

    It computes on the device of `start`. `line` of the terminal shows the progress.
    """
    torch.manual_seed(seed)
    model = copy.deepcopy(start).requires_grad_(True).to(memory_format=torch.channels_last)
    crops, labels = train[0].to(model.device), torch.from_numpy(train[1]).long().to(model.device)
    sides = [side for epochs, side in settings.stages for _ in range(epochs)]
    optimizer = torch.optim.AdamW(
        parameter_groups(model, settings.learning_rate, settings.weight_decay), lr=settings.learning_rate
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        settings.learning_rate,
        total_steps=len(sides) * (len(crops) // settings.batch) + 1,
        pct_start=settings.warmup,
    )
    average = averaged_model(model, settings.ema)
    averaged = cast(InfantFaceModel, average.module)
    for epoch, side in enumerate(sides):
        began = time.monotonic()
        model.train()
        order = np.random.default_rng(epoch + 1000 * seed).permutation(len(crops))
        batches = order[: len(order) // settings.batch * settings.batch].reshape(-1, settings.batch)
        for batch in tqdm(batches, f"Pretraining {epoch + 1}", unit="step", position=line, leave=False, disable=None):
            images = as_input(partly_mild(_resized(crops[batch], side), settings.mild))
            with torch.autocast(model.device.type, dtype=torch.bfloat16):
                logits = model(images).emotion_logits
            loss = F.cross_entropy(logits.float(), labels[batch], label_smoothing=settings.label_smoothing)
            step(optimizer, loss, model)
            schedule.step()
            average.update_parameters(model)
        score = (emotion_logits(averaged, dev[0], side).argmax(1).numpy() == dev[1]).mean()
        log(f"pretraining epoch {epoch + 1} at {side} px: dev {score:.3f}, {time.monotonic() - began:.0f} s")
    return averaged


@torch.inference_mode()
def emotion_logits(model: InfantFaceModel, crops: torch.Tensor, side: int | None = None) -> torch.Tensor:
    """Return (N, 7) mean logits of (N, S, S) uint8 crops and their mirror images, resized to `side` px if that is given."""
    model.eval()
    batches = []
    for batch in crops.split(256):
        images = as_input(_resized(batch.to(model.device), side or batch.shape[-1]))
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            views = [model(view).emotion_logits.float() for view in (images, images.flip(-1))]
        batches.append((views[0] + views[1]) / 2)
    return torch.cat(batches).cpu()


def _resized(crops: torch.Tensor, side: int) -> torch.Tensor:
    """Return (B, 1, side, side) in 0..1 from (B, S, S) in 0..255."""
    images = crops[:, None].float() / 255
    return F.interpolate(images, size=side, mode="area") if side < crops.shape[-1] else images
