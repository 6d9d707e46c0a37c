"""What training starts from: an ensemble as a base, and bases that cannot be trained."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageClassification, MobileViTImageProcessorPil, ViTImageProcessorPil

from infant_fer.classifier import AffectClassifier
from infant_fer.errors import CheckpointError
from infant_fer.labels import AFFECTS
from infant_fer.models.ensemble import ensemble_of
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel
from infant_fer.training.infant_face.data import PROCESSOR
from infant_fer.training.pretrained import load_pretrained
from tests.models.small_backbones import small_mobilenet
from tests.tiny_checkpoints import SEVEN, SHUFFLED_AFFECTS, save_tiny


@pytest.fixture
def ensemble_folder(tmp_path):
    """Two members of three classes in an order of their own, saved as one checkpoint."""

    def save(labels):
        folders = [save_tiny(tmp_path / str(seed), labels=labels, seed=seed) for seed in range(2)]
        ensemble = ensemble_of([AutoModelForImageClassification.from_pretrained(folder) for folder in folders])
        ensemble.save_pretrained(tmp_path / "both")
        ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "both")
        return tmp_path / "both"

    return save


def heads(model) -> list[torch.nn.Linear]:
    return [member.classifier for member in model.members]


@pytest.mark.parametrize("labels", [SHUFFLED_AFFECTS, SEVEN])
def test_as_a_base_every_member_gets_a_new_head_for_the_new_classes(ensemble_folder, labels):
    folder = ensemble_folder(labels)
    before = AutoModelForImageClassification.from_pretrained(folder)
    base = load_pretrained(folder, AFFECTS)
    assert not base.whole
    assert [base.model.config.id2label[index] for index in range(3)] == list(AFFECTS)
    for member, old, new in zip(base.model.members, heads(before), heads(base.model), strict=True):
        assert [member.config.id2label[index] for index in range(3)] == list(AFFECTS)
        assert new.weight.shape == (3, 32)
        assert old.weight.shape != new.weight.shape or not torch.equal(old.weight, new.weight)
    assert base.model(pixel_values=torch.zeros(2, 3, 32, 32)).logits.shape == (2, 3)
    kept = "members.0.vit.embeddings.cls_token"
    torch.testing.assert_close(base.model.state_dict()[kept], before.state_dict()[kept])


def test_a_base_whose_processor_swaps_the_channels_is_refused(tmp_path):
    folder = save_tiny(tmp_path / "swapped", labels=AFFECTS)
    settings = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
    MobileViTImageProcessorPil(**settings).save_pretrained(folder)
    with pytest.raises(CheckpointError, match="does more than to scale and normalize"):
        load_pretrained(folder, AFFECTS)


def test_with_the_same_classes_every_weight_is_kept(ensemble_folder):
    folder = ensemble_folder(AFFECTS)
    base, before = load_pretrained(folder, AFFECTS), AutoModelForImageClassification.from_pretrained(folder)
    assert base.whole
    for old, new in zip(heads(before), heads(base.model), strict=True):
        assert torch.equal(old.weight, new.weight)


@pytest.mark.parametrize("geometry_size", [0, 4])
def test_of_the_project_s_own_model_only_what_learns_is_kept(tmp_path, geometry_size):
    """The Trainer would leave the other heads as they are, over features that it changes, and the app would show them."""
    sizes = {"stem_width": 8, "widths": (8, 16, 32), "blocks_per_stage": 1, "geometry_size": geometry_size}
    whole = InfantFaceModel(InfantFaceConfig(members=2, **sizes))
    whole.add_head("action_units")
    whole.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    base = load_pretrained(tmp_path, AFFECTS)
    assert base.model.config.heads == ["affect"]
    assert not base.model.takes_geometry
    assert {name.split(".")[2] for name in base.model.state_dict()} == {"image", "affect"}
    assert base.whole
    left_out = ["geometry"] * bool(geometry_size) + [name for name in whole.config.heads if name != "affect"]
    assert "action_units" in left_out
    assert str(base) == f"{tmp_path.name}, every weight kept but those of {', '.join(left_out)}"


def test_a_base_that_is_saved_again_keeps_the_new_classes(ensemble_folder, tmp_path):
    base = load_pretrained(ensemble_folder(SHUFFLED_AFFECTS), AFFECTS)
    base.model.save_pretrained(tmp_path / "trained")
    base.processor.save_pretrained(tmp_path / "trained")
    classifier = AffectClassifier.from_pretrained(tmp_path / "trained", device="cpu")
    assert classifier.labels == AFFECTS
    pixels = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32))
    with torch.no_grad():
        torch.testing.assert_close(
            classifier._model(pixel_values=pixels).logits, base.model(pixel_values=pixels).logits
        )


def test_batch_normalization_keeps_the_statistics_of_more_than_the_last_batch(tmp_path):
    """MobileNet of transformers weighs the newest batch with 0.997: what is saved would be the statistics of one batch."""
    folder = save_tiny(tmp_path / "mobile", "mobilenet_v2", labels=AFFECTS)
    for base in (load_pretrained(folder, AFFECTS), load_pretrained("random:mobilenet-v2", AFFECTS, 32)):
        layer = next(each for each in base.model.modules() if isinstance(each, torch.nn.BatchNorm2d))
        torch.nn.init.constant_(layer.running_mean, 10.0)
        base.model.train()(
            pixel_values=torch.zeros(8, 3, base.crop.size, base.crop.size)
        )  # means of 0 in the first layer
        torch.testing.assert_close(layer.running_mean, torch.full_like(layer.running_mean, 9.5))


def small_mobilenet_v2(folder: Path) -> Path:
    return save_tiny(folder / "mobilenet-v2", "mobilenet_v2", labels=AFFECTS)


@pytest.mark.parametrize(("saved", "dropped"), [(small_mobilenet, 0.001), (small_mobilenet_v2, 0.2)])
def test_a_mobilenet_drops_what_its_paper_drops(tmp_path, saved, dropped):
    """The configs of transformers, and of Google's checkpoints on the Hub, have the share that is kept as the one to drop."""
    folder = saved(tmp_path)
    settings = json.loads((folder / "config.json").read_text())
    assert settings["classifier_dropout_prob"] == pytest.approx(1 - dropped)
    assert load_pretrained(folder, AFFECTS).model.dropout.p == pytest.approx(dropped, rel=1e-6)
    settings["classifier_dropout_prob"] = 0.25
    (folder / "config.json").write_text(json.dumps(settings))
    assert load_pretrained(folder, AFFECTS).model.dropout.p == 0.25


@pytest.mark.parametrize(
    ("shape", "size"), [("two-stream", 100), ("swin-tiny", 100), ("resnet18", -5), ("vit-tiny", 0)]
)
def test_a_size_that_the_architecture_cannot_take_is_refused_before_the_training(shape, size):
    with pytest.raises(CheckpointError, match=f"^{shape} cannot take crops of {size} px .*Give another --size.$"):
        load_pretrained(f"random:{shape}", AFFECTS, size)
