"""From faces in general to infants: all heads at once, soft labels, both streams able to stand alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from infant_fer.models.infant_face import InfantFaceModel, InfantFaceOutput
from infant_fer.training.augmentation import augment
from infant_fer.training.manifest import UNKNOWN
from infant_fer.training.pretraining import Average, as_input, step


@dataclass(frozen=True)
class FinetuningSettings:
    """What the fine-tuning does, saved with the run."""

    epochs: int = 12  # of the infants' rows; dev does not rise beyond
    infants: int = 80  # pictures of each kind in a batch
    older: int = 16  # for the age and usable heads
    emotions: int = 24  # of FER2013, so that the seven emotions are not forgotten
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    ema: float = 0.99
    warmup: float = 0.1
    stream_dropout: float = 0.25  # share of the rows in which the fusion sees one stream only
    geometry_noise: float = 0.15  # in standard deviations of each feature
    valence_weight: float = 0.5
    emotion_weight: float = 0.5
    other_weight: float = 0.3
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Faces:
    """Training rows: grey (N, S, S) uint8, geometry (N, G) float32, found (N,) bool, and targets as in Manifest."""

    grey: torch.Tensor
    geometry: torch.Tensor
    found: torch.Tensor
    affect_soft: torch.Tensor
    emotion: torch.Tensor
    valence_arousal: torch.Tensor
    age: torch.Tensor
    usable: torch.Tensor
    eyes_closed: torch.Tensor

    def __len__(self) -> int:
        return len(self.grey)

    def rows(self, index) -> Faces:
        """Some of the rows."""
        return Faces(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    @staticmethod
    def joined(parts: list[Faces]) -> Faces:
        """Several tables under each other."""
        return Faces(*(torch.cat([getattr(part, name) for part in parts]) for name in Faces.__dataclass_fields__))


def finetune(
    model: InfantFaceModel,
    infants: Faces,
    older: Faces,
    emotions: Faces,
    settings: FinetuningSettings,
    log: Callable[[str], None] = print,
) -> InfantFaceModel:
    """Train every head of a pretrained model on infants, older faces and FER2013 together; gives the averaged weights."""
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    _standardise(model, infants)
    model = model.to(memory_format=torch.channels_last).requires_grad_(True)
    weights = _row_weights(infants)
    steps_per_epoch = len(infants) // settings.infants
    steps = settings.epochs * steps_per_epoch
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: rate(done, steps, settings.warmup))
    average = Average(model, settings.ema)
    for epoch in range(settings.epochs):
        start, total = time.monotonic(), 0.0
        model.train()
        for _ in tqdm(range(steps_per_epoch), unit="step", desc=f"Fine-tuning {epoch + 1}", leave=False):
            batch = Faces.joined(
                [
                    infants.rows(random.choice(len(infants), settings.infants, replace=False, p=weights)),
                    older.rows(random.choice(len(older), settings.older, replace=False)),
                    emotions.rows(random.choice(len(emotions), settings.emotions, replace=False)),
                ]
            )
            loss = _loss(model, batch, settings)
            step(optimizer, loss, model)
            schedule.step()
            average.update(model)
            total += float(loss.detach())
        seconds = time.monotonic() - start
        log(f"fine-tuning epoch {epoch + 1}: loss {total / steps_per_epoch:.3f}, {seconds:.0f} s")
    return average.model.eval()


def rate(done: int, steps: int, warmup: float) -> float:
    """Learning-rate factor: up linearly over the first `warmup` share, then down along a cosine to 0."""
    share = (done + 1) / max(1, steps)
    return share / warmup if share < warmup else 0.5 * (1 + math.cos(math.pi * min(1.0, (share - warmup) / (1 - warmup))))


@torch.inference_mode()
def outputs(model: InfantFaceModel, faces: Faces) -> InfantFaceOutput:
    """The model's answers for every row in float32, averaged over the crop and its mirror image; image alone where no face was found."""
    model.eval()
    parts = []
    for index in torch.arange(len(faces)).split(128):
        rows = faces.rows(index)
        pictures = as_input(rows.grey[:, None].float() / 255)
        views = [model(view, rows.geometry) for view in (pictures, pictures.flip(-1))]
        mean = {name: (views[0][name] + views[1][name]) / 2 for name in views[0] if views[0][name] is not None}
        if "geometry_logits" in mean:
            mean["geometry_logits"] = mean["geometry_logits"] * rows.found[:, None]
            mean["logits"] = mean["image_logits"] + mean["geometry_logits"]
        parts.append(mean)
    return InfantFaceOutput(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def _loss(model: InfantFaceModel, batch: Faces, settings: FinetuningSettings) -> torch.Tensor:
    noisy = batch.geometry + torch.randn_like(batch.geometry) * settings.geometry_noise * model.geometry.deviation
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = model(as_input(augment(batch.grey[:, None].float() / 255)), noisy)
    image, geometry = answer.image_logits.float(), answer.geometry_logits.float() * batch.found[:, None]
    draw = torch.rand(len(batch.grey), 1)
    without_image, without_geometry = draw < settings.stream_dropout / 2, draw > 1 - settings.stream_dropout / 2
    fused = image * ~without_image + geometry * ~without_geometry
    loss = _soft(fused, batch.affect_soft) + 0.5 * _soft(image, batch.affect_soft)
    loss = loss + 0.5 * _soft(geometry, batch.affect_soft * batch.found[:, None])
    loss = loss + settings.emotion_weight * _hard(answer.emotion_logits, batch.emotion)
    loss = loss + settings.valence_weight * _known(F.smooth_l1_loss, answer.valence_arousal, batch.valence_arousal)
    others = _hard(answer.age_logits, batch.age)
    for logit, truth in ((answer.usable_logit, batch.usable), (answer.eyes_closed_logit, batch.eyes_closed)):
        others = others + _known(F.binary_cross_entropy_with_logits, logit, truth)
    return loss + settings.other_weight * others


def _soft(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with distributions; rows that sum to 0 are unknown and do not count."""
    counted = target.sum(1).sum().clamp_min(1)
    return -(target * logits.log_softmax(1)).sum() / counted


def _hard(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    known = target != UNKNOWN
    return F.cross_entropy(logits.float()[known], target[known], label_smoothing=0.05) if known.any() else logits.sum() * 0


def _known(loss: Callable, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    known = ~target.isnan()
    return loss(prediction.float()[known], target[known]) if known.any() else prediction.sum() * 0


def _row_weights(faces: Faces) -> np.ndarray:
    """Draw rarer affects more often, by the square root of their rarity; rows without an affect as often as the mean."""
    counts = faces.affect_soft.sum(0)
    per_class = (counts.sum() / counts).sqrt()
    known = faces.affect_soft.sum(1) > 0
    weights = torch.where(known, faces.affect_soft @ per_class, per_class.mean())
    return (weights / weights.sum()).double().numpy() / float((weights / weights.sum()).double().sum())


def _standardise(model: InfantFaceModel, faces: Faces) -> None:
    """Give the geometry stream the mean and deviation of the training rows in which a face was found."""
    if model.geometry is not None:
        known = faces.geometry[faces.found]
        model.geometry.mean.copy_(known.mean(0))
        model.geometry.deviation.copy_(known.std(0).clamp_min(1e-3))
