"""One recorded session: which files belong to it, is it done already, and what is written of it? The unit of work of a batch."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from infant_fer.errors import ClipError, InfantFERError, OutputError
from infant_fer.files import FoundFile, check_output_folder, files_in, filled_folder, write_atomically
from infant_fer.images import encode_png, printable
from infant_fer.video.agreement import agreement, write_agreement
from infant_fer.video.coding_files import coding_of, missing_codings
from infant_fer.video.exports import EXPORTERS, export, safe_stem
from infant_fer.video.imports import Coding, read_coding, read_events
from infant_fer.video.page import timeline_page
from infant_fer.video.reading import CLIP_SUFFIXES, ClipReader
from infant_fer.video.session_folder import AGREEMENT, SUMMARY, check_unedited, hashes, is_session, read_summary
from infant_fer.video.timeline import FrameReading, Summary, Timeline

if TYPE_CHECKING:  # loads torch and mediapipe
    from infant_fer.analyzer import Analyzer, Classifier
    from infant_fer.video.analysis import Progress, VideoSettings

REPORT = "report.html"
PEAK = "peak_{affect}.png"
PEAK_AFFECTS = ("positive", "negative")
MARK: Final = "fingerprint"  # in the summary: of the clip and of everything that its output depends on
CLIP_MARK: Final = "clip_fingerprint"  # in the summary: of the clip alone
SAMPLED_BYTES = 2**20  # of the clip's start and end that are in the fingerprints; a hash of all would take minutes


@dataclass(frozen=True)
class SessionOptions:
    """What is done with every session. `human` and `events` are a file, or a folder of files named as the clips.

    `human_track` names the tier, column or subject of the human coding where a file has several (see `read_coding`), and
    `human_gaps` is what an uncoded stretch means in every coding (see `shared_gaps`), by default what each coding says.
    """

    settings: VideoSettings
    human: Path | None = None
    human_track: str | None = None
    events: Path | None = None
    explain_peaks: bool = False
    formats: tuple[str, ...] = tuple(EXPORTERS)
    human_gaps: str | None = None


@dataclass(frozen=True)
class Session:
    """One clip and the folder for its results."""

    clip: Path
    folder: Path
    fault: str = ""  # why it cannot be read, when that is known already


@dataclass(frozen=True)
class SessionResult:
    """What became of one session: `state` is "written", "skipped" (its output is whole) or "failed", then with a `fault`."""

    session: Session
    state: str
    seconds: float = 0.0  # of the clip
    fault: str = ""
    notes: tuple[str, ...] = ()


def sessions_of(sources: Iterable[str | Path], out: Path) -> list[Session]:
    """List the clips as given, and those of folders in the order of their names, each with a folder of its own in `out`.

    The folder is named after the clip. Of several clips of one name the further ones get "-2", "-3" and so on; names that
    differ in capitals alone are one, as macOS and Windows have one folder for them. A clip that is given again, also through
    its folder or a link, is left out. A folder of clips that cannot be opened is an entry with its fault.
    """
    by_place: dict[str, FoundFile] = {}
    for found in _clips(sources):
        by_place.setdefault(os.path.realpath(found.path), found)
    sessions, taken = [], set()
    for found in by_place.values():
        stem, number = safe_stem(found.path.name), 1
        while (name := stem if number == 1 else f"{stem}-{number}").casefold() in taken:
            number += 1
        if not found.fault:
            taken.add(name.casefold())
        sessions.append(Session(found.path, out / name, found.fault))
    return sessions


def _clips(sources: Iterable[str | Path]) -> Iterator[FoundFile]:
    for source in map(Path, sources):
        if source.is_dir():
            yield from files_in(source, CLIP_SUFFIXES)
        else:
            yield FoundFile(source)


def run_session(
    analyzer: Analyzer,
    session: Session,
    options: SessionOptions,
    on_progress: Callable[[Progress], None] | None = None,
    check: Callable[[Path], None] = check_unedited,
) -> SessionResult:
    """Read one clip and write its folder at once, when everything in it is complete; a fault is part of the result.

    A session whose folder has the same fingerprint is skipped; a folder with the results of another clip, or with a file
    that was edited since it was written, stays, a fault. `check` raises OutputError for such a file; it is called before
    the clip is read and again before the folder is replaced.
    """
    if session.fault:
        return SessionResult(session, "failed", fault=session.fault)
    try:
        marks = {CLIP_MARK: clip_fingerprint(session.clip), MARK: fingerprint(session, options, analyzer.classifier)}
        if is_whole(session, marks):
            return SessionResult(session, "skipped")
        check(session.folder)
        human = coding_of(options.human, session.clip)
        # A slip in the coding is found before the clip is read.
        coding = read_coding(human, options.human_track) if human else None
        timeline = _timeline(analyzer, session, options, on_progress)
        summary: Summary = {
            **timeline.summary,
            CLIP_MARK: marks[CLIP_MARK],
            MARK: marks[MARK],
            "weights_sha256": getattr(analyzer.classifier, "weights_sha256", ""),
            "human_track": options.human_track,
            "requested_fps": options.settings.clip.fps,
        }
        timeline = replace(timeline, summary=summary)
        shared = coding and replace(coding, gaps=options.human_gaps or coding.gaps)
        _write(analyzer, timeline, session, options, shared, check)
        notes = [*timeline.summary["notes"], *missing_codings(session.clip, options.human, options.events)]
        if coding and options.human_gaps not in (coding.gaps, None):
            notes.append(
                f"{coding.source} has no neutral code, but other codings have: what it leaves uncoded is not compared."
            )
        if coding and timeline.infant is None:
            notes.append(f"No infant was found to compare with {coding.source}; there is no {AGREEMENT}.")
        return SessionResult(session, "written", timeline.duration_s, notes=tuple(notes))
    except InfantFERError as error:
        return SessionResult(session, "failed", fault=str(error))
    except Exception as error:  # any library's, on this clip alone: the table says so, and the others are still read
        return SessionResult(session, "failed", fault=f"Unexpected {type(error).__name__}: {error}")


def clip_fingerprint(clip: Path) -> str:
    """Return a hash of the clip's size, start and end. Raises ClipError."""
    content = hashlib.sha256()
    try:
        with clip.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            content.update(f"{size} ".encode())
            content.update(stream.read(SAMPLED_BYTES))
            stream.seek(max(0, size - SAMPLED_BYTES))
            content.update(stream.read(SAMPLED_BYTES))
    except OSError as error:
        raise ClipError(f"The clip could not be opened: {error.strerror}.") from None
    return content.hexdigest()


def fingerprint(session: Session, options: SessionOptions, classifier: Classifier) -> str:
    """Return a hash of the clip's own fingerprint, the codings beside it, the checkpoint and all settings.

    The checkpoint counts with its weights and the limits of its verdicts. Raises ClipError.
    """
    from infant_fer import __version__

    beside = [coding_of(place, session.clip) for place in (options.human, options.events)]
    codings = [hashlib.sha256(path.read_bytes()).hexdigest() if path else "" for path in beside]
    settings = asdict(options.settings) | {"ahead": None}  # changes nothing in the result
    trust = classifier.trust
    facts = [
        __version__,
        classifier.name,
        getattr(classifier, "weights_sha256", ""),
        trust and (asdict(trust.limits), trust.sets.thresholds, trust.agreement),
        clip_fingerprint(session.clip),
        codings,
        options.human_track,
        settings,
        options.explain_peaks,
        options.formats,
    ]
    if codings[0] and options.human_gaps is not None:  # no fact of other sessions: their earlier marks stay valid
        facts.append(options.human_gaps)
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()


def is_whole(session: Session, marks: Mapping[str, str]) -> bool:
    """Return whether the session's folder was written completely with these fingerprints, by their names in the summary.

    Raises OutputError where it holds the results of another clip.
    """
    earlier = read_summary(session.folder)
    if earlier is None:
        return False
    if earlier.get(CLIP_MARK, marks[CLIP_MARK]) != marks[CLIP_MARK]:
        raise OutputError(
            f"The folder {printable(session.folder.name)} holds the results of another clip of this name. "
            "Give another --out, or delete the folder."
        )
    return earlier.get(MARK) == marks[MARK]


def _timeline(analyzer, session: Session, options: SessionOptions, on_progress) -> Timeline:
    from infant_fer.video.analysis import analyze_video

    events = coding_of(options.events, session.clip)
    settings = replace(options.settings, events=read_events(events)) if events else options.settings
    return analyze_video(session.clip, analyzer, settings, on_progress, printable(session.clip.name))


def _write(
    analyzer: Analyzer,
    timeline: Timeline,
    session: Session,
    options: SessionOptions,
    coding: Coding | None,
    check: Callable[[Path], None],
) -> None:
    """Write all files into a folder beside the final one, which then takes its name.

    The agreement with the human coding is among them where the timeline has an infant.
    """
    check_output_folder(session.folder, is_ours=is_session)
    with filled_folder(session.folder, lambda partial: map(glob.escape, own_names(partial))) as partial:
        export(timeline, partial, options.formats)
        if coding and timeline.infant is not None:
            found = agreement(timeline, coding)
            write_agreement(partial / AGREEMENT, found)
            write_atomically(partial / REPORT, timeline_page(timeline, found))
        if options.explain_peaks:
            _write_peaks(analyzer, timeline, session.clip, options, partial)
        summary: Summary = {**timeline.summary, "files_sha256": hashes(partial)}
        EXPORTERS[SUMMARY](replace(timeline, summary=summary), partial / SUMMARY)
        check(session.folder)  # again: somebody may have saved a file while the clip was read


def own_names(folder: Path) -> set[str]:
    """Return the names of a session's files in its folder and of those that another run may have written beside them."""
    return {path.name for path in folder.iterdir()} | {AGREEMENT, *(PEAK.format(affect=each) for each in PEAK_AFFECTS)}


def peaks(timeline: Timeline) -> dict[str, FrameReading]:
    """Return the infant's frame in which each of PEAK_AFFECTS is most likely, among those whose label it is and was read."""
    found: dict[str, FrameReading] = {}
    heights: dict[str, float] = {}
    for reading in timeline.frames:
        label = reading.label
        if reading.person != timeline.infant or label not in PEAK_AFFECTS or reading.smoothed is None:
            continue
        height = reading.smoothed[label]
        if label not in found or height > heights[label]:
            found[label], heights[label] = reading, height
    return found


def _write_peaks(analyzer: Analyzer, timeline: Timeline, clip: Path, options: SessionOptions, folder: Path) -> None:
    """Write the frame of each peak, with the landmarks and with the map of what the answer depends on, side by side."""
    from infant_fer.drawing import close_up, draw_faces, draw_saliency

    for affect, reading in peaks(timeline).items():
        settings = replace(options.settings.clip, fps=None, start_s=reading.time_s, end_s=None)
        with ClipReader(clip, settings) as reader:
            frame = next(reader.frames())
        report = analyzer.analyze(frame.rgb, thorough=False)
        face = report.face_at([value / frame.scale for value in reading.box_xyxy or ()])
        if face is None:  # another person's picture must not stand for it
            continue
        shown = close_up(analyzer.explain(report, face.number))
        sides = (draw_faces(shown, face.number), draw_saliency(shown, face.number))
        write_atomically(folder / PEAK.format(affect=affect), encode_png(np.hstack(sides)))


def check_output(sessions: Sequence[Session], out: Path, codings: Iterable[Path | None] = ()) -> None:
    """Raise OutputError, before any work, unless the folder of every session without a fault can be written.

    `codings` are the places of the codings and the events; no file of them that belongs to a clip may lie in such a folder,
    where the model's own would replace it.
    """
    if out.is_file():
        raise OutputError(f"{out} is a file. Give the name of a folder.")
    inputs = {session.clip.resolve() for session in sessions}
    readable = [session for session in sessions if not session.fault]
    for session in readable:
        check_output_folder(session.folder, is_ours=is_session)
        if session.folder.resolve() in inputs:
            raise OutputError(f"{session.folder} is also a clip. Give another folder for the output.")
    folders = {session.folder.resolve() for session in readable}
    beside = [coding_of(place, session.clip) for place in codings for session in readable]
    for file in filter(None, beside):
        if not folders.isdisjoint(file.resolve().parents):
            raise OutputError(
                f"{printable(file)} lies in a folder that the results of a clip replace. Move it, or give another --out."
            )
