"""Measure folders of photos, `python -m benchmarks.folders [--photos N] [--parts processes ray]`: speed, memory, and Ray's overhead.

The photos are copies of the rendered portraits in examples/. Starting the workers and loading the model are left out: the
clock runs from the first result of every way to its last one.
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

from infant_fer.__main__ import _analyzer
from infant_fer.batch import FileEntries, PhotoFile, ReadSettings, _lost, _read_entries, photo_files
from infant_fer.workers import Job, spread

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FORMATS = ("csv", "json")
EARLY = 0.1  # of the photos, after which memory is compared


def main() -> None:
    """Measure the selected parts, print each figure as it is known and write the JSON if --json is given."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--photos", type=int, default=2000)
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
    keep("photos", options.photos)
    with tempfile.TemporaryDirectory() as folder:
        files = _copies(Path(folder), options.photos)
        for part in options.parts:
            for name, value in PARTS[part](files):
                keep(name, value)


def processes(files: list[PhotoFile]) -> Iterator[tuple[str, float]]:
    """Yield the speed and the growth of memory with one process and with two."""
    rates = {}
    for workers in (1, 2):
        rates[workers], growth = _measured(files, workers, None)
        yield f"photos/s, {workers} process{'es' * (workers > 1)}", round(rates[workers], 2)
        yield f"memory at the end / after a tenth, {workers}", round(growth, 3)
    yield "two processes / one", round(rates[2] / rates[1], 2)


def on_cluster(files: list[PhotoFile]) -> Iterator[tuple[str, float]]:
    """Yield the speed of as many processes as CPUs, of a local Ray cluster of these CPUs, and Ray's overhead."""
    pool, _ = _measured(files, os.cpu_count() or 1, None)
    yield "photos/s, a process a CPU", round(pool, 2)
    cluster, _ = _measured(files, 1, "auto")
    yield "photos/s, a Ray actor a CPU", round(cluster, 2)
    yield "Ray's overhead, % of the process pool's time", round(100 * (pool / cluster - 1), 1)


def _copies(folder: Path, count: int) -> list[PhotoFile]:
    pictures = sorted(EXAMPLES.glob("*.jpg"))
    for number in range(count):
        shutil.copyfile(pictures[number % len(pictures)], folder / f"{number:05}.jpg")
    return photo_files([folder])


def _measured(files: list[PhotoFile], workers: int, cluster: str | None) -> tuple[float, float]:
    """Return photos a second after the first result, and the memory of all processes at the end over that after a tenth."""
    job = Job(
        partial(_analyzer, None, "cpu", "auto"),
        partial(_read_entries, FORMATS, ReadSettings()),
        partial(_lost, FORMATS),
    )
    results: Iterator[FileEntries] = iter(spread(job, files, workers, cluster))
    next(results)
    start, memory = time.perf_counter(), {}
    for number, _ in enumerate(results, 2):
        if number in (round(EARLY * len(files)), len(files) - 1):  # while the workers still run
            memory[number] = _memory()
    return (len(files) - 1) / (time.perf_counter() - start), memory[len(files) - 1] / memory[round(EARLY * len(files))]


def _memory() -> int:
    """Return the resident bytes of this process and its children."""
    own = psutil.Process()
    return sum(each.memory_info().rss for each in (own, *own.children(recursive=True)))


PARTS = {"processes": processes, "ray": on_cluster}

if __name__ == "__main__":
    main()
