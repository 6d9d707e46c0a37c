"""Which checkpoints does this page offer, and which are loaded? Visitors choose from the operator's list only."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from infant_fer.analyzer import Analyzer
from infant_fer.checkpoints import KNOWN, embedded, face_bundle
from infant_fer.classifier import AffectClassifier
from infant_fer.errors import CheckpointError
from infant_fer.faces import FaceFinder

MAX_LOADED = 2  # a ViT-Base takes 350 MB


@dataclass(frozen=True)
class Offer:
    """One entry of the list: the source given to the loader and the words shown."""

    source: str
    title: str
    revision: str | None = None


def offers(asked: list[str]) -> list[Offer]:
    """The list of a page: what the operator asked for, what ships with the project, and the known ones of the Hub."""
    listed = [Offer(source, source) for source in asked]
    listed += [Offer(str(folder), folder.name) for folder in embedded()]
    listed += [Offer(known.source, f"{known.source} ({known.note}; downloads when chosen)") for known in KNOWN]
    return list({offer.source: offer for offer in reversed(listed)}.values())[::-1]


class Shelf:
    """Load offered checkpoints on demand and keep the latest two. Thread-safe."""

    def __init__(self, offers: list[Offer], device: str = "auto", face_finder: FaceFinder | None = None):
        self.offers = offers
        self._device = device
        self._face_finder = face_finder or FaceFinder(face_bundle())
        self._loaded: OrderedDict[str, Analyzer] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def choices(self) -> list[tuple[str, str]]:
        """(title, source) pairs for a dropdown; the first is the default."""
        return [(offer.title, offer.source) for offer in self.offers]

    def analyzer(self, source: str, on_progress: Callable[[float, str], None] | None = None) -> Analyzer:
        """The analyzer of an offered checkpoint; the first use may download. Raises CheckpointError."""
        offer = next((offer for offer in self.offers if offer.source == source), None)
        if offer is None:
            raise CheckpointError("This page does not offer that checkpoint. Choose one from its list.")
        with self._lock:
            if source not in self._loaded:
                classifier = AffectClassifier.from_pretrained(
                    source, revision=offer.revision, device=self._device, on_progress=on_progress
                )
                self._loaded[source] = Analyzer(self._face_finder, classifier)
            self._loaded.move_to_end(source)
            while len(self._loaded) > MAX_LOADED:
                self._loaded.popitem(last=False)
            return self._loaded[source]
