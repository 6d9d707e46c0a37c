"""The private folder of uploads, without a page."""

import os

from infant_fer.ui import uploads


def test_two_pages_that_start_at_once_have_a_folder_each(tmp_path, monkeypatch):
    lock, raced = uploads._lock, []

    def lock_late(folder, wait=True):
        if not raced:  # another page that starts takes the new folder for abandoned before it is locked
            raced.append(folder)
            uploads.delete_abandoned(tmp_path)
        return lock(folder, wait)

    monkeypatch.setattr(uploads, "_lock", lock_late)
    folder, held = uploads._held_folder(tmp_path)
    assert raced[0] != folder
    assert [folder] == list(tmp_path.iterdir())
    if held is not None:
        os.close(held)
