"""The copy of a network in which gradients cost less: folded, in bfloat16, and never another map."""

import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

from infant_fer.explain import Score, precision
from infant_fer.explain.gradients import SmoothGrad
from infant_fer.explain.precision import explained_copy
from infant_fer.explain.saliency import AffectLogits
from tests.explain.toy_scores import cosine, crop


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
    scores = [Score(AffectLogits(each, [[0], [1], [2]]), "neutral") for each in (model, other)]
    return cosine(*(SmoothGrad(50).map(score, crop(size=48)).values for score in scores))


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
