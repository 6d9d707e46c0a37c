"""How do pictures become batches? Random changes of pose, light, sharpness and noise, occlusion, mixing and sampling."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import Sampler

from infant_fer.data.labeled_images import ITEM_HEADS
from infant_fer.models.image_streams import LUMINANCE

MAX_ROTATION = 0.35  # radians; alignment has removed most of it
MAX_LOG_SCALE, MAX_LOG_ASPECT, MAX_SHIFT = 0.2, 0.08, 0.12  # shift in half crops
MAX_LOG_GAMMA, MAX_LOG_CONTRAST, MAX_BRIGHTNESS = 0.5, 0.4, 0.15
HALF_RESOLUTION_SHARE, THIRD_RESOLUTION_SHARE = 0.25, 0.08
NOISE_SHARE, MAX_NOISE = 0.4, 0.12
PEPPER_SHARE, MAX_PEPPER = 0.12, 0.06
COVER_SHARES = (0.35, 0.15)  # a first and a second disc or bar
MAX_LOG_SATURATION, MAX_HUE = 0.5, 0.15  # radians about the grey axis
JITTER = 0.4  # share of the limits above in the mild kind


def augment(pixels: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """Change each picture of a (B, C, S, S) float32 batch in 0..1 at random; same shape and range.

    Half of the pictures are mirrored. `generator` makes the draw repeatable.
    """
    draw = _Draw(pixels, generator)
    pixels = _moved(pixels, draw)
    pixels = _coarser(pixels, draw)
    pixels = _relit(pixels, draw)
    pixels = _noisy(pixels, draw)
    for share in COVER_SHARES:
        pixels = _covered(pixels, share, draw)
    return pixels.clamp(0, 1)


def jitter(pixels: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """Mildly change each picture of a (B, C, S, S) float32 batch in 0..1: mirror, small rotation, brightness, contrast."""
    draw = _Draw(pixels, generator)
    return _relit(_moved(pixels, draw, JITTER), draw, JITTER).clamp(0, 1)


def relight(pixels: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """Change brightness, contrast, gamma, sharpness and noise of a (B, C, S, S) batch in 0..1; nothing moves or is covered."""
    draw = _Draw(pixels, generator)
    return _noisy(_relit(_coarser(pixels, draw), draw, JITTER), draw).clamp(0, 1)


def recoloured(pixels: torch.Tensor, kind: str, generator: torch.Generator | None = None) -> torch.Tensor:
    """Change the colours of a (B, 3, S, S) float32 RGB batch in 0..1; same shape and range.

    "jitter" scales the saturation by up to MAX_LOG_SATURATION and turns the hue by up to MAX_HUE, "grey" leaves the
    luminance only (ITU-R BT.601), "both" does so to one picture in two.
    """
    draw = _Draw(pixels, generator)
    luminance = (pixels * pixels.new_tensor(LUMINANCE).view(3, 1, 1)).sum(1, keepdim=True)
    if kind == "jitter":
        chroma = (pixels - luminance) * draw.signed(MAX_LOG_SATURATION).exp()
        angle = draw.signed(MAX_HUE)
        mean = chroma.mean(1, keepdim=True)
        around = torch.cross(pixels.new_full((1, 3, 1, 1), 3**-0.5).expand_as(chroma), chroma, dim=1)
        turned = (
            chroma * angle.cos() + around * angle.sin() + mean * (1 - angle.cos())
        )  # Rodrigues, about the grey axis
        return (luminance + turned).clamp(0, 1)
    desaturated = luminance.expand_as(pixels)
    return desaturated if kind == "grey" else torch.where(draw.chance(0.5), desaturated, pixels)


def partly_mild(pixels: torch.Tensor, mild: float) -> torch.Tensor:
    """Change a (B, C, S, S) batch, its last `mild` share by `jitter` and the rest by `augment`; the batch is in random order."""
    strong = round((1 - mild) * len(pixels))
    halves = (augment, pixels[:strong]), (jitter, pixels[strong:])
    return torch.cat([change(rows) for change, rows in halves if len(rows)])


class _Draw:
    """Random numbers on a batch's device, of shape (B, 1, 1, 1) by default."""

    def __init__(self, batch: torch.Tensor, generator: torch.Generator | None):
        self.count, self.device, self.generator = len(batch), batch.device, generator

    def unit(self, *shape: int) -> torch.Tensor:
        return torch.rand(shape or (self.count, 1, 1, 1), generator=self.generator, device=self.device)

    def signed(self, largest: float) -> torch.Tensor:
        return (self.unit() * 2 - 1) * largest

    def chance(self, share: float) -> torch.Tensor:
        return self.unit() < share


def _moved(pixels: torch.Tensor, draw: _Draw, share: float = 1.0) -> torch.Tensor:
    angle, shift_x, shift_y = (draw.signed(limit * share).flatten() for limit in (MAX_ROTATION, MAX_SHIFT, MAX_SHIFT))
    scale, aspect = (draw.signed(limit * share).flatten().exp() for limit in (MAX_LOG_SCALE, MAX_LOG_ASPECT))
    across = aspect * torch.where(draw.chance(0.5).flatten(), -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    matrix = torch.stack(
        [torch.stack([cos * across, -sin, shift_x], 1), torch.stack([sin * across, cos, shift_y], 1)], 1
    )
    grid = F.affine_grid(matrix, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def _coarser(pixels: torch.Tensor, draw: _Draw) -> torch.Tensor:
    """Pass some pictures through half, a few through a third of the resolution."""
    chosen = draw.unit()
    for factor, mask in ((0.5, chosen < HALF_RESOLUTION_SHARE), (0.3, chosen > 1 - THIRD_RESOLUTION_SHARE)):
        small = F.interpolate(pixels, scale_factor=factor, mode="area")
        pixels = torch.where(mask, F.interpolate(small, size=pixels.shape[-2:], mode="bilinear"), pixels)
    return pixels


def _relit(pixels: torch.Tensor, draw: _Draw, share: float = 1.0) -> torch.Tensor:
    pixels = pixels.clamp(1e-3, 1) ** draw.signed(MAX_LOG_GAMMA * share).exp()
    mean = pixels.mean((2, 3), keepdim=True)
    return (pixels - mean) * draw.signed(MAX_LOG_CONTRAST * share).exp() + mean + draw.signed(MAX_BRIGHTNESS * share)


def _noisy(pixels: torch.Tensor, draw: _Draw) -> torch.Tensor:
    deviation = draw.unit() * MAX_NOISE * draw.chance(NOISE_SHARE)
    pixels = pixels + torch.randn(pixels.shape, generator=draw.generator, device=draw.device) * deviation
    dots = draw.unit() * MAX_PEPPER * draw.chance(PEPPER_SHARE)
    where = draw.unit(*pixels.shape)
    return torch.where(where < dots / 2, 0.0, torch.where(where > 1 - dots / 2, 1.0, pixels))


def _covered(pixels: torch.Tensor, share: float, draw: _Draw) -> torch.Tensor:
    """Cover some pictures with a disc or bar of one brightness, up to 44 % of the side wide, as a hand or pacifier would."""
    side = pixels.shape[-1]
    along = torch.arange(side, device=draw.device)
    rows, columns = along.view(1, 1, side, 1), along.view(1, 1, 1, side)
    y, x = draw.unit() * side, draw.unit() * side
    half_height, half_width = ((draw.unit() * 0.18 + 0.04) * side for _ in range(2))
    disc = ((rows - y) / half_height) ** 2 + ((columns - x) / half_width) ** 2 < 1
    bar = ((rows - y).abs() < half_height) & ((columns - x).abs() < half_width)
    mask = torch.where(draw.chance(0.5), disc, bar) & draw.chance(share)
    return torch.where(mask, draw.unit(), pixels)


CUTOUT_SIDE = 0.4  # of the crop's side; DeVries and Taylor 2017 cover a sixth of the area
ALPHA = 1.0  # of the Beta distribution of shares (Zhang et al. 2018; Yun et al. 2019; Harris et al. 2020)
FMIX_DECAY = 3.0  # how much low frequencies dominate FMix's masks (Harris et al. 2020)


# Those in UNMOVED leave every part of the face where its landmarks are.
AUGMENTATIONS: dict[str, Callable] = {"light": jitter, "strong": augment, "photometric": relight}
UNMOVED = ("none", "photometric")


@dataclass(frozen=True)
class Collator:
    """Stack items of an AlignedDataset into `pixel_values` (B, 3, S, S), normalised by the processor, and `labels` (B, C);
    ITEM_HEADS that the items have are stacked, too.

    Augmentation and mixing draw from torch's global generator, whose state the Trainer saves and restores.
    """

    processor: object
    augmentation: str = "none"
    mixing: str = ""
    colour: str = ""
    geometry: bool = False  # also give `geometry` (B, G) and `found` (B,) to the model

    def __call__(self, items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        pixels = torch.stack([item["crop"] for item in items]).float() / 255
        labels = torch.stack([item["labels"] for item in items])
        if self.augmentation != "none":
            pixels = AUGMENTATIONS[self.augmentation](pixels)
        if self.colour:
            pixels = recoloured(pixels, self.colour)
        pixels = normalised(pixels, self.processor)
        if self.mixing:
            pixels, labels = MIXINGS[self.mixing](pixels, labels, torch.default_generator)
        batch = {"pixel_values": pixels, "labels": labels}
        if self.geometry:
            batch |= {name: torch.stack([item[name] for item in items]) for name in ("geometry", "found")}
        for name in ITEM_HEADS:
            if name in items[0]:
                batch[name] = torch.stack([item[name] for item in items])
        return batch


def normalised(pixels: torch.Tensor, processor) -> torch.Tensor:
    """Return (B, 3, S, S) as the processor would give it, from values in 0..1."""
    values = pixels * 255 * processor.rescale_factor if processor.do_rescale else pixels * 255
    if not processor.do_normalize:
        return values
    mean, deviation = (torch.tensor(each).view(3, 1, 1) for each in (processor.image_mean, processor.image_std))
    return (values - mean) / deviation


class EpochSampler(Sampler):
    """Indices in an order that depends on seed and epoch only, so that a resumed run goes on as it would have.

    `plain` draws every picture once; `weighted` draws as many, classes alike, with repeats; `undersampled` draws as many
    of each class as there are of the rarest.
    """

    def __init__(self, truth: np.ndarray, kind: str, seed: int):
        self.truth, self.kind, self.seed, self.epoch = truth, kind, seed, 0
        self.counts = np.bincount(truth)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; the Trainer calls it before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        present = self.counts[self.counts > 0]
        return int(present.min() * len(present)) if self.kind == "undersampled" else len(self.truth)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        if self.kind == "plain":
            return iter(random.permutation(len(self.truth)).tolist())
        if self.kind == "weighted":
            weight = 1 / self.counts[self.truth]
            return iter(random.choice(len(self.truth), len(self), p=weight / weight.sum()).tolist())
        each = self.counts[self.counts > 0].min()
        drawn = [random.choice(np.flatnonzero(self.truth == c), each, replace=False) for c in np.unique(self.truth)]
        return iter(random.permutation(np.concatenate(drawn)).tolist())


def cutout(pixels: torch.Tensor, target: torch.Tensor, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Set one square of each (B, C, S, S) picture to 0, the normalised mean; the targets stay (DeVries and Taylor 2017)."""
    masks = torch.stack([_square(pixels.shape[-1], CUTOUT_SIDE**2, random, inside=False) for _ in pixels])
    return pixels * ~masks[:, None], target


def mixup(pixels: torch.Tensor, target: torch.Tensor, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend each picture and (B, K) target with another's by one drawn share (Zhang et al. 2018)."""
    share, order = _share(random), torch.randperm(len(pixels), generator=random)
    return torch.lerp(pixels[order], pixels, share), torch.lerp(target[order], target, share)


def cutmix(pixels: torch.Tensor, target: torch.Tensor, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste a square of another picture; the target's share is exactly that of the pixels (Yun et al. 2019)."""
    return _pasted(pixels, target, _square(pixels.shape[-1], 1 - _share(random), random), random)


def fmix(pixels: torch.Tensor, target: torch.Tensor, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste the pixels of another picture under a mask of soft, irregular shape (Harris et al. 2020)."""
    return _pasted(pixels, target, fourier_mask(pixels.shape[-1], 1 - _share(random), random), random)


def fourier_mask(side: int, area: float, random: torch.Generator) -> torch.Tensor:
    """Return an (S, S) bool mask with round(area * S²) pixels set: the largest values of low-frequency noise."""
    noise = torch.complex(*(torch.randn(side, side // 2 + 1, generator=random) for _ in range(2)))
    vertical, horizontal = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None]
    frequency = (vertical**2 + horizontal**2).sqrt().clamp_min(1 / side)
    values = torch.fft.irfft2(noise / frequency**FMIX_DECAY, s=(side, side))
    mask = torch.zeros(side * side, dtype=torch.bool)
    mask[values.flatten().argsort(descending=True)[: round(area * side * side)]] = True
    return mask.view(side, side)


def mosaic(pixels: torch.Tensor, target: torch.Tensor, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Join four whole pictures, made smaller, around a drawn point; the target's shares are their areas (YOLOv4, 2020)."""
    side, count = pixels.shape[-1], len(pixels)
    x, y = (round(side * (0.3 + 0.4 * float(torch.rand(1, generator=random)))) for _ in range(2))
    orders = [torch.arange(count), *(torch.randperm(count, generator=random) for _ in range(3))]
    mosaics, mixed = torch.empty_like(pixels), torch.zeros_like(target)
    quarters = [(slice(0, y), slice(0, x)), (slice(0, y), slice(x, side)), (slice(y, side), slice(0, x))]
    for order, (rows, columns) in zip(orders, [*quarters, (slice(y, side), slice(x, side))], strict=True):
        size = (rows.stop - rows.start, columns.stop - columns.start)
        mosaics[..., rows, columns] = F.interpolate(pixels[order], size=size, mode="area")
        mixed += target[order] * (size[0] * size[1] / side**2)
    return mosaics, mixed


MIXED_IN_TURN = (cutout, mixup, cutmix, fmix)  # those of the mobile study (Gheorghiu and Niayesh), without mosaic


def one_of_all(
    pixels: torch.Tensor, target: torch.Tensor, random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix the batch by one of MIXED_IN_TURN, drawn at random with equal chances."""
    mix = MIXED_IN_TURN[int(torch.randint(len(MIXED_IN_TURN), (1,), generator=random))]
    return mix(pixels, target, random)


MIXINGS: dict[str, Callable] = {**{mix.__name__: mix for mix in (*MIXED_IN_TURN, mosaic)}, "all": one_of_all}


def _pasted(pixels, target, mask, random) -> tuple[torch.Tensor, torch.Tensor]:
    """Return other pictures where the (S, S) mask is set, and targets mixed by the mask's mean."""
    order = torch.randperm(len(pixels), generator=random)
    return torch.where(mask, pixels[order], pixels), torch.lerp(target, target[order], mask.float().mean())


def _square(side: int, area: float, random: torch.Generator, inside: bool = True) -> torch.Tensor:
    """Return (S, S) bool: a square of about `area` of the crop, whole if `inside`, else cut at the border."""
    length = round(side * math.sqrt(area))
    low, high = (0, side - length) if inside else (-(length // 2), side - (length + 1) // 2)
    top, left = (int(torch.randint(low, high + 1, (1,), generator=random)) for _ in range(2))
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[max(top, 0) : top + length, max(left, 0) : left + length] = True
    return mask


def _share(random: torch.Generator) -> float:
    """Return a draw of Beta(ALPHA, ALPHA); uniform for ALPHA = 1."""
    first, second = (
        torch._standard_gamma(torch.tensor(ALPHA, dtype=torch.float64), generator=random) for _ in range(2)
    )
    return float(first / (first + second))
