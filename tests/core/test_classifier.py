"""The classifier on tiny random checkpoints of many families."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification, ViTImageProcessorPil

from infant_fer import classifier as classifier_module
from infant_fer.alignment import AlignedFace, CropSpec
from infant_fer.classifier import AffectClassifier, forward_crops
from infant_fer.errors import CheckpointError
from infant_fer.explain.gradients import SmoothGrad
from infant_fer.explain.saliency import SaliencyMap
from infant_fer.labels import AFFECTS, AGE_GROUPS, EMOTIONS
from infant_fer.models.infant_face import FIRST_HEADS, HEADS, InfantFaceConfig, InfantFaceModel
from tests.tiny_checkpoints import FAMILIES, SEVEN, SHUFFLED_AFFECTS, crop, edit, load, refusal, save_tiny

EIGHT = ("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
NEGATIVE = ("angry", "disgust", "fear", "sad")


TINY = {
    "image_size": 32, "stem_width": 4, "widths": (4, 8), "blocks_per_stage": 1, "transformer_layers": 1,
    "attention_heads": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def vit_folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="module")
def vit(vit_folder):
    """Return a ViT classifier of seven emotions on 32 px crops."""
    return load(vit_folder)


@pytest.fixture
def folder(vit_folder, tmp_path):
    """Return a sound checkpoint folder that a test may spoil."""
    return shutil.copytree(vit_folder, tmp_path / "faces")


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory):
    """Return the project's own architecture, tiny: mirrored views, a temperature, no geometry stream."""
    folder = tmp_path_factory.mktemp("own")
    config = InfantFaceConfig(**TINY)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = InfantFaceModel(config).eval()
        torch.nn.init.normal_(model.readers[0].affect.weight, std=1.0)
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


# --- families and labels ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_as_its_own_model_does(family, tmp_path):
    classifier = load(save_tiny(tmp_path, family, SHUFFLED_AFFECTS))
    assert classifier.crop == CropSpec(size=32)
    pixels = classifier.pixel_values(crop())
    assert pixels.shape == (1, 3, 32, 32)
    reference = AutoModelForImageClassification.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = reference(pixel_values=pixels).logits.softmax(-1)[0].tolist()
    prediction = classifier.predict(crop())
    assert list(prediction.probabilities) == list(AFFECTS)
    for name, probability in zip(SHUFFLED_AFFECTS, expected, strict=True):
        assert prediction.probabilities[name] == pytest.approx(probability, abs=1e-5)
    assert prediction.label == SHUFFLED_AFFECTS[int(np.argmax(expected))]
    assert prediction.emotions is None


@pytest.mark.parametrize("labels", [SEVEN, EIGHT])
def test_emotions_are_shown_and_summed_into_affect(labels, tmp_path):
    prediction = load(save_tiny(tmp_path, "vit", labels)).predict(crop())
    emotions, sums = prediction.emotions, prediction.probabilities
    assert len(emotions) == len(labels)
    assert sum(emotions.values()) == pytest.approx(1, abs=1e-9)
    assert sums["positive"] == pytest.approx(emotions["happy"])
    assert sums["neutral"] == pytest.approx(emotions["neutral"] + emotions["surprise"])
    assert sums["negative"] == pytest.approx(
        sum(emotions[name] for name in (*NEGATIVE, "contempt") if name in emotions)
    )


@pytest.mark.parametrize("kind", ["black", "white", "noise"])
@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_probabilities_are_finite_and_sum_to_one(family, kind, tmp_path):
    probabilities = load(save_tiny(tmp_path, family)).predict(crop(kind)).probabilities
    assert all(0 <= probability <= 1 for probability in probabilities.values())
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-12)


def test_pixels_are_normalised_as_the_checkpoint_says(vit):
    assert torch.all(vit.pixel_values(crop("white")) == 1)
    assert torch.all(vit.pixel_values(crop("black")) == -1)


def test_pixels_are_not_moved_even_where_the_processor_would_scale_and_cut(tmp_path):
    classifier = load(save_tiny(tmp_path, "mobilenet_v2"))
    noise = crop()
    pixels = classifier.pixel_values(noise)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(pixels, noise.crop_rgb / 127.5 - 1, atol=1e-5)


def test_repeats_are_bit_equal(vit_folder, vit):
    first = vit.predict(crop())
    assert vit.predict(crop()) == first
    assert load(vit_folder).predict(crop()) == first
    assert vit.predict(crop(seed=1)) != first


def test_extreme_logits_still_give_probabilities(vit):
    logits = torch.full((7,), -3e38)
    logits[3] = 3e38
    assert vit.prediction({"logits": logits}).probabilities == {"positive": 1.0, "neutral": 0.0, "negative": 0.0}


# --- settings of the checkpoint --------------------------------------------------------------------------------------


def test_the_mirror_image_is_averaged_in_where_the_checkpoint_asks(folder, vit):
    edit(folder / "config.json", test_time_mirror=True)
    noise = crop()
    mirrored = AlignedFace(noise.crop_rgb[:, ::-1].copy(), np.eye(2, 3))
    both = load(folder)
    expected = (vit.output(noise)["logits"] + vit.output(mirrored)["logits"]) / 2
    torch.testing.assert_close(both.output(noise)["logits"], expected, atol=1e-5, rtol=0)
    assert not torch.allclose(vit.output(noise)["logits"], expected, atol=1e-3)
    torch.testing.assert_close(both.output(mirrored)["logits"], both.output(noise)["logits"], atol=1e-5, rtol=0)


def test_the_temperature_divides_the_logits(folder, vit):
    edit(folder / "config.json", logit_temperature=2.5)
    expected = (vit.output(crop())["logits"].double() / 2.5).softmax(-1).tolist()
    assert list(load(folder).predict(crop()).emotions.values()) == pytest.approx(expected, abs=1e-9)


def test_our_own_architecture_gives_all_its_heads(own_folder):
    classifier = load(own_folder)
    prediction = classifier.predict(crop())
    assert set(prediction.emotions) == set(EMOTIONS)
    assert set(prediction.age_groups) == set(AGE_GROUPS)
    assert sum(prediction.emotions.values()) == pytest.approx(1)
    assert -2 <= prediction.valence <= 2
    assert 0 <= prediction.arousal <= 2
    assert 0 <= prediction.usable <= 1
    assert 0 <= prediction.eyes_closed <= 1
    assert 0 <= prediction.mouth_covered <= 1
    assert prediction.streams is None  # it has an image stream only
    assert classifier.output(crop())["logits"].shape == (3,)


def test_the_crop_is_the_configs_where_it_names_one(folder):
    edit(folder / "config.json", face_crop={"size": 32, "margin": 0.4})
    assert load(folder).crop == CropSpec(32, 0.4)


def test_a_crop_that_the_processor_contradicts_is_refused(folder):
    edit(folder / "config.json", face_crop={"size": 48, "margin": 0.4})
    assert "48 px in config.json and 32 px in preprocessor_config.json" in refusal(load, folder)


def test_pictures_that_are_not_square_are_refused(folder):
    edit(folder / "preprocessor_config.json", size={"height": 32, "width": 48})
    assert "only square ones are possible" in refusal(load, folder)


def test_name_labels_and_card_come_from_the_folder(folder):
    classifier = load(folder)
    assert (classifier.name, classifier.labels) == ("faces", SEVEN)
    assert classifier.card == "# A tiny checkpoint\n"


def test_auto_takes_a_device_that_is_there(vit_folder, monkeypatch):
    assert AffectClassifier.from_pretrained(vit_folder).device in ("cpu", "cuda", "mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert classifier_module._device("auto") == "cuda"
    assert classifier_module._device("cuda:1") == "cuda:1"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert classifier_module._device("auto") == "cpu"
    with pytest.raises(CheckpointError, match="no device 'cuda' here"):
        classifier_module._device("cuda")


def test_an_unknown_precision_is_refused(vit_folder):
    assert "choose auto, float32, bfloat16" in refusal(load, vit_folder, precision="float8")


# --- what is explained -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("affect", AFFECTS)
def test_the_score_of_emotions_is_their_logsumexp(vit_folder, affect):
    exact = load(vit_folder, precision="float32")
    members = {"positive": ("happy",), "neutral": ("neutral", "surprise"), "negative": NEGATIVE}[affect]
    logits = exact.output(crop())["logits"][[SEVEN.index(name) for name in members]]
    score = exact.score_of(affect, crop())(exact.pixel_values(crop()))
    assert score.shape == (1,)
    assert float(score) == pytest.approx(float(logits.exp().sum().log()), abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_score_has_a_gradient_at_the_pixels_and_none_at_the_weights(family, tmp_path):
    classifier = load(save_tiny(tmp_path, family), precision="float32")
    pixels = classifier.pixel_values(crop()).requires_grad_()
    classifier.score_of("positive", crop())(pixels).sum().backward()
    assert torch.isfinite(pixels.grad).all()
    assert pixels.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in classifier._model.parameters())


def test_an_affect_that_is_none_has_no_score(vit):
    with pytest.raises(CheckpointError, match="knows no 'happy'"):
        vit.score_of("happy", crop())


def smoothgrad_map(classifier: AffectClassifier, samples: int = 20) -> SaliencyMap:
    return SmoothGrad(samples, seed=3).map(classifier.score_of("negative", crop()), classifier.pixel_values(crop()))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_seed_gives_the_same_map_however_often_the_checkpoint_is_loaded(own_folder, precision):
    first, second = (smoothgrad_map(load(own_folder, precision=precision)) for _ in range(2))
    assert (first.precision, first.device) == (precision, "cpu")
    np.testing.assert_array_equal(first.values, second.values)


@pytest.mark.parametrize("fast", [True, False])
def test_the_automatic_precision_follows_from_architecture_and_processor(vit_folder, own_folder, monkeypatch, fast):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": fast, "amx_bf16": False})
    assert smoothgrad_map(load(own_folder), 1).precision == "float32"
    assert smoothgrad_map(load(vit_folder), 1).precision == ("bfloat16" if fast else "float32")


def test_the_copy_is_made_once(vit_folder, monkeypatch):
    calls = []
    monkeypatch.setattr(
        classifier_module, "explained_copy", lambda model, *settings: calls.append(settings) or (model, "float32")
    )
    classifier = load(vit_folder)
    assert calls == []
    for affect in AFFECTS:
        classifier.score_of(affect, crop())
    assert calls == [(32, "auto")]


def test_predictions_stay_float32_when_explanations_do_not(vit_folder, vit):
    classifier = load(vit_folder, precision="bfloat16")
    classifier.score_of("positive", crop())
    assert classifier.predict(crop()) == vit.predict(crop())


@pytest.mark.parametrize("family", ["vit", "resnet", "levit"])
def test_the_map_in_bfloat16_is_the_map_in_float32(family, tmp_path):
    save_tiny(tmp_path, family)
    exact, lower = (smoothgrad_map(load(tmp_path, precision=precision)) for precision in ("float32", "bfloat16"))
    a, b = exact.values.ravel(), lower.values.ravel()
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) >= 0.99
    assert exact.precision == "float32"
    assert np.array_equal(a, b) == (lower.precision == "float32")


# --- many crops ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_streams():
    """Return a tiny model of the project's own architecture with a geometry stream of 5 features, and its processor."""
    config = InfantFaceConfig(**TINY, geometry_size=5, geometry_width=8)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return InfantFaceModel(config).train(), ViTImageProcessorPil(size={"height": 32, "width": 32})


def test_many_crops_get_every_head_mirrored_and_geometry_where_a_face_was_found(two_streams):
    model, processor = two_streams
    random = np.random.default_rng(0)
    crops = random.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    geometry, found = random.normal(size=(5, 5)).astype(np.float32), np.array([True, False, True, True, False])
    heads = forward_crops(model, processor, crops, geometry, found, batch_size=4)
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        views = [model.eval()(view, torch.from_numpy(geometry)) for view in (pixels, pixels.flip(-1))]
    mean = {name: (views[0][name] + views[1][name]) / 2 for name in views[0]}
    mean["geometry_logits"] *= torch.from_numpy(found)[:, None]
    mean["logits"] = mean["image_logits"] + mean["geometry_logits"]
    assert set(heads) - {"features"} == set(mean)
    for name, expected in mean.items():
        torch.testing.assert_close(heads[name], expected, rtol=0, atol=1e-5)
    assert (views[0].logits - views[1].logits).abs().max() > 1e-3
    without = forward_crops(model, processor, crops)
    torch.testing.assert_close(without["logits"], mean["image_logits"], rtol=0, atol=1e-5)
    assert "geometry_logits" not in without


def test_a_geometry_stream_of_other_features_than_a_face_has_is_refused_when_it_is_loaded(two_streams, tmp_path):
    """The image alone would pass, and every real face would fail."""
    for each in two_streams:
        each.save_pretrained(tmp_path)
    assert "its files do not fit together" in refusal(load, tmp_path)


@pytest.mark.parametrize("family", ["vit", "mobilenet_v2"])
def test_one_forward_pass_serves_one_crop_and_many(family, tmp_path):
    classifier = load(save_tiny(tmp_path, family))
    crops = [crop(seed=seed) for seed in range(3)]
    many = forward_crops(classifier._model, classifier._processor, np.stack([one.crop_rgb for one in crops]))
    assert set(many) == {"logits", "features"}
    for one, logits in zip(crops, many["logits"], strict=True):
        torch.testing.assert_close(classifier.output(one)["logits"], logits, rtol=1e-4, atol=1e-5)


def test_a_head_that_the_program_learnt_since_leaves_older_checkpoints_as_they_were(own_folder, monkeypatch, tmp_path):
    before = load(own_folder).predict(crop())
    monkeypatch.setitem(HEADS, "smile", ("smile_logit", 1))
    assert load(own_folder).predict(crop()) == before
    model = InfantFaceModel(InfantFaceConfig(**TINY, heads=[*FIRST_HEADS, "smile", "of a later version"]))
    assert model.config.heads == [*FIRST_HEADS, "smile"]
    assert model.readers[0](torch.zeros(2, 3, 32, 32))["smile_logit"].shape == (2,)


def test_heads_without_weights_are_left_out_and_named(own_folder, tmp_path, caplog):
    folder = shutil.copytree(own_folder, tmp_path / "older")
    weights = {name: value for name, value in load_file(folder / "model.safetensors").items() if ".age." not in name}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    whole, older = load(own_folder).predict(crop()), load(folder).predict(crop())
    assert older == replace(whole, age_groups=None)
    assert "older has no weights for its heads age; they are left out." in caplog.text
    del weights["readers.0.affect.bias"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "do not fit its config.json (1 parameters, such as readers.0.affect.bias)" in refusal(load, folder)


def test_a_head_that_a_checkpoint_lacks_leaves_its_fields_empty(own_folder):
    classifier = load(own_folder)
    heads = classifier.output(crop())
    whole = classifier.prediction(heads)
    del heads["age_logits"], heads["valence_arousal"], heads["usable_logit"]
    lacking = classifier.prediction(heads)
    assert (lacking.age_groups, lacking.valence, lacking.arousal, lacking.usable) == (None, None, None, None)
    assert (lacking.probabilities, lacking.emotions) == (whole.probabilities, whole.emotions)
    assert lacking.infant
