"""Saliency maps of scores whose gradients are known by hand, and captum as the reference on a small network."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

from infant_fer.analyzer import ExplanationSettings
from infant_fer.explain import METHODS, Method, SaliencyMap, Score, precision
from infant_fer.explain.integrated_gradients import IntegratedGradients
from infant_fer.explain.occlusion import Occlusion
from infant_fer.explain.precision import explained_copy
from infant_fer.explain.saliency import batch_size, scaled
from infant_fer.explain.smoothgrad import SmoothGrad, SmoothGradSquared
from infant_fer.report_html import report_page
from tests.conftest import EXAMPLES

SIZE = 24


def crop(seed: int = 0, size: int = SIZE) -> torch.Tensor:
    """Return one normalised crop with values in -1..1, both reached."""
    values = torch.rand((1, 3, size, size), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    values[0, 0, 0, :2] = torch.tensor([-1.0, 1.0])
    return values


def linear_weights() -> torch.Tensor:
    """Return colour weights (3, -4, 0) in the upper third, (0, 0, 2.5) in the middle, 0 below: lengths 5, 2.5 and 0."""
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


class CountedScore(Score):
    """A network's second logit; counts the crops it was given."""

    def __init__(self, target: str = "neutral"):
        super().__init__(self.logit, target)
        object.__setattr__(self, "network", small_network())
        object.__setattr__(self, "crops", 0)

    def logit(self, copies: torch.Tensor) -> torch.Tensor:
        object.__setattr__(self, "crops", self.crops + len(copies))
        return self.network(copies)[:, 1]


def values_of(method: Method, function, pixels: torch.Tensor) -> np.ndarray:
    """Return the complete map of a function of crops."""
    return method.map(Score(function, "positive"), pixels).values


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("method", "middle"), [(SmoothGrad, 0.5), (SmoothGradSquared, 0.25)])
def test_a_linear_scores_map_is_its_weights(dtype, method, middle):
    values = values_of(method(5), linear_score, crop().to(dtype))
    expected = np.repeat([1.0, middle, 0.0], 8)[:, None] * np.ones((1, SIZE))
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_signed_gradients_cancel_before_the_magnitude_is_taken():
    """The gradient of z²/2 is z: where the crop is 0, copies differ in sign only, and their mean goes to 0."""
    pixels = torch.zeros(1, 3, SIZE, SIZE)
    pixels[..., :12] = 1.0
    values = values_of(SmoothGrad(2000, noise=0.5), lambda z: z.square().sum((1, 2, 3)) / 2, pixels)
    assert values[:, :12].min() > 0.9
    assert values[:, 12:].max() < 0.05  # 0.5 / √2000 = 0.011 a channel; the mean of magnitudes would give about 0.4


def test_squared_gradients_keep_the_noise():
    """The mean of z² is x² + σ²: here 1 + 0.25 and 0.25 a channel, so a fifth."""
    pixels = torch.zeros(1, 3, SIZE, SIZE)
    pixels[..., :12] = 1.0
    values = values_of(SmoothGradSquared(2000, noise=0.5), lambda z: z.square().sum((1, 2, 3)) / 2, pixels)
    assert values[:, 12:].mean() / values[:, :12].mean() == pytest.approx(0.2, rel=0.05)


def test_noise_is_a_share_of_the_crops_range():
    seen = []

    def score(copies):
        seen.append(copies.detach().clone())
        return copies.sum((1, 2, 3))

    pixels = crop() * 3 + 7  # range 6
    values_of(SmoothGrad(40, noise=0.1), score, pixels)
    added = torch.cat(seen) - pixels
    assert added.std().item() == pytest.approx(0.6, rel=0.02)
    assert abs(added.mean().item()) < 0.01


@pytest.mark.parametrize(("method", "kind"), [(SmoothGrad, "smoothgrad"), (SmoothGradSquared, "smoothgrad_sq")])
def test_agrees_with_captum(method, kind):
    score, pixels = CountedScore(), crop(3)
    own = method(400, seed=5).map(score, pixels).values
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
    magnitude = (reference.sum(0) if method is SmoothGradSquared else reference.norm(dim=0)).numpy()
    assert cosine(own, scaled(magnitude)) >= 0.98
    assert cosine(own, scaled(magnitude)[::-1]) < 0.95  # another map is not as near


def test_the_seed_alone_decides():
    run = lambda **settings: SmoothGrad(12, **settings).map(CountedScore(), crop()).values  # noqa: E731
    np.testing.assert_array_equal(run(seed=4), run(seed=4))
    np.testing.assert_allclose(run(seed=4, batch=5), run(seed=4, batch=12), atol=1e-5)
    assert np.abs(run(seed=4) - run(seed=5)).max() > 0.01


@pytest.mark.parametrize("name", METHODS)
def test_global_random_numbers_stay_untouched(name):
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    METHODS[name].from_options(samples=4, noise=0.1, seed=3).map(CountedScore(), crop())
    assert torch.equal(before, torch.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()


def test_partial_maps_come_batch_by_batch():
    maps = list(SmoothGrad(7, noise=0.2, seed=9, batch=3).maps(CountedScore(), crop()))
    assert [one.samples for one in maps] == [3, 6, 7]
    assert {(one.requested_samples, one.target, one.method) for one in maps} == {(7, "neutral", "smoothgrad")}
    assert all(one.options == {"noise": 0.2, "seed": 9} for one in maps)
    first_three = SmoothGrad(3, noise=0.2, seed=9, batch=3).map(CountedScore(), crop())
    np.testing.assert_array_equal(maps[0].values, first_three.values)


def test_closing_the_generator_stops_the_work():
    score = CountedScore()
    maps = SmoothGrad(1000, batch=4).maps(score, crop())
    next(maps), next(maps)
    maps.close()
    assert score.crops == 8
    assert list(maps) == []


def test_a_callers_grad_mode_and_the_networks_gradients_are_left_alone():
    score = CountedScore()
    with torch.no_grad():
        for _ in SmoothGrad(4, batch=2).maps(score, crop()):
            assert not torch.is_grad_enabled()
    assert all(weight.grad is None for weight in score.network.parameters())


def test_the_crop_is_not_altered():
    pixels = crop()
    copy = pixels.clone()
    for method in METHODS.values():
        method.from_options(samples=4).map(CountedScore(), pixels)
    assert torch.equal(pixels, copy)
    assert not pixels.requires_grad


def test_integrated_gradients_of_a_linear_score_are_weight_times_distance_from_the_mean_colour():
    pixels = torch.zeros(1, 3, SIZE, SIZE)
    pixels[..., : SIZE // 4] = 1.0  # mean 0.25: distances 0.75 and 0.25
    values = values_of(IntegratedGradients(20), lambda z: 7 * z.sum((1, 2, 3)), pixels)
    np.testing.assert_allclose(values[:, : SIZE // 4], 1, atol=1e-4)
    np.testing.assert_allclose(values[:, SIZE // 4 :], 1 / 3, atol=1e-4)


def test_occlusion_finds_the_one_patch_that_matters():
    pixels = torch.zeros(1, 3, 96, 96)
    pixels[..., 40:56, 64:80] = 1.0
    found = Occlusion().map(Score(lambda z: z[..., 40:56, 64:80].sum((1, 2, 3)), "positive"), pixels)
    assert found.samples == found.requested_samples == 11 * 11
    row, column = np.unravel_index(found.values.argmax(), found.values.shape)
    assert 40 <= row < 56
    assert 64 <= column < 80
    reach = np.zeros((96, 96), bool)
    reach[25:71, 49:95] = True  # a window of 16 px that touches the patch
    assert found.values[~reach].max() < 1e-3
    assert found.values[40:56, 64:80].mean() > 0.5


@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_the_contract(name):
    final = METHODS[name].from_options(samples=10, noise=0.15, seed=2).map(CountedScore("negative"), crop())
    assert final.values.shape == (SIZE, SIZE)
    assert final.values.dtype == np.float32
    assert final.values.min() >= 0
    assert final.values.max() == 1
    assert (final.method, final.target, final.precision, final.device) == (name, "negative", "float32", "cpu")
    assert final.samples == final.requested_samples
    assert final.options == ({"noise": 0.15, "seed": 2} if name.startswith("smoothgrad") else {})
    assert METHODS[name].title


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 3, 8, 8), (1, 1, 8, 8), (1, 3, 8, 9)])
def test_wrong_shapes_are_refused(name, shape):
    with pytest.raises(ValueError, match="must be one square crop"):
        values_of(METHODS[name](), lambda z: z.sum((1, 2, 3)), torch.zeros(shape))


@pytest.mark.parametrize(
    ("method", "options"),
    [(SmoothGrad, {"samples": 0}), (SmoothGrad, {"noise": -0.1}), (IntegratedGradients, {"samples": 0})],
)
def test_options_that_make_no_sense_are_refused(method, options):
    with pytest.raises(ValueError, match="needs samples of at least 1 and noise of at least 0"):
        method(**options)


@dataclass(frozen=True)
class Brightness(Method):
    """A toy: every pixel's own value, times `gain`."""

    name = "brightness"
    title = "Brightness"

    gain: float = 1.0

    def maps(self, score: Score, pixel_values: torch.Tensor) -> Iterator[SaliencyMap]:
        yield self.saliency_map(score, self.gain * (pixel_values[0].mean(0).numpy() + 1), 1)


def test_a_method_of_ones_own_needs_one_class_and_one_entry(analyzer, monkeypatch):
    monkeypatch.setitem(METHODS, Brightness.name, Brightness)
    report = analyzer.analyze(EXAMPLES / "smile.jpg")
    by_name = analyzer.explain(report, settings=ExplanationSettings(Brightness.name, samples=7))
    by_object = analyzer.explain(report, settings=ExplanationSettings(Brightness(gain=5.0)))
    saliency = by_name.faces[0].explanation.saliency
    expected = report.faces[0].aligned.crop_rgb.mean(2)
    np.testing.assert_allclose(saliency.values, scaled(expected), atol=1e-5)
    assert by_name.to_dict()["faces"][0]["explanation"]["gain"] == 1.0
    assert by_object.faces[0].explanation.saliency.options == {"gain": 5.0}
    assert "Brightness, one pass, gain 1.0, float32 on cpu." in report_page(by_name)


def test_a_score_that_never_changes_gives_an_empty_map():
    for name in METHODS:
        assert not values_of(METHODS[name](), lambda z: (0 * z).sum((1, 2, 3)), crop()).any()


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
    shown = SaliencyMap(values, "smoothgrad", "positive", 50, 50).for_display()
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
    """Return a small residual network whose batch normalisations have seen something."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
        network = ResNetForImageClassification(ResNetConfig(num_labels=3, **sizes))
        network.train()(torch.randn(16, 3, 48, 48) * 2 + 1)
        return network.eval()


def test_folded_normalisation_changes_nothing_but_the_layers(residual_network):
    pixels, folded = crop(size=48), precision._folded(residual_network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(pixels).logits, residual_network(pixels).logits, rtol=1e-4, atol=1e-5)


def cosine_of_maps(model, other) -> float:
    """Return the cosine of two models' maps of one crop."""
    return cosine(*(
        values_of(SmoothGrad(50), lambda copies, each=each: each(pixel_values=copies).logits[:, 1].float(), crop(size=48))
        for each in (model, other)
    ))  # fmt: skip


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_a_copy_keeps_the_map_and_the_model_is_left_as_it_was(residual_network, wanted):
    before = {name: value.clone() for name, value in residual_network.state_dict().items()}
    copied, used = explained_copy(residual_network, 48, wanted)
    assert used == wanted
    assert copied is not residual_network
    convolutions = [module for module in copied.modules() if isinstance(module, torch.nn.Conv2d)]
    assert {str(module.weight.dtype) for module in convolutions} == {f"torch.{wanted}"}
    assert copied.classifier[1].weight.dtype == torch.float32
    assert cosine_of_maps(residual_network, copied) > (0.99 if wanted == "bfloat16" else 0.99999)
    assert all(torch.equal(value, before[name]) for name, value in residual_network.state_dict().items())
    assert not any(module._forward_hooks for module in residual_network.modules())


def test_a_network_without_batch_normalization_is_lowered_whole():
    sizes = {"image_size": 32, "patch_size": 8, "intermediate_size": 64, "hidden_size": 32}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ViTForImageClassification(ViTConfig(num_hidden_layers=2, num_attention_heads=2, **sizes)).eval()
    assert explained_copy(model, 32, "float32") == (model, "float32")
    copied, used = explained_copy(model, 32, "bfloat16")
    assert used == "bfloat16"
    assert {parameter.dtype for parameter in copied.parameters()} == {torch.bfloat16}


def test_a_copy_that_alters_the_gradient_or_raises_is_not_taken(residual_network, monkeypatch):
    def broken(folded):
        raise RuntimeError("mixed dtypes")

    monkeypatch.setitem(precision.LEAST_COSINE, "bfloat16", 1.01)
    assert explained_copy(residual_network, 48, "bfloat16")[1] == "float32"
    monkeypatch.setitem(precision.LEAST_COSINE, "bfloat16", 0.98)
    assert explained_copy(residual_network, 48, "bfloat16")[1] == "bfloat16"
    monkeypatch.setattr(precision, "_bfloat16_convolutions", broken)
    copied, used = explained_copy(residual_network, 48, "bfloat16")
    assert used == "float32"
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in copied.modules())
    monkeypatch.setattr(precision, "_folded", broken)
    assert explained_copy(residual_network, 48) == (residual_network, "float32")
