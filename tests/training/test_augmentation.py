"""What random changes do to a batch of pictures, and what they leave."""

import pytest
import torch

from infant_fer.training.batches import augment, partly_mild


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_augmentation_keeps_shape_and_range_and_can_be_repeated():
    luminance = torch.rand(8, 1, 96, 96, generator=seeded())
    first, second = (augment(luminance, seeded(3)) for _ in range(2))
    assert first.shape == luminance.shape
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, second)
    assert not torch.equal(first, augment(luminance, seeded(4)))
    assert (first - luminance).abs().mean() > 0.02


def test_augmentation_does_not_mix_pictures():
    pictures = torch.rand(8, 1, 32, 32, generator=seeded())
    other = pictures.clone()
    other[3] = 0.5
    same = (augment(pictures, seeded(5)) == augment(other, seeded(5))).flatten(1).all(1)
    assert same.tolist() == [index != 3 for index in range(8)]


def test_half_of_the_pictures_are_mirrored():
    ramp = torch.linspace(0, 1, 32).expand(600, 1, 32, 32)
    changed = augment(ramp, seeded())
    mirrored = (changed[..., :12].mean((1, 2, 3)) > changed[..., -12:].mean((1, 2, 3))).float().mean()
    assert 0.44 < mirrored < 0.56  # three standard errors


@pytest.mark.parametrize("mild", [0.0, 0.25, 1.0])
def test_the_mild_share_of_a_batch_gets_no_noise_and_no_cover(mild):
    changed = partly_mild(torch.full((64, 1, 32, 32), 0.5), mild)
    assert changed.shape == (64, 1, 32, 32)
    spoilt = changed.flatten(1).std(1) > 1e-3
    strong = round(64 * (1 - mild))
    assert not spoilt[strong:].any()
    assert spoilt[:strong].float().mean() > 0.3 or not strong


def test_the_draws_lie_where_the_pictures_lie():
    """As on a GPU; "meta" is a device that every machine has, where operations check devices and compute nothing."""
    changed = partly_mild(torch.empty(8, 1, 32, 32, device="meta"), 0.5)
    assert changed.device.type == "meta"
    assert changed.shape == (8, 1, 32, 32)
