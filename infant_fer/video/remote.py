"""How do results reach a place that is no path? A session is written here and copied to any fsspec URL, its summary last."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infant_fer.errors import OutputError
from infant_fer.video.session_folder import SUMMARY, check_unedited, read_summary
from infant_fer.video.sessions import Session, SessionOptions, SessionResult, own_names, run_session

if TYPE_CHECKING:  # loads torch and mediapipe
    from infant_fer.analyzer import Analyzer
    from infant_fer.video.analysis import Progress


def is_url(place: str) -> bool:
    """Return whether a place for results is a URL, such as "s3://bucket/study", and no path."""
    return "://" in place


def check_url(url: str) -> None:
    """Raise OutputError, before any work, unless a file can be written below the URL."""
    system, root = _opened(url)
    probe = f"{root}/.infant_fer_probe"
    try:
        system.makedirs(root, exist_ok=True)
        system.pipe_file(probe, b"0")
        system.rm_file(probe)
    except Exception as error:  # each file system has exceptions of its own
        raise OutputError(f"{url} cannot be written: {type(error).__name__}: {error}") from None


def run_remote_session(
    url: str,
    analyzer: Analyzer,
    session: Session,
    options: SessionOptions,
    on_progress: Callable[[Progress], None] | None = None,
) -> SessionResult:
    """Read one clip as `run_session` does and copy its folder below the URL; a fault is part of the result.

    The summary is removed first and copied last: a folder with a summary is whole. What only an earlier run has written
    is removed; a session with a file at the URL that was edited since it was written stays. The folder here is temporary.
    """
    try:
        system, root = _opened(url)
        place = f"{root}/{session.folder.name}"
        with tempfile.TemporaryDirectory() as folder:
            here = replace(session, folder=Path(folder, session.folder.name))
            if system.exists(f"{place}/{SUMMARY}"):
                here.folder.mkdir()
                (here.folder / SUMMARY).write_bytes(system.cat_file(f"{place}/{SUMMARY}"))
            result = run_session(analyzer, here, options, on_progress, partial(_check_unedited, system, place))
            if result.state == "written":
                _copy(here.folder, system, place)
        return replace(result, session=session)
    except Exception as error:  # each file system has exceptions of its own
        return SessionResult(session, "failed", fault=f"{url} cannot be written: {type(error).__name__}: {error}")


def _check_unedited(system: Any, place: str, folder: Path) -> None:
    """Raise OutputError where a file at the URL has another hash than in the summary, of which `folder` has a copy.

    A summary of an earlier version has no hashes, and there is no check.
    """
    summary = read_summary(folder)
    paths = {name: f"{place}/{name}" for name in summary.get("files_sha256", {})} if summary else {}
    present = {name: system.cat_file(path) for name, path in paths.items() if system.exists(path)}
    check_unedited(folder, {name: hashlib.sha256(content).hexdigest() for name, content in present.items()})


def _copy(folder: Path, system: Any, place: str) -> None:
    system.makedirs(place, exist_ok=True)
    stale = own_names(folder) - {path.name for path in folder.iterdir()}
    for name in (SUMMARY, *sorted(stale)):
        if system.exists(f"{place}/{name}"):
            system.rm_file(f"{place}/{name}")
    for path in sorted(folder.iterdir(), key=lambda path: (path.name == SUMMARY, path.name)):
        system.put_file(str(path), f"{place}/{path.name}")


def _opened(url: str) -> tuple[Any, str]:
    """Return the file system and the root's path in it. Raises OutputError."""
    from fsspec.core import url_to_fs

    try:
        system, root = url_to_fs(url)
    except (ImportError, ValueError) as error:  # no such protocol, or its package is missing
        raise OutputError(f"{url} cannot be opened: {error}") from None
    return system, root.rstrip("/")
