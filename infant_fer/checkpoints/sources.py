"""Where do weights come from? A local folder or the Hugging Face Hub."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from infant_fer.checkpoints.hub import HubRevision, Progress, download, downloaded_before
from infant_fer.checkpoints.safety import CARD, MAX_JSON_BYTES, check_folder
from infant_fer.errors import CheckpointError

_PACKAGED = Path(__file__).with_name("embedded")  # an installed wheel carries the checkpoints here
EMBEDDED_ROOT = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).resolve().parents[2] / "checkpoints"
CHECKPOINT_FOLDER = "checkpoints"  # where training writes: never the name of a Hub owner
DEFAULT_NAME = "infant-fer-small"
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?")


@dataclass(frozen=True)
class Checkpoint:
    """A checked checkpoint folder. `revision` is the commit it came from, None for a local folder; `card` its README."""

    path: Path
    name: str
    revision: str | None = None

    @property
    def card(self) -> str:
        """Return the model card's text, empty when there is none."""
        file = self.path / CARD
        if not file.is_file():
            return ""
        with file.open("rb") as stream:
            return stream.read(MAX_JSON_BYTES).decode("utf-8", errors="replace")


@dataclass(frozen=True)
class KnownCheckpoint:
    """A checkpoint on the Hub that is known to fit, at the commit that was examined, and what to know of it."""

    source: str
    note: str
    revision: str


# Fine-tuned on adults.
KNOWN = (
    KnownCheckpoint(
        "motheecreator/vit-Facial-Expression-Recognition",
        "ViT-Base, adults, 7 emotions; 343 MB",
        "1a1a6dcc90944ffcf5819641963caf2226d69aab",
    ),
    KnownCheckpoint(
        "trpakov/vit-face-expression",
        "ViT-Base, adults (FER2013), 7 emotions; 343 MB",
        "c09980ee4484af73734ac0f35412fda62c7daedf",
    ),
)


def embedded() -> list[Path]:
    """Return the checkpoint folders that ship with the project, the default first."""
    folders = sorted(file.parent for file in EMBEDDED_ROOT.glob("*/config.json"))
    return sorted(folders, key=lambda folder: folder.name != DEFAULT_NAME)


def resolve(
    source: str | Path | None = None,
    revision: str | None = None,
    on_progress: Progress | None = None,
    endpoint: str | None = None,
    cache_dir: Path | None = None,
    labelled: bool = True,
) -> Checkpoint:
    """Return a checked local folder for a folder path, a Hub id ("owner/name" or "owner/name@revision"), or the default.

    A Hub checkpoint is downloaded once; from then on that commit is used and no request is made. One of KNOWN comes at
    its pinned commit unless another revision is named. Only a base for training may be without affects or emotions as
    its classes (`labelled` False). `on_progress(share of all bytes, words)` is called while it downloads; without it a
    bar is printed. Raises CheckpointError with one sentence about what to do.
    """
    if source is None:
        if not embedded():
            raise CheckpointError(f"No checkpoint ships in {EMBEDDED_ROOT.name}/. Name a folder or a Hub id.")
        source = embedded()[0]
    folder = local_path(source)
    if folder.is_dir():
        check_folder(folder, folder.resolve().name, labelled)
        return Checkpoint(folder, folder.resolve().name)
    if (reason := _why_no_hub_id(source)) is not None:
        raise CheckpointError(f"{source} is no folder and no Hub id such as owner/name{reason}.")
    repo_id, _, named_revision = str(source).partition("@")
    pinned = next((known.revision for known in KNOWN if known.source == repo_id), "main")
    hub = HubRevision(repo_id, revision or named_revision or pinned, endpoint, cache_dir, labelled)
    folder = downloaded_before(hub) or download(hub, on_progress)
    return Checkpoint(folder, repo_id, folder.name)


def local_path(source: str | Path) -> Path:
    """Return the path that a source names if it is one; "~" is the home folder."""
    return Path(os.path.expanduser(source))  # Path.expanduser raises for an unknown user


def is_hub_id(source: str | Path) -> bool:
    """Return whether a source names a checkpoint of the Hub and not a folder, existing or mistyped."""
    return not local_path(source).is_dir() and _why_no_hub_id(source) is None


def _why_no_hub_id(source: str | Path) -> str | None:
    """Return why a source that is no folder is no Hub id either (empty for its form); None when it may be one.

    What starts with an existing folder, or with checkpoints/, is a mistyped path, and the Hub gets no request for it.
    """
    top = Path(source).parts[0] if Path(source).parts else ""
    if isinstance(source, Path) or not HUB_ID.fullmatch(source):
        return ""
    if Path(top).is_dir():
        return f" ({top}/ is a folder here, but nothing of that name is in it)"
    if top == CHECKPOINT_FOLDER:
        return f" (there is no folder {top}/ here; give the whole path)"
    return None
