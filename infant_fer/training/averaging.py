"""Weights that remember: the exponential moving average of a model in training."""

from __future__ import annotations

import copy

import torch


class Average:
    """Exponential moving average of a model's weights; its first steps count more, so that the start is forgotten."""

    def __init__(self, model: torch.nn.Module, decay: float):
        self.model, self.decay, self.steps = copy.deepcopy(model).requires_grad_(False), decay, 0

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        """Move towards `model` by one step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for mine, other in zip(self.model.parameters(), model.parameters(), strict=True):
            mine.lerp_(other, 1 - decay)
        for mine, other in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(other)
