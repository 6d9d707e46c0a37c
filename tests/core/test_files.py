"""Files for users: atomic, checked before the work, never over other programs' files."""

import errno
import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from infant_fer.errors import OutputError
from infant_fer.files import (
    check_output_file,
    check_output_folder,
    filled_folder,
    is_own_checkpoint,
    open_atomically,
    replace_folder,
    write_atomically,
)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def interrupted_write(path: Path, text: str, fault: type[BaseException], **options) -> None:
    with open_atomically(path, **options) as stream:
        stream.write(text)
        raise fault


def checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"face_crop": {"size": 96}}))
    (folder / "metrics.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize("data", ["täxt\r\n\n", b"\x00\xff"])
def test_a_file_is_written_as_given_and_nothing_stays_beside_it(tmp_path, data):
    write_atomically(tmp_path / "out", data)
    assert (tmp_path / "out").read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert names(tmp_path) == {"out"}


def test_the_longest_name_is_possible_and_rights_are_kept(tmp_path):
    path = tmp_path / ("a" * 251 + ".csv")
    write_atomically(path, "1")
    path.chmod(0o600)
    write_atomically(path, "2")
    assert path.read_text() == "2"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ValueError])
def test_an_interrupted_write_leaves_the_earlier_file(tmp_path, fault):
    path = tmp_path / "out.json"
    path.write_text("earlier")
    with pytest.raises(fault):
        interrupted_write(path, "half", fault)
    assert path.read_text() == "earlier"
    assert names(tmp_path) == {"out.json"}


def write_often(path: Path, letter: str, times: int) -> None:
    """Write a file of one letter again and again, and one that all writers write alike."""
    for _ in range(times):
        write_atomically(path, letter * 200_000)
        write_atomically(path.with_name("alike.bin"), b"same" * 50_000)


def test_workers_that_write_one_file_at_once_leave_it_whole(tmp_path):
    """Several processes find the same faces, or copy the same result: a reader sees one of their files, never a mixture."""
    path, spawn = tmp_path / "shared.txt", multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_often, args=(path, letter, 40)) for letter in "abc"]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            text = path.read_text()
            assert text == text[0] * 200_000
            seen.add(text[0])
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert seen
    assert names(tmp_path) == {"shared.txt", "alike.bin"}
    assert (tmp_path / "alike.bin").read_bytes() == b"same" * 50_000


def test_partial_rows_are_kept_beside_an_earlier_file_or_in_its_place(tmp_path):
    path = tmp_path / "out.csv"
    for expected in ({"out.csv"}, {"out.csv", "out.csv.part"}):
        with pytest.raises(KeyboardInterrupt):
            interrupted_write(path, f"{len(expected)} rows", KeyboardInterrupt, keep_partial=True)
        assert names(tmp_path) == expected
    assert path.read_text() == "1 rows"
    assert (tmp_path / "out.csv.part").read_text() == "2 rows"


def test_a_full_disk_is_one_sentence_and_other_faults_stay_themselves(tmp_path):
    path = tmp_path / "out"
    with pytest.raises(OutputError, match=r"out cannot be written: .*Free some space"), open_atomically(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(FileNotFoundError), open_atomically(path):
        (tmp_path / "nowhere").read_text()
    assert names(tmp_path) == set()


def test_outputs_that_destroy_or_cannot_be_written_are_refused_before_the_work(tmp_path):
    (tmp_path / "table.csv").write_text("input")
    (tmp_path / "link.csv").symlink_to(tmp_path / "table.csv")
    for path, words, inputs in (
        (tmp_path, "is a folder", ()),
        (tmp_path / "nowhere" / "out.csv", "no folder", ()),
        (tmp_path / "photo.JPG", "name of a picture", ()),
        (tmp_path / "scan.tiff", "name of a picture", ()),
        (tmp_path / "table.csv", "is also an input", [tmp_path / "missing", tmp_path / "table.csv"]),
        (tmp_path / "link.csv", "is a link", ()),
        (Path("/dev/full"), "is a device", ()),
        (tmp_path / ("a" * 300), "File name too long", ()),
        (Path("/proc/out.csv"), "cannot be written", ()),
    ):
        with pytest.raises(OutputError, match=words):
            check_output_file(path, inputs)
    check_output_file(tmp_path / "table.csv")  # an earlier report may be replaced
    check_output_file(tmp_path / "plot.png", picture=True)
    assert names(tmp_path) == {"table.csv", "link.csv"}
    assert (tmp_path / "table.csv").read_text() == "input"


def test_folders_that_hold_anything_else_are_refused(tmp_path, monkeypatch):
    work = tmp_path / "above" / "work"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    checkpoint(work / "checkpoints" / "mine")
    (work / "notes").mkdir()
    (work / "notes" / "diary.txt").write_text("mine")
    (work / "link").symlink_to(work / "notes")
    for place in (".", "..", "../..", "/", "~", "checkpoints", "notes", "link", "notes/diary.txt", "notes/diary.txt/x"):
        with pytest.raises(OutputError):
            check_output_folder(Path(place).expanduser())
    (work / "empty").mkdir()
    for place in ("new", "new/deeper", "empty", "checkpoints/mine", "checkpoints/new"):
        check_output_folder(Path(place))
    assert names(work) == {"checkpoints", "notes", "link", "empty"}
    check_output_folder(Path("notes"), is_ours=lambda folder: (folder / "diary.txt").exists())


def test_a_folder_of_checkpoints_is_refused_even_where_it_is_one_itself(tmp_path):
    outer = checkpoint(tmp_path / "outer")
    check_output_folder(outer)
    checkpoint(outer / "inner")
    with pytest.raises(OutputError, match="holds checkpoints"):
        check_output_folder(outer)


@pytest.mark.parametrize("config", ["{}", "[]", "no json", '{"model_type": "vit"}'])
def test_a_foreign_checkpoint_is_not_ours(tmp_path, config):
    folder = checkpoint(tmp_path / "model")
    assert is_own_checkpoint(folder)
    (folder / "config.json").write_text(config)
    assert not is_own_checkpoint(folder)


def test_only_our_own_files_are_replaced(tmp_path):
    final, partial = checkpoint(tmp_path / "final"), checkpoint(tmp_path / "partial")
    (final / "notes.txt").write_text("of the user")
    (final / "fold-1").mkdir()
    (final / "fold-1" / "old").write_text("old")
    (partial / "model.safetensors").write_bytes(b"new")
    replace_folder(partial, final, ["config.json", "metrics.json", "*.safetensors", "fold-*"])
    assert names(final) == {"config.json", "metrics.json", "model.safetensors", "notes.txt"}
    assert (final / "model.safetensors").read_bytes() == b"new"
    assert (final / "notes.txt").read_text() == "of the user"
    assert names(tmp_path) == {"final"}


def test_a_folder_that_could_not_be_filled_leaves_the_earlier_one(tmp_path):
    final = checkpoint(tmp_path / "final")

    def fill() -> None:
        with filled_folder(final, lambda _: ["*"]) as partial:
            (partial / "config.json").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert len(names(final)) == 3
    assert (final / "config.json").read_text() != "new"
    assert names(tmp_path) == {"final"}


@pytest.mark.parametrize("taken", ["", "notes.txt"])
def test_in_a_folder_that_cannot_be_renamed_the_files_are_replaced(tmp_path, monkeypatch, taken):
    monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path / "volume")
    final = checkpoint(tmp_path / "volume")
    (final / "notes.txt").write_text("of the user")
    (final / "model-00001.safetensors").write_bytes(b"old")

    def fill() -> None:
        with filled_folder(final, lambda _: ["config.json", "metrics.json", "*.safetensors"]) as partial:
            checkpoint(partial / "deep")
            for name in ("config.json", taken or "model.safetensors"):
                (partial / name).write_text("new")

    if taken:
        with pytest.raises(OutputError, match=r"another program's notes\.txt"):
            fill()
        assert len(names(final)) == 5
    else:
        fill()
        assert names(final) == {"config.json", "model.safetensors", "notes.txt", "deep"}
        assert (final / "config.json").read_text() == "new"
    assert (final / "notes.txt").read_text() == "of the user"
    assert names(tmp_path) == {"volume"}


def test_a_new_folder_just_takes_its_name(tmp_path):
    replace_folder(checkpoint(tmp_path / "partial"), tmp_path / "deep" / "final", [])
    assert len(names(tmp_path / "deep" / "final")) == 3


@pytest.mark.parametrize("killed", ["between the renames", "while foreign files moved"])
def test_what_a_killed_replacement_left_is_put_back_by_the_next(tmp_path, killed):
    earlier, partial = checkpoint(tmp_path / ".final.earlier"), checkpoint(tmp_path / "partial")
    (earlier / "notes.txt").write_text("of the user")
    if killed == "while foreign files moved":
        checkpoint(tmp_path / "final")
    (partial / "model.safetensors").write_bytes(b"new")
    replace_folder(partial, tmp_path / "final", ["config.json", "metrics.json", "*.safetensors"])
    assert (tmp_path / "final" / "notes.txt").read_text() == "of the user"
    assert (tmp_path / "final" / "model.safetensors").read_bytes() == b"new"
    assert names(tmp_path) == {"final"}
