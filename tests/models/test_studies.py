"""The studies' own architectures: parts as tokens, and landmarks that query windows of the picture."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from transformers import Dinov2ForImageClassification, MobileNetV1ForImageClassification

from infant_fer.alignment import AlignedFace, CropSpec
from infant_fer.checkpoints.loading import load_checkpoint
from infant_fer.classifier import AffectClassifier, forward_crops
from infant_fer.errors import CheckpointError, DatasetError, ExplanationError
from infant_fer.evaluation.predictions import predict
from infant_fer.explain import METHODS
from infant_fer.explain.layers import recorded_outputs
from infant_fer.face import BLENDSHAPE_COUNT
from infant_fer.labels import AFFECTS, EMOTIONS
from infant_fer.models.ensemble import ensemble_of
from infant_fer.models.geometry import GEOMETRY_SIZE, POINTS
from infant_fer.models.part_tokens import PARTS, PartTokensConfig, part_boxes, part_patches
from infant_fer.models.two_stream import TwoStreamConfig, TwoStreamModel, window_means
from infant_fer.training import pretrained as bases
from infant_fer.training.config import TrainingConfig
from infant_fer.training.pretrained import load_pretrained
from infant_fer.training.reports.artifacts import check_saved
from infant_fer.training.trainer import FitRun, fit
from tests.drawn_data import drawn_face, face_dataset
from tests.models.small_backbones import random_geometry, small_dinov2, small_mobilenet, small_pair
from tests.tiny_checkpoints import edit

CROP = CropSpec(96)


def drawn(count: int):
    classes = [n % 3 for n in range(count)]
    faces = [drawn_face(AFFECTS[index], n, 96) for n, index in enumerate(classes)]
    return face_dataset(np.stack(faces), random_geometry(count).numpy(), np.eye(3)[classes])


@pytest.mark.parametrize(
    ("shape", "backbone"),
    [
        ("random:part-tokens", None),
        ("random:two-stream", None),
        ("late-fusion:", small_mobilenet),
        ("two-stream:", small_dinov2),
        ("two-stream:", small_pair),
        ("late-fusion:", small_pair),
    ],
)
def test_one_epoch_then_a_folder_that_the_app_loads(shape, backbone, tmp_path):
    torch.manual_seed(0)
    source = shape + str(backbone(tmp_path / "backbone")) if backbone else shape
    base, faces = load_pretrained(source, AFFECTS, 96), drawn(6)
    settings = TrainingConfig(epochs=1, batch=3, augmentation="photometric", precision="float32")
    history = fit(base, faces, faces, settings, FitRun(tmp_path / "run", 0))
    assert any("eval_dev_loss" in entry for entry in history)
    before = forward_crops(base.model, base.processor, faces.crops, faces.geometry, faces.found)
    for each in (base.model, base.processor):
        each.save_pretrained(tmp_path / "saved")
    loaded = load_checkpoint(tmp_path / "saved")
    after = forward_crops(loaded.model, loaded.processor, faces.crops, faces.geometry, faces.found)
    torch.testing.assert_close(after["logits"], before["logits"], atol=1e-5, rtol=1e-4)
    assert after["features"].shape == (6, loaded.model.classifier.in_features)
    expected = predict(base.model, base.processor, faces).probabilities
    check_saved(tmp_path / "saved", faces, expected)  # the end of every run, with the landmarks that it predicted from
    with pytest.raises(DatasetError, match="instead of"):
        check_saved(tmp_path / "saved", faces, np.roll(expected, 1, 1))
    classifier = AffectClassifier.from_pretrained(tmp_path / "saved", device="cpu")
    assert classifier.crop == CROP


def test_the_eyes_and_the_mouth_are_in_the_middle_of_their_patches():
    for margin in (0.15, 0.5):
        spec = CropSpec(96, margin)
        boxes = part_boxes(PartTokensConfig(face_crop=asdict(spec)))
        for name, anchor in zip(("right eye", "left eye", "mouth"), spec.anchors_px, strict=True):
            np.testing.assert_allclose(np.array(boxes[name][:2]) * 96, anchor, atol=1e-4)


def test_a_patch_shows_its_part_alone():
    config, picture = PartTokensConfig(), torch.zeros(1, 3, 96, 96)
    x, y = (round(float(each)) for each in CROP.anchors_px[2])
    picture[..., y - 3 : y + 3, x - 3 : x + 3] = 1
    bright = part_patches(picture, config)[0].amax((1, 2, 3))
    assert [name for name, value in zip(PARTS, bright, strict=True) if value > 0.5] == ["mouth"]


def test_attention_to_the_parts_sums_to_one():
    model = load_pretrained("random:part-tokens", AFFECTS, 96).model.eval()
    shares = model.part_attention(torch.randn(2, 3, 96, 96))
    assert list(shares) == [*PARTS, "filters"]
    torch.testing.assert_close(torch.stack(list(shares.values())).sum(0), torch.ones(2))


def test_the_parts_that_get_attention_are_an_explanation():
    torch.manual_seed(0)
    base = load_pretrained("random:part-tokens", AFFECTS, 96)
    aligned = AlignedFace(drawn_face("positive", 0), np.eye(2, 3))
    classifier = AffectClassifier(base.model, base.processor, "parts")
    score, pixels = classifier.score_of("positive", aligned), classifier.pixel_values(aligned)
    shares = base.model.eval().part_attention(pixels)
    values = METHODS["rollout"]().map(score, pixels).values
    assert values.shape == (96, 96)
    assert (values[:3] == 0).all()  # above the brows is no part
    x, y, *_ = part_boxes(base.model.config)["mouth"]
    largest = max(float(shares[name]) for name in PARTS)
    assert values[round(y * 96), round(x * 96)] == pytest.approx(float(shares["mouth"]) / largest, abs=1e-5)
    with pytest.raises(ExplanationError, match="parts of the face"):
        METHODS["attention_relevance"]().map(score, pixels)


@pytest.mark.parametrize("filters", [0, 2])  # with two, as with none, the tokens could be taken for a square grid
def test_parts_without_filters_and_not_enlarged_are_trained_saved_loaded_and_explained(filters, tmp_path):
    torch.manual_seed(0)
    base = load_pretrained("random:part-tokens", AFFECTS, 96, [("filters", filters), ("enlarged", 1.0)])
    assert base.name == f"part-tokens (filters={filters}, enlarged=1) with random weights"
    assert any(name.startswith(("convolutions", "filter.")) for name in base.model.state_dict()) == bool(filters)
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    faces = drawn(3)
    fit(
        base,
        faces,
        faces,
        TrainingConfig(epochs=1, batch=3, precision="float32", warmup=0.0),
        FitRun(tmp_path / "run", 0),
    )
    assert not torch.equal(base.model.state_dict()["which"], before["which"])
    for each in (base.model, base.processor):
        each.save_pretrained(tmp_path / "saved")
    check_saved(tmp_path / "saved", faces, predict(base.model, base.processor, faces).probabilities)
    classifier = AffectClassifier.from_pretrained(tmp_path / "saved", device="cpu")
    config = classifier._model.config
    assert (config.filters, config.enlarged) == (filters, 1)
    assert part_boxes(config)["nose"][2] * 1.3 == pytest.approx(part_boxes(PartTokensConfig())["nose"][2])
    aligned = AlignedFace(drawn_face("positive", 0), np.eye(2, 3))
    score, pixels = classifier.score_of("positive", aligned), classifier.pixel_values(aligned)
    shares = classifier._model.part_attention(pixels)
    assert float(sum(shares.values())) == pytest.approx(1, abs=1e-5)
    assert (float(shares["filters"]) > 0) == bool(filters)
    assert METHODS["rollout"]().map(score, pixels).values.max() == 1
    with recorded_outputs(score.model) as grids, torch.no_grad():
        score.model(pixels)
    assert {grid.shape[-1] for grid in grids} <= {48, 24, 12}  # of the filters' convolutions alone
    if not filters:
        with pytest.raises(ExplanationError, match="no layer whose grid"):
            METHODS["gradcam"]().map(score, pixels)


def test_landmarks_matter_where_they_are_found_and_only_there():
    torch.manual_seed(0)
    model = TwoStreamModel(TwoStreamConfig()).eval()
    pixels, geometry = torch.randn(2, 3, 96, 96), random_geometry(2)
    with torch.no_grad():
        plain = model(pixels).logits
        mixed = model(pixels, geometry, torch.tensor([True, False])).logits
        blendshapes = geometry.clone()
        blendshapes[:, :BLENDSHAPE_COUNT] += 1
        same = model(pixels, blendshapes, torch.tensor([True, False])).logits
    assert not torch.allclose(mixed[0], plain[0])
    torch.testing.assert_close(mixed[1], plain[1])
    torch.testing.assert_close(same, mixed)
    alone = TwoStreamModel(TwoStreamConfig(fusion="none")).eval()
    assert not alone.takes_geometry


@pytest.mark.parametrize("shape", ["two-stream", "late-fusion", "image-stream"])
def test_two_streams_start_from_the_weights_of_a_mobilenet(shape, tmp_path):
    torch.manual_seed(0)
    mobilenet = MobileNetV1ForImageClassification.from_pretrained(small_mobilenet(tmp_path)).eval()
    base = load_pretrained(f"{shape}:{tmp_path}", AFFECTS)
    assert not [name for name in base.fresh if name.startswith("image.backbone.")]
    assert base.model.takes_geometry == (shape != "image-stream")
    pixels = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        maps, whole = base.model.eval().image(pixels)
        torch.testing.assert_close(whole, mobilenet.mobilenet_v1(pixels).pooler_output)
    assert [each.shape[-1] for each in maps] == [24, 12, 6]


@pytest.mark.parametrize("shape", ["two-stream", "image-stream"])
def test_two_streams_read_the_tokens_of_a_dinov2(shape, tmp_path):
    torch.manual_seed(0)
    dinov2 = Dinov2ForImageClassification.from_pretrained(small_dinov2(tmp_path)).eval().dinov2
    base = load_pretrained(f"{shape}:{tmp_path}", AFFECTS)
    assert not [name for name in base.fresh if name.startswith("image.backbone.")]
    pixels, model = torch.randn(2, 3, 96, 96), base.model.eval()
    with torch.no_grad():
        maps, whole = model.image(pixels)
        expected = dinov2(pixels).last_hidden_state
        plain, queried = model(pixels).logits, model(pixels, random_geometry(2)).logits
    torch.testing.assert_close(whole, expected[:, 0])
    for each in maps:  # the token of the second row's first patch comes after one of the class and a row of twelve
        torch.testing.assert_close(each[:, :, 1, 0], expected[:, 13])
    assert torch.allclose(plain, queried) == (shape == "image-stream")


@pytest.mark.parametrize("patch", [8, 24])  # the smallest windows have nine patches, or one
def test_the_attention_of_a_dinov2_under_two_streams_is_an_explanation(patch, tmp_path):
    torch.manual_seed(0)
    base = load_pretrained(f"two-stream:{small_dinov2(tmp_path, patch_size=patch)}", AFFECTS)
    classifier = AffectClassifier(base.model, base.processor, "streams")
    aligned = AlignedFace(drawn_face("positive", 0), np.eye(2, 3))
    score, pixels = classifier.score_of("positive", aligned), classifier.pixel_values(aligned)
    for method in ("rollout", "attention_relevance", "gradcam"):
        values = METHODS[method]().map(score, pixels).values
        assert values.shape == (96, 96)
        assert values.std() > 0.01


def test_two_streams_are_refused_over_another_network(tmp_path):
    base = load_pretrained("random:part-tokens", AFFECTS, 96)
    for each in (base.model, base.processor):
        each.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="takes a MobileNet-v1 or DINOv2"):
        load_pretrained(f"two-stream:{tmp_path}", AFFECTS)


def test_crops_that_do_not_fit_two_streams_are_refused(tmp_path):
    small_mobilenet(tmp_path)
    edit(tmp_path / "preprocessor_config.json", size={"height": 100, "width": 100})
    with pytest.raises(CheckpointError, match="multiple of 16 px"):
        load_pretrained(f"two-stream:{tmp_path}", AFFECTS)
    with pytest.raises(CheckpointError, match="multiple of 32 px; dinov2 has 80 px"):  # four windows of 8 px patches
        load_pretrained(f"two-stream:{small_dinov2(tmp_path / 'dinov2', 80)}", AFFECTS)
    model = load_pretrained("random:two-stream", AFFECTS, 96).model
    with pytest.raises(ValueError, match="must be 96 x 96 px"):
        model(torch.zeros(1, 3, 112, 112))


def test_two_streams_take_a_dinov2_without_biases_and_refuse_one_of_other_layers(tmp_path):
    folder = small_dinov2(tmp_path, qkv_bias=False, use_mask_token=False)
    assert load_pretrained(f"two-stream:{folder}", AFFECTS).model.config.dinov2["qkv_bias"] is False
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(bases.BACKBONE_SETTINGS, "dinov2", ("dinov2", ("hidden_size", "patch_size", "image_size")))
        with pytest.raises(CheckpointError, match="are not those of its architecture"):
            load_pretrained(f"two-stream:{folder}", AFFECTS)


@pytest.mark.parametrize("labels", [AFFECTS, EMOTIONS, (*EMOTIONS, "contempt")])
def test_two_streams_have_a_score_for_each_class(labels):
    model = load_pretrained("random:two-stream", labels, 96).model.eval()
    with torch.no_grad():
        assert model(torch.randn(2, 3, 96, 96)).logits.shape == (2, len(labels))


def test_windows_of_several_scales_are_taken_for_no_grid():
    """The encoder's tokens could be mistaken for a grid of 4 × 4 after seven leading ones."""
    torch.manual_seed(0)
    base = load_pretrained("random:two-stream", AFFECTS, 96)
    aligned = AlignedFace(drawn_face("positive", 0), np.eye(2, 3))
    classifier = AffectClassifier(base.model, base.processor, "streams")
    score, pixels = classifier.score_of("positive", aligned), classifier.pixel_values(aligned)
    for method in ("rollout", "attention_relevance"):
        with pytest.raises(ExplanationError, match="no attention over the whole crop"):
            METHODS[method]().map(score, pixels)
    with recorded_outputs(score.model) as grids, torch.no_grad():
        score.model(pixels)
    assert grids[-1].shape[-2:] == (6, 6)  # the last map, which GradCAM reads


def test_late_landmarks_change_the_answer_and_not_the_image_stream():
    torch.manual_seed(0)
    model = TwoStreamModel(TwoStreamConfig(fusion="late")).eval()
    pixels, geometry = torch.randn(2, 3, 96, 96), random_geometry(2)
    features = []
    model.norm.register_forward_hook(lambda _, __, output: features.append(output))
    with torch.no_grad():
        plain = model(pixels).logits
        mixed = model(pixels, geometry, torch.tensor([True, False])).logits
    torch.testing.assert_close(features[0], features[1])
    assert not torch.allclose(mixed[0], plain[0])
    torch.testing.assert_close(mixed[1], plain[1])


def test_averaged_folds_read_landmarks_as_each_fold_does(tmp_path):
    torch.manual_seed(0)
    folds, faces = [load_pretrained("random:two-stream", AFFECTS, 96) for _ in range(2)], drawn(4)
    faces = replace(faces, found=np.array([True, True, True, False]))
    expected = np.mean([predict(each.model, each.processor, faces).probabilities for each in folds], 0)
    ensemble_of([each.model for each in folds]).save_pretrained(tmp_path)
    folds[0].processor.save_pretrained(tmp_path)
    loaded = load_checkpoint(tmp_path)
    found = predict(loaded.model, loaded.processor, faces).probabilities
    np.testing.assert_allclose(found, expected, atol=1e-5)
    unseen = predict(loaded.model, loaded.processor, replace(faces, found=np.zeros(4, bool))).probabilities
    assert np.abs(unseen - found)[:3].max() > 1e-3


def test_landmarks_are_where_alignment_puts_them():
    model = TwoStreamModel(TwoStreamConfig(face_crop=asdict(CropSpec(96, 0.3))))
    geometry = torch.zeros(1, GEOMETRY_SIZE)
    geometry[0, BLENDSHAPE_COUNT : BLENDSHAPE_COUNT + 2] = torch.tensor([0.0, 0.6])  # the mouth of the template
    found = model._points(geometry)[0]
    assert found.shape == (len(POINTS), 2)
    np.testing.assert_allclose(found[0] * 96, CropSpec(96, 0.3).anchors_px[2], atol=1e-3)


def test_a_window_has_the_mean_of_the_landmarks_inside_it():
    tokens = torch.tensor([[[1.0], [3.0], [10.0]]])
    points = torch.tensor([[[0.1, 0.1], [0.4, 0.2], [0.9, 1.2]]])  # the last lies below the crop: the lowest window
    assert window_means(tokens, points, 2).flatten().tolist() == [2.0, 0.0, 0.0, 10.0]


def test_pictures_that_move_are_refused_where_landmarks_do_not(tmp_path):
    base, faces = load_pretrained("random:two-stream", AFFECTS, 96), drawn(3)
    for change in ({"augmentation": "light"}, {"mixing": "cutmix"}):
        with pytest.raises(DatasetError, match="landmarks, which would not move"):
            fit(base, faces, faces, replace(TrainingConfig(epochs=1), **change), FitRun(tmp_path, 0))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="multiple of 16 px wide; 90 were given"):
        TwoStreamConfig(image_size=90)
    with pytest.raises(ValueError, match="fusion can be window, late, none; 'early' was given"):
        TwoStreamConfig(fusion="early")
    with pytest.raises(ValueError, match="130 features cannot be shared by 4 heads"):
        PartTokensConfig(hidden_size=130)
    for settings in ({"filters": -1}, {"enlarged": 0.0}, {"enlarged": float("nan")}):
        with pytest.raises(ValueError, match="filters must be at least 0 and enlarged above 0"):
            PartTokensConfig(**settings)
