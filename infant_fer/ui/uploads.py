"""Where do uploads lie until they are read, and for how long? In a private folder that goes with the program."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "infant-fer-uploads-"
MARKER = ".private-uploads"  # an empty folder in each of ours: no other one is ever deleted, whatever its name
MEMORY_FOLDER = Path("/dev/shm")  # a file system in memory on Linux
MEMORY_BYTES = 512 * 2**20  # that must be free there
CLIP_BYTES = 100 * 10**6  # of a clip; a phone records three minutes of 720p in that
SWEEP_SECONDS, UNREAD_SECONDS = 60, 300  # how often uploads are looked through, and how old an unread one may become


def upload_root() -> Path:
    """Return the folder for private folders: TMPDIR where it is set, else a folder in memory, else the system's own."""
    if os.environ.get("TMPDIR") or not os.access(MEMORY_FOLDER, os.W_OK):
        return Path(tempfile.gettempdir())
    return MEMORY_FOLDER if shutil.disk_usage(MEMORY_FOLDER).free >= MEMORY_BYTES else Path(tempfile.gettempdir())


@contextmanager
def private_upload_folder() -> Iterator[str]:
    """Give Gradio an upload folder of its own, readable by this user only and gone with the program.

    It goes when the program ends (also by SIGTERM) and when its terminal is closed (SIGHUP); what a killed program
    left is deleted at the next start. What is uploaded and not read is deleted after some minutes. Only for the main thread.
    """
    signals = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    heeded = [number for number in signals if signal.getsignal(number) != signal.SIG_IGN]  # nohup has SIGHUP ignored
    before = {number: signal.signal(number, lambda *_: sys.exit(0)) for number in heeded}
    root, ended = upload_root(), threading.Event()
    for folder in {root, Path(tempfile.gettempdir())}:
        delete_abandoned(folder)
    variable = os.environ.get("GRADIO_TEMP_DIR")
    folder, held = _held_folder(root)
    threading.Thread(target=_sweep, args=(folder, ended), daemon=True).start()
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    try:
        yield str(folder)
    finally:
        ended.set()
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            os.close(held)
        for number, handler in before.items():
            signal.signal(number, handler)
        if variable is None:
            del os.environ["GRADIO_TEMP_DIR"]
        else:
            os.environ["GRADIO_TEMP_DIR"] = variable


def _held_folder(root: Path) -> tuple[Path, int | None]:
    """Return a new private folder and a descriptor that holds its lock as long as this program lives (None on Windows)."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
    held = _lock(folder)
    (folder / MARKER).mkdir()  # once it is locked: another program that starts does not take it for abandoned
    return folder, held


def _lock(folder: Path, wait: bool = True) -> int | None:
    """Lock a folder; None where that is impossible or, without `wait`, where a living program holds it."""
    if sys.platform == "win32":
        return None
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def delete_abandoned(root: Path) -> None:
    """Delete the private folders of this user whose program was killed."""
    if sys.platform == "win32":
        return
    for folder in root.glob(f"{PREFIX}*"):
        with suppress(OSError):  # gone meanwhile, or a link or file of that name
            if folder.lstat().st_uid != os.getuid() or not (folder / MARKER).is_dir():
                continue
            held = _lock(folder, wait=False)
            if held is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(held)


def upload_folder() -> Path:
    """Return the folder into which Gradio writes uploads."""
    # Imported here, because Gradio takes seconds to load and the private folder comes first.
    from gradio.utils import get_upload_folder

    return Path(get_upload_folder())


def uploaded_file(path: str | None) -> Path | None:
    """Return a file of the upload folder by the path that a browser names, or None for anything outside the folder."""
    try:
        file = Path(path or "").resolve()
    except ValueError:  # no path at all, such as one with a NUL
        return None
    return file if upload_folder().resolve() in file.parents else None


def delete_upload(file: Path) -> None:
    """Delete an `uploaded_file` with its folders, if it is there."""
    root = upload_folder().resolve()
    with suppress(OSError):  # a folder of that name, or one that holds more
        file.unlink(missing_ok=True)
        for folder in file.parents[: len(file.parents) - len(root.parents) - 1]:
            folder.rmdir()


def keep_upload(file: Path) -> None:
    """Let an `uploaded_file` that waits to be read count as new, so that `delete_unread` passes over it."""
    with suppress(OSError):  # read and deleted meanwhile
        os.utime(file)


def delete_unread(folder: Path, seconds: float) -> None:
    """Delete files and empty folders that are older than that: uploads nobody read, and those that broke off."""
    before = time.time() - seconds
    for parent, folders, files in os.walk(folder, topdown=False):  # which passes over folders that go meanwhile
        for path in (*(Path(parent, name) for name in files), *(Path(parent, name) for name in folders)):
            with suppress(OSError):  # read and deleted meanwhile, or a folder that is not empty
                if path.stat().st_mtime < before and path != folder / MARKER:
                    path.rmdir() if path.is_dir() else path.unlink()


def stored_bytes(folder: Path) -> int:
    """Return the size of all uploads that are not read yet."""
    total = 0
    for parent, _, files in os.walk(folder):  # which passes over folders that go meanwhile
        for name in files:
            with suppress(OSError):  # read and deleted meanwhile
                total += Path(parent, name).stat().st_size
    return total


def separate_uploads(app) -> None:
    """Give every upload to a served Gradio app a folder of its own.

    Gradio names an upload's folder after its content, so that of two visitors with the same photo the second would lose
    it when the first one's is read and deleted.
    """

    class WithSeparateUploads(type(app)):  # type: ignore[misc]
        @property
        def uploaded_file_dir(self) -> str:
            return str(upload_folder() / secrets.token_hex(16))

    app.__class__ = WithSeparateUploads


def _sweep(folder: Path, ended: threading.Event) -> None:
    while not ended.wait(SWEEP_SECONDS):
        delete_unread(folder, UNREAD_SECONDS)
