"""Saliency maps of scores whose gradients are known by hand, and captum as the reference on a small network."""

import numpy as np
import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from transformers import ResNetConfig, ResNetForImageClassification

from infant_fer.explain import METHODS, SaliencyMap, integrated_gradients, occlusion, smoothgrad, speed
from infant_fer.explain.saliency import batch_size, scaled

SIZE = 24


def crop(seed: int = 0, size: int = SIZE) -> torch.Tensor:
    """One normalised crop with values in -1..1, both reached."""
    values = torch.rand((1, 3, size, size), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    values[0, 0, 0, :2] = torch.tensor([-1.0, 1.0])
    return values


def linear_weights() -> torch.Tensor:
    """Colour weights (3, -4, 0) in the upper third, (0, 0, 2.5) in the middle, 0 below: lengths 5, 2.5 and 0."""
    weights = torch.zeros(3, SIZE, SIZE)
    weights[:2, :8] = torch.tensor([3.0, -4.0])[:, None, None]
    weights[2, 8:16] = 2.5
    return weights


def linear_score(copies: torch.Tensor) -> torch.Tensor:
    return (copies * linear_weights().to(copies.dtype)).sum((1, 2, 3))


def small_network() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.GELU(),
            torch.nn.Conv2d(8, 8, 3, stride=2, padding=1), torch.nn.GELU(),
            torch.nn.Flatten(), torch.nn.Linear(8 * (SIZE // 2) ** 2, 3),
        ).eval()  # fmt: skip


class CountedScore:
    """A network's second logit; counts the crops it was given."""

    def __init__(self):
        self.network, self.crops = small_network(), 0

    def __call__(self, copies: torch.Tensor) -> torch.Tensor:
        self.crops += len(copies)
        return self.network(copies)[:, 1]


def last(maps):
    *_, final = maps
    return final


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("squared", "middle"), [(False, 0.5), (True, 0.25)])
def test_a_linear_scores_map_is_its_weights(dtype, squared, middle):
    values = last(smoothgrad(linear_score, crop().to(dtype), "positive", n=5, squared=squared)).values
    expected = np.repeat([1.0, middle, 0.0], 8)[:, None] * np.ones((1, SIZE))
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_signed_gradients_cancel_before_the_magnitude_is_taken():
    """The gradient of z²/2 is z: where the crop is 0, copies differ in sign only, and their mean goes to 0."""
    pixels = torch.zeros(1, 3, SIZE, SIZE)
    pixels[..., :12] = 1.0
    values = last(smoothgrad(lambda z: z.square().sum((1, 2, 3)) / 2, pixels, "positive", n=2000, noise=0.5)).values
    assert values[:, :12].min() > 0.9
    assert values[:, 12:].max() < 0.05  # 0.5 / √2000 = 0.011 a channel; the mean of magnitudes would give about 0.4


def test_squared_gradients_keep_the_noise():
    """The mean of z² is x² + σ²: here 1 + 0.25 and 0.25 a channel, so a fifth."""
    pixels = torch.zeros(1, 3, SIZE, SIZE)
    pixels[..., :12] = 1.0
    score = lambda z: z.square().sum((1, 2, 3)) / 2  # noqa: E731
    values = last(smoothgrad(score, pixels, "positive", n=2000, noise=0.5, squared=True)).values
    assert values[:, 12:].mean() / values[:, :12].mean() == pytest.approx(0.2, rel=0.05)


def test_noise_is_a_share_of_the_crops_range():
    seen = []

    def score(copies):
        seen.append(copies.detach().clone())
        return copies.sum((1, 2, 3))

    pixels = crop() * 3 + 7  # range 6
    last(smoothgrad(score, pixels, "positive", n=40, noise=0.1))
    added = torch.cat(seen) - pixels
    assert added.std().item() == pytest.approx(0.6, rel=0.02)
    assert abs(added.mean().item()) < 0.01


@pytest.mark.parametrize(("squared", "kind"), [(False, "smoothgrad"), (True, "smoothgrad_sq")])
def test_agrees_with_captum(squared, kind):
    score, pixels = CountedScore(), crop(3)
    ours = last(smoothgrad(score, pixels, "neutral", n=400, seed=5, squared=squared)).values
    with torch.random.fork_rng():
        torch.manual_seed(6)
        deviation = 0.15 * float(pixels.max() - pixels.min())
        reference = NoiseTunnel(Saliency(score)).attribute(
            pixels.clone().requires_grad_(),
            nt_type=kind,
            nt_samples=400,
            nt_samples_batch_size=50,
            stdevs=deviation,
            abs=False,
        )[0]
    magnitude = (reference.sum(0) if squared else reference.norm(dim=0)).numpy()
    assert cosine(ours, scaled(magnitude)) >= 0.98
    assert cosine(ours, scaled(magnitude)[::-1]) < 0.95  # another map is not as near


def test_the_seed_alone_decides():
    run = lambda **settings: last(smoothgrad(CountedScore(), crop(), "neutral", n=12, **settings)).values  # noqa: E731
    np.testing.assert_array_equal(run(seed=4), run(seed=4))
    np.testing.assert_allclose(run(seed=4, batch=5), run(seed=4, batch=12), atol=1e-5)
    assert np.abs(run(seed=4) - run(seed=5)).max() > 0.01


@pytest.mark.parametrize("name", METHODS)
def test_global_random_numbers_stay_untouched(name):
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    last(METHODS[name].run(CountedScore(), crop(), target="neutral", n=4, noise=0.1, seed=3))
    assert torch.equal(before, torch.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()


def test_partial_maps_come_batch_by_batch():
    maps = list(smoothgrad(CountedScore(), crop(), "neutral", n=7, batch=3, noise=0.2, seed=9))
    assert [one.samples for one in maps] == [3, 6, 7]
    assert {(one.asked_samples, one.noise, one.seed, one.target, one.method) for one in maps} == {
        (7, 0.2, 9, "neutral", "smoothgrad")
    }
    first_three = last(smoothgrad(CountedScore(), crop(), "neutral", n=3, batch=3, noise=0.2, seed=9))
    np.testing.assert_array_equal(maps[0].values, first_three.values)


def test_closing_the_generator_stops_the_work():
    score = CountedScore()
    maps = smoothgrad(score, crop(), "neutral", n=1000, batch=4)
    next(maps), next(maps)
    maps.close()
    assert score.crops == 8
    assert list(maps) == []


def test_a_callers_grad_mode_and_the_networks_gradients_are_left_alone():
    score = CountedScore()
    with torch.no_grad():
        for _ in smoothgrad(score, crop(), "neutral", n=4, batch=2):
            assert not torch.is_grad_enabled()
    assert all(weight.grad is None for weight in score.network.parameters())


def test_the_crop_is_not_altered():
    pixels = crop()
    copy = pixels.clone()
    for method in METHODS.values():
        last(method.run(CountedScore(), pixels, target="neutral", n=4))
    assert torch.equal(pixels, copy)
    assert not pixels.requires_grad


def test_integrated_gradients_of_a_linear_score_are_weight_times_distance_from_the_mean_colour():
    pixels = torch.zeros(1, 3, SIZE, SIZE)
    pixels[..., : SIZE // 4] = 1.0  # mean 0.25: distances 0.75 and 0.25
    values = last(integrated_gradients(lambda z: 7 * z.sum((1, 2, 3)), pixels, "positive", n=20)).values
    np.testing.assert_allclose(values[:, : SIZE // 4], 1, atol=1e-4)
    np.testing.assert_allclose(values[:, SIZE // 4 :], 1 / 3, atol=1e-4)


def test_occlusion_finds_the_one_patch_that_matters():
    pixels = torch.zeros(1, 3, 96, 96)
    pixels[..., 40:56, 64:80] = 1.0
    found = last(occlusion(lambda z: z[..., 40:56, 64:80].sum((1, 2, 3)), pixels, "positive"))
    assert found.samples == found.asked_samples == 11 * 11
    row, column = np.unravel_index(found.values.argmax(), found.values.shape)
    assert 40 <= row < 56
    assert 64 <= column < 80
    reach = np.zeros((96, 96), bool)
    reach[25:71, 49:95] = True  # a window of 16 px that touches the patch
    assert found.values[~reach].max() < 1e-3
    assert found.values[40:56, 64:80].mean() > 0.5


@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_the_contract(name):
    final = last(METHODS[name].run(CountedScore(), crop(), target="negative", n=10, noise=0.15, seed=2))
    assert final.values.shape == (SIZE, SIZE)
    assert final.values.dtype == np.float32
    assert final.values.min() >= 0
    assert final.values.max() == 1
    assert (final.method, final.target, final.seed) == (name, "negative", 2)
    assert final.samples == final.asked_samples
    assert METHODS[name].title


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("shape", "n"), [((3, 8, 8), 5), ((2, 3, 8, 8), 5), ((1, 1, 8, 8), 5), ((1, 3, 8, 9), 5), ((1, 3, 8, 8), 0)]
)
def test_wrong_shapes_and_counts_are_refused(name, shape, n):
    with pytest.raises(ValueError, match=r"must be one square crop|needs n of at least 1"):
        last(METHODS[name].run(lambda z: z.sum((1, 2, 3)), torch.zeros(shape), target="positive", n=n))


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match="noise"):
        last(smoothgrad(linear_score, crop(), "positive", noise=-0.1))


def test_a_score_that_never_changes_gives_an_empty_map():
    for name in ("smoothgrad", "occlusion", "integrated_gradients"):
        final = last(METHODS[name].run(lambda z: (0 * z).sum((1, 2, 3)), crop(), target="positive", n=3))
        assert not final.values.any()


@pytest.mark.parametrize(
    ("magnitude", "expected"),
    [
        (np.zeros((4, 4)), np.zeros((4, 4))),
        (np.eye(20) * (np.arange(20) == 3), np.eye(20) * (np.arange(20) == 3)),  # one pixel in 400 matters
        (np.full((4, 4), 7.0), np.ones((4, 4))),
    ],
)
def test_scaling_by_hand(magnitude, expected):
    np.testing.assert_array_equal(scaled(magnitude), expected)


def test_the_display_map_keeps_places_and_loses_the_speckles():
    values = np.zeros((96, 96), np.float32)
    values[20:40:2, 20:40:2] = 1  # a checkered patch
    shown = SaliencyMap(values, "smoothgrad", "positive", 50, 50, 0.15, 0).for_display()
    assert shown.dtype == np.float32
    assert shown.max() == 1
    inside = shown[24:36, 24:36]
    assert inside.min() > 0.8 * inside.max()
    assert shown[50:, 50:].max() == 0


def test_one_wild_pixel_does_not_dim_the_rest():
    magnitude = np.ones((20, 20))
    magnitude[0, 0] = 1e6
    assert scaled(magnitude).min() == 1


@pytest.mark.parametrize(("size", "batch"), [(48, 10), (96, 10), (224, 5), (1024, 1)])
def test_batches_shrink_with_the_crop(size, batch):
    assert batch_size(torch.empty(1, 3, size, size)) == batch


@pytest.fixture(scope="module")
def residual_network() -> ResNetForImageClassification:
    """A small residual network whose batch normalisations have seen something."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
        network = ResNetForImageClassification(ResNetConfig(num_labels=3, **sizes))
        network.train()(torch.randn(16, 3, 48, 48) * 2 + 1)
        return network.eval()


def test_folded_normalisation_changes_nothing_but_the_layers(residual_network):
    pixels, folded = crop(size=48), speed._folded(residual_network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(pixels).logits, residual_network(pixels).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("copied", [speed._bfloat16_convolutions, speed._all_bfloat16])
def test_bfloat16_copies_keep_the_map(residual_network, copied):
    pixels, lower = crop(size=48), copied(residual_network)
    score = lambda model: lambda copies: model(pixel_values=copies).logits[:, 1].float()  # noqa: E731
    maps = [last(smoothgrad(score(model), pixels, "neutral", n=50)).values for model in (residual_network, lower)]
    assert cosine(*maps) > 0.99
    assert (maps[0] != maps[1]).any()


def test_the_fastest_copy_that_keeps_the_gradient_is_taken_and_the_model_left_as_it_was(residual_network, monkeypatch):
    before = {name: value.clone() for name, value in residual_network.state_dict().items()}
    monkeypatch.setattr(speed, "LEAST_COSINE", 0.9)
    monkeypatch.setattr(speed, "_timed_in_turn", lambda models, crops: [10.0, 8.0, 5.0, 7.0])
    chosen = speed.faster_copy(residual_network, 48)
    convolutions = [module for module in chosen.modules() if isinstance(module, torch.nn.Conv2d)]
    assert {module.weight.dtype for module in convolutions} == {torch.bfloat16}
    assert chosen.classifier[1].weight.dtype == torch.float32
    assert all(torch.equal(value, before[name]) for name, value in residual_network.state_dict().items())
    assert len(convolutions[0]._forward_hooks) == 1
    assert not any(module._forward_hooks for module in residual_network.modules())


@pytest.mark.parametrize(("least_cosine", "seconds"), [(1.01, [10.0]), (0.9, [10.0, 9.5, 9.5, 9.5])])
def test_no_copy_is_taken_that_alters_the_gradient_or_gains_little(
    residual_network, monkeypatch, least_cosine, seconds
):
    monkeypatch.setattr(speed, "LEAST_COSINE", least_cosine)
    monkeypatch.setattr(speed, "_timed_in_turn", lambda models, crops: seconds[: len(models)])
    assert speed.faster_copy(residual_network, 48) is residual_network


def test_models_are_timed_in_turn_at_least_once(residual_network, monkeypatch):
    monkeypatch.setattr(speed, "TIMING_SECONDS", 0)
    seconds = speed._timed_in_turn([residual_network] * 3, crop(size=48))
    assert len(seconds) == 3
    assert 0 < min(seconds) <= max(seconds) < float("inf")
