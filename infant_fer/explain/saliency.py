"""What is a saliency map, and what must a method that computes one provide?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar, Self

import cv2
import numpy as np
import torch
from torch import nn

from infant_fer.labels import AFFECTS
from infant_fer.locales import Message

ROBUST_MAXIMUM = 99.0  # per cent; single wild pixels must not dim the rest (Smilkov et al. 2017, section 3.2.1)
# Pixels of crops per call of the score: five crops of 224 px, where larger batches gained nothing on two cores.
PIXELS_PER_CALL = 5 * 224**2
LARGEST_BATCH = 10  # so that a map of 50 samples still arrives in five steps
# Of the crop's side: 1.5 px at 96, just wider than the grid that strided layers leave in a gradient.
FINE_BLUR = 1 / 64
# Of the crop's side: maps of two seeds then agree (correlation .997 against .941), so that what is seen is not noise.
SMOOTH_BLUR = 0.06


class AffectLogits(nn.Module):
    """A network as a function of the crop alone: (B, 3, S, S) normalized crops to (B, 3) float32 logits of AFFECTS.

    `indices` are the network's classes of each affect; several (emotions) are joined by the log of their summed
    exponentials. `geometry` (1, G) is held fixed. Logits are divided by `temperature`, so that their softmax is the
    calibrated answer to a crop that is not mirrored.
    """

    def __init__(
        self,
        network: nn.Module,
        indices: Sequence[Sequence[int]],
        temperature: float = 1.0,
        geometry: torch.Tensor | None = None,
    ):
        super().__init__()
        self.network, self.indices, self.temperature = network, indices, temperature
        self.geometry: torch.Tensor | None
        self.register_buffer("geometry", geometry, persistent=False)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return (B, 3) logits of (B, 3, S, S) crops."""
        streams = {} if self.geometry is None else {"geometry": self.geometry.expand(len(pixel_values), -1)}
        logits = self.network(pixel_values=pixel_values, **streams).logits.float() / self.temperature
        return torch.stack([logits[:, list(members)].logsumexp(1) for members in self.indices], dim=1)


@dataclass(frozen=True, eq=False)
class Score:
    """The differentiable score that is explained: the logit of `target`, or its distance from the logit of `versus`.

    `model` maps (B, 3, S, S) normalized crops to (B, 3) logits of AFFECTS, each crop on its own, and computes in
    `precision` on `device`. Its layers are there for methods that need them. Raises ValueError on an unknown affect.
    """

    model: nn.Module
    target: str  # affect
    versus: str | None = None  # affect; "why the target rather than this?"
    precision: str = "float32"
    device: str = "cpu"

    def __post_init__(self):
        if self.target not in AFFECTS or self.versus not in (None, *AFFECTS) or self.target == self.versus:
            raise ValueError(f"A score needs one or two different affects of {AFFECTS}.")

    def __call__(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return the (B,) float32 scores of (B, 3, S, S) crops."""
        return self.of_logits(self.model(pixel_values))

    def of_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the (B,) float32 scores of (B, 3) logits."""
        target = logits[:, AFFECTS.index(self.target)].float()
        return target if self.versus is None else target - logits[:, AFFECTS.index(self.versus)].float()

    def probability(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return (B,) float32 in 0..1: the target's probability; with `versus`, that of the target of the two."""
        with torch.no_grad():
            logits = self.model(pixel_values).float()
            if self.versus is not None:
                return self.of_logits(logits).sigmoid()
            return logits.softmax(1)[:, AFFECTS.index(self.target)]


@dataclass(frozen=True, eq=False)
class SaliencyMap:
    """A map of how much each pixel of a crop mattered to one class: `values` (S, S) float32 in 0..1, in the crop's frame.

    `values` drops the sign: a bright pixel may count for the class or against it. `signed` (S, S) float32 in -1..1 has
    it, above 0 for the class and below 0 against it; None for methods without a sign. `samples` of `requested_samples`
    model evaluations (noisy copies, path steps or covered patches) are in the map. `options`, `precision` and `device`
    are what the map was computed with: the same ones give the same map. `coverage` says how many of the networks it shows,
    where a method does not apply to all of them.
    """

    values: np.ndarray
    method: str  # a key of explain.METHODS
    target: str  # affect
    samples: int
    requested_samples: int
    options: Mapping[str, float | int | str] = field(default_factory=dict)  # of the method, besides its samples
    precision: str = "float32"  # of the network
    device: str = "cpu"
    versus: str | None = None  # affect that the target is compared with
    signed: np.ndarray | None = None
    coverage: Message | None = None

    @property
    def marks(self) -> bool:
        """Return whether the map marks something: one without any variation prefers no place."""
        return marks_something(self.values)

    def for_display(self, blur: float = SMOOTH_BLUR) -> np.ndarray:
        """Return (S, S) float32 in 0..1 for the eye: a Gaussian blur of `blur` of the side, rescaled; figures come from `values`.

        Raw maps of small crops are speckled, because layers with a stride let every second pixel weigh more.
        """
        return scaled(cv2.GaussianBlur(self.values, (0, 0), self.values.shape[0] * blur))

    def signed_for_display(self) -> np.ndarray | None:
        """Return `signed` for the eye: (S, S) float32 in -1..1, blurred and rescaled."""
        if self.signed is None:
            return None
        return scaled_signed(cv2.GaussianBlur(self.signed, (0, 0), self.signed.shape[0] * SMOOTH_BLUR))


@dataclass(frozen=True)
class Method(ABC):
    """An attribution method. A subclass is a frozen dataclass whose fields are its options, each with a default.

    A field with `repr=False` is not recorded with the map: it does not change the map, or belongs to the crop.
    """

    name: ClassVar[str]  # its key in explain.METHODS
    title: ClassVar[str]  # for people
    reading: ClassVar[str] = ""  # two sentences for people: how to read its maps
    is_signed: ClassVar[bool] = False  # whether its maps tell what speaks for the class from what speaks against it
    reads_layers: ClassVar[bool] = False  # of the score's model, which then can be no plain function

    @abstractmethod
    def maps(self, score: Score, pixel_values: torch.Tensor) -> Iterator[SaliencyMap]:
        """Yield maps of one normalized crop (1, 3, S, S), each better than the one before; the last one is complete.

        Closing the iterator stops the work. Raises ValueError on a wrong shape, and ExplanationError, with one sentence,
        for a model that the method cannot explain.
        """

    def map(self, score: Score, pixel_values: torch.Tensor) -> SaliencyMap:
        """Return the complete map of one normalized crop (1, 3, S, S)."""
        *_, last = self.maps(score, pixel_values)
        return last

    @classmethod
    def from_options(cls, **options) -> Self:
        """Build the method with those of the `options` that it has."""
        names = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in options.items() if name in names})

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return the names of the options that are recorded with a map, besides its samples."""
        return tuple(each.name for each in fields(cls) if each.repr and each.name != "samples")

    def saliency_map(
        self,
        score: Score,
        magnitude: np.ndarray,
        samples: int,
        requested_samples: int | None = None,
        signed: np.ndarray | None = None,
    ) -> SaliencyMap:
        """Return the map of an (S, S) magnitude and, where there is one, (S, S) signed evidence, with how it came about."""
        options = {name: getattr(self, name) for name in self.option_names()}
        requested_samples = samples if requested_samples is None else requested_samples
        return SaliencyMap(
            scaled(magnitude),
            self.name,
            score.target,
            samples,
            requested_samples,
            options,
            score.precision,
            score.device,
            score.versus,
            None if signed is None else scaled_signed(signed),
        )


def channel_magnitude(attribution: torch.Tensor) -> np.ndarray:
    """Return the Euclidean length over the channels of a signed (3, S, S) attribution, as (S, S) float32.

    It does not depend on the colour axes chosen, as the sum or the largest of the magnitudes would.
    """
    return attribution.float().norm(dim=0).cpu().numpy()


def marks_something(values: np.ndarray) -> bool:
    """Return whether an (S, S) map has any variation."""
    return bool(np.ptp(values) > 0)


def scaled(magnitude: np.ndarray) -> np.ndarray:
    """Return an (S, S) magnitude in 0..1: its 99th percentile becomes 1 and what exceeds it is clipped."""
    top = np.percentile(magnitude, ROBUST_MAXIMUM)
    top = top if top > 0 else magnitude.max()  # fewer than one pixel in a hundred matters
    return np.clip(magnitude / top, 0, 1).astype(np.float32) if top > 0 else np.zeros_like(magnitude, np.float32)


def scaled_signed(evidence: np.ndarray) -> np.ndarray:
    """Return (S, S) signed evidence in -1..1: the 99th percentile of its magnitude becomes 1; 0 stays 0."""
    return (np.sign(evidence) * scaled(np.abs(evidence))).astype(np.float32)


def check_crop(pixel_values: torch.Tensor) -> None:
    """Raise ValueError unless there is one square crop (1, 3, S, S)."""
    shape = tuple(pixel_values.shape)
    if len(shape) != 4 or shape[:2] != (1, 3) or shape[2] != shape[3]:
        raise ValueError(f"pixel_values must be one square crop (1, 3, S, S); got {shape}.")


def check_samples(samples: int, noise: float = 0.0) -> None:
    """Raise ValueError unless there is at least one sample and no negative noise."""
    if samples < 1 or noise < 0:
        raise ValueError(
            f"An explanation needs samples of at least 1 and noise of at least 0; got samples={samples}, noise={noise}."
        )


def mean_colour(pixel_values: torch.Tensor) -> torch.Tensor:
    """Return a baseline of the same shape with the crop's mean colour everywhere: no face, and no change of light."""
    return pixel_values.mean((2, 3), keepdim=True).expand_as(pixel_values)


def batch_size(pixel_values: torch.Tensor) -> int:
    """Return how many crops of this size the score gets at once."""
    return max(1, min(LARGEST_BATCH, PIXELS_PER_CALL // (pixel_values.shape[-1] * pixel_values.shape[-2])))
