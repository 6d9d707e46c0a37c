"""The project's own architecture: heads, late fusion, what the streams must not notice, saving and loading."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForImageClassification

from infant_fer.alignment import TEMPLATE
from infant_fer.face import (
    BLENDSHAPE_COUNT,
    BLENDSHAPES,
    LEFT_EYE_CORNERS,
    MOUTH_CORNERS,
    RIGHT_EYE_CORNERS,
    Face,
    HeadPose,
)
from infant_fer.models.geometry import EDGES, POINTS, geometry_features
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel

GEOMETRY_SIZE = 20


@pytest.fixture(scope="module")
def model() -> InfantFaceModel:
    return small_model()


def small_model(**settings) -> InfantFaceModel:
    """Return a random model with 48 px crops, ready to answer."""
    sizes = {
        "image_size": 48,
        "stem_width": 8,
        "widths": (8, 16, 32),
        "attention_heads": 2,
        "geometry_size": GEOMETRY_SIZE,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return InfantFaceModel(InfantFaceConfig(**{**sizes, **settings})).eval().requires_grad_(False)


def faces(count: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random crops in -1..1 and geometry."""
    random = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, 48, 48, generator=random) * 2 - 1, torch.randn(count, GEOMETRY_SIZE, generator=random)


def test_every_head_answers_for_every_face(model):
    answer = model(*faces(5))
    shapes = {name: tuple(value.shape) for name, value in answer.items()}
    assert shapes == {
        "logits": (5, 3),
        "emotion_logits": (5, 7),
        "valence_arousal": (5, 2),
        "age_logits": (5, 4),
        "usable_logit": (5,),
        "eyes_closed_logit": (5,),
        "mouth_covered_logit": (5,),
        "image_logits": (5, 3),
        "geometry_logits": (5, 3),
    }


def test_crops_of_another_size_get_interpolated_positions(model):
    stream = model.readers[0].image
    with torch.no_grad():
        stream.position.copy_(torch.ones_like(stream.position) * 3)
    learned = round(stream.position.shape[1] ** 0.5)
    torch.testing.assert_close(
        stream._positions(learned + 2), torch.full((1, (learned + 2) ** 2, stream.position.shape[2]), 3.0)
    )
    assert stream._positions(learned) is stream.position
    assert model(torch.rand(2, 3, 64, 64)).logits.shape == (2, 3)


def test_the_fusion_is_the_sum_of_the_streams(model):
    answer = model(*faces())
    torch.testing.assert_close(answer.logits, answer.image_logits + answer.geometry_logits, rtol=0, atol=0)
    assert answer.geometry_logits.abs().max() > 0.01


def test_without_geometry_the_image_answers_alone(model):
    pixels, geometry = faces()
    alone = model(pixels)
    assert alone.geometry_logits is None
    assert torch.equal(alone.logits, model(pixels, geometry).image_logits)


def test_a_map_of_the_image_does_not_depend_on_the_geometry(model):
    pixels, geometry = faces()
    pixels.requires_grad_(True)
    together, alone = (
        torch.autograd.grad(model(pixels, given).logits[:, 0].sum(), pixels)[0] for given in (geometry, None)
    )
    torch.testing.assert_close(together, alone)
    assert alone.abs().max() > 0


def test_colour_and_luminance_photos_look_alike(model):
    pixels, _ = faces()
    luminance = (
        (pixels * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True).expand(-1, 3, -1, -1)
    )
    torch.testing.assert_close(model(pixels).logits, model(luminance).logits, rtol=0, atol=1e-4)


def test_brightness_and_contrast_hardly_matter(model):
    pixels, _ = faces()
    darker = pixels * 0.6 - 0.3
    moved = (model(darker).logits - model(pixels).logits).abs().max()
    assert 0 < moved < 0.3 * (model(pixels.flip(0)).logits - model(pixels).logits).abs().max()


def test_a_uniform_crop_gives_finite_answers(model):
    answer = model(torch.zeros(1, 3, 48, 48), torch.zeros(1, GEOMETRY_SIZE))
    assert all(torch.isfinite(value).all() for value in answer.values())


def test_one_absurd_measurement_cannot_rule_the_geometry_stream(model):
    pixels, geometry = faces(1)
    far, farther = geometry.clone(), geometry.clone()
    far[0, 0], farther[0, 0] = 5.0, 1e6  # deviations; the stream clips at five
    assert torch.equal(model(pixels, far).logits, model(pixels, farther).logits)
    assert not torch.equal(model(pixels, far).logits, model(pixels, geometry).logits)


def test_faces_do_not_influence_each_other(model):
    pixels, geometry = faces(3)
    together = model(pixels, geometry).logits
    for index in range(3):
        alone = model(pixels[index : index + 1], geometry[index : index + 1]).logits[0]
        torch.testing.assert_close(alone, together[index], rtol=0, atol=1e-5)


def test_the_loss_of_even_odds_is_log_three():
    even = small_model()
    for head in (even.readers[0].affect, even.geometry.layers[-1]):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    pixels, geometry = faces()
    assert float(even(pixels, geometry, labels=torch.tensor([0, 1, 2, 0])).loss) == pytest.approx(math.log(3))


def test_labels_may_be_classes_or_distributions(model):
    pixels, geometry = faces()
    classes = torch.tensor([0, 1, 2, 2])
    by_class = model(pixels, geometry, labels=classes).loss
    by_share = model(pixels, geometry, labels=torch.eye(3)[classes]).loss
    assert float(by_class) == pytest.approx(float(by_share), rel=1e-6)
    expected = -model(pixels, geometry).logits.log_softmax(1)[range(4), classes].mean()
    assert float(by_class) == pytest.approx(float(expected), rel=1e-6)


def test_saving_and_loading_changes_no_logit(tmp_path, model):
    model.save_pretrained(tmp_path)
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path, use_safetensors=True).eval()
    assert type(loaded) is InfantFaceModel
    before, after = model(*faces()), loaded(*faces())
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-6)


def test_settings_travel_with_the_weights(tmp_path):
    settings = {"logit_temperature": 1.7, "test_time_mirror": False, "face_crop": {"size": 48, "margin": 0.3}}
    small_model(**settings).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert {name: getattr(config, name) for name in settings} == settings
    assert config.id2label == {0: "positive", 1: "neutral", 2: "negative"}


def test_the_same_face_gives_the_same_bits(model):
    assert torch.equal(model(*faces()).logits, model(*faces()).logits)


def test_the_default_model_is_small():
    features = BLENDSHAPE_COUNT + 2 * len(POINTS) + len(EDGES) + 2
    parameters = sum(p.numel() for p in InfantFaceModel(InfantFaceConfig(geometry_size=features)).parameters())
    assert 1e6 < parameters < 8e6
    assert parameters * 4 < 30 * 2**20  # bytes of float32 weights


def random_face(seed: int = 0) -> Face:
    """Return a face with eyes and mouth in place and every other point at random round them."""
    random = np.random.default_rng(seed)
    points = random.normal(0, 0.5, (478, 2)).astype(np.float32)
    for corners, point in zip((RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS, MOUTH_CORNERS), TEMPLATE, strict=True):
        points[list(corners)] = point + np.array([[-0.15, 0], [0.15, 0]])
    blendshapes = {name: float(random.random()) for name in BLENDSHAPES}
    return Face(points * 80 + 200, blendshapes, HeadPose(yaw=15, pitch=-30, roll=0))


@pytest.mark.parametrize(("degrees", "scale", "shift"), [(90, 1, (0, 0)), (-35, 3, (50, 900)), (180, 0.2, (-40, 3))])
def test_geometry_does_not_notice_where_the_face_lies(degrees, scale, shift):
    face, angle = random_face(), np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = Face((face.landmarks_px @ rotation.T * scale + shift).astype(np.float32), face.blendshapes, face.pose)
    np.testing.assert_allclose(geometry_features(moved), geometry_features(face), atol=1e-3)


def test_geometry_holds_blendshapes_points_edges_and_pose():
    face = random_face()
    features = geometry_features(face)
    points_end = BLENDSHAPE_COUNT + 2 * len(POINTS)
    assert features.dtype == np.float32
    assert features.shape == (points_end + len(EDGES) + 2,)
    np.testing.assert_allclose(features[:BLENDSHAPE_COUNT], list(face.blendshapes.values()), atol=1e-6)
    other_order = dict(reversed(face.blendshapes.items()))  # as another detector may give them
    np.testing.assert_array_equal(geometry_features(replace(face, blendshapes=other_order)), features)
    np.testing.assert_allclose(features[-2:], (0.5, -1.0), atol=1e-6)  # 15 and -30 degrees in units of 30
    # The template's unit is the eye-to-mouth distance, 80 px here: corners 24 px apart in each eye and the mouth.
    mouth_width = features[points_end + EDGES.index((61, 291))]
    assert mouth_width == pytest.approx(24 / 80, abs=1e-4)


def test_opening_the_lips_is_seen_in_their_edge_alone():
    face = random_face()
    points = face.landmarks_px.copy()
    points[14, 1] = points[13, 1] + abs(points[14, 1] - points[13, 1]) + 40
    points[14, 0] = points[13, 0]
    opened = geometry_features(Face(points, face.blendshapes, face.pose))
    lips = BLENDSHAPE_COUNT + 2 * len(POINTS) + EDGES.index((13, 14))
    assert opened[lips] > 0.5
    others = [BLENDSHAPE_COUNT + 2 * len(POINTS) + index for index in range(len(EDGES)) if EDGES[index] != (13, 14)]
    np.testing.assert_allclose(opened[others], geometry_features(face)[others], atol=1e-6)
