"""Which checkpoint folders are sound, which are refused, and which ship."""

import json
import re
import shutil
import struct
import sys

import pytest
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

from infant_fer.checkpoints import safety
from infant_fer.checkpoints import sources as checkpoints
from infant_fer.checkpoints.hub import HubRevision
from infant_fer.checkpoints.loading import load_checkpoint
from infant_fer.checkpoints.sources import HUB_ID, KNOWN, embedded, is_hub_id, resolve
from tests.tiny_checkpoints import edit, refusal, save_tiny


@pytest.fixture
def folder(tiny, tmp_path):
    """Return a sound checkpoint folder that a test may spoil."""
    return shutil.copytree(tiny, tmp_path / "faces")


def test_a_sound_folder_is_given_back_as_it_is(folder):
    checkpoint = resolve(folder)
    assert (checkpoint.path, checkpoint.name, checkpoint.revision) == (folder, "faces", None)
    assert checkpoint.card == "# A tiny checkpoint\n"


def test_a_folder_without_a_card_has_an_empty_one(folder):
    (folder / "README.md").unlink()
    assert resolve(folder).card == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"auto_map": {"AutoModel": "evil.Model"}}, "code of its own"),
        ({"_attn_implementation_internal": "someone/kernel"}, "code of its own"),
        ({"attn_implementation": "someone/kernel"}, "code of its own"),
        ({"attn_implementation": {"": "someone/kernel"}}, "code of its own"),
        ({"attn_implementation": "flash_attention_2"}, "code of its own"),
        ({"vision_config": {"attn_implementation": "someone/kernel"}}, "code of its own"),
        ({"stages": [[{"_attn_implementation": "someone/kernel"}]]}, "code of its own"),
        ({"experts_implementation": "someone/kernel"}, "code of its own"),
        ({"a": {"auto_map": {}}}, "code of its own"),
        ({"configuration_files": ["config.4.0.0.json"]}, "names other files"),
        ({"transformers_weights": "other.bin"}, "names other files"),
        ({"a": json.loads("[" * 900 + "]" * 900)}, "nested more than"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantised"),
        ({"model_type": "brand_new"}, "model type 'brand_new'"),
        ({"model_type": "llama"}, "model type 'llama'"),
        ({"model_type": None}, "model type None"),
        ({"model_type": ["vit"]}, "model type ['vit']"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"hidden_size": -5}, "hidden_size"),
        ({"hidden_size": 10**6}, "hidden_size"),
        ({"image_size": 100_000}, "image_size"),
        ({"image_size": [32, 100_000]}, "image_size"),
        ({"anything": [[10**12]]}, "anything"),
        ({"anything": 10**400}, "anything = 1e+300"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps"),
        ({"layer_norm_eps": float("inf")}, "layer_norm_eps"),
        ({"hidden_size": 1e12}, "hidden_size"),
        ({"model_type": "efficientnet", "depth_coefficient": 1e9}, "depth_coefficient"),
        ({"model_type": "infant_face", "widths": [16] * 100_000, "blocks_per_stage": 64}, "100000 entries of widths"),
        ({"backbones": {"dinov2": {"depths": [[1] * 65]}}}, "65 entries of depths"),
        (
            {"model_type": "timm_wrapper", "architecture": "vit_tiny_patch16_224", "model_args": {"depth": 70_000}},
            "depth = 70000",
        ),
        ({"id2label": None}, "names no classes"),
        ({"id2label": {}}, "names no classes"),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, "unnamed classes"),
        ({"id2label": {"0": "cat", "1": "dog"}}, "'cat' is no affect and no emotion"),
        ({"id2label": {"0": "happy", "1": "sad"}}, "no neutral"),
        ({"id2label": {"0": "happy", "2": "neutral", "3": "sad"}}, "without a gap"),
        ({"id2label": {"a": "happy"}}, "without a gap"),
        ({"id2label": {str(index): "happy" for index in range(1000)}}, "1000 classes"),
        ({"face_crop": {"size": 10**6}}, "face_crop"),
        ({"face_crop": {"size": 32, "__class__": "x"}}, "face_crop"),
        ({"face_crop": {"size": 32, "margin": -1}}, "face_crop"),
        ({"logit_temperature": 0}, "logit_temperature"),
        ({"logit_temperature": -1.5}, "logit_temperature"),
        ({"logit_temperature": "warm"}, "logit_temperature"),
    ],
)
def test_an_unsafe_config_is_refused(folder, changes, words):
    edit(folder / "config.json", **changes)
    assert words in refusal(resolve, folder)


def test_the_config_of_no_architecture_of_transformers_is_refused_for_its_sizes(folder):
    labels = {"id2label": {"0": "positive", "1": "neutral", "2": "negative"}}
    for kind in sorted({*MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES} - {"shieldgemma2", "timm_wrapper"}):
        (folder / "config.json").write_text(json.dumps(CONFIG_MAPPING[kind]().to_dict() | labels))
        assert resolve(folder).path == folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"auto_map": {"AutoImageProcessor": "evil.Processor"}}, "code of its own"),
        ({"size": {"height": 100_000, "width": 32}}, "size = 100000"),
        ({"size": 0}, "size = 0"),
    ],
)
def test_an_unsafe_preprocessor_is_refused(folder, changes, words):
    edit(folder / "preprocessor_config.json", **changes)
    assert words in refusal(resolve, folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff\xfe", "[" * 100_000])
@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_settings_that_are_no_json_object_are_refused(folder, file, text):
    (folder / file).write_bytes(text.encode("latin-1"))
    assert file in refusal(resolve, folder)


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, file):
    (folder / file).unlink()
    assert file in refusal(resolve, folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"image_processor": {"size": {"height": 60_000, "width": 60_000}}}, "has size = 60000 in processor_config"),
        ({"image_processor": {"auto_map": {"AutoImageProcessor": "evil.Evil"}}}, "asks for code of its own"),
        ({"image_processor": ["size"]}, "processor_config.json of faces holds no settings"),
    ],
)
def test_settings_that_replace_the_checked_ones_are_checked_as_well(folder, content, words):
    (folder / "processor_config.json").write_text(json.dumps(content))
    assert words in refusal(resolve, folder)


def test_sound_settings_of_a_whole_processor_are_accepted(folder):
    own = json.loads((folder / "preprocessor_config.json").read_text())
    edit(folder / "preprocessor_config.json", image_mean=[0.1, 0.1, 0.1])
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": own}))
    assert list(load_checkpoint(folder).processor.image_mean) == own["image_mean"]  # transformers prefers them


def test_an_adapter_is_refused(folder):
    (folder / "adapter_config.json").write_text("{}")
    assert "would add other weights" in refusal(resolve, folder)


def test_a_kernel_that_passed_the_checks_is_not_loaded_either(folder, monkeypatch):
    monkeypatch.setattr(safety, "_refuse_code", lambda *_: None)
    edit(folder / "config.json", attn_implementation="someone/kernel")
    assert load_checkpoint(folder).model.config._attn_implementation == "sdpa"


def test_loading_opens_no_file_but_the_checked_ones(folder, monkeypatch):
    allowed = {"config.json", "preprocessor_config.json", "model.safetensors", "README.md"}
    for name in ("config.1.0.0.json", "generation_config.json", "video_preprocessor_config.json", "evil.py",
                 "model.fp16.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "tokenizer_config.json"):  # fmt: skip
        (folder / name).write_text("{}")
    opened: set[str] = set()
    note = [
        lambda event, given: event == "open" and str(given[0]).startswith(str(folder)) and opened.add(str(given[0]))
    ]
    sys.addaudithook(lambda event, given: note and note[0](event, given))  # a hook cannot be removed
    load_checkpoint(folder)
    note.clear()
    assert {path.removeprefix(f"{folder}/") for path in opened} == allowed


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl", "last.ckpt"])
def test_weights_that_can_run_code_are_refused(folder, name):
    (folder / "model.safetensors").rename(folder / name)
    assert f"{name}, a format that can run code" in refusal(resolve, folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"\x80\x04\x95" + b"pickle" * 20,
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2) + b"[]",
    ],
)
def test_weights_that_are_no_safetensors_are_refused(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    assert "damaged or no safetensors file" in refusal(resolve, folder)


def test_weights_cut_short_are_refused(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "damaged" in refusal(resolve, folder)


def test_shards_are_accepted_and_a_lost_one_is_named(tmp_path):
    folder = save_tiny(tmp_path / "shards", max_shard_size="20KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert resolve(folder).path == folder
    shards[1].unlink()
    assert shards[1].name in refusal(resolve, folder)


@pytest.mark.parametrize("shard", ["../model.safetensors", "/etc/passwd", "model.bin", ""])
def test_an_index_that_points_elsewhere_is_refused(folder, shard):
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    assert "names no safetensors files beside it" in refusal(resolve, folder)


@pytest.mark.parametrize(
    "source",
    [
        "no_such_folder",
        "/no/such/folder",
        "a/b/c",
        "http://host/a/b",
        "../x/y",
        "a b/c",
        "../mymodel",
        "./mymodel",
        "~/mymodel",
        "~nobody/mymodel",
        "checkpoints/infant-fer-smal",
        "mine/typo@main",
    ],
)
def test_what_is_neither_folder_nor_id_is_refused_without_asking_the_hub(source, tmp_path, monkeypatch):
    for folder in ("checkpoints/infant-fer-small", "mine"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HubRevision, "cached", lambda *_: pytest.fail("the Hub's cache was searched"))
    monkeypatch.setattr(checkpoints, "download", lambda *_: pytest.fail("the Hub got a request"))
    assert "no folder and no Hub id" in refusal(resolve, source)
    assert not is_hub_id(source)


def test_a_checkpoint_of_training_that_is_not_in_the_working_folder_is_not_asked_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # without a folder checkpoints/
    monkeypatch.setattr(checkpoints, "download", lambda *_: pytest.fail("the Hub got a request"))
    assert "there is no folder checkpoints/ here" in refusal(resolve, "checkpoints/mine")


def test_a_home_folder_may_be_abbreviated_and_a_folder_is_named_in_full(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert resolve("~/faces").path == folder
    monkeypatch.chdir(folder)
    assert resolve(".").name == "faces"


def test_embedded_checkpoints_come_default_first(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "EMBEDDED_ROOT", tmp_path)
    assert embedded() == []
    assert "No checkpoint ships" in refusal(resolve)
    unfinished = (".0123456789abcdef.part", ".another.earlier")  # of a training that writes, or was killed
    for name in ("another", checkpoints.DEFAULT_NAME, "no_checkpoint", *unfinished):
        (tmp_path / name).mkdir()
    for name in ("another", checkpoints.DEFAULT_NAME, *unfinished):
        (tmp_path / name / "config.json").touch()
    assert [path.name for path in embedded()] == [checkpoints.DEFAULT_NAME, "another"]


def test_the_default_checkpoint_ships_and_is_sound():
    assert resolve().path.name == checkpoints.DEFAULT_NAME


def test_known_checkpoints_are_well_formed():
    assert len({known.source for known in KNOWN}) == len(KNOWN)
    for known in KNOWN:
        assert HUB_ID.fullmatch(known.source)
        assert re.fullmatch("[0-9a-f]{40}", known.revision)
