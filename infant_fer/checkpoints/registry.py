"""Which checkpoints can be chosen on a page, and which are loaded? Visitors choose from the operator's list only, by public names."""

from __future__ import annotations

import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

from infant_fer.analyzer import Analyzer
from infant_fer.checkpoints.hub import delete_abandoned
from infant_fer.checkpoints.sources import KNOWN, embedded, face_bundle, is_hub_id, local_path
from infant_fer.classifier import AffectClassifier
from infant_fer.errors import CheckpointError
from infant_fer.face_detection import FaceDetector
from infant_fer.locales import Message

MAX_LOADED = 2  # a ViT-Base takes 350 MB
MAX_WAITING = 4  # callers for a checkpoint that is being loaded
STILL_LOADING = "{name} is still being loaded for others. Try again in a minute."


@dataclass(frozen=True)
class CheckpointEntry:
    """A checkpoint that visitors may choose.

    `source` (a folder or a Hub id) stays on the server; `name` is unique and public; `title` is shown.
    """

    source: str
    name: str
    title: str
    revision: str | None = None


def available_checkpoints(configured: Sequence[str] = ()) -> list[CheckpointEntry]:
    """Return the operator's checkpoints, those that ship with the project and the known ones of the Hub, in that order.

    A folder is named by its last part, never by its path; further folders of the same name get a number.
    """
    entries = [CheckpointEntry(source, _public_name(source), "") for source in configured]
    entries += [CheckpointEntry(str(folder), folder.name, "") for folder in embedded()]
    entries += [
        CheckpointEntry(
            known.source, known.source, f"{known.source} ({known.note}; downloads when chosen)", known.revision
        )
        for known in KNOWN
    ]
    by_source: dict[str, CheckpointEntry] = {}
    for entry in entries:
        folder = local_path(entry.source)
        by_source.setdefault(str(folder.resolve()) if folder.is_dir() else entry.source, entry)
    names: Counter[str] = Counter()
    unique = []
    for entry in by_source.values():
        names[entry.name] += 1
        name = entry.name if names[entry.name] == 1 else f"{entry.name} ({names[entry.name]})"
        unique.append(replace(entry, name=name, title=entry.title or name))
    return unique


def _public_name(source: str) -> str:
    return source if is_hub_id(source) else local_path(source).resolve().name


class CheckpointRegistry:
    """Load the available checkpoints on demand and keep the latest two. Thread-safe."""

    def __init__(
        self, entries: Sequence[CheckpointEntry], device: str = "auto", analyzer_class: type[Analyzer] = Analyzer
    ):
        self._entries = {entry.name: entry for entry in entries}
        self._device, self._analyzer_class = device, analyzer_class
        self.while_loading: Callable[[], AbstractContextManager] = nullcontext  # entered by each call that has to wait
        self._face_detector = FaceDetector(face_bundle())
        self._loaded: OrderedDict[str, Analyzer] = OrderedDict()
        self._lock = threading.Lock()  # held for moments only
        self._loading = {name: threading.Lock() for name in self._entries}  # held through a download
        self._waiting: Counter[str] = Counter()
        for entry in entries:
            if is_hub_id(entry.source):
                delete_abandoned(entry.source.partition("@")[0])

    @property
    def choices(self) -> list[tuple[str, str]]:
        """Return (title, name) pairs for a dropdown; the first is the default."""
        return [(entry.title, entry.name) for entry in self._entries.values()]

    @property
    def default(self) -> str:
        """Return the name of the checkpoint that is used until a visitor chooses another one."""
        return next(iter(self._entries))

    def analyzer(self, name: str, on_progress: Callable[[float, str], None] | None = None) -> Analyzer:
        """Return the analyzer of an available checkpoint; its first use may download, while other visitors go on with theirs.

        Raises CheckpointError for a name that is not in the list and for a checkpoint that cannot be loaded.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise CheckpointError("This page does not offer that checkpoint. Choose one from its list.")
        loaded = self.loaded(name)
        if loaded is not None:
            return loaded
        with self.while_loading(), self._place_to_wait(name), self._loading[name]:
            return self.loaded(name) or self._keep(name, self._load(entry, on_progress))

    def loaded(self, name: str) -> Analyzer | None:
        """Return the analyzer of a checkpoint if it is in memory; never loads."""
        with self._lock:
            if name in self._loaded:
                self._loaded.move_to_end(name)
            return self._loaded.get(name)

    def _load(self, entry: CheckpointEntry, on_progress: Callable[[float, str], None] | None) -> Analyzer:
        try:
            classifier = AffectClassifier.from_pretrained(
                entry.source, revision=entry.revision, device=self._device, on_progress=on_progress
            )
        except CheckpointError as error:
            raise CheckpointError(_with_name(error.sentence, entry)) from None
        return self._analyzer_class(self._face_detector, classifier)

    @contextmanager
    def _place_to_wait(self, name: str) -> Iterator[None]:
        """Let a few callers wait for a checkpoint; each holds a thread, and a stalled download must not take them all."""
        with self._lock:
            if self._waiting[name] >= MAX_WAITING:
                raise CheckpointError(Message(STILL_LOADING, name=name))
            self._waiting[name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting[name] -= 1

    def _keep(self, name: str, analyzer: Analyzer) -> Analyzer:
        with self._lock:
            self._loaded[name] = analyzer
            while len(self._loaded) > MAX_LOADED:
                self._loaded.popitem(last=False)
        return analyzer


def _with_name(sentence: str, entry: CheckpointEntry) -> str:
    """Return a fault's sentence with the name that the page shows in place of the checkpoint's source."""
    if isinstance(sentence, Message):
        named = {
            name: _with_name(value, entry) if isinstance(value, str) else value
            for name, value in sentence.values.items()
        }
        return Message(sentence.template, **named)
    return re.sub(rf"(?<![\w./-]){re.escape(entry.source)}(?![\w-])", lambda _: entry.name, sentence)
