"""Checkpoints whose weights or settings do not fit are refused in one sentence, before they cost memory or run code."""

import socket

import pytest
from safetensors.torch import load_file, save_file

from infant_fer.checkpoints import loading as checkpoint_loading
from infant_fer.labels import AFFECTS
from tests.tiny_checkpoints import crop, edit, load, refusal, save_tiny


@pytest.fixture
def folder(tmp_path):
    """Return a sound checkpoint folder that a test may spoil."""
    folder = tmp_path / "faces"
    folder.mkdir()
    return save_tiny(folder)


def test_weights_of_another_shape_are_refused(folder):
    edit(folder / "config.json", intermediate_size=96)
    assert "do not fit its config.json" in refusal(load, folder)


def test_weights_that_lack_a_parameter_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.bias"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "such as classifier.bias" in refusal(load, folder)


def test_another_number_of_classes_than_the_weights_have_is_refused(folder):
    edit(folder / "config.json", id2label=dict(enumerate(AFFECTS)), label2id={})
    assert "do not fit its config.json" in refusal(load, folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_at_once(folder, value):
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"][0, 0] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "gave no finite answer; its weights are damaged" in refusal(load, folder)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"num_attention_heads": 0}),
        ("config.json", {"patch_size": 0}),
        ("config.json", {"hidden_size": 0}),
        ("config.json", {"hidden_size": "large"}),
        ("config.json", {"image_size": []}),
        ("config.json", {"hidden_act": "no such function"}),
        ("config.json", {"dtype": [0]}),
        ("config.json", {"num_channels": 1}),
        ("preprocessor_config.json", {"image_processor_type": "NoSuchProcessor"}),
        ("preprocessor_config.json", {"image_mean": [0.5]}),
        ("preprocessor_config.json", {"image_std": "x"}),
        ("preprocessor_config.json", {"rescale_factor": "x"}),
        ("preprocessor_config.json", {"size": {"height": 40, "width": 40}}),
    ],
)
def test_settings_that_cannot_work_give_one_sentence(folder, file, changes):
    edit(folder / file, **changes)
    assert refusal(load, folder).startswith(
        ("faces could not be loaded", "The weights of faces do not fit", "faces wants")
    )


def test_too_many_parameters_are_refused_before_memory_is_taken(folder, monkeypatch):
    monkeypatch.setattr(checkpoint_loading, "MAX_PARAMETERS", 1000)
    assert "parameters; at most" in refusal(load, folder)


def test_loading_runs_no_code_of_the_folder_and_makes_no_connection(folder, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    marker = folder / "ran"
    for name in ("modeling_vit.py", "image_processing_vit.py", "configuration_vit.py", "__init__.py"):
        (folder / name).write_text(f"open({str(marker)!r}, 'w')\n")
    (folder / "pytorch_model.bin").write_bytes(b"not to be opened")
    load(folder).predict(crop())
    assert not marker.exists()
