"""Faces that are watched while a network learns: one picture an epoch, and the same training as without them."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

from infant_fer.alignment import AlignedFace, CropSpec
from infant_fer.classifier import AffectClassifier
from infant_fer.errors import DatasetError
from infant_fer.explain import METHODS
from infant_fer.labels import AFFECTS
from infant_fer.training import pretrained as bases
from infant_fer.training.config import TrainingConfig
from infant_fer.training.pretrained import load_pretrained
from infant_fer.training.reports.watching import (
    LINE_PX,
    SHOWN_PX,
    WatchedFace,
    _attention,
    animated,
    digest,
    read_frames,
    still_strip,
    watched_faces,
)
from infant_fer.training.trainer import FitRun, fit
from tests.conftest import EXAMPLES
from tests.drawn_data import drawn_face, face_dataset

SHAPES = {
    "tiny": lambda: hf.ViTConfig(
        image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    ),
    "tiny-resnet": lambda: hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
}


def learned(shape: str, folder, watched, monkeypatch) -> torch.nn.Module:
    """Train a tiny network on twelve drawn faces: the head for one epoch, then all of it for two; the ViT with averaged weights."""
    monkeypatch.setitem(bases.SHAPES, shape, SHAPES[shape])
    torch.manual_seed(0)
    base = load_pretrained(f"random:{shape}", AFFECTS, 32)
    classes = [number % 3 for number in range(12)]
    crops = np.stack([drawn_face(AFFECTS[label], number, 32) for number, label in enumerate(classes)])
    faces = face_dataset(crops, np.zeros((12, 0)), np.eye(3)[classes])
    settings = TrainingConfig(
        epochs=2,
        head_epochs=1,
        batch=6,
        learning_rate=3e-3,
        precision="float32",
        augmentation="light",
        ema=0.5 if shape == "tiny" else 0.0,
    )
    fit(base, faces, faces, settings, FitRun(folder, 0, watched=watched))
    return base.model


def watched() -> tuple[WatchedFace, ...]:
    return tuple(WatchedFace(name, AlignedFace(drawn_face(name, 50, 32), np.eye(2, 3))) for name in AFFECTS[:2])


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_every_epoch_leaves_one_picture_and_the_training_is_the_same(shape, tmp_path, monkeypatch):
    plain = learned(shape, tmp_path / "plain", (), monkeypatch)
    seen = learned(shape, tmp_path / "seen", watched(), monkeypatch)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, seen.state_dict()[name]), name
    files = sorted(file.name for file in (tmp_path / "seen" / "watch").iterdir())
    assert files == ["head-001.png", "whole-001.png", "whole-002.png"]
    assert not (tmp_path / "plain" / "watch").exists()
    frames = read_frames(tmp_path / "seen")
    assert {frame.shape for frame in frames} == {(LINE_PX + 2 * (SHOWN_PX + LINE_PX), 3 * SHOWN_PX, 3)}
    maps = [frame[LINE_PX : LINE_PX + SHOWN_PX, SHOWN_PX:].astype(int) for frame in frames]
    assert np.abs(maps[0] - maps[-1]).max() > 50  # what it looks at has moved
    faces = [frame[LINE_PX : LINE_PX + SHOWN_PX, :SHOWN_PX] for frame in frames]
    np.testing.assert_array_equal(faces[0], faces[-1])


def test_part_tokens_are_watched_by_the_attention_that_each_part_gets():
    torch.manual_seed(0)
    base, aligned = (
        load_pretrained("random:part-tokens", AFFECTS, 96),
        AlignedFace(drawn_face("positive", 0), np.eye(2, 3)),
    )
    classifier = AffectClassifier(base.model, base.processor, "parts")
    title, values = _attention(classifier.score_of("positive", aligned), classifier.pixel_values(aligned))
    assert title == METHODS["rollout"].title
    assert (values[:3] == 0).all()  # above the brows is no part


def test_the_watched_face_is_cut_out_as_the_network_sees_it(tmp_path):
    crop = CropSpec(size=64, margin=0.15)
    [face] = watched_faces([EXAMPLES / "smile.jpg"], crop)
    assert (face.name, face.aligned.crop_rgb.shape) == ("smile.jpg", (64, 64, 3))
    [whole] = watched_faces([EXAMPLES / "smile.jpg"], crop, whole=True)
    assert np.abs(whole.aligned.crop_rgb.astype(int) - face.aligned.crop_rgb).mean() > 10
    Image.new("RGB", (80, 80), "grey").save(tmp_path / "wall.png")
    with pytest.raises(DatasetError, match=r"wall\.png: no face was found"):
        watched_faces([tmp_path / "wall.png"], crop)


def test_other_faces_are_told_apart_by_their_pixels():
    faces = watched()
    assert digest(()) is None
    assert digest(faces) == digest([replace(each, name="renamed.jpg") for each in faces])
    assert len({digest(faces), digest(faces[:1]), digest(faces[1:])}) == len(faces) + 1


def test_the_animation_has_every_epoch_and_the_strip_the_first_and_the_last():
    frames = [np.full((20, 30, 3), 20 * number, np.uint8) for number in range(11)]
    with Image.open(io.BytesIO(animated(frames))) as moving:
        assert (moving.format, moving.n_frames, moving.size) == ("WEBP", 11, (30, 20))
    strip = still_strip(frames)
    assert strip.shape == (120, 30, 3)
    assert (strip[0, 0, 0], strip[-1, 0, 0]) == (0, 200)
    np.testing.assert_array_equal(still_strip(frames[:1]), frames[0])
