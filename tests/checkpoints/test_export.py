"""A checkpoint as ONNX: the same answers in ONNX Runtime, with and without geometry, for any number of crops."""

import json
import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from transformers import MobileNetV1Config, MobileNetV1ForImageClassification

from infant_fer import export as exporting
from infant_fer.checkpoints.loading import load_checkpoint, weights_sha256
from infant_fer.classifier import AffectClassifier, forward_crops
from infant_fer.data.datasets import read_labeled_images
from infant_fer.export import INT8, PARITY, Parity, export, main, parity, quantize
from infant_fer.models.geometry import GEOMETRY_SIZE
from infant_fer.models.image_streams import backbone_settings
from infant_fer.models.infant_face import HEADS, InfantFaceConfig, InfantFaceModel
from infant_fer.training.infant_face.data import PROCESSOR
from tests.drawn_data import EXAMPLES, drawn_face, infant_rows, named_pictures, store_faces, write_table

onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow
GEOMETRY = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint with a geometry stream, every head, and a tiny MobileNet beside a tiny convolution-transformer."""
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    MobileNetV1ForImageClassification(MobileNetV1Config(depth_multiplier=0.125)).save_pretrained(folder / "base")
    (folder / "base/preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.4] * 3}))
    config = InfantFaceConfig(
        members=2,
        families=["conv_transformer", "mobilenet"],
        backbones={"mobilenet": backbone_settings(folder / "base")},
        stem_width=8,
        widths=(8, 16, 32),
        blocks_per_stage=1,
        transformer_layers=1,
        geometry_size=GEOMETRY,
        heads=list(HEADS),
        logit_temperature=0.7,
    )
    model = InfantFaceModel(config).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    for reader in model.readers:
        torch.nn.init.normal_(reader.affect.weight, std=0.05)
    model.save_pretrained(folder / "checkpoint")
    (folder / "checkpoint/preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return folder


@pytest.fixture(scope="module")
def checkpoint(folder):
    return load_checkpoint(folder / "checkpoint")


@pytest.fixture(scope="module")
def feed():
    crops = np.stack([drawn_face(affect, n) for n in range(8) for affect in ("positive", "neutral", "negative")])
    geometry = np.random.default_rng(0).normal(size=(len(crops), GEOMETRY)).astype(np.float32)
    return {"crop_rgb": crops, "geometry": geometry, "found": np.arange(len(crops)) % 3 > 0}


@pytest.fixture(scope="module")
def graph(folder, checkpoint):
    (folder / "out").mkdir()
    return export(checkpoint, folder / "out")


def test_the_graph_answers_as_the_app_does(graph, checkpoint, feed):
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, feed), strict=True))
    classifier = AffectClassifier(checkpoint.model, checkpoint.processor, "tiny", device="cpu")
    heads = forward_crops(checkpoint.model, checkpoint.processor, feed["crop_rgb"], feed["geometry"], feed["found"])
    for index in range(len(feed["found"])):
        wanted = classifier.prediction({name: values[index] for name, values in heads.items()})
        assert found["probabilities"][index] == pytest.approx(list(wanted.probabilities.values()), abs=2e-5)
        assert found["action_units"][index] == pytest.approx(list(wanted.action_units.values()), abs=2e-5)
        assert found["emotions"][index] == pytest.approx(list(wanted.emotions.values()), abs=2e-5)
        assert found["usable"][index] == pytest.approx(wanted.usable, abs=2e-5)
    assert found["probabilities"].std(0).min() > 0.01  # else any two graphs would agree
    assert len(session.run(None, {name: values[:1] for name, values in feed.items()})[0]) == 1


def test_eight_bits_are_smaller_and_compared(graph, checkpoint, feed):
    file = quantize(graph)
    assert file.name == INT8
    stored = [each for each in onnx.load(file).graph.initializer if each.data_type == onnx.TensorProto.INT8]
    assert len(stored) > 10  # of the tiny network's layers; its graph is mostly structure, so the file shrinks little
    assert file.stat().st_size < 0.9 * graph.stat().st_size
    assert sorted(path.name for path in graph.parent.glob("*.onnx")) == ["model-int8.onnx", "model.onnx"]
    exact, coarse = parity(checkpoint, graph, feed), parity(checkpoint, file, feed)
    assert exact.sufficient
    assert exact.largest_difference < 2e-5 < coarse.largest_difference < 0.02
    assert coarse.sufficient
    assert exact.n == 24
    assert exact.milliseconds > 0


def test_a_graph_that_is_not_alike_is_said_and_fails(folder, graph, feed, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(exporting, "crops_of", lambda *_: feed)
    monkeypatch.setattr(exporting, "export", lambda _, out: Path(shutil.copy(graph, out)))
    monkeypatch.setattr(exporting, "quantize", lambda file: file)
    monkeypatch.setattr(exporting, "parity", lambda _, file, __: Parity(24, 0.97, 0.01, 0.05, 1.0))
    assert main([str(folder / "checkpoint"), "--out", str(tmp_path), "--data", "x"]) == 1
    assert "not alike enough" in capsys.readouterr().out
    record = json.loads((tmp_path / PARITY).read_text())
    assert record["model.onnx"]["same_label"] == 0.97
    assert record["weights_sha256"] == weights_sha256(folder / "checkpoint")


def test_the_crops_may_be_of_a_table_whose_pictures_are_elsewhere(folder, checkpoint, tmp_path):
    rows = infant_rows(["train", "dev", "dev"])
    write_table(tmp_path, rows)
    (tmp_path / "elsewhere").mkdir()
    pictures = tmp_path / "elsewhere" / "infants.zip"
    named_pictures(pictures, [row["file"] for row in rows])
    images = read_labeled_images(tmp_path / "infants.csv", pictures=[pictures])
    crops = np.zeros((3, checkpoint.crop.size, checkpoint.crop.size, 3), np.uint8)
    store_faces(images, tmp_path / "cache", crops, np.zeros((3, GEOMETRY_SIZE)))
    feed = exporting.crops_of(str(tmp_path / "infants.csv"), [pictures], tmp_path / "cache", checkpoint)
    assert len(feed["crop_rgb"]) == 2
    command = [str(folder / "checkpoint"), "--out", str(tmp_path / "out"), "--data", str(tmp_path / "infants.csv")]
    options = exporting._parser().parse_args([*command, "--pictures", str(pictures)])
    assert options.pictures == [pictures]


def test_an_export_that_stops_half_way_leaves_the_earlier_one_and_can_be_repeated(folder, graph, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "export", lambda _, out: Path(shutil.copy(graph, out)))
    earlier = {"model.onnx": "a graph", INT8: "a graph", PARITY: '{"model.onnx": {}}', "notes.txt": "mine"}
    for name, text in earlier.items():
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_text(text)
    with monkeypatch.context() as stopped:
        stopped.setattr(exporting, "quantize", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            exporting._write_graphs(
                exporting._parser().parse_args([str(folder / "checkpoint"), "--out", str(tmp_path / "out")])
            )
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == earlier
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert main([str(folder / "checkpoint"), "--out", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.onnx", INT8, "notes.txt"}


def test_no_comparison_stays_beside_the_graph_of_another_checkpoint(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "quantize", lambda file: file)
    earlier = {"model.onnx": "a graph", INT8: "a graph", PARITY: '{"model.onnx": {}}', "notes.txt": "mine"}
    for name, text in earlier.items():
        (tmp_path / name).write_text(text)
    assert main([str(folder / "base"), "--out", str(tmp_path)]) == 1  # it cannot be exported, so the earlier one stays
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == earlier
    assert main([str(folder / "checkpoint"), "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "notes.txt"}


@pytest.mark.parametrize("content", ["mine", "[]", "1", '{"parity": "mine"}'])
def test_a_parity_json_of_another_program_is_refused(folder, tmp_path, content, capsys):
    (tmp_path / "model.onnx").write_bytes(b"a graph")
    (tmp_path / PARITY).write_text(content)
    assert main([str(folder / "checkpoint"), "--out", str(tmp_path)]) == 1
    assert "did not write" in capsys.readouterr().err
    assert (tmp_path / PARITY).read_text() == content


def test_the_graph_of_another_program_is_not_replaced(folder, tmp_path, capsys):
    (tmp_path / "model.onnx").write_bytes(b"a graph")
    (tmp_path / "tokenizer.json").write_text("{}")
    assert main([str(folder / "checkpoint"), "--out", str(tmp_path)]) == 1
    assert "did not write" in capsys.readouterr().err
    assert (tmp_path / "model.onnx").read_bytes() == b"a graph"
    (tmp_path / INT8).write_bytes(b"a graph in 8 bits")
    assert exporting._is_export(tmp_path)


def test_what_cannot_be_exported_is_said_in_one_sentence(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 1
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(next(EXAMPLES.glob("*.jpg")).read_bytes())
    assert main([str(tmp_path / "nowhere"), "--out", str(tmp_path / "photos")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
