"""Where a training may write: never over foreign files, which is checked before the work; and how it ends early."""

import os
import sys

import pytest
import torch
from transformers import AutoModelForImageClassification

import train as train_script
from infant_fer.errors import DatasetError, OutputError, TrainingError
from infant_fer.training import command
from infant_fer.training.config import run_folder
from infant_fer.training.infant_face import run as recipe_run
from infant_fer.training.infant_face.config import RunConfig, recipe
from infant_fer.training.provenance import (
    STARTED_FILE,
    accelerator,
    machine,
    publishable,
    start_run,
    trainer_device,
)
from infant_fer.training.reports import artifacts
from tests.conftest import ROOT
from tests.full_disk import no_file_above
from tests.tiny_checkpoints import edit, save_tiny


@pytest.fixture
def no_work(monkeypatch):
    """Fail if anything but the checks is done."""

    def began(*_, **__):
        raise AssertionError("the work began")

    monkeypatch.setattr(command, "run", began)
    monkeypatch.setattr("infant_fer.training.infant_face.run.run", began)


def call(monkeypatch, *words) -> int:
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, words)])
    return train_script.main()


def own_checkpoint(folder):
    """A folder as a training leaves it."""
    save_tiny(folder)
    edit(folder / "config.json", face_crop={"size": 32})
    (folder / "metrics.json").write_text("{}")
    return folder


@pytest.mark.parametrize("recipe_name", ["mobile", "ours"])
@pytest.mark.parametrize("output", [".", "..", "photos", "root", "file.txt", "link", str(ROOT / "checkpoints"), "~"])
def test_a_foreign_output_is_refused_before_the_work(recipe_name, output, monkeypatch, tmp_path, no_work, capsys):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "work" / "photos").mkdir()
    (tmp_path / "work" / "photos" / "baby.jpg").write_text("mine")
    own_checkpoint(tmp_path / "work" / "root" / "net")
    (tmp_path / "work" / "file.txt").write_text("mine")
    (tmp_path / "work" / "link").symlink_to(tmp_path / "work" / "root" / "net")
    before = sorted(tmp_path.rglob("*"))
    output = os.path.expanduser(output)
    capsys.readouterr()
    assert call(monkeypatch, "--data", "x", "--recipe", recipe_name, "--output", output) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "name of" in message or "another name" in message
    assert sorted(tmp_path.rglob("*")) == before


def test_of_an_earlier_checkpoint_only_its_own_files_are_replaced(tmp_path):
    output = own_checkpoint(tmp_path / "net")
    for name in ("audit.json", "maps.json", "model-00001-of-00002.safetensors", "notes.txt"):
        (output / name).write_text("old")
    artifacts.write_checkpoint(output, lambda folder: (folder / "config.json").write_text("new"))
    assert (output / "config.json").read_text() == "new"
    assert (output / "notes.txt").read_text() == "old"
    assert sorted(file.name for file in output.iterdir()) == [
        "config.json",
        "notes.txt",
    ]  # no old weights, no old audit


@pytest.mark.parametrize("save", ["save_pretrained", "torch.save", "open"])
def test_a_full_disk_leaves_nothing_under_the_final_name(save, tmp_path):
    output = own_checkpoint(tmp_path / "out")
    before = {file.name: file.read_bytes() for file in output.iterdir()}
    model = AutoModelForImageClassification.from_pretrained(output)
    writers = {
        "save_pretrained": model.save_pretrained,
        "torch.save": lambda folder: torch.save(model.state_dict(), folder / "weights.pt"),
        "open": lambda folder: (folder / "model.safetensors").write_bytes(bytes(100_000)),
    }
    with pytest.raises(OutputError, match=r"out could not be written: .*[^.]\.$"), no_file_above(20_000):
        artifacts.write_checkpoint(output, writers[save])
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    assert {file.name: file.read_bytes() for file in output.iterdir()} == before


def test_another_fault_of_a_writer_is_not_called_a_full_disk(tmp_path):
    def broken(folder):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        artifacts.write_checkpoint(tmp_path / "out", broken)


def test_others_may_read_what_the_folder_lets_them(tmp_path):
    def write(folder):
        save_tiny(folder)
        (folder / "model.safetensors").chmod(0o600)  # as safetensors makes it

    artifacts.write_checkpoint(tmp_path / "net", write)
    folder = tmp_path / "net"
    assert (folder / "model.safetensors").stat().st_mode & 0o777 == folder.stat().st_mode & 0o666


def test_outputs_of_one_name_have_steps_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (run_folder(tmp_path, tmp_path / site / "model") for site in ("a", "b"))
    assert first != second
    assert first.name.startswith("model-")
    assert run_folder(tmp_path, tmp_path / "a" / ".." / "a" / "model") == first


def test_the_steps_of_an_older_run_are_deleted_and_foreign_files_are_not(tmp_path):
    start_run(tmp_path / "own", {"seed": 1}, resume=False)
    (tmp_path / "own" / "step").write_text("old")
    start_run(tmp_path / "own", {"seed": 2}, resume=False)
    assert [file.name for file in (tmp_path / "own").iterdir()] == [STARTED_FILE]
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.doc").write_text("mine")
    with pytest.raises(OutputError):
        start_run(tmp_path / "foreign", {"seed": 1}, resume=False)
    assert (tmp_path / "foreign" / "thesis.doc").read_text() == "mine"


def test_arguments_are_published_without_places_outside_the_working_folder():
    words = ["--data", "../private/infants", "--base=/home/ann/net", "--output", "checkpoints/mine", "--set", "batch=8"]
    words += ["~/infants", "google/vit-base", "--set=ema=0.9"]
    published = ["--data", "infants", "--base=net", "--output", "checkpoints/mine", "--set", "batch=8"]
    assert [publishable(word) for word in words] == [*published, "infants", "google/vit-base", "--set=ema=0.9"]
    varied = publishable("base=/home/ann/net,two-stream:/home/ann/net,image-stream:../net,random:vit-tiny")
    assert varied == "base=net,two-stream:net,image-stream:net,random:vit-tiny"
    assert publishable("--base=late-fusion:/home/ann/net+/home/ann/faces") == "--base=late-fusion:net+faces"
    for word in (
        "--data=/home/ann,x/secret/infants",
        "~/ann=x/secret/infants",
        "base=two-stream:/home/a,secret/infants",
        "base=two-stream:/home/a+secret/infants",
        "base=A, /secret/x",
    ):
        assert "secret" not in publishable(word)
    assert publishable("base=random:vit-tiny,google/vit-base") == "base=random:vit-tiny,google/vit-base"


@pytest.mark.parametrize(
    ("words", "published"),
    [
        (["--data", "D", "--watch", "a/anna.jpg", "./b.jpg"], "--data D --watch picture-1 picture-2"),
        (["--watch=a/anna.jpg", "--data=../D", "--wat", "/x/b c.jpg"], "--watch=picture-1 --data=D --wat picture-2"),
    ],
)
def test_the_names_of_watched_pictures_are_not_published(words, published, monkeypatch):
    commands = []
    monkeypatch.setattr(command, "train", lambda options, command: commands.append((options.watch, command)))
    assert call(monkeypatch, *words) == 0
    ((watched, shown),) = commands
    assert len(watched) == 2
    assert shown == f"python train.py {published}"


def _die(number, context):
    os._exit(9)


@pytest.mark.slow
def test_a_dead_process_ends_the_run_with_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe_run, "_train_apart", _die)
    context = recipe_run.TrainingContext(RunConfig(tmp_path, tmp_path, tmp_path, tmp_path, learning=recipe("pair")))
    threads = torch.get_num_threads()
    with pytest.raises(TrainingError, match="--resume goes on") as caught:
        recipe_run.train_members(context, data=None)  # a process reads its own
    assert "\n" not in str(caught.value)
    assert torch.get_num_threads() == threads


def test_a_continued_run_says_so_and_watches_the_same_faces(tmp_path):
    assert not start_run(tmp_path / "own", {"seed": 1, "watch": "faces"}, resume=True)
    assert start_run(tmp_path / "own", {"seed": 1, "watch": "faces"}, resume=True)
    with pytest.raises(DatasetError, match="another watch"):
        start_run(tmp_path / "own", {"seed": 1, "watch": "others"}, resume=True)
    with pytest.raises(DatasetError, match="begun by another version"):
        start_run(tmp_path / "own", {"seed": 1, "watch": "faces", "weights of the base": "ab"}, resume=True)


def test_the_card_names_the_hardware_that_computed(monkeypatch):
    """The recipe infant_face computes on NVIDIA's GPUs or the CPU, the Trainer on Apple's as well."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert machine(accelerator().type).endswith(" cores")
    assert machine(trainer_device()).endswith(" GPU of Apple")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert machine(trainer_device()).endswith(" cores")
