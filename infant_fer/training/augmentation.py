"""How is a face varied in training? Batched random changes of pose, light, sharpness and noise, and occlusion."""

from __future__ import annotations

import torch
from torch.nn import functional as F

MAX_ROTATION = 0.35  # radians; alignment has removed most of it
MAX_LOG_SCALE, MAX_LOG_ASPECT, MAX_SHIFT = 0.2, 0.08, 0.12  # shift in half crops
MAX_LOG_GAMMA, MAX_LOG_CONTRAST, MAX_BRIGHTNESS = 0.5, 0.4, 0.15
HALF_RESOLUTION_SHARE, THIRD_RESOLUTION_SHARE = 0.25, 0.08
NOISE_SHARE, MAX_NOISE = 0.4, 0.12
PEPPER_SHARE, MAX_PEPPER = 0.12, 0.06
COVER_SHARES = (0.35, 0.15)  # a first and a second disc or bar
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
