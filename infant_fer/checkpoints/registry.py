"""Which checkpoints does this page offer, and which are loaded? Visitors choose from the operator's list only."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from infant_fer.analyzer import Analyzer
from infant_fer.checkpoints.face_bundle import face_bundle
from infant_fer.checkpoints.sources import KNOWN, embedded
from infant_fer.classifier import AffectClassifier
from infant_fer.errors import CheckpointError
from infant_fer.face_detection import FaceDetector

MAX_LOADED = 2  # a ViT-Base takes 350 MB


@dataclass(frozen=True)
class CheckpointEntry:
    """One entry of the list: the source given to the loader and the words shown."""

    source: str
    title: str
    revision: str | None = None


def available_checkpoints(asked: list[str]) -> list[CheckpointEntry]:
    """The list of a page: what the operator asked for, what ships with the project, and the known ones of the Hub."""
    listed = [CheckpointEntry(source, source) for source in asked]
    listed += [CheckpointEntry(str(folder), folder.name) for folder in embedded()]
    listed += [
        CheckpointEntry(known.source, f"{known.source} ({known.note}; downloads when chosen)") for known in KNOWN
    ]
    return list({offer.source: offer for offer in reversed(listed)}.values())[::-1]


class CheckpointRegistry:
    """Load offered checkpoints on demand and keep the latest two. Thread-safe."""

    def __init__(self, available_checkpoints: list[CheckpointEntry], device: str = "auto"):
        self.available_checkpoints = available_checkpoints
        self._device = device
        self._face_finder = FaceDetector(face_bundle())
        self._loaded: OrderedDict[str, Analyzer] = OrderedDict()
        self._lock = threading.Lock()  # held for moments only
        self._loading = {offer.source: threading.Lock() for offer in available_checkpoints}  # held through a download

    @property
    def choices(self) -> list[tuple[str, str]]:
        """(title, source) pairs for a dropdown; the first is the default."""
        return [(offer.title, offer.source) for offer in self.available_checkpoints]

    def analyzer(self, source: str, on_progress: Callable[[float, str], None] | None = None) -> Analyzer:
        """The analyzer of an offered checkpoint; the first use may download, while other visitors go on with theirs.

        Raises CheckpointError.
        """
        offer = next((offer for offer in self.available_checkpoints if offer.source == source), None)
        if offer is None:
            raise CheckpointError("This page does not offer that checkpoint. Choose one from its list.")
        loaded = self._kept(source)
        if loaded is not None:
            return loaded
        with self._loading[source]:
            return self._kept(source) or self._keep(source, self._load(offer, on_progress))

    def _load(self, offer: CheckpointEntry, on_progress: Callable[[float, str], None] | None) -> Analyzer:
        classifier = AffectClassifier.from_pretrained(
            offer.source, revision=offer.revision, device=self._device, on_progress=on_progress
        )
        return Analyzer(self._face_finder, classifier)

    def _kept(self, source: str) -> Analyzer | None:
        with self._lock:
            if source in self._loaded:
                self._loaded.move_to_end(source)
            return self._loaded.get(source)

    def _keep(self, source: str, analyzer: Analyzer) -> Analyzer:
        with self._lock:
            self._loaded[source] = analyzer
            while len(self._loaded) > MAX_LOADED:
                self._loaded.popitem(last=False)
        return analyzer
