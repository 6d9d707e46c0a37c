"""How is the geometry stream trained? By itself, so that it can stand alone; then its scale in the fusion is fitted."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from infant_fer.data.aligned_dataset import AlignedDataset
from infant_fer.models.infant_face import GeometryStream, InfantFaceModel
from infant_fer.training.infant_face.config import GeometryConfig
from infant_fer.training.infant_face.rows import outputs

SCALES = torch.linspace(0, 1.5, 31)  # of the geometry's logits in the sum


def train_geometry(model: InfantFaceModel, faces: AlignedDataset, settings: GeometryConfig, seed: int = 0) -> None:
    """Give `model` a new geometry stream, fitted to the affects of those rows in which a face was found."""
    torch.manual_seed(seed)
    stream = model.geometry = GeometryStream(model.config)
    known = faces.found & (faces.pictures.target.sum(1) > 0)
    geometry, affect = (torch.from_numpy(each[known]) for each in (faces.geometry, faces.pictures.target))
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
    affect, answer = torch.from_numpy(dev.pictures.target), outputs(model, dev)
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
