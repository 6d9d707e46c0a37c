"""Randomized layers, similarity and steadiness on networks and maps whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity as reference_ssim

from infant_fer.explain.activation import GradCAM
from infant_fer.explain.gradients import SmoothGrad
from infant_fer.explain.saliency import AffectLogits
from infant_fer.explain.sanity import Similarity, randomization, randomized, steadiness, structural_similarity
from infant_fer.models.infant_face import HEADS, InfantFaceConfig, InfantFaceModel
from tests.explain.toy_scores import SIZE, FunctionModel, Score, crop, network_score


def test_similarity_is_that_of_scikit_image_and_1_for_the_same_map():
    generator = np.random.default_rng(0)
    first = generator.random((48, 48)).astype(np.float32)
    second = np.clip(first + generator.normal(0, 0.2, first.shape), 0, 1).astype(np.float32)
    expected = reference_ssim(first, second, data_range=1.0, gaussian_weights=True, use_sample_covariance=False)
    assert structural_similarity(first, second) == pytest.approx(expected, abs=0.01)
    same = Similarity.of(first, first)
    assert (same.ssim, same.ranks) == (pytest.approx(1), pytest.approx(1))
    assert Similarity.of(first, -first).ranks == pytest.approx(-1)
    blank = np.zeros_like(first)
    assert not same.blank
    for one, other in ((first, blank), (blank, blank)):
        assert (Similarity.of(one, other).ranks, Similarity.of(one, other).blank) == (0, True)


def test_layers_are_randomized_from_the_top_and_the_model_is_left_alone():
    score = network_score()
    network = score.model.network
    before = [weight.clone() for weight in network.parameters()]
    layers = [0, 2, 5]  # two convolutions, then the linear layer
    for share, changed in ((0, []), (0.1, [5]), (0.5, [2, 5]), (1, layers)):
        copied = randomized(score, share, crop(), seed=1).model.network
        assert [layer for layer in layers if not torch.equal(copied[layer].weight, network[layer].weight)] == changed
    assert all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))
    again = (
        randomized(score, 1, crop(), seed=1).model.network[0].weight,
        randomized(score, 1, crop(), seed=2).model.network[0].weight,
    )
    assert torch.equal(copied[0].weight, again[0])
    assert not torch.equal(again[0], again[1])
    assert float(again[0].std()) == pytest.approx(float(network[0].weight.detach().std()), rel=0.2)
    with pytest.raises(ValueError, match="share must be in"):
        randomized(score, 1.5, crop())


def test_the_top_layers_are_those_that_the_score_reads_last():
    """The heads of other answers are defined last, and attention has weights that no call of a module reads."""
    sizes = {"image_size": 32, "stem_width": 8, "widths": (8, 16), "blocks_per_stage": 1, "transformer_layers": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = InfantFaceModel(InfantFaceConfig(**sizes, members=2, heads=tuple(HEADS))).eval().requires_grad_(False)
    score, pixels = Score(AffectLogits(model, [[0], [1], [2]]), "negative"), crop(size=32)
    top = randomized(score, 0.01, pixels)
    assert float((top(pixels) - score(pixels)).abs()) > 1e-3
    whole = randomized(score, 1, pixels).model.network
    for reader, changed, first in zip(*(each.readers for each in (model, whole, top.model.network)), strict=True):
        for name, weight in reader.named_parameters():
            assert torch.equal(weight, changed.get_parameter(name)) == (name.split(".")[0] in {*HEADS} - {"affect"})
            assert torch.equal(weight, first.get_parameter(name)) == (not name.startswith("affect."))
    assert not any(module._forward_pre_hooks for module in whole.modules())


def test_a_map_that_follows_the_network_dissolves_and_one_that_follows_the_picture_does_not():
    score, pixels = network_score("positive"), crop()
    method = SmoothGrad(10)
    real = method.map(score, pixels)
    assert randomization(method, score, pixels, real, 0).similarity.ranks == pytest.approx(1, abs=1e-4)
    dissolved = randomization(method, score, pixels, real, 1)
    assert dissolved.similarity.ranks < 0.5
    assert "It has dissolved" in dissolved.sentence()
    values = dissolved.saliency.values
    for like in (Similarity(0.9, 0.9), Similarity.of(values, 1 - values)):  # a map turned over has the same edges
        assert "It has not dissolved" in replace(dissolved, similarity=like).sentence()
    blank = replace(dissolved, similarity=Similarity.of(0 * values, 0 * values))
    assert blank.sentence().endswith("one of the two maps marks nothing: they cannot be compared.")


def test_steadiness_over_seeds_and_a_shift():
    weights = torch.zeros(3, SIZE, SIZE)
    weights[..., 8:16, 8:16] = 1.0
    score = Score(FunctionModel(lambda z: (z * weights).sum((1, 2, 3))), "positive")
    method = SmoothGrad(5)
    steady = steadiness(method, score, crop(), method.map(score, crop()))
    assert steady.seeds.ranks == pytest.approx(1, abs=1e-6)  # a linear score's map has no noise
    assert 0.5 < steady.shift.ranks < 0.95  # its map stays where it is while the crop moves
    of_layers = GradCAM().map(network_score("positive"), crop())
    assert steadiness(GradCAM(), network_score("positive"), crop(), of_layers).seeds is None
