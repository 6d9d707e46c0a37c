"""The attention over face parts of several networks, and of a vote, as one map."""

import numpy as np
import torch

from infant_fer.checkpoints.loading import load_checkpoint
from infant_fer.explain import METHODS, Score
from infant_fer.explain.saliency import AffectLogits, scaled
from infant_fer.labels import AFFECTS
from infant_fer.models.ensemble import ensemble_of, vote_of
from infant_fer.training.pretrained import load_pretrained
from tests.tiny_checkpoints import save_tiny


def part_tokens(seed: int):
    """Return a network of part tokens with random weights and its processor; its attention differs from seed to seed."""
    torch.manual_seed(seed)
    base = load_pretrained("random:part-tokens", AFFECTS, 96)
    for block in base.model.blocks:
        torch.nn.init.normal_(block.attention.in_proj_weight, std=0.3)
    return base


def rollout_of(model, pixels: torch.Tensor) -> np.ndarray:
    score = Score(AffectLogits(model.eval(), [[0], [1], [2]]), "positive")
    return METHODS["rollout"]().map(score, pixels).values


def test_the_rollout_of_several_networks_of_part_tokens_is_the_mean_of_theirs():
    bases, pixels = [part_tokens(seed) for seed in (0, 1)], torch.randn(1, 3, 96, 96)
    maps = [base.model.eval().part_attention_map(pixels)[0].numpy() for base in bases]
    assert not np.allclose(scaled(maps[0]), scaled(maps[1]), atol=0.05)
    found = rollout_of(ensemble_of([base.model for base in bases]), pixels)
    np.testing.assert_allclose(found, scaled(sum(maps)), atol=1e-5)


def test_the_rollout_of_a_vote_reads_what_each_member_is_given(tmp_path):
    """Its input are crops in 0..1, which each member normalizes; a ViT's patches count as much as another's parts."""
    base, other = part_tokens(0), load_checkpoint(save_tiny(tmp_path, "vit", AFFECTS))
    crops = torch.rand(1, 3, 96, 96)
    seen = (crops - 0.5) / 0.5
    assert base.processor.image_mean == base.processor.image_std == (0.5, 0.5, 0.5)
    alone = vote_of([base.model], [base.processor], {"size": 96, "margin": 0}, [96])
    own = base.model.eval().part_attention_map(seen)[0].numpy()
    assert not np.allclose(scaled(own), scaled(base.model.part_attention_map(crops)[0].numpy()), atol=0.01)
    np.testing.assert_allclose(rollout_of(alone, crops), scaled(own), atol=1e-5)
    models, processors = (base.model, other.model), (base.processor, other.processor)
    mixed = rollout_of(vote_of(models, processors, {"size": 96, "margin": 0}, [96, 32]), crops)
    assert (mixed[:3] > 0).all()  # above the brows is no part, but a patch
    assert not np.allclose(mixed, scaled(own), atol=0.1)
