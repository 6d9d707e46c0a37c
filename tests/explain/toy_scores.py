"""Scores whose maps are known by hand, for the tests of attribution methods."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from infant_fer.explain import METHODS, Method, Score
from infant_fer.labels import AFFECTS
from infant_fer.regions import PARTS

SIZE = 24


class FunctionModel(torch.nn.Module):
    """A function of crops as the logit of one affect; the other two logits are 0. Counts the crops it was given."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], target: str = "positive"):
        super().__init__()
        self.function, self.index, self.crops = function, AFFECTS.index(target), 0

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        self.crops += len(pixel_values)
        logits = [torch.zeros(len(pixel_values))] * 3
        logits[self.index] = self.function(pixel_values).float()
        return torch.stack(logits, dim=1)


class CountedNetwork(torch.nn.Module):
    """A small network with a random logit for each affect. Counts the crops it was given."""

    def __init__(self, network: torch.nn.Module | None = None):
        super().__init__()
        self.network, self.crops = network or small_network(), 0

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        self.crops += len(pixel_values)
        return self.network(pixel_values)


def small_network() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.GELU(),
            torch.nn.Conv2d(8, 8, 3, stride=2, padding=1), torch.nn.GELU(),
            torch.nn.Flatten(), torch.nn.Linear(8 * (SIZE // 2) ** 2, 3),
        ).eval()  # fmt: skip


class TokenNetwork(torch.nn.Module):
    """Patches of 4 px as tokens, two transformer layers, the mean token; SIZE px give a grid of 6 × 6."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.patches = torch.nn.Conv2d(3, 16, 4, stride=4)
            self.layers = torch.nn.ModuleList(
                torch.nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True) for _ in range(2)
            )
            self.head = torch.nn.Linear(16, 3)
        self.eval()

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(pixel_values).flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(tokens.mean(1))


def network_score(target: str = "neutral", method: str = "") -> Score:
    """Return a score of a small network to which the method applies."""
    tokens = method and METHODS[method].reads_layers
    return Score(CountedNetwork(TokenNetwork() if tokens else None), target)


def method_of(name: str, **options) -> Method:
    """Return a method with those of the options that it has, and face parts if it needs them."""
    return METHODS[name].from_options(**options, parts=halves())


def crop(seed: int = 0, size: int = SIZE) -> torch.Tensor:
    """Return one normalised crop with values in -1..1, both reached."""
    values = torch.rand((1, 3, size, size), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    values[0, 0, 0, :2] = torch.tensor([-1.0, 1.0])
    return values


def halves(size: int = SIZE) -> np.ndarray:
    """Return a part map: brows in the upper half, mouth in the lower one."""
    parts = np.full((size, size), PARTS.index("brows"), np.uint8)
    parts[size // 2 :] = PARTS.index("mouth")
    return parts


def values_of(method: Method, function, pixels: torch.Tensor) -> np.ndarray:
    """Return the complete map of a function of crops."""
    return method.map(Score(FunctionModel(function), "positive"), pixels).values


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))
