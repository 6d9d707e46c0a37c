"""Saliency maps of scores whose gradients are known by hand, and captum as the reference on a small network."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from captum.attr import NoiseTunnel, Saliency

from infant_fer.analyzer import ExplanationSettings
from infant_fer.errors import ExplanationError
from infant_fer.explain import METHODS, Method, SaliencyMap, Score, perturbation
from infant_fer.explain.gradients import AbsoluteSmoothGrad, IntegratedGradients, SmoothGrad, SmoothGradSquared
from infant_fer.explain.perturbation import Occlusion, PartOcclusion, Rise
from infant_fer.explain.saliency import FINE_BLUR, batch_size, scaled
from infant_fer.report_html import report_page
from tests.conftest import EXAMPLES
from tests.explain.toy_scores import SIZE, FunctionModel, cosine, crop, halves, method_of, network_score, values_of


def linear_weights() -> torch.Tensor:
    """Return colour weights (3, -4, 0) in the upper third, (0, 0, 2.5) in the middle, 0 below: lengths 5, 2.5 and 0."""
    weights = torch.zeros(3, SIZE, SIZE)
    weights[:2, :8] = torch.tensor([3.0, -4.0])[:, None, None]
    weights[2, 8:16] = 2.5
    return weights


def linear_score(copies: torch.Tensor) -> torch.Tensor:
    return (copies * linear_weights().to(copies.dtype)).sum((1, 2, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("method", "middle"), [(SmoothGrad, 0.5), (AbsoluteSmoothGrad, 0.5), (SmoothGradSquared, 0.25)]
)
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
    score, pixels = network_score(), crop(3)
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
    run = lambda **settings: SmoothGrad(12, **settings).map(network_score(), crop()).values  # noqa: E731
    np.testing.assert_array_equal(run(seed=4), run(seed=4))
    np.testing.assert_allclose(run(seed=4, batch=5), run(seed=4, batch=12), atol=1e-5)
    assert np.abs(run(seed=4) - run(seed=5)).max() > 0.01


@pytest.mark.parametrize("name", METHODS)
def test_global_random_numbers_stay_untouched(name):
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    method_of(name, samples=4, noise=0.1, seed=3).map(network_score(method=name), crop())
    assert torch.equal(before, torch.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()


def test_partial_maps_come_batch_by_batch():
    maps = list(SmoothGrad(7, noise=0.2, seed=9, batch=3).maps(network_score(), crop()))
    assert [one.samples for one in maps] == [3, 6, 7]
    assert {(one.requested_samples, one.target, one.method) for one in maps} == {(7, "neutral", "smoothgrad")}
    assert all(one.options == {"noise": 0.2, "seed": 9} for one in maps)
    first_three = SmoothGrad(3, noise=0.2, seed=9, batch=3).map(network_score(), crop())
    np.testing.assert_array_equal(maps[0].values, first_three.values)


def test_closing_the_generator_stops_the_work():
    score = network_score()
    maps = SmoothGrad(1000, batch=4).maps(score, crop())
    next(maps), next(maps)
    maps.close()
    assert score.model.crops == 8
    assert list(maps) == []


def test_a_callers_grad_mode_and_the_networks_gradients_are_left_alone():
    score = network_score()
    with torch.no_grad():
        for _ in SmoothGrad(4, batch=2).maps(score, crop()):
            assert not torch.is_grad_enabled()
    assert all(weight.grad is None for weight in score.model.parameters())


def test_the_crop_is_not_altered():
    pixels = crop()
    copy = pixels.clone()
    for name in METHODS:
        method_of(name, samples=4).map(network_score(method=name), pixels)
    assert torch.equal(pixels, copy)
    assert not pixels.requires_grad


def test_integrated_gradients_of_a_linear_score_are_weight_times_distance_from_the_mean_colour():
    pixels = torch.zeros(1, 3, SIZE, SIZE)
    pixels[..., : SIZE // 4] = 1.0  # mean 0.25: distances 0.75 and 0.25
    values = values_of(IntegratedGradients(20), lambda z: 7 * z.sum((1, 2, 3)), pixels)
    np.testing.assert_allclose(values[:, : SIZE // 4], 1, atol=1e-4)
    np.testing.assert_allclose(values[:, SIZE // 4 :], 1 / 3, atol=1e-4)


def test_signed_maps_are_above_0_for_the_class_and_below_it_against_it():
    """The left half raises the score and the right half lowers it, by as much; the crop is 1 there and 0 between."""
    weights = torch.zeros(3, SIZE, SIZE)
    weights[..., :8], weights[..., 16:] = 1.0, -1.0
    pixels = torch.zeros(1, 3, SIZE, SIZE)
    pixels[..., :8], pixels[..., 16:] = 1.0, 1.0
    score = Score(FunctionModel(lambda z: (z * weights).sum((1, 2, 3)) / 100), "positive")
    for name in ("smoothgrad", "integrated_gradients", "occlusion"):
        signed = method_of(name).map(score, pixels).signed
        assert signed[:, :6].min() > 0.2, name
        assert signed[:, 18:].max() < -0.2, name
        opposite = Score(score.model, "neutral", "positive")
        np.testing.assert_allclose(method_of(name).map(opposite, pixels).signed, -signed, atol=1e-4)
    of_masks = Rise(100).map(score, pixels).signed
    assert of_masks[:, :6].mean() > 0.2
    assert of_masks[:, 18:].mean() < -0.2


def test_the_score_against_another_class_is_the_difference_of_both():
    network = network_score().model
    both = Score(network, "negative", "neutral")
    logits = network(crop())
    torch.testing.assert_close(both(crop()), logits[:, 2] - logits[:, 1])
    torch.testing.assert_close(both.probability(crop()), logits[:, 1:].softmax(1)[:, 1])
    torch.testing.assert_close(Score(network, "negative").probability(crop()), logits.softmax(1)[:, 2])
    for target, versus in (("happy", None), ("neutral", "neutral"), ("neutral", "sad")):
        with pytest.raises(ValueError, match="two different affects"):
            Score(network, target, versus)


def test_occlusion_by_part_measures_the_drop_of_each_part_and_needs_the_parts():
    model = FunctionModel(lambda z: z[..., :12, :].sum((1, 2, 3)) - 3 * z[..., 12:, :].sum((1, 2, 3)))
    pixels = torch.zeros(1, 3, SIZE, SIZE)
    pixels[..., ::2] = 1.0
    pixels[..., :12, :] *= 2  # means: 1 above, 0.5 below, 0.75 in all; per half 3 * 12 * 24 values
    found = PartOcclusion(parts=halves()).map(Score(model, "positive"), pixels)
    np.testing.assert_allclose(found.signed[:12], 0.25 / 0.75, atol=1e-5)  # 1 - 0.75
    np.testing.assert_allclose(found.signed[12:], 1, atol=1e-5)  # 3 * (0.75 - 0.5)
    with pytest.raises(ExplanationError, match="needs the face parts"):
        PartOcclusion().map(Score(model, "positive"), pixels)


def test_rise_finds_the_place_and_batches_change_nothing(monkeypatch):
    model = FunctionModel(lambda z: 5 * z[..., 4:8, 14:20].mean((1, 2, 3)) - 2)
    pixels = torch.zeros(1, 3, SIZE, SIZE)
    pixels[..., 4:8, 14:20] = 1.0
    values = Rise(100, seed=1).map(Score(model, "positive"), pixels).values
    row, column = np.unravel_index(values.argmax(), values.shape)
    assert 2 <= row < 10
    assert 12 <= column < 22
    monkeypatch.setattr(perturbation, "batch_size", lambda pixels: 3)
    np.testing.assert_allclose(Rise(100, seed=1).map(Score(model, "positive"), pixels).values, values, atol=1e-4)


def test_occlusion_finds_the_one_patch_that_matters():
    pixels = torch.zeros(1, 3, 96, 96)
    pixels[..., 40:56, 64:80] = 1.0
    model = FunctionModel(lambda z: z[..., 40:56, 64:80].sum((1, 2, 3)))
    found = Occlusion().map(Score(model, "positive"), pixels)
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
    given = {"samples": 10, "noise": 0.15, "seed": 2}
    final = method_of(name, **given).map(network_score("positive", name), crop())
    assert final.values.shape == (SIZE, SIZE)
    assert final.values.dtype == np.float32
    assert final.values.min() >= 0
    assert final.values.max() == 1
    assert (final.method, final.target, final.precision, final.device) == (name, "positive", "float32", "cpu")
    assert final.samples == final.requested_samples
    assert tuple(final.options) == METHODS[name].option_names()
    assert final.options.items() >= {option: given[option] for option in given if option in final.options}.items()
    if final.signed is not None:
        assert final.signed.dtype == np.float32
        assert np.abs(final.signed).max() == 1
    assert (final.signed is not None) == METHODS[name].is_signed
    assert METHODS[name].title


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 3, 8, 8), (1, 1, 8, 8), (1, 3, 8, 9)])
def test_wrong_shapes_are_refused(name, shape):
    with pytest.raises(ValueError, match="must be one square crop"):
        values_of(method_of(name), lambda z: z.sum((1, 2, 3)), torch.zeros(shape))


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
    for name in [name for name, method in METHODS.items() if not method.reads_layers]:
        assert not values_of(method_of(name), lambda z: (0 * z).sum((1, 2, 3)), crop()).any()


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
    shown = SaliencyMap(values, "smoothgrad", "positive", 50, 50).for_display(FINE_BLUR)
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
