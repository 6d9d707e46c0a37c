"""How is a pretrained network fine-tuned on infants? Image stream and heads at once; then the geometry stream, fused with it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from infant_fer.data.labeled_images import UNKNOWN, AlignedDataset
from infant_fer.models.infant_face import GeometryStream, InfantFaceModel
from infant_fer.training.batches import partly_mild
from infant_fer.training.infant_face.config import FinetuningConfig, GeometryConfig
from infant_fer.training.infant_face.data import FaceBatch, TrainingSets, as_input, joined, outputs
from infant_fer.training.infant_face.variation import Cutouts, varied
from infant_fer.training.optimization import (
    averaged_model,
    cosine_factor,
    image_stream_trainable,
    parameter_groups,
    soft_cross_entropy,
    step,
)
from infant_fer.training.rendered import RenderedFaces

SCALES = torch.linspace(0, 1.5, 31)  # of the geometry's logits in the sum
LABEL_SHARE = 0.5  # of an emotion target; the rest are the pretrained network's probabilities


def distill_emotions(model: InfantFaceModel, faces: AlignedDataset, affect_weight: float = 0.0) -> AlignedDataset:
    """Return the faces with emotion targets that are half their labels and half a pretrained model's probabilities.

    Fine-tuning then keeps what the pretraining learned (Li and Hoiem 2017). Every face must have a label. With an
    `affect_weight` the model's affect becomes the faces' target, too, its probabilities times that weight.
    """
    with torch.autocast(model.device.type, dtype=torch.bfloat16):
        answer = outputs(model, faces)
    probabilities = answer.emotion_logits.float().softmax(1).numpy()
    if affect_weight:
        affect = (answer.logits.float() / model.config.logit_temperature).softmax(1).numpy()
        faces = faces.with_target(affect_weight * affect)
    return faces.with_head("emotion", LABEL_SHARE * faces.images.heads["emotion"] + (1 - LABEL_SHARE) * probabilities)


def finetune(
    model: InfantFaceModel,
    sets: TrainingSets,
    settings: FinetuningConfig,
    seed: int = 0,
    log: Callable[[str], None] = print,
    line: int = 0,
    occluders: RenderedFaces | None = None,
) -> InfantFaceModel:
    """Train image stream and heads of a copy of `model` on all three sets together; return the averaged (EMA) weights.

    `occluders` are rendered faces with objects before the mouth, which `settings.covered_share` of the infants get. It
    computes on the device of `model`. `line` of the terminal shows the progress. The geometry stream is not changed.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    average = averaged_model(model, settings.ema)
    model = copy.deepcopy(model).to(memory_format=torch.channels_last)
    image_stream_trainable(model)
    weights, steps = _row_weights(FaceBatch.of(sets.infants), settings), len(sets.infants) // settings.infants
    infants, older, emotions = (FaceBatch.of(each, model.device) for each in sets)
    cutouts = Cutouts.of(occluders, model.device) if occluders is not None and settings.covered_share else None
    optimizer = _optimizer(model, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: cosine_factor(done, settings.epochs * steps, settings.warmup)
    )
    for epoch in range(settings.epochs):
        start, total = time.monotonic(), 0.0
        model.train()
        for _ in tqdm(range(steps), f"Fine-tuning {epoch + 1}", unit="step", position=line, leave=False, disable=None):
            batch = joined(
                [
                    infants.rows(random.choice(len(infants), settings.infants, replace=False, p=weights)),
                    older.rows(random.choice(len(older), settings.older, replace=False)),
                    emotions.rows(random.choice(len(emotions), settings.emotions, replace=False)),
                ]
            )
            batch = varied(batch.rows(random.permutation(len(batch))), settings, cutouts)
            loss = _loss(model, batch, settings)
            step(optimizer, loss, model)
            schedule.step()
            average.update_parameters(model)
            total += float(loss.detach())
        log(f"fine-tuning epoch {epoch + 1}: loss {total / steps:.3f}, {time.monotonic() - start:.0f} s")
    return cast(InfantFaceModel, average.module).eval()


def train_geometry(model: InfantFaceModel, faces: AlignedDataset, settings: GeometryConfig, seed: int = 0) -> None:
    """Give `model` a new geometry stream, fitted to the affects of those rows in which a face was found."""
    torch.manual_seed(seed)
    stream = model.geometry = GeometryStream(model.config)
    known = faces.found & (faces.images.target.sum(1) > 0)
    geometry, affect = (torch.from_numpy(each[known]) for each in (faces.geometry, faces.images.target))
    stream.mean.copy_(geometry.mean(0))
    stream.deviation.copy_(geometry.std(0).clamp_min(1e-3))
    weights = affect @ (affect.sum() / affect.sum(0)).sqrt()
    optimizer = torch.optim.AdamW(stream.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * (len(geometry) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=steps + 1)
    for _ in range(settings.epochs):
        for batch in torch.randperm(len(geometry))[: steps // settings.epochs * settings.batch].split(settings.batch):
            noise = torch.randn_like(geometry[batch]) * settings.noise * stream.deviation
            loss = -((affect[batch] * stream(geometry[batch] + noise).log_softmax(1)).sum(1) * weights[batch]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def fuse(model: InfantFaceModel, dev: AlignedDataset) -> float:
    """Scale the geometry stream's last layer so that the summed logits have the least loss on the dev rows; return the scale."""
    affect, answer = torch.from_numpy(dev.images.target), outputs(model, dev)
    known = affect.sum(1) > 0
    losses = [
        F.cross_entropy((answer.image_logits + scale * answer.geometry_logits)[known], affect[known])
        for scale in SCALES
    ]
    scale = float(SCALES[int(torch.stack(losses).argmin())])
    with torch.no_grad():
        for parameter in model.geometry.layers[-1].parameters():
            parameter.mul_(scale)
    return scale


def _optimizer(model: InfantFaceModel, settings: FinetuningConfig) -> torch.optim.Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.decay_norms:
        trained = [value for value in model.parameters() if value.requires_grad]
        return torch.optim.AdamW(trained, lr=rate, weight_decay=decay)
    return torch.optim.AdamW(parameter_groups(model, rate, decay, settings.layer_decay, settings.head_rate), lr=rate)


def _loss(model: InfantFaceModel, batch: FaceBatch, settings: FinetuningConfig) -> torch.Tensor:
    with torch.autocast(model.device.type, dtype=torch.bfloat16):
        answer = model(as_input(partly_mild(batch.luminance[:, None].float() / 255, settings.mild)))
    loss = soft_cross_entropy(answer.image_logits, batch.affect)
    loss = loss + settings.emotion_weight * soft_cross_entropy(answer.emotion_logits, batch.emotion)
    if settings.votes_weight:
        loss = loss + settings.votes_weight * soft_cross_entropy(answer.vote_logits, batch.votes)
    loss = loss + settings.valence_weight * _known(F.smooth_l1_loss, answer.valence_arousal, batch.valence_arousal)
    others = F.cross_entropy(answer.age_logits.float(), batch.age, ignore_index=UNKNOWN)
    for logit, truth in (
        (answer.usable_logit, batch.usable),
        (answer.eyes_closed_logit, batch.eyes_closed),
        (answer.mouth_covered_logit, batch.mouth_covered),
    ):
        others = others + _known(F.binary_cross_entropy_with_logits, logit, truth)
    return loss + settings.other_weight * others


def _known(loss: Callable, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    known = ~target.isnan()
    return loss(prediction.float()[known], target[known]) if known.any() else prediction.sum() * 0


def _row_weights(rows: FaceBatch, settings: FinetuningConfig) -> np.ndarray:
    """Draw rarer affects more often, by the square root of their rarity; rows without an affect as often as the mean."""
    counts = rows.affect.sum(0).clamp_min(1e-6)
    per_class = (counts.sum() / counts).sqrt()
    known = rows.affect.sum(1) > 0
    weights = torch.where(known, rows.affect @ per_class, per_class.mean()).double()
    rare = (rows.usable == 0) | (rows.mouth_covered == 1)
    drawn = torch.where(rare, settings.rare_weight * weights, weights).numpy()
    return drawn / drawn.sum()
