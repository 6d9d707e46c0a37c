"""Measure folders of photos and clips, `python -m benchmarks.folders [--parts processes ray clips]`: speed, memory, Ray's overhead.

The photos are copies of the rendered portraits in examples/, the clips of one rendered clip (`--seconds`). Starting the workers and
loading the model are left out: the clock runs from the first result of every way to its last one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil

from benchmarks.video import moving_portrait
from infant_fer.__main__ import _analyzer
from infant_fer.batch import PhotoFile, ReadSettings, _lost, _read_entries, photo_files
from infant_fer.video.__main__ import _load, _work
from infant_fer.video.__main__ import _lost as _lost_session
from infant_fer.video.analysis import VideoSettings
from infant_fer.video.sessions import SessionOptions, SessionResult, sessions_of
from infant_fer.workers import Job, spread

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FORMATS = ("csv", "json")
EARLY = 0.1  # of the items, after which memory is compared
PHOTO_JOB = Job(
    partial(_analyzer, None, "cpu", "auto"), partial(_read_entries, FORMATS, ReadSettings()), partial(_lost, FORMATS)
)


def main() -> None:
    """Measure the selected parts, print each figure as it is known and write the JSON if --json is given."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each clip")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=["processes"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: dict[str, object] = {}

    def keep(name: str, value: object) -> None:
        results[name] = value
        print(f"{name:48} {value}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))

    load = f"load {os.getloadavg()[0]:.1f} at the start"
    keep("machine", f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {load}")
    for part in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            for name, value in PARTS[part](Path(folder), options):
                keep(name, value)


def processes(folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """Yield the speed and the growth of memory of one process and of two, each with one thread of torch."""
    files = _photos(folder, options.photos)
    yield "photos", options.photos
    rates = {}
    for name, workers in (("1 process", 1), ("2 processes", 2)):
        rates[name], growth = _measured(PHOTO_JOB, files, workers, None)
        yield f"photos/s, {name}", round(rates[name], 2)
        yield f"memory at the end / after a tenth, {name}", round(growth, 3)
    yield "two processes / one", round(rates["2 processes"] / rates["1 process"], 2)


def photos_on_ray(folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """Yield the speed of photos on a process a CPU, on a local Ray cluster of these CPUs, and Ray's overhead."""
    yield "photos", options.photos
    yield from _against_ray("photos", PHOTO_JOB, _photos(folder, options.photos), _photos(folder, options.photos))


def clips_on_ray(folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """Yield the same of clips, all their results written in all formats, as `infant-fer video --workers` and `--ray` do it."""
    settings = SessionOptions(VideoSettings(ahead=False))
    job = Job(partial(_load, None, "cpu"), partial(_work, settings, None), _lost_session)
    data, clips = moving_portrait(options.seconds), folder / "clips"
    clips.mkdir()
    for number in range(options.clips):
        (clips / f"{number:05}.mp4").write_bytes(data)
    yield f"clips of {options.seconds:g} s", options.clips
    yield from _against_ray("clips", job, sessions_of([clips], folder / "pool"), sessions_of([clips], folder / "ray"))


def _against_ray(unit: str, job: Job, for_pool: list, for_ray: list) -> Iterator[tuple[str, float]]:
    pool, _ = _measured(job, for_pool, os.cpu_count() or 1, None)
    yield f"{unit}/s, a process a CPU", round(pool, 3)
    cluster, _ = _measured(job, for_ray, 1, "auto")
    yield f"{unit}/s, a Ray actor a CPU", round(cluster, 3)
    yield f"Ray's overhead, {unit}, % of the process pool's time", round(100 * (pool / cluster - 1), 1)


def _photos(folder: Path, count: int) -> list[PhotoFile]:
    pictures = sorted(EXAMPLES.glob("*.jpg"))
    for number in range(count):
        shutil.copyfile(pictures[number % len(pictures)], folder / f"{number:05}.jpg")
    return photo_files([folder])


def _measured(job: Job, items: list, workers: int, cluster: str | None) -> tuple[float, float]:
    """Return items a second after the first result, and the memory of all processes at the end over that after a tenth.

    Raises ValueError for fewer than three items, before the work.
    """
    if len(items) < 3:
        raise ValueError(f"A measurement needs at least 3 items, not {len(items)}.")
    early, last = max(2, round(EARLY * len(items))), len(items) - 1  # of the results from the second on
    results = iter(spread(job, items, workers, cluster))
    next(results)
    start, memory = time.perf_counter(), {}
    for number, result in enumerate(results, 2):
        if isinstance(result, SessionResult) and result.state != "written":
            raise RuntimeError(f"{result.session.clip.name}: {result.state}. {result.fault}")
        if number in (early, last):  # while the workers still run
            memory[number] = _memory()
    return last / (time.perf_counter() - start), memory[last] / memory[early]


def _memory() -> int:
    """Return the resident bytes of this process and its children."""
    own = psutil.Process()
    return sum(each.memory_info().rss for each in (own, *own.children(recursive=True)))


PARTS = {"processes": processes, "ray": photos_on_ray, "clips": clips_on_ray}

if __name__ == "__main__":
    main()
