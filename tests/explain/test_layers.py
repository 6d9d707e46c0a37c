"""Methods that read a network's layers: captum as the reference, known answers, and every family of checkpoints."""

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam

from infant_fer.alignment import AlignedFace
from infant_fer.classifier import AffectClassifier
from infant_fer.errors import ExplanationError
from infant_fer.explain import METHODS, Score
from infant_fer.explain.activation import GradCAM, grids_and_gradients
from infant_fer.explain.attention import AttentionRelevance, AttentionRollout
from infant_fer.explain.layers import enlarged, grid_of, network_shares, networks, private_copy
from infant_fer.explain.saliency import AffectLogits, scaled, scaled_signed
from infant_fer.models.ensemble import ensemble_of
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel
from tests.explain.toy_scores import SIZE, CountedNetwork, FunctionModel, TokenNetwork, crop
from tests.tiny_checkpoints import FAMILIES, save_tiny

OF_LAYERS = ("gradcam", "layercam", "rollout", "attention_relevance")
WITH_ATTENTION = ("vit", "beit", "dinov2")  # over the whole crop; Swin's windows and LeViT's own modules do not count


def convolutional() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.GELU(),
            torch.nn.Conv2d(8, 12, 3, stride=2, padding=1),
            torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(12, 3),
        ).eval()  # fmt: skip


def test_grad_cam_of_a_convolutional_network_is_captums():
    network, pixels = convolutional(), crop(2)
    own = GradCAM().map(Score(CountedNetwork(network), "neutral"), pixels)
    reference = LayerGradCam(network, network[2]).attribute(pixels, target=1)[0, 0].detach()
    expected = enlarged(reference, SIZE)
    np.testing.assert_allclose(own.signed, scaled_signed(expected.numpy()), atol=1e-5)
    np.testing.assert_allclose(own.values, scaled(expected.clamp(min=0).numpy()), atol=1e-5)


def narrowing(*sides: int) -> torch.nn.Module:
    """A network whose grids have these sides, one after the other, for crops of SIZE px."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        channels = (3, *(4 + step for step in range(len(sides))))
        layers = [
            module
            for step, side in enumerate(sides)
            for module in (torch.nn.AdaptiveAvgPool2d(side), torch.nn.Conv2d(*channels[step : step + 2], 3, padding=1))
        ]
        return torch.nn.Sequential(
            *layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(channels[-1], 3)
        ).eval()


@pytest.mark.parametrize(
    ("sides", "chosen"),
    [((12, 6, 3), (6, 5)), ((12, 7, 6, 2), (6, 6)), ((5, 4, 3), (5, 4)), ((3, 4, 2), (4, 5)), ((24, 12), (12, 5))],
)
def test_each_member_is_read_at_its_last_layer_with_six_by_six_cells_or_its_finest(sides, chosen):
    pairs = grids_and_gradients(Score(CountedNetwork(narrowing(*sides)), "neutral"), crop(2))
    assert [(grid.shape[-1], len(grid)) for grid, _ in pairs] == [chosen]
    both = grids_and_gradients(Score(Ensemble(narrowing(*sides), narrowing(8, 2)), "neutral"), crop(2))
    assert [grid.shape[-1] for grid, _ in both] == [chosen[0], 8]


class Ensemble(torch.nn.Module):
    """The mean logits of several networks."""

    def __init__(self, *members: torch.nn.Module):
        super().__init__()
        self.members = torch.nn.ModuleList(members)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return torch.stack([member(pixel_values) for member in self.members]).mean(0)


@pytest.mark.parametrize("name", OF_LAYERS)
def test_the_map_of_an_ensemble_is_that_of_its_members(name):
    other = TokenNetwork()
    with torch.no_grad():
        other.head.weight.neg_()
    alone = METHODS[name]().map(Score(TokenNetwork(), "neutral"), crop())
    twice = METHODS[name]().map(Score(Ensemble(TokenNetwork(), TokenNetwork()), "neutral"), crop())
    opposed = METHODS[name]().map(Score(Ensemble(TokenNetwork(), other), "neutral"), crop())
    # The gradient at a member is halved, and relevance is no linear function of it.
    np.testing.assert_allclose(twice.values, alone.values, atol=0.01 if name == "attention_relevance" else 1e-5)
    if name == "gradcam":  # the members' evidence cancels but for rounding; their attention does not
        assert not np.allclose(opposed.values, alone.values, atol=0.1)


class FirstTokens(torch.nn.Module):
    """One attention layer whose weights are given; the answer reads token 0 alone, of 1 + 4 tokens."""

    def __init__(self, weights: torch.Tensor):
        super().__init__()
        self.given, self.attention = weights, GivenAttention(weights)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        patches = pixel_values.mean(1).unfold(1, 12, 12).unfold(2, 12, 12).mean((3, 4)).flatten(1)  # (B, 4)
        tokens = torch.cat([torch.zeros(len(patches), 1), patches], dim=1)[..., None]
        read = self.attention(tokens)[0][:, 0, 0]
        return torch.stack([read, 0 * read, 0 * read], dim=1)


class GivenAttention(torch.nn.Module):
    """Return the new tokens and the weights, as transformers' attention modules do."""

    def __init__(self, weights: torch.Tensor):
        super().__init__()
        self.logits = weights.log()[None, None]

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        weights = (self.logits + 0 * tokens.sum()).softmax(-1).expand(len(tokens), 1, -1, -1)
        return (weights @ tokens[:, None])[:, 0], weights


def test_rollout_and_relevance_by_hand():
    """The class token reads the patches with .1, .2, .3 and .4 minus what it keeps of itself; their values are known."""
    weights = torch.full((5, 5), 0.2)
    weights[0] = torch.tensor([0.2, 0.08, 0.16, 0.24, 0.32])
    pixels = torch.full((1, 3, SIZE, SIZE), 1.0)
    pixels[..., :12, :12], pixels[..., 12:, 12:] = 0.5, -1.0  # the first patch counts half, the last one against
    rollout = AttentionRollout().map(Score(FirstTokens(weights), "positive"), pixels).values
    corners = rollout[[0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_allclose(corners, [0.25, 0.5, 0.75, 1], atol=0.02)
    relevance = AttentionRelevance().map(Score(FirstTokens(weights), "positive"), pixels).values
    corners = relevance[[0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_allclose(corners, [0.5 * 0.08 / 0.24, 0.16 / 0.24, 1, 0], atol=0.02)


def score_and_pixels(folder, family: str):
    classifier = AffectClassifier.from_pretrained(save_tiny(folder, family), device="cpu", precision="float32")
    aligned = AlignedFace(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8), np.eye(2, 3))
    return classifier, classifier.score_of("negative", aligned), classifier.pixel_values(aligned)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_explained_or_one_sentence_says_why_not(family, tmp_path):
    classifier, score, pixels = score_and_pixels(tmp_path, family)
    before = classifier.predict(AlignedFace(np.zeros((32, 32, 3), np.uint8), np.eye(2, 3)))
    hooks = [len(module._forward_hooks) for module in score.model.modules()]
    for name in OF_LAYERS:
        if name in ("gradcam", "layercam") or family in WITH_ATTENTION:
            found = METHODS[name]().map(score, pixels)
            assert found.values.shape == (32, 32)
            assert found.values.max() == 1 or (found.signed is not None and found.signed.min() == -1)
        else:
            with pytest.raises(ExplanationError, match=r"no attention over the whole crop.*\.$"):
                METHODS[name]().map(score, pixels)
    assert classifier.predict(AlignedFace(np.zeros((32, 32, 3), np.uint8), np.eye(2, 3))) == before
    assert [len(module._forward_hooks) for module in score.model.modules()] == hooks


def test_the_projects_own_network_and_an_ensemble_have_their_members_found():
    sizes = {"image_size": 32, "stem_width": 8, "widths": (8, 16), "blocks_per_stage": 1, "transformer_layers": 1}
    model = InfantFaceModel(InfantFaceConfig(**sizes, members=2))
    assert networks(model) == list(model.readers)
    assert networks(ensemble_of([model, model])) == [*model.readers, *model.readers]
    assert networks(convolutional())[0].__class__ is torch.nn.Sequential


def test_a_function_without_layers_has_no_class_activation_map():
    with pytest.raises(ExplanationError, match="no layer whose grid still reaches the answer"):
        GradCAM().map(Score(FunctionModel(lambda z: z.sum((1, 2, 3))), "positive"), crop())


def test_a_private_copy_shares_the_weights_alone():
    network = convolutional()
    copied = private_copy(network)
    assert copied[0] is not network[0]
    assert copied[0].weight is network[0].weight


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 7, 4, 4), (1, 7, 4, 4)),
        ((1, 17, 7), (1, 7, 4, 4)),  # a class token
        ((1, 36, 7), (1, 7, 6, 6)),
        ((1, 54, 7), (1, 7, 7, 7)),  # a class token and four registers
        ((1, 7, 4, 5), None),
        ((1, 7, 1, 1), None),
        ((1, 3, 7), None),
        ((1, 7), None),
    ],
)
def test_grids(shape, expected):
    grid = grid_of(torch.zeros(shape))
    assert (grid if grid is None else tuple(grid.shape)) == expected


def mixed_members() -> InfantFaceModel:
    """Return the project's network with a member of each family, tiny and with random weights."""
    normalization = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    backbones = {
        "mobilenet": {"image_size": 32, "depth_multiplier": 0.25, **normalization},
        "dinov2": {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 2,
                   "num_attention_heads": 2, **normalization},
    }  # fmt: skip
    sizes = {"image_size": 32, "stem_width": 8, "widths": (8, 16), "blocks_per_stage": 1, "transformer_layers": 1}
    families = ("conv_transformer", "mobilenet", "dinov2")
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return InfantFaceModel(InfantFaceConfig(**sizes, members=3, families=families, backbones=backbones)).eval()


def test_members_of_every_family_are_read():
    model = mixed_members()
    score, pixels = Score(AffectLogits(model, [[0], [1], [2]]), "negative"), crop(size=64)
    with torch.enable_grad():
        shapes = [tuple(grid.shape) for grid, _ in grids_and_gradients(score, pixels)]
    assert shapes[0] == (16, 8, 8)  # the convolution-transformer's tokens
    assert shapes[1][1:] == (8, 8)  # not the MobileNet's last 2 × 2
    assert shapes[2] == (32, 8, 8)  # 64 px are 8 patches of 8 px
    for name in OF_LAYERS:
        found = METHODS[name]().map(score, pixels)
        assert found.values.max() == 1 or found.signed.min() == -1
        said = name in ("rollout", "attention_relevance")
        assert found.coverage == (
            "This map shows 2 of 3 networks, which give 67% of the answer; the others have no attention to show." if said else None
        )  # fmt: skip
    assert not any(module._forward_hooks for module in model.modules())
    assert model.readers[2].image.backbone.config._attn_implementation != "eager"  # a private copy was changed


def test_rollout_weighs_the_members_by_their_shares_in_the_answer():
    model, pixels = mixed_members(), crop(size=64)

    def rollout(*weights: float):
        model.config.member_weights = list(weights)
        return AttentionRollout().map(Score(AffectLogits(model, [[0], [1], [2]]), "negative"), pixels)

    score = Score(AffectLogits(model, [[0], [1], [2]]), "negative")
    maps = dict(AttentionRollout()._grid_maps(score, pixels))
    assert set(maps) == {0, 2}
    both = rollout(3, 4, 1)
    np.testing.assert_allclose(both.values, scaled((3 * maps[0] + maps[2]).numpy()), atol=1e-5)
    assert not np.allclose(both.values, scaled((maps[0] + maps[2]).numpy()), atol=0.02)
    assert "2 of 3 networks, which give 50% of the answer" in both.coverage
    assert rollout(1, 0, 1).coverage is None  # the MobileNet does not count
    assert "1 of 2 networks" in rollout(1, 1, 0).coverage
    np.testing.assert_allclose(rollout(1, 1, 0).values, scaled(maps[0].numpy()), atol=1e-5)
    with pytest.raises(ExplanationError, match="no attention"):
        rollout(0, 1, 0)


def test_shares_of_networks_in_networks():
    inner = ensemble_of([mixed_members(), mixed_members()])
    inner.members[0].config.member_weights = [1, 2, 1]
    inner.members[1].config.member_weights = None
    assert network_shares(inner) == pytest.approx([1 / 8, 1 / 4, 1 / 8, 1 / 6, 1 / 6, 1 / 6])
    inner.config.class_weights = [[0.6, 0.9], [0.3, 0.2]]
    assert sum(network_shares(inner)[:3]) == pytest.approx(0.75)
    assert network_shares(TokenNetwork()) == [1.0]
