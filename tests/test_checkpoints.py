"""Checkpoints from folders and, over real HTTP on loopback, from a stand-in for the Hub."""

import hashlib
import json
import re
import shutil
import socket
import struct
import time
from types import SimpleNamespace

import pytest
from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter

from infant_fer import checkpoints
from infant_fer import hub as hub_module
from infant_fer.checkpoints import HUB_ID, KNOWN, embedded, fetch_face_bundle, resolve
from infant_fer.errors import CheckpointError, FaceModelError
from infant_fer.hub import upload
from tests.fake_hub import FakeHub
from tests.tiny_checkpoints import save_tiny

REPO = "someone/faces"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def folder(tiny, tmp_path):
    """A sound checkpoint folder that a test may spoil."""
    return shutil.copytree(tiny, tmp_path / "faces")


@pytest.fixture
def hub(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "hub" / REPO)
    with FakeHub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def get(hub, tmp_path):
    """resolve() against the stand-in, with a cache of its own."""
    return lambda source=REPO, **options: resolve(source, endpoint=hub.url, cache_dir=tmp_path / "cache", **options)


def edit(file, **changes):
    settings = json.loads(file.read_text())
    for key, value in changes.items():
        settings.pop(key, None) if value is None else settings.update({key: value})
    file.write_text(json.dumps(settings))


def refusal(call, *arguments, **options) -> str:
    with pytest.raises(CheckpointError) as caught:
        call(*arguments, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


# --- folders ---------------------------------------------------------------------------------------------------------


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
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps"),
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


@pytest.mark.parametrize("source", ["no_such_folder", "/no/such/folder", "a/b/c", "http://host/a/b", "../x/y", "a b/c"])
def test_what_is_neither_folder_nor_id_is_refused(source):
    assert "no folder and no Hub id" in refusal(resolve, source)


# --- the Hub ---------------------------------------------------------------------------------------------------------


def test_a_download_takes_the_allowed_files_only(hub, get):
    for extra in ("evil.py", "training_args.bin", "pytorch_model.bin", "other.safetensors", "tokenizer.json"):
        (hub.root / REPO / extra).write_bytes(b"x")
    checkpoint = get()
    assert {file.name for file in checkpoint.path.iterdir()} == {
        "config.json",
        "preprocessor_config.json",
        "README.md",
        "model.safetensors",
    }
    assert checkpoint.name == REPO
    assert checkpoint.revision == hub.commit(REPO)
    assert checkpoint.card == "# A tiny checkpoint\n"
    weights = "model.safetensors"
    assert (checkpoint.path / weights).read_bytes() == (hub.root / REPO / weights).read_bytes()


def test_shards_are_downloaded(hub, get):
    save_tiny(hub.root / "someone/shards", max_shard_size="20KB")
    assert len(list(get("someone/shards").path.glob("model-*.safetensors"))) > 1


def test_the_second_use_makes_no_request_and_needs_no_hub(hub, get):
    first = get()
    hub.requests.clear()
    assert get() == first
    assert hub.requests == []
    hub.close()
    assert get() == first


def test_a_named_revision_is_used_and_kept_apart_from_main(hub, get):
    old = hub.commit(REPO)
    assert get(f"{REPO}@{old}").revision == old
    (hub.root / REPO / "README.md").write_text("# Newer\n")
    newer = get(revision=hub.commit(REPO))
    assert newer.card == "# Newer\n"
    hub.close()
    assert get(revision=old).card == "# A tiny checkpoint\n"
    assert get(revision=newer.revision) == newer


def test_main_keeps_the_commit_it_stood_for_at_first_use(hub, get):
    first = get()
    (hub.root / REPO / "README.md").write_text("# Newer\n")
    assert get() == first


def test_an_unknown_revision_is_told(get):
    assert "has no revision v9" in refusal(get, revision="v9")


def test_an_unknown_id_is_told(get):
    assert "The Hub has no public checkpoint nobody/nothing" in refusal(get, "nobody/nothing")


def test_no_network_is_told(hub, get):
    hub.close()
    assert "the Hub cannot be reached" in refusal(get)


def test_a_hub_in_trouble_is_told(hub, get):
    hub.status = 500
    assert "status 500" in refusal(get)


def test_a_repository_with_pickled_weights_only_is_refused_before_any_download(hub, get):
    (hub.root / REPO / "model.safetensors").rename(hub.root / REPO / "pytorch_model.bin")
    assert "pytorch_model.bin, a format that can run code" in refusal(get)
    assert [request for request in hub.requests if "/resolve/" in request] == []


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("config.json", {"auto_map": {"AutoModel": "evil.Model"}}, "code of its own"),
        ("config.json", {"id2label": None}, "names no classes"),
        ("config.json", {"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ("preprocessor_config.json", {"auto_map": {}}, "code of its own"),
    ],
)
def test_settings_are_checked_before_any_weight_is_asked_for(hub, get, file, changes, words):
    edit(hub.root / REPO / file, **changes)
    for _ in range(2):  # what the first attempt left in the cache is no way round
        assert words in refusal(get)
    assert hub.asked_for(".safetensors") == []


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_repository_that_lacks_a_file_is_refused(hub, get, file):
    (hub.root / REPO / file).unlink()
    assert file in refusal(get)


def test_too_much_weight_is_refused_before_it_is_downloaded(hub, get, monkeypatch):
    monkeypatch.setattr(hub_module, "MAX_WEIGHT_BYTES", 1000)
    assert "Choose a smaller one" in refusal(get)
    assert hub.asked_for(".safetensors") == []


@pytest.mark.parametrize("file", ["config.json", "README.md", "model.safetensors"])
def test_a_download_cut_short_leaves_no_half_file_and_can_be_repeated(hub, get, tmp_path, file):
    hub.faults[file] = "truncated"
    assert f"{file} of {REPO} could not be downloaded whole" in refusal(get)
    assert [path for path in (tmp_path / "cache").rglob(f"snapshots/*/{file}")] == []
    hub.faults.clear()
    assert (get().path / file).read_bytes() == (hub.root / REPO / file).read_bytes()


def test_a_broken_connection_is_resumed(hub, get):
    hub.faults["model.safetensors"] = "dropped once"
    weights = get().path / "model.safetensors"
    assert weights.read_bytes() == (hub.root / REPO / weights.name).read_bytes()
    assert len([request for request in hub.asked_for(".safetensors") if request.startswith("GET")]) == 2


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_altered_content_is_removed_and_can_be_repeated(hub, get, tmp_path, file):
    hub.faults[file] = "altered"
    assert f"{file} of {REPO} arrived altered" in refusal(get)
    assert [path for path in (tmp_path / "cache").rglob(f"snapshots/*/{file}")] == []
    hub.faults.clear()
    assert (get().path / file).read_bytes() == (hub.root / REPO / file).read_bytes()


def test_content_altered_in_the_cache_is_noticed_and_mended(hub, get):
    weights = (get().path / "model.safetensors").resolve()
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "altered" in refusal(get)
    assert (get().path / "model.safetensors").read_bytes() == content


@pytest.fixture
def in_xet_store(get, tmp_path):
    """A checkpoint in the cache as Xet leaves it: the blob is a link into a store that names files by another hash."""
    weights = get().path / "model.safetensors"
    blob = weights.parent / weights.readlink()
    store = tmp_path / "cache" / "shared-blobs" / "ab" / ("ab" * 32)
    store.parent.mkdir(parents=True)
    blob.rename(store)
    blob.symlink_to(store)
    return store


def test_a_checkpoint_in_xets_store_is_used_again_without_a_request(hub, get, in_xet_store):
    hub.requests.clear()
    assert (get().path / "model.safetensors").resolve() == in_xet_store
    assert hub.requests == []


def test_content_altered_in_xets_store_is_noticed_and_mended(hub, get, in_xet_store):
    content = in_xet_store.read_bytes()
    in_xet_store.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "altered" in refusal(get)
    assert (get().path / "model.safetensors").read_bytes() == content


def test_progress_counts_what_xet_receives_and_writes_once():
    told = []
    tally = hub_module._Tally(lambda share, words: told.append(share), total=200)
    bars = XetDownloadProgressReporter(
        reconstruction_desc="x", total=100, log_level=20, name="a", tqdm_class=tally.bar()
    )
    with bars:
        for received, written in ((50, 0), (100, 60), (100, 100)):
            bars.update_progress(
                SimpleNamespace(
                    total_bytes=100,
                    total_bytes_completed=written,
                    total_transfer_bytes_completed=received,
                    total_bytes_completion_rate=1.0,
                    total_transfer_bytes_completion_rate=1.0,
                )
            )
    assert tally.done == 100
    assert told[-1] == 0.5


def test_a_hub_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(hub_module, "SECONDS_TO_ANSWER", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        endpoint = f"http://127.0.0.1:{mute.getsockname()[1]}"
        start = time.monotonic()
        assert "cannot be reached" in refusal(resolve, REPO, endpoint=endpoint, cache_dir=tmp_path)
    assert time.monotonic() - start < 3


def test_a_folder_is_loaded_without_any_connection(folder, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert resolve(folder).path == folder


def test_progress_is_the_share_of_all_bytes(get):
    told = []
    get(on_progress=lambda share, words: told.append((share, words)))
    shares = [share for share, _ in told]
    assert shares[-1] == pytest.approx(1.0)
    assert all(0 <= share <= 1 for share in shares)
    assert all(words for _, words in told)


# --- what ships ------------------------------------------------------------------------------------------------------


def test_embedded_checkpoints_come_default_first(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "EMBEDDED_ROOT", tmp_path)
    assert embedded() == []
    assert "No checkpoint ships" in refusal(resolve)
    for name in ("another", checkpoints.DEFAULT_NAME, "no_checkpoint"):
        (tmp_path / name).mkdir()
    for name in ("another", checkpoints.DEFAULT_NAME):
        (tmp_path / name / "config.json").touch()
    assert [path.name for path in embedded()] == [checkpoints.DEFAULT_NAME, "another"]


def test_the_default_checkpoint_ships_and_is_sound():
    assert resolve().path.name == checkpoints.DEFAULT_NAME


def test_known_checkpoints_are_well_formed():
    assert len({known.source for known in KNOWN}) == len(KNOWN)
    for known in KNOWN:
        assert HUB_ID.fullmatch(known.source)
        assert known.revision is None or re.fullmatch("[0-9a-f]{40}", known.revision)


# --- the face landmark bundle ----------------------------------------------------------------------------------------


def test_the_face_bundle_is_saved_only_with_the_right_hash(hub, tmp_path):
    url, content = f"{hub.url}/{REPO}/resolve/main/README.md", b"# A tiny checkpoint\n"
    target = tmp_path / "new" / "face_landmarker.task"
    assert fetch_face_bundle(target, url, hashlib.sha256(content).hexdigest()) == target
    assert target.read_bytes() == content
    with pytest.raises(FaceModelError, match="not the expected"):
        fetch_face_bundle(target, url, "0" * 64)
    assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_face_bundle_that_cannot_be_had_is_told(hub, tmp_path):
    for url in (f"{hub.url}/nothing", "http://127.0.0.1:1/bundle"):
        with pytest.raises(FaceModelError, match="could not be downloaded"):
            fetch_face_bundle(tmp_path / "bundle", url)
    assert not (tmp_path / "bundle").exists()


# --- uploading --------------------------------------------------------------------------------------------------------


@pytest.fixture
def by_http(monkeypatch):
    """Large files go over plain HTTP: the stand-in speaks no Xet."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", FakeHub.TOKEN)


@pytest.mark.filterwarnings("ignore:Use 'content=<...>'")  # how huggingface_hub calls httpx2
def test_an_uploaded_checkpoint_comes_back_the_same(folder, hub, get, by_http):
    (folder / "report.html").write_text("<p>figures</p>")
    assert upload(folder, "someone/new", endpoint=hub.url) == f"{hub.url}/someone/new"
    sent = {file.name: file.read_bytes() for file in hub.files("someone/new")}
    assert sent == {file.name: file.read_bytes() for file in folder.iterdir()}
    back = get("someone/new").path
    assert (back / "model.safetensors").read_bytes() == sent["model.safetensors"]


def test_an_upload_that_is_not_allowed_says_what_to_do(folder, hub, by_http, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(CheckpointError, match="hf auth login"):
        upload(folder, "someone/new", endpoint=hub.url)
    assert not (hub.root / "someone" / "new").exists()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError):
        upload(folder, "someone/new", endpoint=hub.url)
