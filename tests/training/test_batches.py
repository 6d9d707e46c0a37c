"""Batches of training: with mixing, the mass of a label equals the share of its pixels."""

import pytest
import torch
from transformers import ViTImageProcessorPil

from infant_fer.training.batches import (
    MIXED_IN_TURN,
    MIXINGS,
    Collator,
    cutmix,
    cutout,
    fmix,
    fourier_mask,
    mixup,
    mosaic,
    normalised,
    recoloured,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flat_pictures(count: int = 8, side: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Picture n is n + 1 everywhere and has class n."""
    levels = torch.arange(1, count + 1, dtype=torch.float32)
    return levels.view(-1, 1, 1, 1).expand(-1, 3, side, side).clone(), torch.eye(count)


@pytest.mark.parametrize("mix", [cutmix, fmix, mosaic])
@pytest.mark.parametrize("seed", range(5))
def test_label_mass_equals_pixel_mass(mix, seed):
    pixels, labels = mix(*flat_pictures(), seeded(seed))
    for picture, target in zip(pixels, labels, strict=True):
        shares = torch.stack([(picture[0] == level).float().mean() for level in range(1, 9)])
        torch.testing.assert_close(shares, target)
    assert torch.allclose(labels.sum(1), torch.ones(8))


def test_mixup_blends_pixels_and_labels_by_one_share():
    pixels, labels = mixup(*flat_pictures(), seeded())
    torch.testing.assert_close(pixels[:, 0, 0, 0], labels @ torch.arange(1.0, 9.0))
    assert (pixels == pixels[:, :1, :1, :1]).all()


def test_cutout_hides_one_square_and_keeps_the_labels():
    pixels, labels = cutout(*flat_pictures(side=40), seeded())
    assert torch.equal(labels, torch.eye(8))
    hidden = (pixels[:, 0] == 0).flatten(1).sum(1)
    assert (hidden > 0).all()
    assert hidden.max() <= 16 * 16
    for picture in pixels:
        rows, columns = (picture[0] == 0).any(1).sum(), (picture[0] == 0).any(0).sum()
        assert rows * columns == (picture[0] == 0).sum()


@pytest.mark.parametrize("area", [0.0, 0.1, 0.5, 0.87, 1.0])
def test_fourier_masks_have_the_asked_area_in_few_pieces(area):
    mask = fourier_mask(64, area, seeded())
    assert mask.sum() == round(area * 64 * 64)
    edges = (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()
    assert edges < 64 * 64 * 0.15  # noise without decay would have half of all neighbours differ


@pytest.mark.parametrize("name", MIXINGS)
def test_the_draw_is_the_generators(name):
    random = torch.rand(4, 3, 16, 16, generator=seeded())
    first, second = (MIXINGS[name](random, torch.eye(4), seeded(7)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], MIXINGS[name](random, torch.eye(4), seeded(8))[0])


def test_all_mixes_each_batch_by_one_of_the_four_of_the_study():
    """A generator that has drawn one number gives each of the four what `all` gives the one that it drew."""

    def after_one_draw(seed: int) -> torch.Generator:
        random = seeded(seed)
        torch.randint(4, (1,), generator=random)
        return random

    drawn, (pixels, labels) = [], flat_pictures()
    for seed in range(60):
        mixed, target = MIXINGS["all"](pixels, labels, seeded(seed))
        alone = {mix.__name__: mix(pixels, labels, after_one_draw(seed)) for mix in (*MIXED_IN_TURN, mosaic)}
        drawn += [name for name, each in alone.items() if torch.equal(each[0], mixed) and torch.equal(each[1], target)]
    assert len(drawn) == 60
    assert set(drawn) == {"cutout", "mixup", "cutmix", "fmix"}
    assert min(map(drawn.count, set(drawn))) > 6  # of 15 expected


def test_a_batch_without_augmentation_and_mixing_is_the_pictures():
    processor = ViTImageProcessorPil(size={"height": 16, "width": 16})
    crops = torch.randint(256, (4, 3, 16, 16), generator=seeded(), dtype=torch.uint8)
    items = [{"crop": crop, "labels": label} for crop, label in zip(crops, torch.eye(4), strict=True)]
    batch = Collator(processor, augmentation="none", mixing="")(items)
    assert torch.equal(batch["pixel_values"], normalised(crops.float() / 255, processor))
    assert torch.equal(batch["labels"], torch.eye(4))


def colourful(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 3, 8, 8, generator=seeded()) * 0.4 + 0.3


def test_grey_leaves_the_luminance_alone():
    pixels = colourful()
    grey = recoloured(pixels, "grey")
    assert (grey == grey[:, :1]).all()
    expected = 0.299 * pixels[:, 0] + 0.587 * pixels[:, 1] + 0.114 * pixels[:, 2]
    torch.testing.assert_close(grey[:, 0], expected)


def test_both_makes_about_half_of_the_pictures_grey():
    pixels = colourful(200)
    grey = (recoloured(pixels, "both", seeded()) == recoloured(pixels, "grey")).flatten(1).all(1)
    assert 70 < grey.sum() < 130
    assert (recoloured(pixels, "both", seeded())[~grey] == pixels[~grey]).all()


def test_jitter_of_colour_leaves_grey_pictures_and_their_range():
    grey = colourful()[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(recoloured(grey, "jitter", seeded()), grey)
    pixels = colourful()
    changed = recoloured(pixels, "jitter", seeded())
    assert (changed - pixels).abs().max() > 0.01
    assert 0 <= changed.min() <= changed.max() <= 1
