"""Checkpoints from and to the Hub, over real HTTP on loopback with a stand-in."""

import errno
import hashlib
import shutil
import socket
import time
from types import SimpleNamespace

import pytest
from filelock import FileLock
from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter

from infant_fer.checkpoints import hub as hub_module
from infant_fer.checkpoints import limits, sources
from infant_fer.checkpoints import registry as registry_module
from infant_fer.checkpoints import sources as bundle_module
from infant_fer.checkpoints.hub import HubRevision, upload
from infant_fer.checkpoints.sources import KnownCheckpoint, fetch_face_bundle, resolve
from infant_fer.errors import CheckpointError, FaceModelError
from tests.fake_hub import FakeHub
from tests.tiny_checkpoints import edit, refusal, save_tiny

REPO = "someone/faces"


@pytest.fixture
def folder(tiny, tmp_path):
    """Return a sound checkpoint folder that a test may spoil."""
    return shutil.copytree(tiny, tmp_path / "faces")


@pytest.fixture
def hub(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "hub" / REPO)
    with FakeHub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def get(hub, tmp_path):
    """Call resolve() on the fake Hub, with a cache of its own."""
    return lambda source=REPO, **options: resolve(source, endpoint=hub.url, cache_dir=tmp_path / "cache", **options)


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
    assert len([request for request in hub.requests_for(".safetensors") if request.startswith("GET")]) == 2


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
    """Store a checkpoint in the cache as Xet does: the blob is a link into a store that names files by another hash."""
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
    reports = []
    tally = hub_module._Tally(lambda share, words: reports.append(share), total=200)
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
    assert reports[-1] == 0.5


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_file_that_trickles_is_given_up(hub, get, monkeypatch, file):
    monkeypatch.setattr(limits, "SECONDS_TO_ANSWER", 0.5)
    hub.faults[file] = "slow"
    start = time.monotonic()
    assert f"{file} of {REPO} came too slowly" in refusal(get)
    assert time.monotonic() - start < 5
    hub.faults.clear()
    assert get().name == REPO


def test_a_head_that_hangs_is_given_up(hub, get, monkeypatch):
    monkeypatch.setattr(limits, "SECONDS_TO_ANSWER", 0.3)
    monkeypatch.setattr(hub_module, "SECONDS_FOR_SETTINGS", 2)
    hub.faults["config.json"] = "mute HEAD"
    start = time.monotonic()
    assert "config.json" in refusal(get)
    assert time.monotonic() - start < 8


def test_headers_that_trickle_are_given_up(hub, get, monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "SECONDS_TO_ANSWER", 0.5)
    monkeypatch.setattr(hub_module, "SECONDS_FOR_SETTINGS", 1)
    hub.faults = dict.fromkeys(("config.json", "README.md"), "slow headers")
    start = time.monotonic()
    assert "config.json" in refusal(get)
    with pytest.raises(FaceModelError, match="could not be downloaded"):
        fetch_face_bundle(tmp_path / "bundle", f"{hub.url}/{REPO}/resolve/main/README.md")
    assert time.monotonic() - start < 6


def test_a_file_that_is_larger_than_announced_is_given_up(hub, get, tmp_path):
    hub.faults["README.md"] = "endless"
    assert f"README.md of {REPO} was larger than announced" in refusal(get)
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file()) < 2**16


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "README.md"])
def test_a_large_settings_file_or_card_is_refused_before_it_is_downloaded(hub, get, file):
    (hub.root / REPO / file).write_bytes(b" " * (2**20 + 1))
    assert f"{file} of {REPO} is larger than 1 MB" in refusal(get)
    assert not [request for request in hub.requests if "/resolve/" in request]


def test_the_login_page_of_a_network_is_not_taken_for_the_hub(hub, get, monkeypatch):
    hub.portal = True
    assert "login page" in refusal(get)
    hub.portal = False
    listing = hub_module._listing
    monkeypatch.setattr(hub_module, "_listing", lambda wanted: (listing(wanted), setattr(hub, "portal", True))[0])
    assert "config.json" in (sentence := refusal(get))
    assert "login page" in sentence


def test_a_full_disk_is_named(get, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hub_module, "hf_hub_download", full)
    assert "The disk is full" in refusal(get)


def test_what_a_killed_download_left_goes_at_the_next_one_and_a_living_one_keeps_its_own(hub, get, tmp_path):
    repository = f"models--{REPO.replace('/', '--')}"
    blobs, locks = tmp_path / "cache" / repository / "blobs", tmp_path / "cache" / ".locks" / repository
    blobs.mkdir(parents=True)
    locks.mkdir(parents=True)
    left, living = blobs / f"{'a' * 64}.0123abcd.incomplete", blobs / f"{'b' * 64}.0123abcd.incomplete"
    left.write_bytes(b"half")
    living.write_bytes(b"half")
    with FileLock(locks / f"{'b' * 64}.lock"):
        get()
    assert not left.exists()
    assert living.exists()


def test_a_hub_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(hub_module, "SECONDS_TO_ANSWER", 0.3)
    monkeypatch.setattr(limits, "SECONDS_TO_ANSWER", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        endpoint = f"http://127.0.0.1:{mute.getsockname()[1]}"
        start = time.monotonic()
        assert "cannot be reached" in refusal(resolve, REPO, endpoint=endpoint, cache_dir=tmp_path)
    assert time.monotonic() - start < 3


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
