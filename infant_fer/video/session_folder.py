"""Which folders hold a session that this program has written? Those whose summary is one of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from infant_fer.video.timeline import Summary

SUMMARY: Final = "summary.json"
# What every summary holds; a file of this name that lacks one of them is another program's.
KEYS: Final = frozenset(
    ("source", "checkpoint", "duration_s", "frames", "fps", "persons", "events", "settings", "notes")
)


def read_summary(folder: Path) -> Summary | None:
    """Return the summary of a session's folder; None where there is none that this program has written."""
    try:
        found: Any = json.loads((folder / SUMMARY).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(found, dict) and found.keys() >= KEYS
    return found if ours else None


def is_session(folder: Path) -> bool:
    """Return whether a folder holds a complete session that this program has written."""
    return read_summary(folder) is not None


def session_folders(folder: Path) -> list[Path]:
    """Return the folders of complete sessions in `folder`, in the order of their names.

    Hidden ones are left out: a run that writes, or was killed, has unfinished folders there.
    """
    return sorted(path.parent for path in folder.glob(f"[!.]*/{SUMMARY}") if is_session(path.parent))
