"""One run from pictures to figures: what is refused before the work, how it is split, and which minutes count."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from infant_fer.alignment import CropSpec
from infant_fer.errors import CheckpointError, DatasetError, InfantFERError
from infant_fer.labels import AFFECTS
from infant_fer.training import checks, experiment
from infant_fer.training import pretrained as bases
from infant_fer.training import variants as module
from infant_fer.training.config import DataConfig, ExperimentConfig, FoldsConfig
from infant_fer.training.variants import compare, variants
from tests.drawn_data import face_dataset
from tests.tiny_checkpoints import edit, save_tiny
from tests.training.test_trainer import QUICK, drawn, tiny_vit
from tests.training.test_variants import CONFIG


@pytest.fixture(autouse=True)
def _tiny_shape(monkeypatch):
    monkeypatch.setitem(bases.SHAPES, "tiny", tiny_vit)


def test_a_teacher_that_cannot_be_used_is_refused_before_faces_are_searched(tmp_path, monkeypatch):
    images = drawn(6).images
    monkeypatch.setattr(checks, "read_labeled_images", lambda *_: images)
    monkeypatch.setattr(experiment, "align_images", lambda *_, **__: pytest.fail("faces were searched"))
    other = save_tiny(tmp_path / "other", labels=["happy", "sad"])
    for teacher, error, words in (
        ("../nope", CheckpointError, "no folder"),
        (str(other), DatasetError, "other classes"),
    ):
        config = ExperimentConfig(DataConfig("faces"), "random:tiny", tmp_path, size=32, teacher=teacher)
        with pytest.raises(error, match=words):
            experiment.run(config, log=lambda _: None)


@pytest.mark.parametrize(
    ("config", "words", "message"),
    [
        (CONFIG, "base=random:tiny,../nope", "no folder"),
        (CONFIG, "base=random:tiny,random:nonsense", "nonsense"),
        (CONFIG, "teacher=../nope,../none", "no folder"),
        (replace(CONFIG, base="random:two-stream", size=96), "mixing=none,cutmix", "reads landmarks"),
        (replace(CONFIG, base="random:two-stream", size=96), "aux=none,action-units", "reads the picture alone"),
        (CONFIG, "aux=none,action-units", "package anny"),
        (CONFIG, "balance=none,synthetic:positive", "package anny"),
        (CONFIG, "balance=none,synthetic:angry", "cannot be rendered"),
        (CONFIG, "balance=none,warped:angry", "no class 'angry' to fill"),
    ],
)
def test_nothing_is_trained_before_all_variants_can_be(config, words, message, monkeypatch, tmp_path):
    images = SimpleNamespace(labels=AFFECTS)
    monkeypatch.setattr(checks, "read_labeled_images", lambda *_: images)
    monkeypatch.setattr(module, "run", lambda *_: pytest.fail("a variant was trained"))
    monkeypatch.setattr("infant_fer.synthetic.mesh.data.is_installed", lambda: False)
    config = replace(config, data=replace(config.data, cache=tmp_path))
    with pytest.raises(InfantFERError, match=message):
        compare(variants(config, [], words), log=lambda line: None)


def test_a_teacher_sees_crops_of_its_own_margin(tmp_path, monkeypatch):
    teacher = save_tiny(tmp_path / "teacher", labels=AFFECTS)
    edit(teacher / "config.json", face_crop={"size": 32, "margin": 0.4})
    train, seen = drawn(3), []
    monkeypatch.setattr(experiment, "align_images", lambda images, crop, cache, log: seen.append(crop) or train)
    config = ExperimentConfig(DataConfig("faces"), "random:tiny", tmp_path, teacher=str(teacher))
    for margin in (0.15, 0.4):  # the second is the teacher's, which needs no other crops
        assert experiment._targets(train, CropSpec(32, margin), config).sum(1) == pytest.approx(1, abs=1e-5)
    assert seen == [CropSpec(32, 0.4)]


@pytest.mark.parametrize("method", ["holdout", "subject", "given"])
def test_variants_of_several_seeds_have_one_split_and_the_same_folds(method):
    """Of two pictures of each of 40 infants; a run by itself draws with its own seed."""
    crops = np.random.default_rng(0).integers(0, 256, (80, 32, 32, 3), dtype=np.uint8)
    faces = face_dataset(crops, np.zeros((80, 0)), np.eye(3)[np.arange(80) // 2 % 3])
    images = replace(faces.images, subject=np.repeat([f"infant {n}" for n in range(40)], 2), split=np.full(80, "train"))
    faces = replace(faces, images=images)
    config = replace(CONFIG, data=replace(CONFIG.data, split=method), seed=5, folds=FoldsConfig(3))
    varied = [*variants(config, [], "seed=0,1").values(), replace(config, seed=1)]
    assert [each.seed for each in varied] == [0, 1, 1]
    drawn = [experiment._checked_splits(faces, each, log=lambda line: None)[0].tolist() for each in varied]
    assert drawn[0] == drawn[1] != drawn[2]
    folds = [np.array(experiment._checked_folds(images, each)).tolist() for each in varied]
    assert folds[0] == folds[1] != folds[2]


def test_the_minutes_of_a_run_do_not_depend_on_whether_its_faces_were_cached(tmp_path, monkeypatch):
    crops = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)  # none like another
    geometry = np.random.default_rng(1).normal(size=(40, 4))
    faces, seconds = face_dataset(crops, geometry, np.eye(3)[np.arange(40) % 3]), [0.0]

    def found(*_, **__):
        seconds[0] += 600
        return faces

    clock = SimpleNamespace(monotonic=lambda: seconds[0], process_time=lambda: seconds[0])
    monkeypatch.setattr(experiment, "time", clock)
    monkeypatch.setattr(checks, "read_labeled_images", lambda *_: faces.images)
    monkeypatch.setattr(experiment, "align_images", found)
    data = DataConfig("faces")
    config = ExperimentConfig(data, "random:tiny", tmp_path, replace(QUICK, epochs=1), size=32, runs=tmp_path / "runs")
    result = experiment.run(config, log=lambda _: None)
    assert seconds == [600]
    assert (result.provenance.minutes, result.provenance.processor_minutes) == (0, 0)
