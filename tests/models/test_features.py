"""Features before the affect layer: the same for every architecture, and safe with several threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from transformers import ViTImageProcessorPil

from infant_fer.checkpoints.loading import load_checkpoint
from infant_fer.classifier import forward_crops, member_disagreement
from infant_fer.models.ensemble import ensemble_of
from infant_fer.models.features import affect_layers, fingerprint
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel
from infant_fer.training.infant_face.data import PROCESSOR
from tests.tiny_checkpoints import FAMILIES, save_tiny

CROPS = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_affect_layer_makes_the_logits_from_the_features(family, tmp_path):
    loaded = load_checkpoint(save_tiny(tmp_path / family, family))
    heads = forward_crops(loaded.model, loaded.processor, CROPS, batch_size=2)
    (layer,) = affect_layers(loaded.model)
    assert heads["features"].shape == (5, layer.in_features)
    if family == "levit":  # a batch normalization comes first inside its head
        return
    with torch.inference_mode():
        torch.testing.assert_close(layer(heads["features"]), heads["logits"], atol=1e-5, rtol=1e-5)
    assert "member_logits" not in heads


def test_members_stand_side_by_side(tmp_path):
    loaded = [load_checkpoint(save_tiny(tmp_path / str(seed), seed=seed)) for seed in (0, 1)]
    whole = ensemble_of([each.model for each in loaded])
    heads = forward_crops(whole, loaded[0].processor, CROPS)
    singles = [forward_crops(each.model, each.processor, CROPS) for each in loaded]
    torch.testing.assert_close(heads["features"], torch.cat([each["features"] for each in singles], 1))
    torch.testing.assert_close(heads["member_logits"], torch.stack([each["logits"] for each in singles], 1))


def test_mirror_images_are_averaged_and_the_geometry_stays_out():
    torch.manual_seed(0)
    model = InfantFaceModel(InfantFaceConfig(members=2, geometry_size=4)).eval()
    processor = ViTImageProcessorPil(**PROCESSOR)
    crops = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    heads = forward_crops(model, processor, crops, np.ones((3, 4), np.float32))
    mirrored = forward_crops(model, processor, crops[:, :, ::-1], np.ones((3, 4), np.float32))
    assert heads["features"].shape == (3, 2 * 192)
    torch.testing.assert_close(heads["features"], mirrored["features"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(heads["member_logits"].mean(1), heads["image_logits"], atol=1e-5, rtol=1e-4)


def test_threads_do_not_see_each_others_features(tmp_path):
    loaded = load_checkpoint(save_tiny(tmp_path / "vit"))
    expected = [forward_crops(loaded.model, loaded.processor, crop[None])["features"] for crop in CROPS]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            found = pool.map(lambda crop: forward_crops(loaded.model, loaded.processor, crop[None])["features"], CROPS)
            for mine, theirs in zip(expected, found, strict=True):
                torch.testing.assert_close(mine, theirs)


def test_members_that_agree_do_not_disagree():
    sure, other = torch.tensor([20.0, 0.0, 0.0]), torch.tensor([0.0, 20.0, 0.0])
    assert float(member_disagreement(torch.stack([sure, sure]))) == pytest.approx(0, abs=1e-6)
    assert float(member_disagreement(torch.stack([sure, other]))) == pytest.approx(np.log(2), abs=1e-4)
    flat = torch.zeros(3)
    assert float(member_disagreement(torch.stack([flat, flat]))) == pytest.approx(
        0, abs=1e-6
    )  # unsure, but of one mind


def test_another_training_has_another_fingerprint(tmp_path):
    first, again, other = (load_checkpoint(save_tiny(tmp_path / str(n), seed=n % 2)).model for n in (0, 2, 1))
    assert fingerprint(first) == fingerprint(again) != fingerprint(other)
    with torch.no_grad():
        again.classifier.bias[0] += 0.001
    assert fingerprint(first) != fingerprint(again)
