"""Where do weights come from? A local folder or the Hugging Face Hub; with hub.py the only module to touch the network."""

from __future__ import annotations

import hashlib
import re
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from infant_fer.checkpoint_safety import CARD, check_folder
from infant_fer.errors import CheckpointError, FaceModelError
from infant_fer.faces import BUNDLE_SHA256, BUNDLE_URL, LOCAL_BUNDLE, local_bundle
from infant_fer.hub import SECONDS_TO_ANSWER, HubRevision, Progress, download, downloaded_before

EMBEDDED_ROOT = Path(__file__).resolve().parent.parent / "checkpoints"
DEFAULT_NAME = "infant-fer-small"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
MAX_BUNDLE_BYTES = 8 * 2**20  # the bundle has 3.8 MB


@dataclass(frozen=True)
class Checkpoint:
    """A checked checkpoint folder. `revision` is the commit it came from, None for a local folder; `card` its README."""

    path: Path
    name: str
    revision: str | None = None

    @property
    def card(self) -> str:
        """The model card's text, empty when there is none."""
        file = self.path / CARD
        return file.read_text("utf-8", errors="replace") if file.is_file() else ""


@dataclass(frozen=True)
class KnownCheckpoint:
    """A checkpoint on the Hub that is known to fit, and what to know of it. `revision` None is the newest at first use."""

    source: str
    note: str
    revision: str | None = None


# Fine-tuned on adults. The first four are by the authors whose models the thesis behind this project compared.
KNOWN = (
    KnownCheckpoint(
        "motheecreator/vit-Facial-Expression-Recognition",
        "ViT-Base, adults, 7 emotions; 343 MB",
        "1a1a6dcc90944ffcf5819641963caf2226d69aab",
    ),
    KnownCheckpoint(
        "Mauregato/vit-base-patch16-224-best-finetuned-on-affectnet_short",
        "ViT-Base, adults (AffectNet); 343 MB",
    ),
    KnownCheckpoint("3una/finetuned-AffectNet", "BEiT-Base, adults (AffectNet); 343 MB"),
    KnownCheckpoint("3una/finetuned-FER2013", "BEiT-Base, adults (FER2013); 343 MB"),
    KnownCheckpoint(
        "trpakov/vit-face-expression",
        "ViT-Base, adults (FER2013), 7 emotions; 343 MB",
        "c09980ee4484af73734ac0f35412fda62c7daedf",
    ),
)


def embedded() -> list[Path]:
    """The checkpoint folders that ship with the project, the default first."""
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
    """Give a checked local folder for a folder path, a Hub id ("owner/name" or "owner/name@revision"), or the default.

    A Hub checkpoint is downloaded once; from then on that commit is used and no request is made. Name another revision
    to change it. Only a base for training may be without affects or emotions as its classes (`labelled` False).
    `on_progress(share of all bytes, words)` is called while it downloads; without it a bar is printed.
    Raises CheckpointError with one sentence about what to do.
    """
    if source is None:
        if not embedded():
            raise CheckpointError(f"No checkpoint ships in {EMBEDDED_ROOT.name}/. Name a folder or a Hub id.")
        source = embedded()[0]
    folder = Path(source)
    if folder.is_dir():
        check_folder(folder, folder.name, labelled)
        return Checkpoint(folder, folder.name)
    if not HUB_ID.fullmatch(str(source)) or folder.is_absolute():
        raise CheckpointError(f"{source} is no folder and no Hub id such as owner/name.")
    repo_id, _, named_revision = str(source).partition("@")
    hub = HubRevision(repo_id, revision or named_revision or "main", endpoint, cache_dir, labelled)
    folder = downloaded_before(hub) or download(hub, on_progress)
    return Checkpoint(folder, repo_id, folder.name)


def face_bundle() -> Path:
    """The face landmark bundle on this computer, or downloaded once from its official address. Raises FaceModelError."""
    return local_bundle() or fetch_face_bundle(LOCAL_BUNDLE)


def fetch_face_bundle(destination: Path, url: str = BUNDLE_URL, sha256: str = BUNDLE_SHA256) -> Path:
    """Download MediaPipe's face landmark bundle, check its hash, and save it whole or not at all. Raises FaceModelError."""
    try:
        with urllib.request.urlopen(url, timeout=SECONDS_TO_ANSWER) as response:
            data = response.read(MAX_BUNDLE_BYTES)
    except (OSError, HTTPException) as error:
        raise FaceModelError(
            f"The face landmark bundle could not be downloaded from {url} ({error}). Connect to the network and try again."
        ) from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise FaceModelError(f"What {url} sent is not the expected face landmark bundle. Try again later.")
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_suffix(".part")
    partial.write_bytes(data)
    return partial.replace(destination)
