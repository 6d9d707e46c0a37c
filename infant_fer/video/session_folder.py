"""Which folders hold a session that this program has written, which files of it were edited since, and which may be pooled?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from infant_fer.errors import OutputError
from infant_fer.images import printable
from infant_fer.video.exports import EXPORTERS, safe_stem
from infant_fer.video.timeline import Summary

SUMMARY: Final = "summary.json"
AGREEMENT: Final = "agreement.json"
# What every summary holds; a file of this name that lacks one of them is another program's.
KEYS: Final = frozenset(
    ("source", "checkpoint", "duration_s", "frames", "fps", "persons", "events", "settings", "notes")
)
EDITED_SUFFIXES: Final = (".csv", ".eaf", ".opf", ".tsv", ".vtt")  # of the files that people correct in their own tools
CLOCK_STEP_S: Final = 2.0  # of the times of files on FAT, the coarsest; an edit takes longer than that

FACT_WORDS: Final = {  # what must be equal in all sessions that are pooled, by its name in the summary or the agreement
    "checkpoint": "the checkpoint",
    "weights_sha256": "the weights of the checkpoint",
    "requested_fps": "--fps",
    "smoothing_s": "--smoothing",
    "bout_smoothing_s": "the smoothing before bouts are found",
    "margin": "the margin by which another affect must be more likely",
    "min_bout_s": "the shortest duration of a bout",
    "join_gap_s": "the gap across which bouts are joined",
    "max_hold_s": "the longest time that a frame stands for",
    "human_track": "the track named with --human-track",
    "gaps": "what an uncoded stretch means",
}


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


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in a session's folder that people edit, by its name."""
    files = sorted(path for path in folder.iterdir() if path.suffix in EDITED_SUFFIXES and path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def check_unedited(folder: Path, present: Mapping[str, str] | None = None) -> None:
    """Raise OutputError where a file in a session's folder was edited since it was written: it may be a human's coding.

    `present` are the hashes of the session's files by name where they lie elsewhere and `folder` has the summary alone.
    """
    edited = _edited(folder, present)
    if edited:
        raise OutputError(
            f"{printable(edited[0])} in the folder {printable(folder.name)} was edited since it was written, and would be "
            "replaced. Move it, or give it another name."
        )


def _edited(folder: Path, present: Mapping[str, str] | None) -> list[str]:
    """Return the names of a session's files that have other bytes than those written.

    An earlier version's summary has no hashes. It was written last, so a file that is newer was edited.
    """
    summary = read_summary(folder)
    if summary is None:
        return []
    if "files_sha256" in summary:
        present = hashes(folder) if present is None else present
        return [name for name, digest in summary["files_sha256"].items() if present.get(name, digest) != digest]
    stem, written_s = safe_stem(summary["source"]), (folder / SUMMARY).stat().st_mtime
    files = (folder / name.format(stem=stem) for name in EXPORTERS if name.endswith(EDITED_SUFFIXES))
    return [each.name for each in files if each.is_file() and each.stat().st_mtime > written_s + CLOCK_STEP_S]


def not_pooled(sessions: Iterable[Path], read: Collection[str] = (), failed: Collection[str] = ()) -> dict[str, str]:
    """Return a sentence for each session, by its folder's name, that is not pooled with the others.

    Sessions are pooled that have one checkpoint, one requested frame rate and one set of rules for bouts. `read` are the
    sessions of this run, which are kept, and `failed` those that it could not read, whose folders hold earlier results.
    Without `read` the first session is kept.
    """
    places = list(sessions)
    reasons = {each.name: "it failed, and its folder holds earlier results." for each in places if each.name in failed}
    reasons |= _differing([each for each in places if each.name not in failed], read, _reading_facts)
    return {name: f"{printable(name)} is not pooled: {reason}" for name, reason in reasons.items()}


def agreements_not_pooled(sessions: Iterable[Path], read: Collection[str] = ()) -> dict[str, str]:
    """Return a sentence for each session whose agreement alone is not pooled, of sessions that `not_pooled` keeps.

    Agreements are pooled that have one rule for uncoded stretches and, where the command named the human tracks, one name.
    """
    coded = [each for each in sessions if (each / AGREEMENT).is_file()]
    reasons = _differing(coded, read, _coding_facts)
    return {name: f"The agreement of {printable(name)} is not pooled: {reason}" for name, reason in reasons.items()}


def _differing(
    sessions: Iterable[Path], read: Collection[str], facts_of: Callable[[Path], Mapping[str, Any]]
) -> dict[str, str]:
    """Return what a session differs in from an earlier one that is kept, by its folder's name; those `read` come first."""
    reasons: dict[str, str] = {}
    kept: dict[str, Mapping[str, Any]] = {}
    for session in sorted(sessions, key=lambda each: (each.name not in read, each.name)):
        facts = facts_of(session)
        differences = (
            f"it differs from {printable(other)} in {_difference(fact, facts[fact], value)}."
            for other, others in kept.items()
            for fact, value in others.items()
            if fact in facts and facts[fact] != value
        )
        reason = next(differences, None)
        if reason is None:
            kept[session.name] = facts
        else:
            reasons[session.name] = reason
    return reasons


def _difference(fact: str, value: Any, other: Any) -> str:
    """Return what differs in words, with both values; hashes of weights would say nothing."""
    words = FACT_WORDS.get(fact, fact)
    if fact == "weights_sha256":
        return words
    shown, instead = ("all frames" if each is None else printable(str(each)) for each in (value, other))
    return f"{words} ({shown} instead of {instead})"


def _reading_facts(session: Path) -> dict[str, Any]:
    """Return what must be equal in all sessions that are pooled, by its name in the summary.

    What a summary does not say is left out; those of earlier versions do not say `requested_fps`, whose None is all frames.
    """
    summary = read_summary(session)
    if summary is None:
        return {}
    facts = {
        "checkpoint": summary["checkpoint"],
        "weights_sha256": summary.get("weights_sha256"),
        **summary["settings"],
    }
    known: dict[str, Any] = {name: value for name, value in facts.items() if value not in (None, "")}
    if "requested_fps" in summary:
        known["requested_fps"] = summary["requested_fps"]
    return known


def _coding_facts(session: Path) -> dict[str, Any]:
    """Return what must be equal in all agreements that are pooled, by its name in the agreement or the summary."""
    summary = read_summary(session)
    facts = {"gaps": json.loads((session / AGREEMENT).read_text("utf-8"))["gaps"]}
    if summary and (track := summary.get("human_track")):
        facts["human_track"] = track
    return facts
