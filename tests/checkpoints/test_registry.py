"""What a page's visitors see of the checkpoints, and what is loaded when."""

import shutil
import threading
import time

import pytest

from infant_fer.checkpoints import registry as registry_module
from infant_fer.checkpoints.hub import UNREACHABLE
from infant_fer.checkpoints.registry import MAX_WAITING, CheckpointEntry, CheckpointRegistry, available_checkpoints
from infant_fer.classifier import AffectClassifier
from infant_fer.errors import CheckpointError
from infant_fer.locales import Message, translator


def test_names_and_titles_show_no_path(tiny, tmp_path):
    (tmp_path / "a").mkdir()
    first, second = tmp_path / "model", tmp_path / "a" / "model"
    for folder in (first, second):
        shutil.copytree(tiny, folder)
    entries = available_checkpoints(
        [str(first), f"{first}/", str(second), str(tmp_path / "missing"), "owner/name@main"]
    )
    names = [entry.name for entry in entries]
    assert names[:4] == ["model", "model (2)", "missing", "owner/name@main"]
    assert len(set(names)) == len(names)
    assert not any(str(tmp_path) in text for entry in entries for text in (entry.name, entry.title))
    registry = CheckpointRegistry(entries)
    assert registry.default == "model"
    assert registry.analyzer("model (2)").classifier.name == "model"
    for name in ("missing", str(second), "/etc"):
        with pytest.raises(CheckpointError) as refused:
            registry.analyzer(name)
        assert str(tmp_path) not in str(refused.value)


def test_known_checkpoints_are_loaded_at_their_pinned_revision(monkeypatch):
    revisions, real = [], AffectClassifier.from_pretrained

    def loaded(source, revision=None, **options):
        revisions.append(revision)
        return real()

    monkeypatch.setattr(AffectClassifier, "from_pretrained", loaded)
    pinned = "1a1a6dcc90944ffcf5819641963caf2226d69aab"
    CheckpointRegistry(available_checkpoints()).analyzer("motheecreator/vit-Facial-Expression-Recognition")
    assert revisions == [pinned]


def test_what_a_killed_download_left_goes_when_a_page_starts(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    listed, other = (tmp_path / f"models--owner--{name}" / "blobs" / "0123.incomplete" for name in ("a", "b"))
    for left in (listed, other):
        left.parent.mkdir(parents=True)
        left.write_bytes(b"half")
    CheckpointRegistry([CheckpointEntry("owner/a@main", "a", "a")])
    assert not listed.exists()
    assert other.exists()  # another program's, which may go on with it


def test_nobody_waits_for_another_visitor_s_download(monkeypatch):
    may_end, real = threading.Event(), AffectClassifier.from_pretrained

    def slow(source, **options):
        if source == "slow":
            assert may_end.wait(60)
        return real(**options)

    monkeypatch.setattr(AffectClassifier, "from_pretrained", slow)
    registry = CheckpointRegistry([CheckpointEntry(name, name, name) for name in ("quick", "slow")])
    quick, loaded = registry.analyzer("quick"), []
    others = [threading.Thread(target=lambda: loaded.append(registry.analyzer("slow"))) for _ in range(2)]
    for thread in others:
        thread.start()
    began = time.monotonic()
    assert registry.analyzer("quick") is quick
    assert time.monotonic() - began < 5
    may_end.set()
    for thread in others:
        thread.join(60)
    assert loaded[0] is loaded[1]  # the second waited for the first's


def test_few_wait_for_a_checkpoint_that_is_being_loaded(monkeypatch):
    may_end, real = threading.Event(), AffectClassifier.from_pretrained
    monkeypatch.setattr(AffectClassifier, "from_pretrained", lambda source, **options: may_end.wait(60) and real())
    registry, loaded = CheckpointRegistry([CheckpointEntry("slow", "slow", "slow")]), []
    waiting = [threading.Thread(target=lambda: loaded.append(registry.analyzer("slow"))) for _ in range(MAX_WAITING)]
    for thread in waiting:
        thread.start()
    end = time.monotonic() + 20
    while registry._waiting["slow"] < MAX_WAITING:
        assert time.monotonic() < end
        time.sleep(0.01)
    with pytest.raises(CheckpointError, match="still being loaded for others"):
        registry.analyzer("slow")
    may_end.set()
    for thread in waiting:
        thread.join(60)
    assert len(set(loaded)) == 1
    assert registry.analyzer("slow") is loaded[0]


def test_a_fault_names_a_checkpoint_as_the_page_does_and_can_be_translated():
    entry = CheckpointEntry(".", "mine", "Mine")
    plain = "mine has no config.json. Use a classifier saved with save_pretrained."
    assert registry_module._with_name(plain, entry) == plain
    hub = CheckpointEntry("someone/faces", "faces", "Faces")
    said = registry_module._with_name("someone/faces-2 is not someone/faces.", hub)
    assert said == "someone/faces-2 is not faces."
    local = CheckpointEntry("/srv/mine", "mine", "Mine")
    assert registry_module._with_name("damaged: '/srv/mine/trust.json'", local) == "damaged: 'mine/trust.json'"
    message = registry_module._with_name(Message(UNREACHABLE, name="someone/faces"), hub)
    assert message.startswith("faces is not on this computer yet")
    assert translator("de")(message).startswith("faces ist noch nicht auf diesem Computer")
