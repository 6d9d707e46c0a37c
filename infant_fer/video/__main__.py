"""Read clips: `infant-fer video CLIP_OR_FOLDER... --out DIR` writes a folder of tables, coding files and a page for each clip."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from infant_fer.errors import DatasetError, exit_status
from infant_fer.images import printable
from infant_fer.video.coding_files import check_codings, shared_gaps
from infant_fer.video.pooled import (
    check_infants,
    check_pooled,
    delete_unsupported,
    pool_sessions,
    read_infants,
)
from infant_fer.video.remote import check_url, is_url, run_remote_session
from infant_fer.video.session_folder import agreements_not_pooled, not_pooled, session_folders
from infant_fer.video.sessions import (
    Session,
    SessionOptions,
    SessionResult,
    check_output,
    run_session,
    sessions_of,
)
from infant_fer.workers import Job, spread

if TYPE_CHECKING:
    from infant_fer.analyzer import Analyzer
    from infant_fer.video.analysis import Progress

INTERRUPTED = "Interrupted. Clips that were complete are kept; the same command goes on with the others."
BAR = "{desc}: {n:.0f} % {bar} {postfix}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 when every clip could be read, 1 when one could not, 2 for a wrong command, 130 interrupted."""
    return exit_status(partial(_run, _parser().parse_args(arguments)), INTERRUPTED, status=2)


def _run(options: argparse.Namespace) -> int:
    remote = is_url(options.out)
    sessions = sessions_of(options.clips, Path("." if remote else options.out))
    if not sessions:
        print(f"No clip was found in: {', '.join(map(_one_line, options.clips))}.", file=sys.stderr)
        return 1
    clips = [session for session in sessions if not session.fault]
    if len(clips) > 1 and options.human and options.human.is_file():
        raise DatasetError(
            f"{_one_line(options.human)} is one coding for {len(clips)} clips. Give the folder of codings."
        )
    check_codings([session.clip for session in clips], (options.human, options.events))
    infants = _infants(options, clips)
    if remote:
        check_url(options.out)
    else:
        check_output(sessions, Path(options.out), (options.human, options.events))
        if options.events or options.human:
            check_pooled(Path(options.out))
    results: list[SessionResult] = []
    for result in _results(sessions, options):
        results.append(result)
        for sentence in filter(None, (result.fault, *result.notes)):
            tqdm.write(f"{_one_line(result.session.clip)}: {sentence}", file=sys.stderr)
    states = Counter(result.state for result in results)
    print(
        f"{states['written']} written, {states['skipped']} skipped because they are whole, {states['failed']} failed.",
        file=sys.stderr,
    )
    if (options.events or options.human) and len(results) > states["failed"]:
        _pool(options.out, infants, results)
    elif not remote:
        delete_unsupported(Path(options.out))
    failed = [result for result in results if result.state == "failed"]
    if len(failed) > 1:
        print(
            "\n".join(["Failed:", *(f"  {_one_line(each.session.clip)}: {each.fault}" for each in failed)]),
            file=sys.stderr,
        )
    return 1 if failed else 0


def _infants(options: argparse.Namespace, clips: Sequence[Session]) -> dict[str, str] | None:
    """Return the infant of each session, by its folder's name; None without a table. Raises DatasetError."""
    if options.infants is None:
        return None
    if is_url(options.out) or not (options.events or options.human):
        raise DatasetError(
            "--infants is for the figures over all sessions, which need --events or --human, and a folder as --out."
        )
    infants = read_infants(options.infants)
    folders = [session.folder for session in clips] + session_folders(Path(options.out))
    check_infants(infants, (folder.name for folder in folders))
    return infants


def _pool(out: str, infants: dict[str, str] | None, results: Sequence[SessionResult]) -> None:
    """Write the figures over all sessions and say where they are; of results at a URL, say that there are none.

    Sessions in the folder that this run could not read, or that differ from its own in what must be equal, are left out;
    a difference in the human coding leaves out the agreement alone.
    """
    if is_url(out):
        print(
            f"Results at a URL are not pooled. Copy {out} into a folder and give that to python -m infant_fer.video.pooled.",
            file=sys.stderr,
        )
        return
    read = {each.session.folder.name for each in results if each.state != "failed"}
    failed = {each.session.folder.name for each in results if each.state == "failed"} - read
    folders = session_folders(Path(out))
    left_out = not_pooled(folders, read, failed)
    agreements = agreements_not_pooled([each for each in folders if each.name not in left_out], read)
    for sentence in (*left_out.values(), *agreements.values()):
        print(sentence, file=sys.stderr)
    for file in pool_sessions(Path(out), infants, left_out, agreements):
        print(f"All sessions together: {_one_line(file)}", file=sys.stderr)


def _results(sessions: Sequence[Session], options: argparse.Namespace) -> Iterator[SessionResult]:
    """Yield the result of each session in order: from workers, or one after the other here with a bar of the clip's time."""
    settings = _session_options(options)
    load, url = partial(_load, options.checkpoint, options.device), options.out if is_url(options.out) else None
    if options.workers > 1 or options.ray:
        settings = replace(settings, settings=replace(settings.settings, ahead=False))  # a worker has one thread
        job = Job(load, partial(_work, settings, url), _lost)
        results = spread(job, sessions, options.workers, options.ray)
        yield from tqdm(results, total=len(sessions), unit="clip", disable=None, file=sys.stderr)
        return
    analyzer = load()
    for number, session in enumerate(sessions, 1):
        title = f"{_one_line(session.clip.name)} ({number}/{len(sessions)})"
        with tqdm(total=100, desc=title, disable=None, file=sys.stderr, bar_format=BAR) as bar:
            yield _work(settings, url, analyzer, session, partial(_show, bar))


def _load(checkpoint: str | None, device: str) -> Analyzer:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is loaded: waiting threads must not spin
    from infant_fer.analyzer import Analyzer

    return Analyzer.from_pretrained(checkpoint, device=device)


def _work(
    options: SessionOptions,
    url: str | None,
    analyzer: Analyzer,
    session: Session,
    on_progress: Callable[[Progress], None] | None = None,
) -> SessionResult:
    if url is not None:
        return run_remote_session(url, analyzer, session, options, on_progress)
    return run_session(analyzer, session, options, on_progress)


def _lost(session: Session) -> SessionResult:
    return SessionResult(
        session, "failed", fault="The reading process died at this clip each time, perhaps for lack of memory."
    )


def _show(bar: tqdm, progress: Progress) -> None:
    if progress.seconds_left is not None:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        bar.set_postfix_str(f"{progress.time_s:.1f} s read, {minutes}:{seconds:02} left", refresh=False)
    bar.update(100 * (progress.share or 0.0) - bar.n)


def _one_line(path: str | Path) -> str:
    """Return a path for a message; line ends in it are blanks."""
    return " ".join(printable(path).split())


def _session_options(options: argparse.Namespace) -> SessionOptions:
    from infant_fer.video.analysis import VideoSettings, parse_region  # loads torch
    from infant_fer.video.bouts import BoutRules
    from infant_fer.video.reading import ClipSettings

    clip = ClipSettings(fps=options.fps, start_s=options.start, end_s=options.end)
    region = parse_region(options.region) if options.region else None
    settings = VideoSettings(clip, region, options.persons, BoutRules(smoothing_s=options.smoothing))
    return SessionOptions(
        settings,
        options.human,
        options.human_track,
        options.events,
        options.explain_peaks,
        human_gaps=shared_gaps(options.human, options.human_track),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("infant-fer video", description=__doc__.splitlines()[0])
    parser.add_argument("clips", nargs="+", metavar="CLIP_OR_FOLDER", help="clips, or folders searched for clips")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="gets a folder for each clip; a path, or a URL that fsspec opens"
    )
    parser.add_argument("--fps", type=float, help="frames read a second; default: all")
    parser.add_argument(
        "--start", type=float, default=0.0, metavar="S", help="second of the clip at which reading starts"
    )
    parser.add_argument("--end", type=float, metavar="S", help="second at which it ends")
    parser.add_argument(
        "--region", help="part of the frame: left, right, top, bottom, or LEFT,TOP,RIGHT,BOTTOM as shares"
    )
    parser.add_argument("--persons", type=int, default=3, metavar="N", help="how many persons are followed, at most 5")
    parser.add_argument(
        "--events", type=Path, metavar="FILE", help="phases of the session: a file, or a folder with one a clip"
    )
    parser.add_argument(
        "--human", type=Path, metavar="FILE", help="human coding to compare with: a file, or a folder with one a clip"
    )
    parser.add_argument(
        "--human-track", metavar="NAME", help="tier, column or subject of the human coding, where a file has several"
    )
    parser.add_argument(
        "--infants",
        type=Path,
        metavar="CSV",
        help="table of session (its folder's name) and infant, for the figures over all sessions (--events, --human)",
    )
    parser.add_argument(
        "--explain-peaks", action="store_true", help="write the map of the clearest positive and negative frame"
    )
    parser.add_argument(
        "--smoothing", type=float, default=0.5, metavar="S", help="time constant of the smoothed curves"
    )
    parser.add_argument("--checkpoint", metavar="C", help="folder or Hub id; default: infant-fer-small")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes, each with one thread")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="read on a Ray cluster: auto, or its address (docs/cluster.md)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    return parser


if __name__ == "__main__":
    from infant_fer.video.__main__ import main  # under its own name, by which worker processes find its functions

    sys.exit(main())
