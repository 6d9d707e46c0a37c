"""How is a checkpoint downloaded from, or uploaded to, the Hugging Face Hub? Allow-listed files, checked by their digests."""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout
from httpx2 import HTTPError
from huggingface_hub import HfApi, constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    FileMetadataError,
    HfHubHTTPError,
    HFValidationError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling
from tqdm import tqdm

from infant_fer.checkpoints.limits import SECONDS_TO_ANSWER, RequestTooLongError, request_limits
from infant_fer.checkpoints.safety import (
    CARD,
    CONFIG,
    INDEX,
    MAX_JSON_BYTES,
    NESTED,
    PROCESSOR,
    SINGLE,
    TRUST_SETTINGS,
    TRUST_TENSORS,
    check_config,
    check_file_names,
    check_folder,
    check_processor,
    needs_processor,
    weight_names,
)
from infant_fer.errors import CheckpointError
from infant_fer.locales import Message

MAX_WEIGHT_BYTES = 3 * 2**30  # ViT-Large in float32 is 1.2 GB
SECONDS_FOR_SETTINGS, SECONDS_FOR_WEIGHTS = 60.0, 3600.0  # all requests for them together
PORTAL_HINT = "Something other than the Hub answered, such as this network's login page. Log in there and try again."
# Faults that a visitor of the page may meet with a checkpoint of its list; it says them in the visitor's language.
UNREACHABLE = (
    "{name} is not on this computer yet and the Hub cannot be reached. "
    "Connect to the network once, or choose a checkpoint that comes with the program."
)
NOT_ANSWERED = "The Hub could not answer for {name} (status {status}). Try again later."
NOT_LOOKED_UP = "{name} could not be looked up."
NOT_WHOLE = "{file} of {name} could not be downloaded whole ({reason}). Try again later."
ANSWER_CUT = "The Hub's answer for {name} {fault}. Try again later."  # a fault of limits.py
FILE_CUT = "{file} of {name} {fault}. Try again later."
NOT_DOWNLOADED = "{file} of {name} could not be downloaded."
FILE_LOST = "{name} lost its file {file} meanwhile. Try again."
ALTERED = "{file} of {name} arrived altered and was removed. Try again."
CHANGED = "{name} changed while it was being read. Try again."
DISK_FULL = (
    "The disk is full: {file} of {name} needs {megabytes:.0f} MB. "
    "Free some space, or set HF_HOME to a folder on another disk."
)
DOWNLOADING = "Downloading the checkpoint"

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class HubRevision:
    """One revision of one repository, at one Hub, with one cache."""

    repo_id: str
    revision: str
    endpoint: str | None
    cache_dir: Path | None
    labelled: bool = True  # its classes must be affects or emotions

    def cached(self, file: str) -> Path | None:
        """Return where an earlier download left a file; None when there is none, or can be none by that name."""
        try:
            found = try_to_load_from_cache(self.repo_id, file, cache_dir=self.cache_dir, revision=self.revision)
        except HFValidationError:
            return None
        return Path(found) if isinstance(found, str) else None


def downloaded_before(hub: HubRevision) -> Path | None:
    """Return the folder that an earlier call left, its content checked again; None when a file of it is missing."""
    config = hub.cached(CONFIG)
    if config is None:
        return None
    folder = config.parent
    processor = [PROCESSOR] * ((folder / PROCESSOR).is_file() or needs_processor(config, hub.repo_id))
    needed = weight_names(folder, hub.repo_id)
    if (folder / TRUST_SETTINGS).is_file():
        needed += [TRUST_SETTINGS, TRUST_TENSORS]
    if not all((folder / name).is_file() for name in (*processor, *needed)):
        return None
    for name in (CONFIG, *processor, *needed):
        _check_content(folder / name, _blob(folder / name).name, hub.repo_id)
    check_folder(folder, hub.repo_id, hub.labelled)
    return folder


def download(hub: HubRevision, on_progress: Progress | None) -> Path:
    """Download the allow-listed files and return their folder, checked and named by its commit.

    The settings come first and are checked before any weight is requested. Raises CheckpointError.
    """
    delete_abandoned(hub.repo_id, hub.cache_dir)
    with request_limits(SECONDS_FOR_SETTINGS):
        folder, files, tally = _settings(hub, on_progress)
    weights = weight_names(folder, hub.repo_id)
    if missing := [name for name in weights if name not in files]:
        raise CheckpointError(f"{hub.repo_id} lacks its file {missing[0]}; it cannot be used as it stands.")
    weights += [TRUST_TENSORS] * (TRUST_TENSORS in files and TRUST_SETTINGS in files)
    tally.total += sum(files[name].size or 0 for name in weights)
    if tally.total > MAX_WEIGHT_BYTES:
        raise CheckpointError(f"{hub.repo_id} has more than 3 GB of weights. Choose a smaller one.")
    with request_limits(SECONDS_FOR_WEIGHTS):
        for name in weights:
            _fetched(hub, files[name], folder.name, tally)
    check_folder(folder, hub.repo_id, hub.labelled)
    return folder


def _settings(hub: HubRevision, on_progress: Progress | None) -> tuple[Path, dict[str, RepoSibling], _Tally]:
    """Download and check all but the weights; return their folder, the repository's files and the bytes so far."""
    commit, files = _listing(hub)
    check_file_names(list(files), hub.repo_id)
    if CONFIG not in files:
        raise _lacks(CONFIG, hub)
    small = [name for name in (CONFIG, PROCESSOR, NESTED, CARD) if name in files]
    small += [INDEX] * (SINGLE not in files) + [TRUST_SETTINGS] * (TRUST_SETTINGS in files and TRUST_TENSORS in files)
    for name in small:
        if name in files and (files[name].size or 0) > MAX_JSON_BYTES:
            raise CheckpointError(f"{name} of {hub.repo_id} is larger than 1 MB; it is no ordinary checkpoint.")
    tally = _Tally(on_progress, sum(files[name].size or 0 for name in small))
    # Requested by the revision's name, so that the cache records which commit the name stood for.
    folder = _fetched(hub, files[CONFIG], hub.revision, tally).parent
    if folder.name != commit:
        raise CheckpointError(Message(CHANGED, name=hub.repo_id))
    check_config(folder / CONFIG, hub.repo_id, hub.labelled)
    if PROCESSOR not in files and needs_processor(folder / CONFIG, hub.repo_id):
        raise _lacks(PROCESSOR, hub)
    for name in small[1:]:
        _fetched(hub, files[name], commit, tally)
    for name in (PROCESSOR, NESTED):
        if name in files:
            check_processor(folder / name, hub.repo_id)
    return folder, files, tally


def _lacks(file: str, hub: HubRevision) -> CheckpointError:
    return CheckpointError(f"{hub.repo_id} has no {file}; it cannot be used as it stands. Choose another.")


def delete_abandoned(repo_id: str, cache_dir: Path | None = None) -> None:
    """Delete what killed programs left of a repository's downloads; a living one holds the lock of its file."""
    cache, repository = Path(cache_dir or constants.HF_HUB_CACHE), f"models--{repo_id.replace('/', '--')}"
    for partial in (cache / repository / "blobs").glob("*.incomplete"):
        lock = cache / ".locks" / repository / f"{partial.name.split('.')[0]}.lock"
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock, timeout=0):
                partial.unlink(missing_ok=True)
        except Timeout:
            continue


def _listing(hub: HubRevision) -> tuple[str, dict[str, RepoSibling]]:
    """Return the commit a revision stands for, and its files by name."""
    api = HfApi(endpoint=hub.endpoint)
    try:
        info = api.model_info(hub.repo_id, revision=hub.revision, files_metadata=True, timeout=SECONDS_TO_ANSWER)
    except RevisionNotFoundError:
        raise CheckpointError(
            f"{hub.repo_id} has no revision {hub.revision}. Leave it out to take the newest."
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise CheckpointError(
            f"The Hub has no public checkpoint {hub.repo_id}. Check the spelling of owner and name."
        ) from None
    except HfHubHTTPError as error:
        raise CheckpointError(Message(NOT_ANSWERED, name=hub.repo_id, status=error.response.status_code)) from None
    except RequestTooLongError as error:
        raise CheckpointError(Message(ANSWER_CUT, name=hub.repo_id, fault=(str(error),))) from None
    except ValueError:  # no JSON
        raise CheckpointError(Message.joined(Message(NOT_LOOKED_UP, name=hub.repo_id), PORTAL_HINT)) from None
    except (HTTPError, OSError):
        if hub.labelled:
            raise CheckpointError(Message(UNREACHABLE, name=hub.repo_id)) from None
        raise CheckpointError(
            f"{hub.repo_id} is not on this computer yet and the Hub cannot be reached. Connect to the network once, or "
            "train from a network in a folder, --base FOLDER."
        ) from None
    return str(info.sha), {item.rfilename: item for item in info.siblings or ()}


def _fetched(hub: HubRevision, file: RepoSibling, revision: str, tally: _Tally) -> Path:
    """Download one file into the Hub's cache, which only ever shows whole files, and check its content."""
    named = {"file": file.rfilename, "name": hub.repo_id}
    try:
        with request_limits(most_bytes=file.size):
            downloaded = hf_hub_download(
                hub.repo_id,
                file.rfilename,
                revision=revision,
                endpoint=hub.endpoint,
                cache_dir=hub.cache_dir,
                tqdm_class=tally.bar(),
            )
    except RemoteEntryNotFoundError:
        raise CheckpointError(Message(FILE_LOST, **named)) from None
    except RequestTooLongError as error:
        raise CheckpointError(Message(FILE_CUT, **named, fault=(str(error),))) from None
    except (HTTPError, OSError) as error:
        if isinstance(error.__cause__, FileMetadataError):
            raise CheckpointError(Message.joined(Message(NOT_DOWNLOADED, **named), PORTAL_HINT)) from None
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CheckpointError(Message(DISK_FULL, **named, megabytes=(file.size or 0) / 1e6)) from None
        raise CheckpointError(Message(NOT_WHOLE, **named, reason=type(error).__name__)) from None
    _check_content(Path(downloaded), file.lfs.sha256 if file.lfs else file.blob_id or "", hub.repo_id)
    return Path(downloaded)


def _check_content(path: Path, digest: str, repo_id: str) -> None:
    """Compare a file with its digest on the Hub: SHA-256 for large files, git's blob id for small ones.

    The cache names files by the same digest. One that differs is removed, so that a retry can mend it; anything that
    is no such digest is not compared.
    """
    if not re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", digest):
        return
    with path.open("rb") as stream:
        if len(digest) == 64:
            hasher = hashlib.file_digest(stream, "sha256")
        else:
            hasher = hashlib.sha1(b"blob %d\0" % path.stat().st_size + stream.read())
    if hasher.hexdigest() != digest:
        for copy in (path.resolve(), _blob(path), path):
            copy.unlink(missing_ok=True)
        raise CheckpointError(Message(ALTERED, file=path.name, name=repo_id))


def _blob(path: Path) -> Path:
    """Return where the cache keeps a file's content, named by its digest; the file itself on systems without links.

    One step only: with Xet the blob is a link too, to a store that all repositories share and that has other names.
    """
    return path.parent / path.readlink() if path.is_symlink() else path


@dataclass
class _Tally:
    """Count the bytes of several downloads and report their share of the total."""

    on_progress: Progress | None
    total: int
    done: int = field(default=0, init=False)

    def add(self, count: float) -> None:
        self.done += int(count)
        if self.on_progress is not None:
            self.on_progress(min(1.0, self.done / max(self.total, 1)), DOWNLOADING)

    def bar(self) -> type[tqdm] | None:
        """Return the class that huggingface_hub reports to: this tally, or None for its own bar in the terminal."""
        if self.on_progress is None:
            return None
        tally = self

        class Reporting(tqdm):
            def __init__(self, *args, **kwargs):
                kwargs.pop("name", None)
                super().__init__(*args, **{**kwargs, "disable": True})  # nothing is printed
                tally.add(kwargs.get("initial") or 0)

            def update(self, n: float | None = 1) -> None:
                tally.add(n or 0)

            def update_transfer(self, *_, **__) -> None:
                """Ignore bytes received: Xet reports them beside those written, and they count once."""

            set_transfer_postfix_str = update_transfer

        return Reporting


def upload(folder: Path, repo_id: str, files: Sequence[str], endpoint: str | None = None) -> str:
    """Upload a checkpoint, create the repository if needed, and return its address. Raises CheckpointError.

    What matches none of the patterns `files` stays here: others may have put private pictures into the folder.

    The token is the one that `hf auth login` left, or the environment's HF_TOKEN.
    """
    check_folder(folder, folder.name)
    api = HfApi(endpoint=endpoint)
    try:
        address = api.create_repo(repo_id, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id, folder_path=folder, allow_patterns=[*files], commit_message="Upload the checkpoint"
        )
    except (HFValidationError, HTTPError, OSError, RuntimeError) as error:  # a part that fails is a RuntimeError
        raise CheckpointError(
            f"{folder.name} could not be uploaded to {repo_id}: {str(error).splitlines()[0]}. "
            "Log in with `hf auth login` and check owner and name."
        ) from None
    return str(address)
