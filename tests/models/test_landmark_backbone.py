"""A backbone of the landmarks' own under two streams: what it sees at each landmark."""

import json

import numpy as np
import pytest
import torch

from infant_fer.alignment import AlignedFace
from infant_fer.checkpoints.loading import load_checkpoint
from infant_fer.classifier import AffectClassifier, model_inputs
from infant_fer.errors import CheckpointError
from infant_fer.explain import METHODS
from infant_fer.explain.activation import grids_and_gradients
from infant_fer.explain.gradients import SmoothGrad
from infant_fer.face import BLENDSHAPE_COUNT, BLENDSHAPES, Face, HeadPose
from infant_fer.labels import AFFECTS
from infant_fer.models.geometry import POINTS
from infant_fer.models.two_stream import TwoStreamConfig, TwoStreamModel, sampled
from infant_fer.training.pretrained import load_pretrained
from tests.drawn_data import drawn_face
from tests.models.small_backbones import random_geometry, small_dinov2, small_mobilenet, small_pair

# The config of a backbone for landmarks that takes pixels as the image stream does.
LANDMARK_BACKBONE = {"depth_multiplier": 0.25, "scale": [1.0, 1.0, 1.0], "shift": [0.0, 0.0, 0.0]}


def test_landmarks_get_what_a_backbone_of_their_own_saw_there(tmp_path):
    torch.manual_seed(0)
    source = small_pair(tmp_path)
    base = load_pretrained(f"two-stream:{source}", AFFECTS)
    assert base.name == "two-stream over image and landmarks"
    assert not [name for name in base.fresh if name.startswith(("image.backbone.", "landmark_maps."))]
    assert any(name.startswith("seen.") for name in base.fresh)
    own = load_checkpoint(tmp_path / "landmarks", new_labels=AFFECTS)
    crop = drawn_face("positive", 0)[None]
    current = own.model.mobilenet_v1.conv_stem(model_inputs(own.processor, crop))
    for layer in own.model.mobilenet_v1.layer[:10]:
        current = layer(current)
    assert current.shape[-2:] == (12, 12)
    points = torch.tensor([[[(8 * 5 + 7) / 96, (8 * 2 + 7) / 96]]])  # the centre of a cell, as TensorFlow pads
    with torch.no_grad():
        found = base.model.eval().landmark_maps(model_inputs(base.processor, crop), points)
    torch.testing.assert_close(found[0, 0], current[0, :, 2, 5], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("tf_padding", "at"), [(True, 8 * 6 + 7), (False, 8 * 6)])
def test_what_a_landmark_gets_is_seen_around_it(tf_padding, at):
    """The pixels that it depends on are a square of 43 px, and the landmark is its middle."""
    torch.manual_seed(0)
    settings = LANDMARK_BACKBONE | {"depth_multiplier": 1.0, "tf_padding": tf_padding}
    model = TwoStreamModel(TwoStreamConfig(image_size=112, landmark_mobilenet=settings)).eval()
    pixels = torch.randn(1, 3, 112, 112, requires_grad=True)
    model.landmark_maps(pixels, torch.tensor([[[at / 112, at / 112]]])).sum().backward()
    reached = pixels.grad.abs().sum((0, 1))
    rows, columns = (reached > 1e-5 * reached.max()).nonzero().T
    for places in (rows, columns):
        assert (places.min(), places.max()) == (at - 21, at + 21)


def test_maps_are_read_between_cells_and_repeated_beyond_them():
    maps = torch.tensor([[0.0, 1.0], [10.0, 11.0]])[None, None]
    cells = torch.tensor([[[0.0, 0.0], [0.5, 0.0], [0.25, 1.0], [9.0, -3.0]]])  # x, y
    torch.testing.assert_close(sampled(maps, cells).flatten(), torch.tensor([0.0, 0.5, 10.25, 1.0]))


@pytest.mark.parametrize("fusion", ["window", "late"])
def test_what_is_seen_at_the_landmarks_changes_the_answer(fusion):
    torch.manual_seed(0)
    model = TwoStreamModel(TwoStreamConfig(fusion=fusion, landmark_mobilenet=LANDMARK_BACKBONE, dropout=0.0))
    model.train()  # normalized by the batch; with the first statistics the maps of random weights are all but 0
    for part in model.point[-1].parameters():  # their places alone say nothing
        torch.nn.init.zeros_(part)
    pixels, geometry = torch.randn(2, 3, 96, 96), random_geometry(2) * 0.01
    geometry[:, BLENDSHAPE_COUNT : BLENDSHAPE_COUNT + 2 * len(POINTS)] += 0.1
    moved, found = geometry + 0.2, torch.tensor([True, False])  # 7 px, within the same window of each scale
    with torch.no_grad():
        plain, there = model(pixels).logits, model(pixels, geometry, found).logits
        elsewhere = model(pixels, moved, found).logits
        for part in model.seen[-1].parameters():
            torch.nn.init.zeros_(part)
        torch.testing.assert_close(model(pixels, geometry, found).logits, model(pixels, moved, found).logits)
    assert (there - elsewhere)[0].abs().max() > 1e-4
    torch.testing.assert_close(there[1], plain[1])  # no landmarks were found
    torch.testing.assert_close(elsewhere[1], plain[1])


def test_maps_of_two_backbones_are_explanations(tmp_path):
    """The smallest windows have one patch each."""
    torch.manual_seed(0)
    base = load_pretrained(f"two-stream:{small_pair(tmp_path, side=64, patch_size=16)}", AFFECTS)
    classifier = AffectClassifier(base.model, base.processor, "streams", precision="float32")
    aligned = AlignedFace(drawn_face("positive", 0, 64), np.eye(2, 3))
    points = np.random.default_rng(0).uniform(0, 64, (478, 2)).astype(np.float32)
    face = Face(points, dict.fromkeys(BLENDSHAPES, 0.0), HeadPose(0, 0, 0))
    score, pixels = classifier.score_of("positive", aligned, face), classifier.pixel_values(aligned)
    for method in (METHODS["rollout"](), METHODS["attention_relevance"](), METHODS["gradcam"](), SmoothGrad(samples=2)):
        values = method.map(score, pixels).values
        assert values.shape == (64, 64)
        assert values.std() > 0.01
    grids = grids_and_gradients(score, pixels)
    assert [grid.shape for grid, _ in grids] == [(96, 4, 4)]  # the image stream's, not the finer one of the landmarks


def test_checkpoints_of_one_backbone_load_as_before(tmp_path):
    """Older ones name no backbone for landmarks."""
    torch.manual_seed(0)
    base = load_pretrained(f"two-stream:{small_dinov2(tmp_path / 'dinov2')}", AFFECTS)
    for each in (base.model, base.processor):
        each.save_pretrained(tmp_path / "saved")
    config = json.loads((tmp_path / "saved/config.json").read_text())
    config.pop("landmark_mobilenet", None)
    (tmp_path / "saved/config.json").write_text(json.dumps(config))
    loaded = load_checkpoint(tmp_path / "saved").model
    assert loaded.landmark_maps is None
    assert not [name for name in loaded.state_dict() if name.startswith(("seen.", "landmark_maps."))]
    pixels, geometry = torch.randn(2, 3, 96, 96), random_geometry(2)
    with torch.no_grad():
        torch.testing.assert_close(loaded(pixels, geometry).logits, base.model.eval()(pixels, geometry).logits)


def test_landmarks_are_read_from_a_mobilenet_alone_and_only_where_there_are_any(tmp_path):
    source = small_pair(tmp_path)
    with pytest.raises(CheckpointError, match="reads no landmarks; leave out"):
        load_pretrained(f"image-stream:{source}", AFFECTS)
    with pytest.raises(CheckpointError, match="reads landmarks from a MobileNet-v1; image is a dinov2"):
        load_pretrained(f"two-stream:{tmp_path / 'landmarks'}+{tmp_path / 'image'}", AFFECTS)
    with pytest.raises(CheckpointError, match="no folder and no Hub id"):
        load_pretrained(f"two-stream:{tmp_path / 'image'}+{tmp_path / 'none'}", AFFECTS)
    odd = small_dinov2(tmp_path / "odd", 60, patch_size=5)  # whole patches in four windows, not whole cells of 8 px
    assert load_pretrained(f"two-stream:{odd}", AFFECTS).crop.size == 60
    with pytest.raises(CheckpointError, match="multiple of 40 px; odd has 60 px"):
        load_pretrained(f"two-stream:{odd}+{tmp_path / 'landmarks'}", AFFECTS)
    (tmp_path / "a+b").mkdir()
    assert load_pretrained(f"image-stream:{small_mobilenet(tmp_path / 'a+b')}", AFFECTS).crop.size == 96
    with pytest.raises(ValueError, match="has no landmarks to read"):
        TwoStreamConfig(fusion="none", landmark_mobilenet=LANDMARK_BACKBONE)
