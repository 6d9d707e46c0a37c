"""Where do weights come from? A local folder or the Hugging Face Hub; the only module that may touch the network."""

from __future__ import annotations

import hashlib
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm import tqdm

from infant_fer.checkpoint_safety import (
    CARD,
    CONFIG,
    PROCESSOR,
    WEIGHTS,
    check_config,
    check_folder,
    check_weight_names,
)
from infant_fer.errors import CheckpointError, FaceModelError
from infant_fer.faces import BUNDLE_SHA256, BUNDLE_URL

EMBEDDED_ROOT = Path(__file__).resolve().parent.parent / "checkpoints"
DEFAULT_NAME = "infant-fer-small"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
MAX_WEIGHT_BYTES = 3 * 2**30  # ViT-Large in float32 is 1.2 GB

Progress = Callable[[float, str], None]


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
    """A checkpoint on the Hub that is known to fit, and what to know of it."""

    source: str
    note: str


# Fine-tuned on adults; the first two are the rivals of the thesis this project grows from.
KNOWN = (
    KnownCheckpoint("motheecreator/vit-Facial-Expression-Recognition", "ViT-Base, adults, 7 emotions; 343 MB"),
    KnownCheckpoint(
        "Mauregato/vit-base-patch16-224-best-finetuned-on-affectnet_short",
        "ViT-Base, adults (AffectNet), 8 emotions; 343 MB",
    ),  # fmt: skip
    KnownCheckpoint("trpakov/vit-face-expression", "ViT-Base, adults (FER2013 and others), 7 emotions; 343 MB"),
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
) -> Checkpoint:
    """Give a checked local folder for a folder path, a Hub id ("owner/name" or "owner/name@revision"), or the default.

    A Hub checkpoint is downloaded once and then found without the network. `on_progress(share, words)` is called while
    it downloads. Raises CheckpointError with one sentence about what to do.
    """
    if source is None:
        if not embedded():
            raise CheckpointError(f"No checkpoint ships in {EMBEDDED_ROOT.name}/. Name a folder or a Hub id.")
        source = embedded()[0]
    folder = Path(source)
    if folder.is_dir():
        check_folder(folder, folder.name)
        return Checkpoint(folder, folder.name)
    if not HUB_ID.fullmatch(str(source)) or folder.is_absolute():
        raise CheckpointError(f"{source} is no folder and no Hub id such as owner/name.")
    repo_id, _, named_revision = str(source).partition("@")
    return _from_hub(repo_id, revision or named_revision or "main", on_progress, endpoint, cache_dir)


def fetch_face_bundle(destination: Path) -> Path:
    """Download MediaPipe's face landmark bundle from its official address, check its hash, and save it whole or not at all."""
    try:
        with urllib.request.urlopen(BUNDLE_URL, timeout=30) as response:
            data = response.read(8 * 2**20)
    except urllib.error.URLError as error:
        raise FaceModelError(
            f"The face landmark bundle could not be downloaded from {BUNDLE_URL} ({error.reason})."
        ) from None
    if hashlib.sha256(data).hexdigest() != BUNDLE_SHA256:
        raise FaceModelError(f"What {BUNDLE_URL} sent is not the expected face landmark bundle.")
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_suffix(".part")
    partial.write_bytes(data)
    return partial.replace(destination)


def _from_hub(
    repo_id: str, revision: str, on_progress: Progress | None, endpoint: str | None, cache_dir: Path | None
) -> Checkpoint:
    try:
        info = HfApi(endpoint=endpoint).model_info(repo_id, revision=revision, files_metadata=True, timeout=15)
    except (RepositoryNotFoundError, GatedRepoError, HFValidationError):
        raise CheckpointError(
            f"The Hub has no public checkpoint {repo_id}. Check the spelling of owner and name."
        ) from None
    except RevisionNotFoundError:
        raise CheckpointError(f"{repo_id} has no revision {revision}. Leave it out to take the newest.") from None
    except (httpx.HTTPError, OSError):
        return _from_cache(repo_id, revision, cache_dir)
    files = {item.rfilename: item for item in info.siblings or ()}
    check_weight_names(list(files), repo_id)
    for needed in (CONFIG, PROCESSOR):
        if needed not in files:
            raise CheckpointError(f"{repo_id} has no {needed}; it cannot be used as it stands.")

    def fetch(name: str) -> Path:
        path = _fetched(repo_id, name, info.sha, on_progress, endpoint, cache_dir)
        _check_hash(path, getattr(files[name].lfs, "sha256", None), repo_id)
        return path

    folder = fetch(CONFIG).parent
    check_config(folder / CONFIG, repo_id)
    weights = [name for name in files if name.endswith(".safetensors") and "/" not in name]
    if sum(files[name].size or 0 for name in weights) > MAX_WEIGHT_BYTES:
        raise CheckpointError(f"{repo_id} has more than 3 GB of weights; choose a smaller one.")
    for name in (PROCESSOR, *(extra for extra in (CARD, WEIGHTS[1]) if extra in files), *weights):
        fetch(name)
    check_folder(folder, repo_id)
    return Checkpoint(folder, repo_id, info.sha)


def _fetched(
    repo_id: str, name: str, commit: str, on_progress: Progress | None, endpoint: str | None, cache_dir: Path | None
) -> Path:
    """Download one file of one commit into the Hub's cache; the cache only ever holds whole files."""
    try:
        return Path(
            hf_hub_download(
                repo_id, name, revision=commit, endpoint=endpoint, cache_dir=cache_dir, tqdm_class=_bar(on_progress)
            )
        )
    except EntryNotFoundError:
        raise CheckpointError(f"{repo_id} lost its file {name} while it was being read. Try again.") from None
    except (httpx.HTTPError, OSError) as error:
        raise CheckpointError(
            f"{name} of {repo_id} could not be downloaded ({type(error).__name__}). Try again later."
        ) from None


def _from_cache(repo_id: str, revision: str, cache_dir: Path | None) -> Checkpoint:
    """The checkpoint as downloaded before, when the Hub cannot be reached."""
    config = try_to_load_from_cache(repo_id, CONFIG, cache_dir=cache_dir, revision=revision)
    if not isinstance(config, str):
        commit = _remembered_commit(repo_id, revision, cache_dir)
        config = try_to_load_from_cache(repo_id, CONFIG, cache_dir=cache_dir, revision=commit) if commit else None
    if not isinstance(config, str):
        raise CheckpointError(
            f"{repo_id} is not on this computer yet and the Hub cannot be reached. Connect to the network once, or choose an embedded checkpoint."
        )
    folder = Path(config).parent
    check_folder(folder, repo_id)
    return Checkpoint(folder, repo_id, folder.name)


def _remembered_commit(repo_id: str, revision: str, cache_dir: Path | None) -> str | None:
    """Files are fetched by commit, which leaves no branch name in the cache: the newest commit there stands for it."""
    from huggingface_hub.constants import HF_HUB_CACHE

    snapshots = Path(cache_dir or HF_HUB_CACHE) / f"models--{repo_id.replace('/', '--')}" / "snapshots"
    if revision != "main" or not snapshots.is_dir():
        return None
    return max(snapshots.iterdir(), key=os.path.getmtime).name


def _check_hash(path: Path, sha256: str | None, repo_id: str) -> None:
    """Compare a large file with the hash the Hub lists for it; a wrong one is removed so that a retry can mend it."""
    if sha256 is None:
        return
    with path.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() == sha256:
            return
    path.resolve().unlink()
    path.unlink(missing_ok=True)
    raise CheckpointError(f"{path.name} of {repo_id} arrived altered. Try again.")


def _bar(on_progress: Progress | None) -> type[tqdm]:
    """A tqdm class that reports to `on_progress` instead of the terminal, or the terminal's bar without it."""
    if on_progress is None:
        return tqdm

    class Reporting(tqdm):
        def __init__(self, *args, **kwargs):
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": False, "file": open(os.devnull, "w")})  # noqa: SIM115

        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            if self.total:
                on_progress(self.n / self.total, f"Downloading {self.desc or 'the checkpoint'}")
            return shown

    return Reporting
