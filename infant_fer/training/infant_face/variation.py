"""Which changes of a face must not change its answer? Hard light, a turned head, and an object before the mouth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from infant_fer.alignment import CropSpec
from infant_fer.training.infant_face.config import FinetuningConfig
from infant_fer.training.infant_face.data import FaceBatch
from infant_fer.training.rendered import RenderedFaces

MAX_GAMMA = 2.2  # exponents from 1 to it: the darker, the more contrast is lost
MIN_ALBEDO = 0.25  # of the darkest face, its surroundings unchanged
MAX_GRADIENT = 1.3  # of the logarithm of the light, from the middle to the edge of the crop
FROM_BELOW = 0.5  # share of the gradients that come from below; the others have any direction
MAX_YAW, MAX_PITCH = 0.6, 0.25  # radians
# A head as an ellipsoid in the crop's frame, -1..1: centre and half axes in x, y, and how far it reaches towards the camera.
HEAD_CENTRE, HEAD_AXES, HEAD_DEPTH = (0.0, 0.05), (1.0, 1.25), 0.7
FACE_AXES = (0.85, 1.1)  # half axes of the face itself
NOSE_AT, NOSE_WIDTH, NOSE_DEPTH = (0.0, 0.12), 0.16, 0.16
MOUTH_HALF_AXES = (0.27, 0.13)  # of the ellipse that counts as the mouth, in -1..1
MIN_HIDDEN = 0.5  # share of the mouth that a cut-out must hide
COVERED_CERTAINTY = 0.5  # share of the votes that stays when the mouth is hidden; the rest says nothing


@dataclass(frozen=True, eq=False)
class Cutouts:
    """K objects that hide a mouth, cut out of aligned renders."""

    luminance: torch.Tensor  # (K, S, S) uint8
    mask: torch.Tensor  # (K, S, S) in 0..1

    @classmethod
    def of(cls, faces: RenderedFaces, device: torch.device | str = "cpu") -> Cutouts:
        """Return the objects that hide the mouth of rendered faces."""
        mask = torch.from_numpy(faces.cover).float() / 255
        hides = hidden_share(mask) >= MIN_HIDDEN
        return cls(torch.from_numpy(faces.luminance)[hides].to(device), mask[hides].to(device))

    def __len__(self) -> int:
        return len(self.mask)


def hidden_share(mask: torch.Tensor) -> torch.Tensor:
    """Return (K,): how much of the mouth (K, S, S) masks of aligned crops hide."""
    side = mask.shape[-1]
    x, y = _plane(side, mask.device)
    at = (CropSpec(side).anchors_px[2] + 0.5) / side * 2 - 1
    mouth = ((x - float(at[0])) / MOUTH_HALF_AXES[0]) ** 2 + ((y - float(at[1])) / MOUTH_HALF_AXES[1]) ** 2 < 1
    return (mask * mouth).sum((1, 2)) / mouth.sum()


def varied(batch: FaceBatch, settings: FinetuningConfig, cutouts: Cutouts | None) -> FaceBatch:
    """Return a batch in which shares of the faces are covered, turned and lit as `settings` say, targets included."""
    if cutouts is not None and len(cutouts):
        batch = with_covered_mouths(batch, cutouts, settings.covered_share)
    pixels = batch.luminance[:, None].float() / 255
    if settings.turned_share:
        pixels = turned(pixels, settings.turned_share)
    if settings.lit_share:
        pixels = lit(pixels, settings.lit_share)
    return replace(batch, luminance=pixels[:, 0] * 255)


def with_covered_mouths(batch: FaceBatch, cutouts: Cutouts, share: float) -> FaceBatch:
    """Paste objects before the mouths of a share of the infants (rows that say whether the mouth is covered).

    The mouth is covered then; affect and emotions lose half of their certainty, since nobody saw the mouth, and valence and
    arousal are unknown. Objects are mirrored at random and as bright as the face, give or take.
    """
    device = batch.luminance.device
    chosen = (torch.rand(len(batch), device=device) < share) & ~batch.mouth_covered.isnan() & (batch.usable == 1)
    which = torch.randint(len(cutouts), (len(batch),), device=device)
    mirrored = (torch.rand(len(batch), device=device) < 0.5)[:, None, None]
    mask, object_ = cutouts.mask[which], cutouts.luminance[which].float()
    mask, object_ = (torch.where(mirrored, each.flip(-1), each) for each in (mask, object_))
    faces = batch.luminance.float()
    level = (object_ * mask).sum((1, 2)) / mask.sum((1, 2)).clamp_min(1)
    wanted = faces.mean((1, 2)) * (0.5 + torch.rand(len(batch), device=device))
    object_ = (object_ * (wanted / level.clamp_min(1))[:, None, None]).clamp(0, 255)
    pasted = torch.lerp(faces, object_, mask)
    row = chosen[:, None]
    doubt = {name: _doubtful(getattr(batch, name)) for name in ("affect", "emotion", "votes")}
    return replace(
        batch,
        luminance=torch.where(chosen[:, None, None], pasted, faces),
        mouth_covered=torch.where(chosen, 1.0, batch.mouth_covered),
        valence_arousal=torch.where(row, torch.nan, batch.valence_arousal),
        **{name: torch.where(row, values, getattr(batch, name)) for name, values in doubt.items()},
    )


def _doubtful(target: torch.Tensor) -> torch.Tensor:
    """Return (N, C) distributions of which COVERED_CERTAINTY stays and the rest is spread evenly; rows of zeros stay."""
    known = target.sum(1, keepdim=True)
    return COVERED_CERTAINTY * target + (1 - COVERED_CERTAINTY) * known / target.shape[1]


def lit(pixels: torch.Tensor, share: float) -> torch.Tensor:
    """Darken or light a share of (B, 1, S, S) faces in 0..1 without hiding what they show.

    A third get a darker face before the same surroundings, a third a higher gamma, a third a gradient of light, half of
    these from below.
    """
    count, device = len(pixels), pixels.device
    x, y = _plane(pixels.shape[-1], device)
    draw = [torch.rand(count, 1, 1, 1, device=device) for _ in range(4)]
    inside = ((x - HEAD_CENTRE[0]) / FACE_AXES[0]) ** 2 + ((y - HEAD_CENTRE[1]) / FACE_AXES[1]) ** 2
    face = torch.sigmoid((1 - inside) * 8)
    darker = pixels * (1 - face * (1 - MIN_ALBEDO) * draw[0])
    dimmed = pixels.clamp_min(1e-3) ** (1 + (MAX_GAMMA - 1) * draw[0])
    angle = torch.where(draw[1] < FROM_BELOW, torch.pi / 2, draw[1] * 4 * torch.pi)  # y points down
    along = x * angle.cos() + y * angle.sin()
    graded = pixels * (MAX_GRADIENT * draw[0] * along).exp() / (MAX_GRADIENT * draw[0] * 0.5).exp()
    kind = draw[2] * 3
    changed = torch.where(kind < 1, darker, torch.where(kind < 2, dimmed, graded))
    return torch.where(draw[3] < share, changed, pixels).clamp(0, 1)


def turned(pixels: torch.Tensor, share: float) -> torch.Tensor:
    """Turn the head in a share of (B, 1, S, S) crops, left or right and up or down, over an ellipsoid with a nose."""
    count, device = len(pixels), pixels.device
    side = pixels.shape[-1]
    chosen = (torch.rand(count, 1, 1, device=device) < share).float()
    yaw, pitch = ((torch.rand(count, 1, 1, device=device) * 2 - 1) * limit * chosen for limit in (MAX_YAW, MAX_PITCH))
    x, y = (each.expand(count, side, side) for each in _plane(side, device))
    anchors = torch.from_numpy((CropSpec(side).anchors_px + 0.5) / side * 2 - 1).to(device)
    level = _depth(anchors[:, 0], anchors[:, 1]).mean()  # alignment puts eyes and mouth back where they were
    across, down = x, y
    for _ in range(3):  # where in the frontal crop lies what is seen at (x, y)? A fixed point
        depth = _depth(across, down) - level
        across, down = (x - depth * yaw.sin()) / yaw.cos(), (y - depth * pitch.sin()) / pitch.cos()
    grid = torch.stack([across, down], -1)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def _depth(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return how far the head reaches towards the camera at (x, y) in -1..1 of the crop; 0 beside it."""
    inside = 1 - ((x - HEAD_CENTRE[0]) / HEAD_AXES[0]) ** 2 - ((y - HEAD_CENTRE[1]) / HEAD_AXES[1]) ** 2
    nose = torch.exp(-(((x - NOSE_AT[0]) / NOSE_WIDTH) ** 2) - ((y - NOSE_AT[1]) / NOSE_WIDTH) ** 2)
    return HEAD_DEPTH * inside.clamp_min(0).sqrt() + NOSE_DEPTH * nose


def _plane(side: int, device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x (1, S) and y (S, 1) of the pixels' centres in -1..1, y downwards."""
    along = (torch.arange(side, device=device) + 0.5) / side * 2 - 1
    return along[None], along[:, None]
