"""Training on made pictures: what is learnt, what is left out, what is measured, what is written."""

import csv
import io
import json
import math
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from infant_fer.alignment import AlignedFace, CropSpec
from infant_fer.classifier import AffectClassifier
from infant_fer.errors import DatasetError
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel
from infant_fer.training import metrics
from infant_fer.training.augmentation import augment
from infant_fer.training.card import model_card
from infant_fer.training.distillation import mean_weights, remembered, taught
from infant_fer.training.finetuning import FinetuningSettings, finetune, rate, soft_cross_entropy
from infant_fer.training.geometry_stream import GeometrySettings, fuse, train_geometry
from infant_fer.training.manifest import UNKNOWN, read_fer2013, read_infants, read_older
from infant_fer.training.near_duplicates import unlike
from infant_fer.training.ours import PROCESSOR, save
from infant_fer.training.rows import Faces, as_input, grey_crops, outputs

AFFECT = "readers.0.affect.weight"
SMALL = {"stem_width": 8, "widths": (8, 16, 32), "blocks_per_stage": 1, "transformer_layers": 1, "geometry_size": 6}


def patterns(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """n crops of noise in which a bright band at the top, middle or bottom is the class; (n, 96, 96) uint8, (n,)."""
    random = np.random.default_rng(seed)
    crops, classes = random.integers(60, 120, (n, 96, 96), dtype=np.uint8), np.arange(n) % 3
    for crop, label in zip(crops, classes, strict=True):
        crop[label * 32 : label * 32 + 32] += 110
    return torch.from_numpy(crops), torch.from_numpy(classes)


def faces(n: int) -> Faces:
    """Rows for fine-tuning on the patterns, with geometry that tells the class too."""
    grey, classes = patterns(n)
    one_hot = torch.nn.functional.one_hot(classes, 3).float()
    return Faces(
        grey=grey,
        geometry=torch.cat([one_hot, torch.randn(n, 3, generator=torch.Generator().manual_seed(0))], 1),
        found=torch.ones(n, dtype=torch.bool),
        affect_soft=one_hot,
        emotion_soft=torch.zeros(n, 7),
        valence_arousal=torch.stack([1.0 - classes, classes.float()], 1),
        age=classes,
        usable=(classes != 2).float(),
        eyes_closed=torch.full((n,), float("nan")),
        mouth_covered=torch.full((n,), float("nan")),
    )


@pytest.fixture(scope="module")
def fitted() -> InfantFaceModel:
    """A small model after forty rounds over sixteen pictures."""
    torch.manual_seed(0)
    rows = faces(16)
    settings = FinetuningSettings(epochs=40, infants=16, older=2, emotions=2, learning_rate=3e-3, ema=0.9)
    model = finetune(InfantFaceModel(InfantFaceConfig(**SMALL)), rows, rows, rows, settings, log=lambda _: None)
    train_geometry(model, rows, GeometrySettings(epochs=60, batch=16))
    return model.requires_grad_(False)


def test_sixteen_pictures_are_learnt_by_every_stream(fitted):
    rows = faces(16)
    answer = outputs(fitted, rows)
    truth = rows.affect_soft.argmax(1)
    for logits in (answer.logits, answer.image_logits, answer.geometry_logits):
        assert (logits.argmax(1) == truth).all()
    assert metrics.concordance(answer.valence_arousal[:, 0].numpy(), rows.valence_arousal[:, 0].numpy()) > 0.5


def test_the_same_seed_gives_the_same_weights_and_the_start_is_left_alone():
    torch.manual_seed(0)
    start, rows = InfantFaceModel(InfantFaceConfig(**SMALL)), faces(16)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    settings = FinetuningSettings(epochs=1, infants=8, older=2, emotions=2)
    first, again, other = (
        finetune(start, rows, rows, rows, settings, seed, log=lambda _: None).state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first[AFFECT], other[AFFECT])
    assert all(torch.equal(before[name], value) for name, value in start.state_dict().items())
    assert torch.equal(first["geometry.layers.0.weight"], before["geometry.layers.0.weight"])


def test_where_no_face_was_found_the_image_answers_alone(fitted):
    rows = replace(faces(6), found=torch.arange(6) % 2 == 0)
    answer = outputs(fitted, rows)
    assert torch.equal(answer.logits[1::2], answer.image_logits[1::2])
    assert (answer.logits[::2] - answer.image_logits[::2]).abs().min() > 0


def test_the_fusion_ignores_a_geometry_that_misleads_and_heeds_one_that_helps(fitted):
    rows = faces(16)
    misled = mean_weights([fitted])
    assert fuse(misled, replace(rows, geometry=rows.geometry.roll(1, 0))) == 0
    assert (outputs(misled, rows).geometry_logits == 0).all()
    blind = mean_weights([fitted])
    blind.readers[0].affect.weight.zero_()
    blind.readers[0].affect.bias.zero_()
    scale = fuse(blind, rows)
    expected = outputs(fitted, rows).geometry_logits * scale
    assert scale > 0.5
    torch.testing.assert_close(outputs(blind, rows).logits, expected, atol=1e-5, rtol=1e-5)


def test_teachers_give_targets_where_labels_lack_and_half_where_there_are_some(fitted):
    rows = faces(6)
    rows.affect_soft[0] = 0
    close = {"atol": 0.03, "rtol": 0}  # the teachers answer in bfloat16
    answer = outputs(fitted, rows)
    lesson = taught([fitted, fitted], rows)
    shares = answer.logits.softmax(1)
    torch.testing.assert_close(lesson.affect_soft[0], shares[0], **close)
    torch.testing.assert_close(lesson.affect_soft[1:], (rows.affect_soft[1:] + shares[1:]) / 2, **close)
    torch.testing.assert_close(lesson.emotion_soft, answer.emotion_logits.softmax(1), **close)


def test_what_was_learned_before_stays_in_the_emotion_targets(fitted):
    rows = faces(6)
    rows.emotion_soft[:3] = torch.eye(7)[:3]
    rows.emotion_soft[3:] = 0
    kept = remembered(fitted, rows)
    answers = outputs(fitted, rows).emotion_logits.softmax(1)
    known = rows.emotion_soft.sum(1) > 0
    torch.testing.assert_close(kept.emotion_soft[known], (rows.emotion_soft + answers)[known] / 2, rtol=0.02, atol=0.02)
    assert torch.equal(kept.affect_soft, rows.affect_soft)


def test_mean_weights_by_hand(fitted):
    other = mean_weights([fitted])
    for parameter in other.parameters():
        parameter.add_(2)
    mean = mean_weights([fitted, other]).state_dict()
    torch.testing.assert_close(mean["readers.0.affect.bias"], fitted.readers[0].affect.bias + 1)
    assert mean["readers.0.image.stem.1.num_batches_tracked"].dtype == torch.int64


def test_soft_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, 0.0, 0.0], [math.log(2), 0.0, 0.0], [9.0, 9.0, -9.0]])
    target = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])  # the last is unknown
    expected = (math.log(3) + 0.5 * math.log(2) + 0.5 * math.log(4)) / 2
    assert float(soft_cross_entropy(logits, target)) == pytest.approx(expected, rel=1e-6)


def test_the_app_gives_training_s_logits(fitted, tmp_path):
    _save_for_the_app(fitted, tmp_path / "net")
    classifier = AffectClassifier.from_pretrained(tmp_path / "net")
    rows = replace(faces(6), found=torch.zeros(6, dtype=torch.bool))
    expected = outputs(fitted, rows)
    assert expected.logits.std(0).min() > 1e-2  # else any two roads would agree
    for index in range(6):
        crop = np.repeat(rows.grey[index].numpy()[..., None], 3, 2)
        answer = classifier.output(AlignedFace(crop, np.eye(2, 3)))
        torch.testing.assert_close(answer.logits, expected.logits[index], atol=1e-4, rtol=0)


def test_saving_and_loading_changes_nothing(fitted, tmp_path):
    fitted.save_pretrained(tmp_path)
    again = InfantFaceModel.from_pretrained(tmp_path).eval()
    rows = faces(4)
    pixels = as_input(rows.grey[:, None].float() / 255)
    for name, value in fitted(pixels, rows.geometry).items():
        torch.testing.assert_close(again(pixels, rows.geometry)[name], value, atol=1e-6, rtol=0)


def results() -> dict:
    """Made figures in the form of `ours.run`'s."""
    share = metrics.Share(47, 50)
    accuracy = {
        "this checkpoint": {"web": share, "all": share},
        "majority class": {"web": metrics.Share(20, 50), "all": share},
    }
    figures = {"accuracy": accuracy, "recall": {"neutral faces": share}, "heads": {"balanced accuracy": 0.93}}
    run = {
        "command": "python train.py --recipe ours",
        "seed": 0,
        "minutes": 70.0,
        "parts": "a member each: 30, 40",
        "machine": "two cores",
        "torch": "2",
        "how": "the image stream on infants",
        "members": [{"seed": 0}],
    }
    others = {"emotions of FER2013": share, "McNemar p": {"this checkpoint": 1.0, "majority class": 0.001}}
    return {"test": {**figures, **others}, "run": run}


def test_the_card_says_how_many_and_how_sure():
    card = model_card("net", results())
    for needed in ("94.0 % (84–98)", "web (n = 50)", "40.0 %", "Not a medical device", "research and teaching only"):
        assert needed in card
    assert card.startswith("---\n")
    assert "model-index" in card.split("---")[1]
    assert "python train.py --recipe ours" in card


def test_a_save_that_fails_keeps_the_old_checkpoint_and_leaves_no_half_new_one(fitted, tmp_path, monkeypatch):
    from infant_fer.training import ours

    def full(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(ours, "model_card", full)
        with pytest.raises(DatasetError, match="disk full"):
            save(fitted, results(), tmp_path / "final")
    assert not (tmp_path / "final").exists()
    save(fitted, results(), tmp_path / "final")
    before = {path.name: path.read_bytes() for path in (tmp_path / "final").iterdir()}
    assert set(before) == {"config.json", "model.safetensors", "preprocessor_config.json", "README.md", "metrics.json"}
    assert json.loads(before["metrics.json"])["test"]["accuracy"]["this checkpoint"]["web"]["n"] == 50
    monkeypatch.setattr(ours, "model_card", full)
    with pytest.raises(DatasetError, match="disk full"):
        save(fitted, results(), tmp_path / "final")
    assert {path.name: path.read_bytes() for path in (tmp_path / "final").iterdir()} == before


def test_augmentation_keeps_shape_and_range_and_can_be_repeated():
    grey = patterns(8)[0][:, None].float() / 255
    first, second = (augment(grey, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.shape == grey.shape
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, second)
    assert not torch.equal(first, augment(grey, torch.Generator().manual_seed(4)))
    assert (first - grey).abs().mean() > 0.02


def test_near_duplicates_are_left_out_and_others_stay():
    random = np.random.default_rng(1)
    held_out = torch.from_numpy(random.integers(0, 256, (5, 12, 12)).repeat(8, 1).repeat(8, 2).astype(np.uint8))
    planted = (held_out[1].float() * 0.8 + 20).clamp(0, 255).to(torch.uint8)  # another light
    mirrored = held_out[3].flip(-1)
    fresh = torch.from_numpy(random.integers(0, 256, (4, 12, 12)).repeat(8, 1).repeat(8, 2).astype(np.uint8))
    assert unlike(torch.cat([planted[None], mirrored[None], fresh]), held_out).tolist() == [
        False,
        False,
        True,
        True,
        True,
        True,
    ]


def test_luminance_is_that_of_the_model():
    crops = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    colour = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
    stream = InfantFaceModel(InfantFaceConfig(**SMALL)).readers[0].image
    grey = as_input(grey_crops(crops)[:, None].float() / 255)
    difference = ((colour - grey) * stream.luminance).sum(1).abs().max()
    assert difference < 1 / 127


def test_the_learning_rate_rises_and_falls():
    factors = [rate(done, 100, 0.1) for done in range(100)]
    assert factors[9] == pytest.approx(1, abs=0.01)
    assert factors[0] < 0.2
    assert factors[-1] < 0.01


@pytest.mark.parametrize(
    ("right", "n", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (84, 100, 0.7558, 0.8990)]
)
def test_wilson_by_hand(right, n, low, high):
    assert metrics.Share(right, n).interval == pytest.approx((low, high), abs=1e-4)


def test_metrics_by_hand():
    truth, shifted = np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])
    assert metrics.concordance(truth, truth) == pytest.approx(1)
    assert metrics.concordance(shifted, truth) == pytest.approx(2 * (2 / 3) / (4 / 3 + 1))
    assert metrics.mcnemar(np.array([True] * 6 + [False]), np.array([False] * 6 + [True])) == pytest.approx(
        2 * 8 / 2**7
    )
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4]])
    assert metrics.calibration_error(probabilities, np.array([0, 1])) == pytest.approx((0.1 + 0.6) / 2)
    assert metrics.negative_log_likelihood(probabilities, np.array([0, 0])) == pytest.approx(-np.log([0.9, 0.6]).mean())
    logits = np.log(np.array([[0.99, 0.01]] * 10))
    assert metrics.fit_temperature(logits, np.array([0] * 7 + [1] * 3)) > 3  # far too sure


COLUMNS = [
    "file",
    "source",
    "split",
    "group",
    "affect",
    "raters",
    "p_positive",
    "p_neutral",
    "p_negative",
    "p_surprise",
]
COLUMNS += ["emotion_1", "emotion_2", "valence", "arousal", "age", "flags", "source_label"]


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (48, 48), (90, 90, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def data(tmp_path) -> Path:
    rows = [
        [
            "infants/web/a.jpg",
            "web",
            "train",
            "g1",
            "positive",
            "agree",
            1,
            0,
            0,
            0,
            "happy",
            "happy",
            2,
            1,
            "baby",
            "-",
            "",
        ],
        [
            "infants/web/b.jpg",
            "web",
            "dev",
            "g2",
            "mixed",
            "differ",
            0.25,
            0,
            0.5,
            0.25,
            "cry",
            "sad",
            -1,
            1,
            "newborn",
            "c",
            "",
        ],
        [
            "infants/web/c.jpg",
            "web",
            "test",
            "g3",
            "unusable",
            "agree",
            0,
            0,
            0,
            0,
            "unusable",
            "",
            "",
            "",
            "older",
            "d",
            "",
        ],
    ]
    with (tmp_path / "infants.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    contents = {
        "infants.zip": ["infants/web/a.jpg", "infants/web/b.jpg"],
        "older_faces.zip": ["older/5_0_1_x.jpg", "older/40_1_2_y.jpg"],
        "fer2013.zip": ["fer2013/train/happy/1.jpg", "fer2013/private_test/sad/2.jpg"],
    }
    for name, members in contents.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member in members:
                archive.writestr(member, picture())
    return tmp_path


def test_the_raters_votes_become_targets(data):
    infants = read_infants(data)
    assert infants.affect.tolist() == [0, UNKNOWN, UNKNOWN]
    np.testing.assert_allclose(infants.affect_soft, [[1, 0, 0], [1 / 3, 0, 2 / 3], [0, 0, 0]], rtol=1e-6)
    assert infants.usable.tolist() == [1, 1, 0]
    assert infants.eyes_closed.tolist() == [0, 1, 0]
    assert infants.mouth_covered.tolist() == [0, 0, 0]
    assert infants.emotion.tolist() == [0, 3, UNKNOWN]  # a cry is one of sadness
    older = read_older(data)
    assert np.isnan(older.usable[1]) != np.isnan(older.usable[0])  # 5 years: nothing is said; 40: no infant
    assert read_fer2013(data).split.tolist() == ["test", "train"]


def test_faults_of_the_data_name_the_file(data):
    with pytest.raises(DatasetError, match=r"c\.jpg"):
        read_infants(data).read(2)
    (data / "infants.csv").write_text("file,label\nx.jpg,1\n")
    with pytest.raises(DatasetError, match="lacks columns"):
        read_infants(data)
    with pytest.raises(DatasetError, match=r"older_faces\.zip"):
        read_older(data / "nowhere")
    with zipfile.ZipFile(data / "fer2013.zip", "a") as archive:
        archive.writestr("fer2013/train/bored/3.jpg", picture())
    with pytest.raises(DatasetError, match="bored"):
        read_fer2013(data)


def test_faces_are_found_once_and_cached(data, monkeypatch):
    from infant_fer.training import faces_cache

    older = read_older(data)
    first = faces_cache.face_table(older, CropSpec(), data / "cache")
    assert first.crops.shape == (2, 96, 96, 3)
    assert not first.found.any()  # plain grey pictures
    monkeypatch.setattr(faces_cache, "_found_faces", lambda *_: pytest.fail("looked again"))
    assert np.array_equal(faces_cache.face_table(older, CropSpec(), data / "cache").crops, first.crops)


def _save_for_the_app(model: InfantFaceModel, folder: Path) -> None:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))


def test_the_recipe_says_what_made_the_embedded_checkpoint():
    from infant_fer.training.ours import Run

    asked = Run(Path(), Path(), Path())
    made = json.loads((Path(__file__).parents[1] / "checkpoints/infant-fer-small/metrics.json").read_text("utf-8"))[
        "run"
    ]
    assert made["members"] == json.loads(json.dumps([asdict(settings) for settings in asked.members]))
    assert made["lesson"] == asdict(asked.lesson)
    assert made["geometry"] == asdict(asked.geometry)
