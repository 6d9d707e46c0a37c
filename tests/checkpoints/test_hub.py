"""Checkpoints from and to the Hub, over real HTTP on loopback with a stand-in."""

import hashlib
import socket

import pytest

from infant_fer.checkpoints import hub as hub_module
from infant_fer.checkpoints import registry as registry_module
from infant_fer.checkpoints import sources
from infant_fer.checkpoints import sources as bundle_module
from infant_fer.checkpoints.hub import HubRevision, upload
from infant_fer.checkpoints.sources import KnownCheckpoint, fetch_face_bundle, resolve
from infant_fer.errors import CheckpointError, FaceModelError
from infant_fer.training.reports.artifacts import OWN_FILES
from tests.fake_hub import REPO, FakeHub
from tests.tiny_checkpoints import edit, refusal, save_tiny


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


def test_settings_of_a_whole_processor_come_along_and_are_checked(hub, get, tmp_path):
    file = hub.root / REPO / "processor_config.json"
    file.write_text('{"image_processor": {"size": {"height": 60000, "width": 60000}}}')
    assert "has size = 60000 in processor_config.json" in refusal(get)
    assert not hub.requests_for("model.safetensors")
    file.write_text('{"processor_class": "ViTProcessor"}')
    assert (get().path / file.name).read_text() == file.read_text()


def test_trust_data_come_along_both_or_none(hub, get):
    names = ("trust.json", "trust.safetensors")
    (hub.root / REPO / names[0]).write_text("{}")
    assert not {file.name for file in get().path.iterdir()} & set(names)
    (hub.root / REPO / names[1]).write_bytes(b"tensors")
    commit = hub.commit(REPO)
    with_trust = get(f"{REPO}@{commit}").path
    assert [(with_trust / name).read_bytes() for name in names] == [b"{}", b"tensors"]
    (with_trust / names[1]).resolve().write_bytes(b"altered")
    assert "trust.safetensors of someone/faces arrived altered" in refusal(get, f"{REPO}@{commit}")
    again = get(f"{REPO}@{commit}").path
    assert (again / names[1]).read_bytes() == b"tensors"


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


def test_a_known_checkpoint_is_requested_at_its_pinned_commit(hub, get, monkeypatch):
    pinned = hub.commit(REPO)
    monkeypatch.setattr(sources, "KNOWN", (KnownCheckpoint(REPO, "a tiny one", pinned),))
    assert get().revision == pinned
    assert f"GET /api/models/{REPO}/revision/{pinned}" in hub.requests
    assert not any("main" in request for request in hub.requests)
    assert {request.split("/resolve/")[1].split("/")[0] for request in hub.requests if "/resolve/" in request} == {
        pinned
    }
    (hub.root / REPO / "README.md").write_text("# Newer\n")
    assert get().revision == pinned  # it stays where it was pinned
    assert get(revision=hub.commit(REPO)).card == "# Newer\n"


def test_a_pinned_commit_that_is_gone_is_not_replaced_by_the_newest(get, monkeypatch):
    monkeypatch.setattr(sources, "KNOWN", (KnownCheckpoint(REPO, "a tiny one", "0" * 40),))
    assert f"has no revision {'0' * 40}" in refusal(get)


def test_a_page_loads_a_known_checkpoint_at_its_pinned_commit(hub, tmp_path, monkeypatch):
    pinned = hub.commit(REPO)
    for module in (sources, registry_module):
        monkeypatch.setattr(module, "KNOWN", (KnownCheckpoint(REPO, "a tiny one", pinned),))
    monkeypatch.setattr(
        sources,
        "HubRevision",
        lambda repo_id, revision, *_: HubRevision(repo_id, revision, hub.url, tmp_path / "cache"),
    )
    registry = registry_module.CheckpointRegistry(registry_module.available_checkpoints())
    assert registry.analyzer(REPO).classifier.name == REPO
    assert f"GET /api/models/{REPO}/revision/{pinned}" in hub.requests
    assert not any("main" in request for request in hub.requests)


def test_an_unknown_revision_is_reported(get):
    assert "has no revision v9" in refusal(get, revision="v9")


@pytest.mark.parametrize("source", ["nobody/nothing", "some--one/faces", "someone/fa..ces", "someone/faces."])
def test_an_unknown_or_impossible_id_is_refused(get, source):
    assert f"The Hub has no public checkpoint {source}" in refusal(get, source)


def test_no_network_is_reported(hub, get):
    hub.close()
    assert "the Hub cannot be reached" in refusal(get)


def test_a_hub_in_trouble_is_reported(hub, get):
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
def test_settings_are_checked_before_any_weight_is_requested(hub, get, file, changes, words):
    edit(hub.root / REPO / file, **changes)
    for _ in range(2):  # what the first attempt left in the cache is no way round
        assert words in refusal(get)
    assert hub.requests_for(".safetensors") == []


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_repository_that_lacks_a_file_is_refused(hub, get, file):
    (hub.root / REPO / file).unlink()
    assert file in refusal(get)


def test_too_much_weight_is_refused_before_it_is_downloaded(hub, get, monkeypatch):
    monkeypatch.setattr(hub_module, "MAX_WEIGHT_BYTES", 1000)
    assert "Choose a smaller one" in refusal(get)
    assert hub.requests_for(".safetensors") == []


def test_a_folder_is_loaded_without_any_connection(folder, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert resolve(folder).path == folder


def test_progress_is_the_share_of_all_bytes(get):
    reports = []
    get(on_progress=lambda share, words: reports.append((share, words)))
    shares = [share for share, _ in reports]
    assert shares[-1] == pytest.approx(1.0)
    assert all(0 <= share <= 1 for share in shares)
    assert all(words for _, words in reports)


def test_the_face_bundle_is_saved_only_with_the_right_hash(hub, tmp_path):
    url, content = f"{hub.url}/{REPO}/resolve/main/README.md", b"# A tiny checkpoint\n"
    target = tmp_path / "new" / "face_landmarker.task"
    assert fetch_face_bundle(target, url, hashlib.sha256(content).hexdigest()) == target
    assert target.read_bytes() == content
    with pytest.raises(FaceModelError, match="not the expected"):
        fetch_face_bundle(target, url, "0" * 64)
    assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_face_bundle_that_cannot_be_had_is_reported(hub, tmp_path):
    for url in (f"{hub.url}/nothing", "http://127.0.0.1:1/bundle"):
        with pytest.raises(FaceModelError, match="could not be downloaded"):
            fetch_face_bundle(tmp_path / "bundle", url)
    assert not (tmp_path / "bundle").exists()


def test_a_damaged_face_bundle_is_found_out_before_it_is_used(tmp_path, monkeypatch):
    own = tmp_path / "face_landmarker.task"
    content = bytearray(bundle_module.local_bundle().read_bytes())
    monkeypatch.setattr(bundle_module, "LOCAL_BUNDLE", own)
    own.write_bytes(content)
    assert bundle_module.face_bundle() == own
    content[1000] ^= 1
    own.write_bytes(content)
    with pytest.raises(FaceModelError, match="not the expected"):
        bundle_module.face_bundle()


@pytest.fixture
def by_http(monkeypatch):
    """Let large files go over plain HTTP: the fake Hub speaks no Xet."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", FakeHub.TOKEN)


@pytest.mark.filterwarnings("ignore:Use 'content=<...>'")  # how huggingface_hub calls httpx2
def test_an_uploaded_checkpoint_comes_back_the_same(folder, hub, get, by_http):
    (folder / "report.html").write_text("<p>figures</p>")
    own = {file.name: file.read_bytes() for file in folder.iterdir()}
    for private in ("faces.html", "notes.txt", "maps/a.png"):
        (folder / private).parent.mkdir(exist_ok=True)
        (folder / private).write_text("a picture of an infant")
    assert upload(folder, "someone/new", OWN_FILES, endpoint=hub.url) == f"{hub.url}/someone/new"
    sent = {file.name: file.read_bytes() for file in hub.files("someone/new")}
    assert sent == own
    back = get("someone/new").path
    assert (back / "model.safetensors").read_bytes() == sent["model.safetensors"]


def test_an_upload_that_is_not_allowed_says_what_to_do(folder, hub, by_http, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(CheckpointError, match="hf auth login"):
        upload(folder, "someone/new", OWN_FILES, endpoint=hub.url)
    assert not (hub.root / "someone" / "new").exists()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError):
        upload(folder, "someone/new", OWN_FILES, endpoint=hub.url)
