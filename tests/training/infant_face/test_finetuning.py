"""Training on drawn pictures: what is learnt, what stays as it was, what the app loads."""

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from infant_fer import metrics
from infant_fer.alignment import AlignedFace
from infant_fer.checkpoints.loading import load_checkpoint
from infant_fer.classifier import AffectClassifier
from infant_fer.data.labeled_images import AlignedDataset
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel, luminance_crops
from infant_fer.training.infant_face.config import FinetuningConfig, GeometryConfig
from infant_fer.training.infant_face.data import PROCESSOR, TrainingSets, as_input, outputs
from infant_fer.training.infant_face.finetuning import distill_emotions, finetune, fuse, train_geometry
from infant_fer.training.optimization import averaged_model, cosine_factor, soft_cross_entropy
from tests.drawn_data import face_dataset

AFFECT = "readers.0.affect.weight"


SMALL = {"stem_width": 8, "widths": (8, 16, 32), "blocks_per_stage": 1, "transformer_layers": 1, "geometry_size": 6}


def patterns(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """n crops of noise in which a bright band at the top, middle or bottom is the class; (n, 96, 96, 3) uint8, (n,)."""
    random = np.random.default_rng(seed)
    crops, classes = random.integers(60, 120, (n, 96, 96), dtype=np.uint8), np.arange(n) % 3
    for crop, label in zip(crops, classes, strict=True):
        crop[label * 32 : label * 32 + 32] += 110
    return np.repeat(crops[..., None], 3, 3), classes


def faces(n: int) -> AlignedDataset:
    """Rows for fine-tuning on the patterns, with geometry that encodes the class too."""
    crops, classes = patterns(n)
    one_hot = np.eye(3)[classes]
    noise = torch.randn(n, 3, generator=torch.Generator().manual_seed(0)).numpy()
    valence_arousal = np.stack([1.0 - classes, classes], 1)
    heads = {"valence_arousal": valence_arousal, "age": classes, "usable": classes != 2}
    return face_dataset(crops, np.concatenate([one_hot, noise], 1), one_hot, **heads)


@pytest.fixture(scope="module")
def fitted() -> InfantFaceModel:
    """A small model after forty rounds over sixteen pictures."""
    torch.manual_seed(0)
    rows = faces(16)
    settings = FinetuningConfig(epochs=40, infants=16, older=2, emotions=2, learning_rate=3e-3, ema=0.9)
    model = finetune(
        InfantFaceModel(InfantFaceConfig(**SMALL)), TrainingSets(rows, rows, rows), settings, log=lambda _: None
    )
    train_geometry(model, rows, GeometryConfig(epochs=60, batch=16))
    return model.requires_grad_(False)


def test_sixteen_pictures_are_learnt_by_every_stream(fitted):
    rows = faces(16)
    answer = outputs(fitted, rows)
    truth = torch.from_numpy(rows.images.truth)
    for logits in (answer.logits, answer.image_logits, answer.geometry_logits):
        assert (logits.argmax(1) == truth).all()
    assert metrics.concordance(answer.valence_arousal[:, 0].numpy(), rows.images.heads["valence_arousal"][:, 0]) > 0.5


def test_the_same_seed_gives_the_same_weights_and_the_start_is_left_alone():
    torch.manual_seed(0)
    start, rows = InfantFaceModel(InfantFaceConfig(**SMALL)), faces(16)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    settings = FinetuningConfig(epochs=1, infants=8, older=2, emotions=2)
    first, again, other = (
        finetune(start, TrainingSets(rows, rows, rows), settings, seed, log=lambda _: None).state_dict()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first[AFFECT], other[AFFECT])
    assert all(torch.equal(before[name], value) for name, value in start.state_dict().items())
    assert torch.equal(first["geometry.layers.0.weight"], before["geometry.layers.0.weight"])


def test_where_no_face_was_found_the_image_answers_alone(fitted):
    rows = replace(faces(6), found=np.arange(6) % 2 == 0)
    answer = outputs(fitted, rows)
    assert torch.equal(answer.logits[1::2], answer.image_logits[1::2])
    assert (answer.logits[::2] - answer.image_logits[::2]).abs().min() > 0


def test_the_fusion_ignores_a_geometry_that_misleads_and_heeds_one_that_helps(fitted):
    rows = faces(16)
    misled = copy.deepcopy(fitted)
    assert fuse(misled, replace(rows, geometry=np.roll(rows.geometry, 1, 0))) == 0
    assert (outputs(misled, rows).geometry_logits == 0).all()
    blind = copy.deepcopy(fitted)
    blind.readers[0].affect.weight.zero_()
    blind.readers[0].affect.bias.zero_()
    scale = fuse(blind, rows)
    expected = outputs(fitted, rows).geometry_logits * scale
    assert scale > 0.5
    torch.testing.assert_close(outputs(blind, rows).logits, expected, atol=1e-5, rtol=1e-5)


def test_what_was_learned_before_stays_in_the_emotion_targets(fitted):
    rows = faces(6)
    labels = rows.images.heads["emotion"]
    labels[:3] = np.eye(7)[:3]
    kept = distill_emotions(fitted, rows)
    probabilities = outputs(fitted, rows).emotion_logits.softmax(1).numpy()
    mixed = kept.images.heads["emotion"]
    np.testing.assert_allclose(mixed[:3], (labels + probabilities)[:3] / 2, rtol=0.02, atol=0.02)
    np.testing.assert_array_equal(kept.images.target, rows.images.target)


def test_soft_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, 0.0, 0.0], [math.log(2), 0.0, 0.0], [9.0, 9.0, -9.0]])
    target = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])  # the last is unknown
    expected = (math.log(3) + 0.5 * math.log(2) + 0.5 * math.log(4)) / 2
    assert float(soft_cross_entropy(logits, target)) == pytest.approx(expected, rel=1e-6)


def _save_for_the_app(model: InfantFaceModel, folder: Path) -> None:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))


def test_the_app_gives_training_s_logits(fitted, tmp_path):
    _save_for_the_app(fitted, tmp_path / "net")
    loaded = load_checkpoint(tmp_path / "net")  # from_pretrained refuses a geometry stream of 6 features
    classifier = AffectClassifier(loaded.model, loaded.processor, loaded.name)
    rows = replace(faces(6), found=np.zeros(6, bool))
    expected = outputs(fitted, rows)
    assert expected.logits.std(0).min() > 1e-2  # else any two computations would agree
    for index in range(6):
        crop = rows.crops[index]
        answer = classifier.output(AlignedFace(crop, np.eye(2, 3)))
        torch.testing.assert_close(answer["logits"], expected.logits[index], atol=1e-4, rtol=0)


def test_saving_and_loading_changes_nothing(fitted, tmp_path):
    fitted.save_pretrained(tmp_path)
    again = InfantFaceModel.from_pretrained(tmp_path).eval()
    rows = faces(4)
    pixels, geometry = as_input(luminance_crops(rows.crops)[:, None].float() / 255), torch.from_numpy(rows.geometry)
    for name, value in fitted(pixels, geometry).items():
        torch.testing.assert_close(again(pixels, geometry)[name], value, atol=1e-6, rtol=0)


def test_luminance_is_that_of_the_model():
    crops = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    colour = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
    stream = InfantFaceModel(InfantFaceConfig(**SMALL)).readers[0].image
    gray = as_input(luminance_crops(crops)[:, None].float() / 255)
    difference = ((colour - gray) * stream.luminance).sum(1).abs().max()
    assert difference < 1 / 127


def test_the_learning_rate_rises_and_falls():
    factors = [cosine_factor(done, 100, 0.1) for done in range(100)]
    assert factors[9] == pytest.approx(1, abs=0.01)
    assert factors[0] < 0.2
    assert factors[-1] < 0.01


def test_the_average_moves_by_its_share():
    model = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.BatchNorm1d(1))
    torch.nn.init.zeros_(model[0].weight)
    average = averaged_model(model, decay=0.24)
    torch.nn.init.ones_(model[0].weight)
    model[1].running_mean.fill_(5.0)
    for expected in (1 - 2 / 11, 1 - 2 / 11 * 0.24, 1 - 2 / 11 * 0.24**2):  # warm-up decays: 2/11, 3/12, 4/13
        average.update_parameters(model)
        assert float(average.module[0].weight) == pytest.approx(expected, abs=1e-6)
    assert float(average.module[1].running_mean) == 5  # buffers are copied
    assert float(model[0].weight.detach()) == 1
    assert not any(parameter.requires_grad for parameter in average.parameters())
