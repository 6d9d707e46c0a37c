"""The private folder of uploads, without a page."""

import os
import signal
import subprocess
import sys

import pytest

from infant_fer.ui import uploads


def test_a_page_that_starts_leaves_the_folder_of_another_one_alone(tmp_path, monkeypatch):
    lock = uploads._lock

    def lock_late(folder, wait=True):
        monkeypatch.setattr(uploads, "_lock", lock)
        uploads.delete_abandoned(tmp_path)  # another page starts before the new folder is locked
        return lock(folder, wait)

    monkeypatch.setattr(uploads, "_lock", lock_late)
    folder, held = uploads._held_folder(tmp_path)
    uploads.delete_abandoned(tmp_path)
    assert [folder] == list(tmp_path.iterdir())
    if held is not None:
        os.close(held)


@pytest.mark.parametrize("name", ["infant-fer-small", f"{uploads.PREFIX}results"])
def test_a_folder_that_the_page_did_not_make_is_never_deleted(tmp_path, name):
    for folder in (tmp_path / name, tmp_path / f"{uploads.PREFIX}empty"):
        folder.mkdir()
    (tmp_path / name / "model.safetensors").touch()
    uploads.delete_abandoned(tmp_path)
    assert (tmp_path / name / "model.safetensors").exists()
    assert (tmp_path / f"{uploads.PREFIX}empty").exists()


def test_the_sweep_leaves_the_marker_by_which_an_abandoned_folder_is_known(tmp_path):
    folder, held = uploads._held_folder(tmp_path)
    (folder / "photo.jpg").touch()
    uploads.delete_unread(folder, -1)
    assert [path.name for path in folder.iterdir()] == [uploads.MARKER]
    if held is not None:
        os.close(held)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_a_page_that_nohup_started_outlives_its_terminal(tmp_path):
    code = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from infant_fer.ui.uploads import private_upload_folder\n"
        "with private_upload_folder(): os.kill(os.getpid(), signal.SIGHUP); print('still here')"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (0, "still here")
