"""Networks joined in one checkpoint: a vote, in which each member sees its own size and normalization, and the mean of folds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import ViTImageProcessorPil

from infant_fer.checkpoints.loading import load_checkpoint
from infant_fer.checkpoints.safety import check_folder
from infant_fer.classifier import AffectClassifier, forward_crops
from infant_fer.errors import CheckpointError
from infant_fer.labels import AFFECTS
from infant_fer.models.ensemble import EnsembleConfig, ensemble_of, vote_of
from infant_fer.models.features import fingerprint
from infant_fer.training import pretrained
from infant_fer.trust.fitting import TrustFaces, fit_trust
from infant_fer.trust.store import SETTINGS, TENSORS, TrustData
from tests.drawn_data import face_dataset
from tests.tiny_checkpoints import edit, save_tiny
from tests.training.test_trainer import tiny_vit

CROPS = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
WEIGHTS = np.array([[1, 0.5, 0.2], [0, 0.5, 0.8]])


@pytest.fixture(scope="module")
def voters(tmp_path_factory):
    """A ViT and a ResNet, normalized differently; the second's logits are divided by its temperature."""
    folder = tmp_path_factory.mktemp("voters")
    paths = [save_tiny(folder / family, family, AFFECTS) for family in ("vit", "resnet")]
    edit(paths[1] / "config.json", logit_temperature=2.0)
    return [load_checkpoint(path) for path in paths]


@pytest.fixture(scope="module")
def vote(voters, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vote") / "vote"
    model = vote_of(
        [each.model for each in voters],
        [each.processor for each in voters],
        {"size": 32, "margin": 0.2},
        [32, 32],
        WEIGHTS,
    )
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}, do_normalize=False).save_pretrained(folder)
    return folder


def test_the_app_loads_it_and_gives_the_weighted_mean(voters, vote):
    singles = [
        (forward_crops(each.model, each.processor, CROPS)["logits"] / temperature).softmax(1).numpy()
        for each, temperature in zip(voters, (1.0, 2.0), strict=True)
    ]
    assert np.abs(singles[0] - singles[1]).max() > 1e-3
    expected = (np.stack(singles) * WEIGHTS[:, None]).sum(0)
    classifier = AffectClassifier.from_pretrained(vote, device="cpu")
    found = forward_crops(classifier._model, classifier._processor, CROPS)["logits"].softmax(1).numpy()
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), atol=1e-5)
    assert classifier.crop.margin == 0.2


def test_a_member_of_another_size_sees_the_crop_resized(voters):
    crops = torch.rand(2, 3, 64, 64)
    model = vote_of([voters[0].model] * 2, [voters[0].processor] * 2, {"size": 64, "margin": 0}, [32, 32])
    small = torch.nn.functional.interpolate(crops, size=(32, 32), mode="bilinear", antialias=True)
    expected = voters[0].model(pixel_values=(small - 0.5) / 0.5).logits.softmax(1)
    torch.testing.assert_close(model(pixel_values=crops).logits.softmax(1), expected, atol=1e-5, rtol=1e-4)


def test_a_vote_can_get_trust_data(vote):
    """40 noisy faces of their own infants, a quarter of them for training."""
    crops = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    faces = face_dataset(crops, np.zeros((40, 0)), np.eye(3)[np.arange(40) % 3])
    faces = replace(faces, images=replace(faces.images, split=np.where(np.arange(40) % 4 == 0, "train", "dev")))
    loaded = load_checkpoint(vote)
    trust = fit_trust(loaded.model, loaded.processor, TrustFaces(faces, None), log=lambda line: None)
    trust.save(vote)
    assert TrustData.load(vote, fingerprint(load_checkpoint(vote).model)) is not None
    for name in (SETTINGS, TENSORS):
        (vote / name).unlink()


@pytest.mark.parametrize("change", [{"model_type": "bert"}, {"auto_map": {"x": "y"}}])
def test_no_member_can_be_anything_but_an_image_classifier(vote, tmp_path, change):
    config = json.loads((vote / "config.json").read_text())
    config["unlike"][1]["config"] |= change
    for name in ("model.safetensors", "preprocessor_config.json"):
        (tmp_path / name).symlink_to(vote / name)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError):
        check_folder(tmp_path, "vote")


def test_weights_must_fit_the_members():
    with pytest.raises(ValueError, match="1 rows of weights do not fit 2 members"):
        EnsembleConfig(unlike=[{}, {}], class_weights=[[1, 1, 1]])


def test_other_classes_take_no_weights(vote):
    assert load_checkpoint(vote, new_labels=("happy", "sad", "angry")).model.config.class_weights is None
    assert (
        load_checkpoint(vote, new_labels=("positive", "neutral", "negative")).model.config.class_weights
        == WEIGHTS.tolist()
    )


def test_folds_become_one_checkpoint_that_answers_with_their_mean(tmp_path, monkeypatch):
    monkeypatch.setitem(pretrained.SHAPES, "tiny", tiny_vit)
    members = []
    for seed in (0, 1, 2):
        torch.manual_seed(seed)
        members.append(pretrained.load_pretrained("random:tiny", AFFECTS, 32))
    joined = ensemble_of([member.model for member in members])
    joined.save_pretrained(tmp_path / "mean")
    members[0].processor.save_pretrained(tmp_path / "mean")
    classifier = AffectClassifier.from_pretrained(tmp_path / "mean", device="cpu")
    pixels = torch.rand(2, 3, 32, 32)
    shares = torch.stack([member.model.eval()(pixels).logits.softmax(1) for member in members]).mean(0)
    torch.testing.assert_close(classifier._model(pixel_values=pixels).logits.softmax(1), shares)
    assert classifier.crop.size == 32

    config = json.loads((tmp_path / "mean" / "config.json").read_text())
    for member in ({**config["member"], "auto_map": {"x": "y"}}, {**config["member"], "model_type": "bert"}):
        (tmp_path / "mean" / "config.json").write_text(json.dumps({**config, "member": member}))
        with pytest.raises(CheckpointError):
            check_folder(tmp_path / "mean", "mean")


def test_the_config_does_not_say_where_the_members_were_loaded_from(voters, vote, tmp_path):
    folder = save_tiny(tmp_path / "home" / "base", "vit", AFFECTS)
    members = [load_checkpoint(folder).model for _ in range(2)]
    assert members[0].config._name_or_path == str(folder)
    ensemble_of(members).save_pretrained(tmp_path / "mean")
    earlier = EnsembleConfig(member={**members[0].config.to_dict(), "backbone_config": {"_name_or_path": str(folder)}})
    earlier.save_pretrained(tmp_path / "earlier")
    private = {"mean": tmp_path, "earlier": tmp_path, vote: vote.parent.parent.parent}
    for place, path in private.items():
        written = (tmp_path / place / "config.json").read_text()
        assert str(path) not in written
        assert "_name_or_path" not in written
    assert all(each.model.config._name_or_path for each in voters)
