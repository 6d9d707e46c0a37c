"""Is each extension one file and one registry entry? Register a toy of each, as CONTRIBUTING.md shows it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import transformers as hf

from infant_fer import batch
from infant_fer.analyzer import Analyzer, ExplanationSettings
from infant_fer.batch import writers
from infant_fer.classifier import AffectClassifier, forward_crops
from infant_fer.explain import METHODS
from infant_fer.face import (
    BLENDSHAPES,
    LANDMARK_COUNT,
    LEFT_EYE_CORNERS,
    MOUTH_CORNERS,
    RIGHT_EYE_CORNERS,
    Face,
    HeadPose,
)
from infant_fer.images import load_photo
from infant_fer.labels import AFFECTS
from infant_fer.models import infant_face
from infant_fer.training import config as training_config
from infant_fer.training import pretrained
from infant_fer.video import exports
from infant_fer.video.bouts import build_timeline
from infant_fer.video.timeline import FrameReading, FrameTable
from tests.conftest import EXAMPLES, ROOT

SMILE = EXAMPLES / "smile.jpg"


def test_an_attribution_method_is_a_class_and_an_entry(analyzer, monkeypatch):
    example = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("```python\n")[1].split("```")[0]
    names = {"__name__": "infant_fer.explain.gradient"}
    exec(example, names)
    monkeypatch.setitem(METHODS, "gradient", names["InputGradient"])
    report = analyzer.explain(analyzer.analyze(SMILE), settings=ExplanationSettings(method="gradient"))
    found = report.faces[0].explanation.saliency
    assert (found.method, found.samples, found.target) == ("gradient", 1, "positive")
    assert found.values.max() == 1


class CentreDetector:
    """Find one face in the middle of every photo."""

    def find(self, photo_rgb: np.ndarray, thorough: bool = True, budget=None) -> list[Face]:
        height, width = photo_rgb.shape[:2]
        unit = min(width, height) / 8
        angles = np.linspace(0, 2 * np.pi, LANDMARK_COUNT, endpoint=False)
        offsets = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 2
        offsets[list(RIGHT_EYE_CORNERS)], offsets[list(LEFT_EYE_CORNERS)] = (-1, -0.5), (1, -0.5)
        offsets[list(MOUTH_CORNERS)] = (0, 1)
        landmarks = (offsets * unit + [width / 2, height / 2]).astype(np.float32)
        return [Face(landmarks, dict.fromkeys(BLENDSHAPES, 0.0), HeadPose(0, 0, 0))]

    def find_others(self, photo_rgb: np.ndarray, known: list[Face], budget=None) -> list[Face]:
        return []


def test_a_detector_is_handed_to_the_analyzer(analyzer):
    report = Analyzer(CentreDetector(), analyzer.classifier).analyze(SMILE)
    height, width = load_photo(SMILE).rgb.shape[:2]
    left, top, right, bottom = report.faces[0].face.box_xyxy
    assert (left + right) / 2 == pytest.approx(width / 2, abs=1)
    assert (top + bottom) / 2 == pytest.approx(height / 2, abs=1)
    assert report.faces[0].prediction.label in AFFECTS


def test_a_recipe_is_a_file(tmp_path, monkeypatch):
    (tmp_path / "toy.toml").write_bytes((training_config.RECIPES / "mobile.toml").read_bytes())
    monkeypatch.setattr(training_config, "RECIPES", tmp_path)
    assert training_config.recipe_names() == ("toy",)
    assert training_config.read_recipe("toy").name == "toy"


def test_a_backbone_is_an_entry(tmp_path, monkeypatch):
    sizes = {"embedding_size": 8, "hidden_sizes": [8], "depths": [1], "layer_type": "basic"}
    monkeypatch.setitem(pretrained.SHAPES, "toy", lambda: hf.ResNetConfig(**sizes))
    base = pretrained.load_pretrained("random:toy", AFFECTS, size=32)
    base.model.save_pretrained(tmp_path)
    base.processor.save_pretrained(tmp_path)
    classifier = AffectClassifier.from_pretrained(tmp_path)
    assert classifier.crop.size == 32
    assert classifier.labels == AFFECTS


@dataclass
class OutputWithGaze(infant_face.InfantFaceOutput):
    """The model's output with a field for the toy head."""

    gaze: torch.Tensor | None = None


def test_a_head_is_an_entry_and_a_field_and_older_checkpoints_still_load(analyzer, monkeypatch):
    monkeypatch.setitem(infant_face.HEADS, "gaze", ("gaze", 2))
    monkeypatch.setattr(infant_face, "InfantFaceOutput", OutputWithGaze)
    sizes = {"image_size": 32, "stem_width": 8, "widths": (8, 16), "blocks_per_stage": 1, "transformer_layers": 1}
    config = infant_face.InfantFaceConfig(**sizes, heads=tuple(infant_face.HEADS))
    crops = np.zeros((2, 32, 32, 3), np.uint8)
    heads = forward_crops(infant_face.InfantFaceModel(config), hf.ViTImageProcessorPil(), crops)
    assert heads["gaze"].shape == (2, 2)
    again = AffectClassifier.from_pretrained()
    aligned = analyzer.analyze(SMILE).faces[0].aligned
    assert torch.equal(again.output(aligned)["logits"], analyzer.classifier.output(aligned)["logits"])


@contextmanager
def label_writer(path):
    """Write one label per line."""
    with path.open("w") as stream:
        yield lambda label: stream.write(f"{label}\n")


def test_an_export_is_a_writer_and_an_entry(analyzer, monkeypatch, tmp_path):
    labels = writers.Writer(lambda result: result.report.faces[0].prediction.label, label_writer)
    monkeypatch.setitem(writers.WRITERS, "labels", labels)
    files = batch.photo_files([SMILE, EXAMPLES / "cry.jpg"])
    assert batch.read_files(lambda: analyzer, files, {"labels": tmp_path / "labels.txt"}) == 2
    assert (tmp_path / "labels.txt").read_text().split() == ["positive", "negative"]


def test_an_export_of_a_clip_is_a_function_and_an_entry(monkeypatch, tmp_path):
    monkeypatch.setitem(exports.EXPORTERS, "{stem}.labels", lambda clip, path: path.write_text(clip.intervals[0].label))
    reading = FrameReading(
        0.0, 1, True, label="positive", probabilities={"positive": 0.8, "neutral": 0.1, "negative": 0.1}
    )
    table = FrameTable()
    table.append(reading)
    table.append(replace(reading, time_s=0.1))
    clip = build_timeline("play.mp4", table)
    assert exports.export(clip, tmp_path, ["{stem}.labels"]) == [tmp_path / "play.labels"]
    assert (tmp_path / "play.labels").read_text() == "positive"
