"""How does a pretrained network learn infants? The image stream and all its heads at once, with soft labels."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from infant_fer.data.aligned_dataset import AlignedDataset
from infant_fer.data.labeled_images import UNKNOWN
from infant_fer.models.infant_face import InfantFaceModel
from infant_fer.training.augmentation import partly_mild
from infant_fer.training.infant_face.config import FinetuningConfig
from infant_fer.training.infant_face.rows import FaceBatch, as_input, joined, outputs
from infant_fer.training.optimization import averaged_model, soft_cross_entropy, step

LABEL_SHARE = 0.5  # of an emotion target; the rest are the pretrained network's probabilities


def distill_emotions(model: InfantFaceModel, faces: AlignedDataset) -> AlignedDataset:
    """Return the faces with emotion targets that are half their labels and half a pretrained model's probabilities.

    Fine-tuning then keeps what the pretraining learned (Li and Hoiem 2017). Every face must have a label.
    """
    with torch.autocast(model.device.type, dtype=torch.bfloat16):
        probabilities = outputs(model, faces).emotion_logits.softmax(1).numpy()
    return faces.with_head("emotion", LABEL_SHARE * faces.pictures.heads["emotion"] + (1 - LABEL_SHARE) * probabilities)


def finetune(
    model: InfantFaceModel,
    infants: AlignedDataset,
    older: AlignedDataset,
    emotions: AlignedDataset,
    settings: FinetuningConfig,
    seed: int = 0,
    log: Callable[[str], None] = print,
    line: int = 0,
) -> InfantFaceModel:
    """Train image stream and heads of a copy of `model` on infants, older faces and FER2013 together (EMA weights).

    It computes on the device of `model`. `line` of the terminal shows the progress. The geometry stream is not changed.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    average = averaged_model(model, settings.ema)
    model = copy.deepcopy(model).to(memory_format=torch.channels_last).requires_grad_(True)
    weights, steps = _row_weights(FaceBatch.of(infants), settings), len(infants) // settings.infants
    pools = [FaceBatch.of(each, model.device) for each in (infants, older, emotions)]
    trained = [value for name, value in model.named_parameters() if not name.startswith("geometry.")]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: rate(done, settings.epochs * steps, settings.warmup)
    )
    for epoch in range(settings.epochs):
        start, total = time.monotonic(), 0.0
        model.train()
        for _ in tqdm(range(steps), f"Fine-tuning {epoch + 1}", unit="step", position=line, leave=False, disable=None):
            batch = joined(
                [
                    pools[0].rows(random.choice(len(infants), settings.infants, replace=False, p=weights)),
                    pools[1].rows(random.choice(len(older), settings.older, replace=False)),
                    pools[2].rows(random.choice(len(emotions), settings.emotions, replace=False)),
                ]
            )
            loss = _loss(model, batch.rows(random.permutation(len(batch))), settings)
            step(optimizer, loss, model)
            schedule.step()
            average.update_parameters(model)
            total += float(loss.detach())
        log(f"fine-tuning epoch {epoch + 1}: loss {total / steps:.3f}, {time.monotonic() - start:.0f} s")
    return cast(InfantFaceModel, average.module).eval()


def rate(done: int, steps: int, warmup: float) -> float:
    """Learning-rate factor: up linearly over the first `warmup` share, then down along a cosine to 0."""
    share = (done + 1) / max(1, steps)
    return (
        share / warmup if share < warmup else 0.5 * (1 + math.cos(math.pi * min(1.0, (share - warmup) / (1 - warmup))))
    )


def _loss(model: InfantFaceModel, batch: FaceBatch, settings: FinetuningConfig) -> torch.Tensor:
    with torch.autocast(model.device.type, dtype=torch.bfloat16):
        answer = model(as_input(partly_mild(batch.luminance[:, None].float() / 255, settings.mild)))
    loss = soft_cross_entropy(answer.image_logits, batch.affect)
    loss = loss + settings.emotion_weight * soft_cross_entropy(answer.emotion_logits, batch.emotion)
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
