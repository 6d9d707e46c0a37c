"""How is a network pretrained? On FER2013's emotions and FER+'s votes, strongly augmented."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple, cast

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from infant_fer import metrics
from infant_fer.data.labeled_images import AlignedDataset
from infant_fer.metrics import Proportion
from infant_fer.models.infant_face import InfantFaceModel, luminance_crops
from infant_fer.training.batches import partly_mild
from infant_fer.training.infant_face.config import PretrainingConfig
from infant_fer.training.infant_face.data import as_input, outputs
from infant_fer.training.optimization import (
    averaged_model,
    cosine_factor,
    image_stream_trainable,
    parameter_groups,
    soft_cross_entropy,
    step,
)


class EmotionSet(NamedTuple):
    """N faces with their emotions."""

    luminance: torch.Tensor  # (N, S, S) uint8 crops
    emotion: np.ndarray  # (N,) indices of EMOTIONS
    votes: np.ndarray  # (N, 8) float32 distributions over VOTED_EMOTIONS; zeros where there are none


def emotion_set(dataset: AlignedDataset) -> EmotionSet:
    """Return the luminance of a data set's crops, its emotions and votes."""
    heads = dataset.images.heads
    return EmotionSet(luminance_crops(dataset.crops), heads["emotion_index"], heads["votes"])


def pretrain(
    start: InfantFaceModel,
    train: EmotionSet,
    dev: AlignedDataset,
    settings: PretrainingConfig,
    seed: int = 0,
    log: Callable[[str], None] = print,
    line: int = 0,
) -> InfantFaceModel:
    """Train image stream and emotion heads of a copy of `start`; return the averaged (EMA) weights.

    It computes on the device of `start`. `line` of the terminal shows the progress.
    """
    torch.manual_seed(seed)
    model = copy.deepcopy(start).to(memory_format=torch.channels_last)
    image_stream_trainable(model)
    crops, labels, votes = (
        train.luminance.to(model.device),
        torch.from_numpy(train.emotion).long().to(model.device),
        torch.from_numpy(train.votes).to(model.device),
    )
    sides = [side for epochs, side in settings.stages for _ in range(epochs)]
    optimizer, schedule = _optimizer(model, settings, len(sides) * (len(crops) // settings.batch))
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
                answer = model(images)
            loss = settings.emotion_weight * F.cross_entropy(
                answer.emotion_logits.float(), labels[batch], label_smoothing=settings.label_smoothing
            )
            if settings.votes_weight:
                loss = loss + settings.votes_weight * soft_cross_entropy(answer.vote_logits, votes[batch])
            step(optimizer, loss, model)
            schedule.step()
            average.update_parameters(model)
        scores = _dev_scores(averaged, dev, side)
        log(f"pretraining epoch {epoch + 1} at {side} px: dev {scores}, {time.monotonic() - began:.0f} s")
    return averaged


def emotion_accuracies(model: InfantFaceModel, faces: AlignedDataset) -> dict[str, Proportion]:
    """Return the accuracy of the emotions ("FER2013") and of the votes' majority ("FER+").

    The votes count where the faces have any and the model a head for them.
    """
    answer, heads = outputs(model, faces), faces.images.heads
    found = {"FER2013": metrics.accuracy(answer.emotion_logits.argmax(1).numpy(), heads["emotion_index"])}
    voted = heads["votes"].sum(1) > 0
    if answer.vote_logits is not None and voted.any():
        found["FER+"] = metrics.accuracy(answer.vote_logits.argmax(1).numpy()[voted], heads["votes"].argmax(1)[voted])
    return found


def _dev_scores(model: InfantFaceModel, dev: AlignedDataset, side: int) -> str:
    """Return the accuracies on crops of `side` px as text."""
    luminance = _resized(luminance_crops(dev.crops), side)[:, 0]
    crops = (luminance * 255).round().to(torch.uint8)[..., None].expand(-1, -1, -1, 3).numpy()
    with torch.autocast(model.device.type, dtype=torch.bfloat16):
        found = emotion_accuracies(model, replace(dev, crops=crops))
    return ", ".join(f"{name} {accuracy.value:.3f}" for name, accuracy in found.items())


def _optimizer(
    model: InfantFaceModel, settings: PretrainingConfig, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    rate = settings.learning_rate
    groups = parameter_groups(model, rate, settings.weight_decay, settings.layer_decay, settings.head_rate)
    optimizer = torch.optim.AdamW(groups, lr=rate)
    if settings.schedule == "cosine":
        factor = partial(cosine_factor, steps=steps, warmup=settings.warmup)
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=settings.warmup)
    return optimizer, cycle


def _resized(crops: torch.Tensor, side: int) -> torch.Tensor:
    """Return (B, 1, side, side) in 0..1 from (B, S, S) in 0..255."""
    images = crops[:, None].float() / 255
    return F.interpolate(images, size=side, mode="area") if side < crops.shape[-1] else images
