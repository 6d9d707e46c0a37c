"""The Trainer: what it learns, what it repeats exactly, and how it shares work between processes."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file
from transformers import ViTImageProcessorPil

from infant_fer.data.labeled_images import AlignedDataset
from infant_fer.errors import DatasetError
from infant_fer.evaluation.predictions import predict
from infant_fer.evaluation.scores import figures
from infant_fer.labels import AFFECTS
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel
from infant_fer.training import pretrained as bases
from infant_fer.training import trainer
from infant_fer.training.batches import Collator, EpochSampler, normalised
from infant_fer.training.config import (
    TrainingConfig,
    read_recipe,
    recipe_names,
    with_changes,
)
from infant_fer.training.optimization import parameter_groups
from infant_fer.training.pretrained import load_pretrained
from infant_fer.training.trainer import FitRun, fit
from tests.drawn_data import drawn_face, face_dataset
from tests.tiny_checkpoints import FAMILIES, save_tiny
from tests.two_processes import dev_losses

ROOT = Path(__file__).resolve().parents[2]
QUICK = TrainingConfig(epochs=2, batch=8, learning_rate=2e-3, precision="float32", warmup=0.0)


def tiny_vit():
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return hf.ViTConfig(image_size=32, patch_size=8, **sizes)


@pytest.fixture(autouse=True)
def _tiny_shape(monkeypatch):
    monkeypatch.setitem(bases.SHAPES, "tiny", tiny_vit)


def base(seed: int = 0):
    torch.manual_seed(seed)
    return load_pretrained("random:tiny", AFFECTS, 32)


def drawn(count: int, first: int = 0) -> AlignedDataset:
    classes = [n % 3 for n in range(count)]
    faces = [drawn_face(AFFECTS[index], first + n, 32) for n, index in enumerate(classes)]
    return face_dataset(np.stack(faces), np.zeros((count, 0)), np.eye(3)[classes])


def weights(model) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.slow
def test_sixteen_pictures_are_learned_by_heart(tmp_path):
    learner, crops = base(), drawn(16)
    settings = replace(QUICK, epochs=60, batch=16, learning_rate=3e-3, schedule="cosine", warmup=0.1)
    history = fit(learner, crops, crops, settings, FitRun(tmp_path, 0))
    scores = [entry["eval_dev_accuracy"] for entry in history if "eval_dev_accuracy" in entry]
    assert max(scores) == 1.0
    assert scores[0] < 1.0
    pixels = Collator(learner.processor)([crops[index] for index in range(16)])["pixel_values"]
    assert (learner.model.eval()(pixels).logits.argmax(1) == torch.from_numpy(crops.images.truth)).all()
    assert list((tmp_path / "whole" / "runs").rglob("events*")) or list(tmp_path.rglob("events.out*"))


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_the_last_epoch_or_the_best_on_dev_is_kept(tmp_path, ema):
    """No epoch is better than the first on dev, whose faces are all alike, so "best" keeps the first."""
    alike = drawn(1).rows(np.zeros(3, int)).with_target(np.eye(3, dtype=np.float32))
    kept = {}
    for keep in ("best", "last"):
        learner, folder = base(), tmp_path / f"{keep}{ema}"
        settings = replace(QUICK, epochs=2, batch=12, learning_rate=1e-3, keep=keep, ema=ema)
        fit(learner, drawn(12), alike, settings, FitRun(folder, 0))
        first, last = (
            load_file(folder / "whole" / f"checkpoint-{step}" / (trainer.AVERAGED if ema else trainer.WEIGHTS))
            for step in (1, 2)
        )
        kept[keep] = learner.model.state_dict()["classifier.weight"]
        torch.testing.assert_close(kept[keep], (first if keep == "best" else last)["classifier.weight"])
    assert not torch.equal(kept["best"], kept["last"])


@pytest.mark.slow
@pytest.mark.parametrize("auto_batch", [True, False])
def test_a_batch_that_does_not_fit_is_reduced_by_a_tenth_until_it_does(auto_batch, tmp_path, monkeypatch):
    """Memory for eight faces at most: batches of 10 and of 9 fail, and the training begins anew with 8 and 4 of the 12."""
    learner, sizes = base(), []
    before, real = weights(learner.model), trainer.ExpressionTrainer.compute_loss

    def limited(self, model, inputs, *args, **kwargs):
        if model.training:
            sizes.append(len(inputs["labels"]))
            if sizes[-1] > 8:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(trainer.ExpressionTrainer, "compute_loss", limited)
    settings = replace(QUICK, epochs=1, batch=10, auto_batch=auto_batch)
    if not auto_batch:
        with pytest.raises(torch.OutOfMemoryError):
            fit(learner, drawn(12), drawn(3, 50), settings, FitRun(tmp_path, 0))
        return
    history = fit(learner, drawn(12), drawn(3, 50), settings, FitRun(tmp_path, 0))
    assert sizes == [10, 9, 8, 4]
    assert [entry["epoch"] for entry in history if "eval_dev_loss" in entry] == [1.0]
    assert not torch.equal(weights(learner.model), before)


def test_the_head_learns_alone_in_the_first_step(tmp_path, monkeypatch):
    learner, seen = base(), {}
    before = weights(learner.model.vit)
    real = trainer._run_step

    def watched(*args):
        result = real(*args)
        seen[args[4].folder.name] = weights(learner.model.vit)
        return result

    monkeypatch.setattr(trainer, "_run_step", watched)
    fit(learner, drawn(16), drawn(6), replace(QUICK, epochs=1, head_epochs=1), FitRun(tmp_path, 0))
    assert torch.equal(seen["head"], before)
    assert not torch.equal(seen["whole"], before)


def rates_of(model, decay: float) -> dict[str, float]:
    """The learning rate of every parameter at a head's rate of 1, by name."""
    groups = parameter_groups(model, 1.0, weight_decay=0.1, layer_decay=decay)
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert all((group["weight_decay"] > 0) == (p.ndim > 1) for group in groups for p in group["params"])
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    return {name: rates[id(p)] for name, p in model.named_parameters()}


def test_lower_layers_learn_at_smaller_rates():
    rates = rates_of(base().model, 0.5)
    assert rates["classifier.weight"] == 1.0
    assert rates["vit.layernorm.weight"] == 1.0  # it follows the last layer, so it learns as fast as the head
    upper, lower = (next(v for k, v in rates.items() if f".{n}." in k and "layer" in k) for n in (1, 0))
    assert (upper, lower) == (0.5, 0.25)
    assert next(v for k, v in rates.items() if "patch_embeddings" in k) == 0.125


def test_the_layers_of_the_embedded_architecture_come_in_their_order():
    model = InfantFaceModel(InfantFaceConfig(widths=(8, 16), blocks_per_stage=1, transformer_layers=2, members=2))
    rates = rates_of(model, 0.5)
    for reader in ("readers.0.", "readers.1."):
        order = ("affect.weight", "image.layers.1.norm1.weight", "image.layers.0.norm1.weight")
        order += ("image.stages.1.first.0.weight", "image.stages.0.first.0.weight", "image.stem.0.weight")
        assert [rates[reader + name] for name in order] == [0.5**below for below in range(6)]
        assert rates[reader + "image.norm.weight"] == 1.0


def test_kept_and_measured_weights_are_the_average_of_every_step(tmp_path):
    learner, crops, dev = base(), drawn(16), drawn(6, 50)
    average = weights(learner.model)
    settings = replace(QUICK, ema=0.5, epochs=2, batch=16, learning_rate=1e-2, schedule="constant")
    history = fit(learner, crops, dev, settings, FitRun(tmp_path, 0))
    averages = []
    for number, decay in ((1, 2 / 11), (2, 3 / 12)):  # one step an epoch, each with its warm-up decay
        own = base(1).model
        own.load_state_dict(load_file(tmp_path / "whole" / f"checkpoint-{number}" / trainer.WEIGHTS))
        average = torch.lerp(average, weights(own), 1 - decay)
        assert (average - weights(own)).abs().max() > 1e-3
        averages.append(average)
    scores = [entry["eval_dev_accuracy"] for entry in history if "eval_dev_accuracy" in entry]
    kept = averages[int(np.argmax(scores))]
    torch.testing.assert_close(weights(learner.model), kept, rtol=0, atol=1e-6)
    measured = next(entry["eval_dev_loss"] for entry in history if entry.get("eval_dev_accuracy") == max(scores))
    pixels = Collator(learner.processor)([dev[index] for index in range(len(dev))])["pixel_values"]
    loss = torch.nn.functional.cross_entropy(learner.model.eval()(pixels).logits, torch.from_numpy(dev.images.target))
    assert measured == pytest.approx(loss.item(), abs=1e-4)


def test_losses_of_the_log_are_the_log_likelihoods_of_other_tables(tmp_path):
    """Neither smoothing nor weights nor votes nor a teacher's half of a target are in them."""
    learner, train, dev = base(), drawn(12), drawn(7, 50)
    mixed = train.with_target((train.images.target + np.roll(train.images.target, 1, 1) * 0.9).astype(np.float32) / 1.9)
    voted = dev.with_target((dev.images.target * 2 + 1).astype(np.float32) / 5)
    settings = replace(QUICK, label_smoothing=0.1, class_weights=True, keep="last")
    history = fit(learner, mixed, voted, settings, FitRun(tmp_path, 0))
    for name, faces in (("dev", dev), ("train", train)):
        found = figures(predict(learner.model, learner.processor, faces))["negative log-likelihood"]
        logged = [entry[f"eval_{name}_loss"] for entry in history if f"eval_{name}_loss" in entry]
        assert logged[-1] == pytest.approx(found, rel=1e-4)


def test_samplers_depend_on_seed_and_epoch_only():
    truth = np.array([0] * 12 + [1] * 6 + [2] * 3)
    plain, weighted, under = (EpochSampler(truth, kind, 1) for kind in ("plain", "weighted", "undersampled"))
    assert sorted(plain) == list(range(21))
    assert list(plain) == list(plain)
    first = list(plain)
    plain.set_epoch(1)
    assert list(plain) != first
    assert np.bincount(truth[list(under)]).tolist() == [3, 3, 3]
    assert len(under) == 9
    drawn_classes = np.concatenate([truth[list(weighted)] for epoch in range(40) if not weighted.set_epoch(epoch)])
    assert np.abs(np.bincount(drawn_classes) / len(drawn_classes) - 1 / 3).max() < 0.06


@pytest.mark.parametrize("processor", [ViTImageProcessorPil(), ViTImageProcessorPil(do_normalize=False)])
def test_training_normalises_as_the_app_does(processor):
    crop = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    expected = processor(images=crop, do_resize=False, do_center_crop=False, return_tensors="pt")["pixel_values"]
    mine = normalised(torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255, processor)
    torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-5)


def test_random_weights_are_named_without_a_list_of_them():
    assert str(base()) == "tiny with random weights"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gets_a_new_head_and_learns(family, tmp_path):
    found = load_pretrained(save_tiny(tmp_path / "base", family), AFFECTS)
    assert found.fresh
    assert "new weights" in str(found)
    size = found.crop.size
    crops = face_dataset(np.zeros((4, size, size, 3), np.uint8), np.zeros((4, 0)), np.eye(3)[[0, 1, 2, 0]])
    history = fit(found, crops, crops, replace(QUICK, epochs=1, batch=4), FitRun(tmp_path / "run", 0))
    assert any("eval_dev_loss" in entry for entry in history)


def test_a_head_for_the_same_classes_is_kept(tmp_path):
    folder = save_tiny(tmp_path / "base", labels=AFFECTS)
    assert load_pretrained(folder, AFFECTS).whole
    turned = load_pretrained(folder, AFFECTS[::-1])
    assert not turned.whole  # the same size, but another order


def test_recipes_can_be_read_and_with_changes():
    promised = {"thesis", "iface", "mobile", "affectnet", "part_tokens", "two_stream", "infant_face"}
    assert promised <= set(recipe_names())
    for name in set(recipe_names()) - {"infant_face"}:
        recipe = read_recipe(name)
        assert f"--recipe {name.replace('_', '-')}" in recipe.command
        assert recipe.expected_time
        assert recipe.expected_score
    thesis = read_recipe("thesis")
    assert (thesis.settings.epochs, thesis.settings.batch, thesis.split) == (5, 32, "thesis")
    assert (thesis.settings.keep, thesis.crops) == ("last", "whole")
    assert read_recipe("two_stream").size == 96
    assert with_changes(thesis.settings, ["batch=8", "class_weights=yes", "ema=0.9"]) == replace(
        thesis.settings, batch=8, class_weights=True, ema=0.9
    )


@pytest.mark.parametrize("word", ["batch", "batches=3", "batch=many", "mixing=blend", "epochs=0"])
def test_settings_that_do_not_exist_are_refused(word):
    with pytest.raises(DatasetError):
        with_changes(TrainingConfig(), [word])


@pytest.mark.slow
def test_two_processes_give_the_loss_of_one_with_the_same_global_batch(tmp_path):
    out = tmp_path / "losses.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    arguments = ["--module", "tests.two_processes", "8", str(out)]
    ended = subprocess.run([*command, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    alone = dev_losses(16, tmp_path / "alone")
    assert len(alone) == 6
    np.testing.assert_allclose(json.loads(out.read_text()), alone, rtol=1e-4)
