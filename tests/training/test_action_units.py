"""Action units as a second task: where its targets come from, what it adds to the loss, and what it leaves behind."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers as hf

from infant_fer.alignment import CropSpec
from infant_fer.errors import DatasetError
from infant_fer.labels import ACTION_UNITS, AFFECTS
from infant_fer.models.geometry import GEOMETRY_SIZE
from infant_fer.training import action_units
from infant_fer.training import pretrained as bases
from infant_fer.training.action_units import ActionUnitTask, observed_action_units
from infant_fer.training.config import DataConfig, ExperimentConfig, FoldsConfig, TrainingConfig, with_auxiliary
from infant_fer.training.optimization import AUXILIARY
from infant_fer.training.pretrained import load_pretrained
from infant_fer.training.rendered import RenderedFaces
from infant_fer.training.trainer import AUXILIARY_TARGET, AUXILIARY_WEIGHT, ExpressionTrainer, FitRun, fit
from tests.drawn_data import drawn_face, face_dataset

CONFIG = ExperimentConfig(data=DataConfig("pictures"), base="random:resnet18", output=None)
QUICK = TrainingConfig(epochs=8, batch=16, learning_rate=3e-3, precision="float32", warmup=0.0, keep="last")


def renders(count: int = 60) -> RenderedFaces:
    """Return stand-ins for renders: AU26 is how bright the picture is, AU4 how strong its stripes are; all others are 0."""
    random = np.random.default_rng(0)
    strengths = random.uniform(0, 1, (count, 2))
    stripes = np.where(np.arange(96) // 12 % 2, 1.0, -1.0)
    luminance = 70 + 110 * strengths[:, :1, None] + 60 * strengths[:, 1:, None] * stripes + np.zeros((96, 1))
    units = np.zeros((count, len(ACTION_UNITS)), np.float32)
    units[:, [ACTION_UNITS.index("AU26"), ACTION_UNITS.index("AU4")]] = strengths
    return RenderedFaces(
        luminance.astype(np.uint8), np.zeros((count, 96, 96), np.uint8), units, 700_000 + np.arange(count) // 5
    )


def drawn(count: int):
    classes = np.arange(count) % 3
    crops = np.stack([drawn_face(AFFECTS[index], number, 32) for number, index in enumerate(classes)])
    faces = face_dataset(crops, np.zeros((count, GEOMETRY_SIZE)), np.eye(3)[classes])
    return replace(faces, images=replace(faces.images, heads={}))


@pytest.fixture
def task(monkeypatch, tmp_path) -> ActionUnitTask:
    monkeypatch.setattr(action_units, "rendered_faces", lambda count, covered, cache: renders())
    return ActionUnitTask.of(drawn(3), CropSpec(32), tmp_path)


@pytest.fixture
def base(monkeypatch):
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    monkeypatch.setitem(bases.SHAPES, "tiny", lambda: hf.ResNetConfig(**sizes))
    torch.manual_seed(0)
    return load_pretrained("random:tiny", AFFECTS, 32)


def test_renders_of_one_infant_are_on_one_side_and_have_no_class(task):
    assert len(task.taught) + len(task.held_out) == 60
    assert not set(task.taught.images.subject) & set(task.held_out.images.subject)
    assert len(task.held_out) == 15  # of 12 infants those whose seed is a multiple of 5
    together = task.with_targets(drawn(6))
    assert len(together) == 6 + len(task.taught)
    assert (together.images.target[6:] == 0).all()
    assert together.crops.shape[1:] == (32, 32, 3)
    assert set(together[0]) == {*drawn(1)[0], AUXILIARY_TARGET}


def test_a_network_learns_them_beside_the_classes_and_is_as_before_without_the_head(task, base, tmp_path):
    names, train = set(base.model.state_dict()), drawn(24)
    task.attach(base)
    history = fit(base, task.with_targets(train), drawn(9), QUICK, FitRun(tmp_path, 0))
    figures = task.detach(base, drawn(9))
    assert set(base.model.state_dict()) == names
    assert (figures.renders.n, figures.renders.infants) == (15, 3)
    assert set(figures.renders.per_unit) == {"AU4", "AU26"}
    assert figures.renders.mean > 0.7
    low, high = figures.renders.interval
    assert low <= figures.renders.mean <= high
    assert figures.train_renders == 45
    seen = np.array([entry["eval_train_accuracy"] for entry in history if "eval_train_accuracy" in entry])
    assert seen[-1] > 0.5
    np.testing.assert_allclose(seen * 24, np.round(seen * 24), atol=1e-6)  # of the 24 faces that have a class alone


def test_a_face_without_a_class_adds_to_the_second_task_alone(task, base, tmp_path):
    task.attach(base)
    train = task.with_targets(drawn(6))
    settings = replace(QUICK, label_smoothing=0.1)
    trainer = _trainer(base, train, settings, tmp_path)
    batch = trainer.data_collator([train[index] for index in range(len(train))])
    base.model.eval()
    plain = trainer.compute_loss(base.model, dict(batch))
    known = trainer.data_collator([drawn(6)[index] for index in range(6)])
    torch.testing.assert_close(plain, trainer.compute_loss(base.model, known))
    base.model.train()
    both = trainer.compute_loss(base.model, dict(batch))
    batch.pop(AUXILIARY_TARGET)
    added = both - trainer.compute_loss(base.model, batch)
    assert added > AUXILIARY_WEIGHT * 0.1  # a cross-entropy of random weights
    both.backward()
    assert getattr(base.model, AUXILIARY).weight.grad.abs().max() > 0


def _trainer(base, train, settings, folder) -> ExpressionTrainer:
    from infant_fer.training import trainer
    from infant_fer.training.batches import Collator

    arguments = trainer._arguments(settings, folder, 0, len(train))
    collator = Collator(base.processor)
    return ExpressionTrainer(
        settings, model=base.model, args=arguments, train_dataset=train, eval_dataset=train, data_collator=collator
    )


def test_emotions_stand_for_affects_but_surprise_says_nothing():
    rows = drawn(3)
    rows = replace(rows, images=replace(rows.images, labels=("happy", "surprise", "sad"), heads={}))
    units = observed_action_units(rows)
    smile = units[:, ACTION_UNITS.index("AU12")].tolist()
    assert smile == pytest.approx([0.6, 0, 0])  # blendshapes of 0; a sad face has no smile
    frown = units[:, ACTION_UNITS.index("AU15")]
    assert np.isnan(frown).tolist() == [False, True, True]
    unknown = replace(rows, images=replace(rows.images, truth=np.full(3, -100)))
    assert np.isnan(observed_action_units(unknown)[:, ACTION_UNITS.index("AU15")]).all()


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, settings=TrainingConfig(mixing="cutmix")),
        replace(CONFIG, settings=TrainingConfig(sampler="weighted")),
        replace(CONFIG, folds=FoldsConfig(5)),
        replace(CONFIG, size_curve=True),
    ],
)
def test_what_does_not_go_with_a_second_task_is_refused(config):
    with pytest.raises(DatasetError, match="add --set mixing=none sampler=plain"):
        with_auxiliary(config, "action-units")
    assert with_auxiliary(config, "none") == config
    with pytest.raises(DatasetError, match="add --crops aligned"):  # no face is found in whole pictures
        with_auxiliary(replace(CONFIG, data=replace(CONFIG.data, crops="whole")), "action-units")
    with pytest.raises(DatasetError, match=re.escape("no second task 'ages'; there are none, action-units")):
        with_auxiliary(CONFIG, "ages")


def test_a_network_that_reads_landmarks_cannot_learn_them(task):
    with pytest.raises(DatasetError, match="reads the picture alone"):
        task.attach(load_pretrained("random:two-stream", AFFECTS, 32))
