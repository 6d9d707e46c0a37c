"""Measure the page with many visitors on this machine, `python -m benchmarks.load [--json OUT]`.

One visitor alone is the baseline of the same run. Then 50 visitors: each sends a photo, looks at the answer for 2 to 6
seconds and sends the next; every fifth also has a map of 50 samples drawn of each. A visitor whom the page calls busy
comes again after the seconds it named. Then five live streams beside eight visitors who send photos without a pause.
All of them leave, as a browser does that closes the page. Last, all attacks in turn (benchmarks.attacks), and how soon
the page answers afterwards. Memory is that of the page's process once it has come to rest.
The figures hold for the cores that the page had, which other programs may have used as well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import cv2
import httpx
import psutil

from benchmarks.attacks import attack
from benchmarks.visitors import BusyError, Function, Visitor, page_function
from infant_fer.images import data_url, load_photo

ROOT = Path(__file__).resolve().parent.parent
PHOTO = (ROOT / "examples" / "smile.jpg").read_bytes()
VISITORS, SECONDS = 50, 40.0
STREAMS, UPLOADERS, STREAM_SECONDS = 5, 8, 20.0
FRAME_EVERY = 0.08
LOOKING_SECONDS = (2.0, 6.0)
REST_SECONDS = 40.0  # until searches that were cut off have ended and free memory is back with the system


@dataclass
class Counts:
    """What visitors got: seconds from sending to answer of each photo, by visitor, and how often the page was busy."""

    photos: dict[int, list[float]] = field(default_factory=dict)
    attempts: list[float] = field(default_factory=list)  # seconds of the attempts that were let in
    maps: int = 0
    busy: int = 0
    errors: list[str] = field(default_factory=list)


def main() -> None:
    """Measure, print a table and write the JSON if --json is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the crowd, default %(default)s")
    parser.add_argument("--visitors", type=int, default=VISITORS, help="default %(default)s")
    options = parser.parse_args()
    with served_page() as (url, process):
        results = asyncio.run(measure(url, process, options.visitors, options.seconds))
    results = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", **results}
    print(
        "\n".join(f"{name:64} {value if isinstance(value, str) else f'{value:.3g}'}" for name, value in results.items())
    )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


@contextmanager
def served_page() -> Iterator[tuple[str, psutil.Process]]:
    """Start `python app.py` on a free port; gives (url, process)."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
        probe.close()
        process = subprocess.Popen(
            [sys.executable, "-u", "app.py", "--port", port],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "TMPDIR": folder},
        )
        try:
            ready = next(line for line in process.stdout if "The page is ready" in line)
            yield re.search(r"http\S+", ready)[0], psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


async def measure(url: str, process: psutil.Process, visitors: int, seconds: float) -> dict[str, float | str]:
    """Run the parts and return their figures."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False, limits=limits) as client:
        photo = await page_function(client, "photo", "input")
        draw = await page_function(client, "samples", "release")
        stream = await page_function(client, "camera", "stream")
        before = await alone(client, photo)
        memory = await memory_at_rest(process)
        used, began = _cpu_seconds(process), time.monotonic()
        crowd = await together(client, photo, draw, visitors, seconds)
        cores = (_cpu_seconds(process) - used) / (time.monotonic() - began)
        after = await alone(client, photo)
        used, began = _cpu_seconds(process), time.monotonic()
        frames, uploads = await live(client, photo, stream)
        live_cores = (_cpu_seconds(process) - used) / (time.monotonic() - began)
        memory_left = await memory_at_rest(process)
        await attack(url, PHOTO)
        opened = [await seconds_to_open(client) for _ in range(20)]
        attacked = await alone(client, photo)
        memory_attacked = await memory_at_rest(process)
        rested = await alone(client, photo)
    return {
        "one visitor, photo to answer (baseline), ms": before * 1000,
        **crowd_figures(crowd, visitors, seconds, before),
        "cores that the page had meanwhile": cores,
        "one visitor afterwards, ms": after * 1000,
        f"{STREAMS} streams beside {UPLOADERS} uploaders, slowest stream, frames/s": min(frames) / STREAM_SECONDS,
        f"{UPLOADERS} uploaders beside {STREAMS} streams, photos/s": sum(map(len, uploads.photos.values()))
        / STREAM_SECONDS,
        "errors there": f"{len(uploads.errors)} {sorted(set(uploads.errors))[:3]}",
        "cores that the page had there": live_cores,
        "after all attacks: the page opens in, median of 20, ms": median(opened) * 1000,
        "after all attacks: one visitor, photo to answer, ms": attacked * 1000,
        f"the same {REST_SECONDS:.0f} s later, ms": rested * 1000,
        "memory after one visitor, after all have left, after the attacks, MiB": ", ".join(
            f"{bytes_used / 2**20:.0f}" for bytes_used in (memory, memory_left, memory_attacked)
        ),
    }


async def seconds_to_open(client: httpx.AsyncClient) -> float:
    """Return how long the page's first document takes."""
    began = time.monotonic()
    (await client.get("/")).raise_for_status()
    return time.monotonic() - began


async def memory_at_rest(process: psutil.Process) -> int:
    """Return the page's resident bytes after REST_SECONDS without a request."""
    await asyncio.sleep(REST_SECONDS)
    return process.memory_info().rss


def crowd_figures(crowd: Counts, visitors: int, seconds: float, baseline: float) -> dict[str, float | str]:
    """Return the figures of the crowd; the fairness index is Jain's over the photos of each visitor."""
    served = [len(crowd.photos.get(number, [])) for number in range(visitors)]
    times = [time for own in crowd.photos.values() for time in own]
    p95, p95_in = _quantile(times, 0.95), _quantile(crowd.attempts, 0.95)
    return {
        f"{visitors} visitors for {seconds:.0f} s, photos answered": sum(served),
        "photos of the visitor with fewest": min(served),
        "fairness index": sum(served) ** 2 / (visitors * sum(count**2 for count in served)) if sum(served) else 0.0,
        "photo to answer, median, s": median(times),
        "photo to answer, 95th percentile, s": p95_in,
        "photo to answer, 95th percentile, times the baseline": p95_in / baseline,
        "the same, with waiting after a busy answer, s": p95,
        "maps drawn": crowd.maps,
        "busy answers": crowd.busy,
        "errors": f"{len(crowd.errors)} {sorted(set(crowd.errors))[:3]}",
    }


async def alone(client: httpx.AsyncClient, photo: Function, repeats: int = 10) -> float:
    """Return the median seconds from upload to answer of one visitor."""
    counts = Counts()
    for _ in range(repeats):
        visitor = Visitor(client)
        await send_photo(visitor, photo, 0, counts)
        await visitor.leave()
    return median(counts.photos[0])


async def together(client, photo: Function, draw: Function, visitors: int, seconds: float) -> Counts:
    """Let visitors come and go for a time."""
    counts, clock, choice = Counts(), asyncio.get_running_loop(), random.Random(0)
    end = clock.time() + seconds

    async def visit(number: int) -> None:
        visitor = Visitor(client)
        await asyncio.sleep(choice.uniform(0, LOOKING_SECONDS[1]))
        while clock.time() < end:
            if await send_photo(visitor, photo, number, counts, end) and number % 5 == 0:
                await draw_map(visitor, draw, counts, end)
            await asyncio.sleep(choice.uniform(*LOOKING_SECONDS))
        await visitor.leave()

    await asyncio.gather(*(visit(number) for number in range(visitors)))
    return counts


async def live(client, photo: Function, stream: Function) -> tuple[list[int], Counts]:
    """Run streams beside uploaders; return the answered frames of each stream."""
    frame = data_url(cv2.resize(load_photo(PHOTO).rgb, (640, 480)), 80)
    counts, clock = Counts(), asyncio.get_running_loop()
    end = clock.time() + STREAM_SECONDS

    async def upload(number: int) -> None:
        visitor = Visitor(client)
        while clock.time() < end:
            await send_photo(visitor, photo, number, counts, end)
        await visitor.leave()

    async def watch() -> int:
        visitor = Visitor(client)
        answered = await visitor.stream(stream, frame, STREAM_SECONDS, FRAME_EVERY)
        await visitor.leave()
        return answered

    streams = [watch() for _ in range(STREAMS)]
    frames, _ = await asyncio.gather(asyncio.gather(*streams), asyncio.gather(*map(upload, range(UPLOADERS))))
    return frames, counts


async def send_photo(visitor: Visitor, photo: Function, number: int, counts: Counts, end: float = float("inf")) -> bool:
    """Send a photo until it is answered or the time is up; note how long it took."""
    clock = asyncio.get_running_loop()
    began = clock.time()
    while True:
        attempt = clock.time()
        try:
            output = await visitor.run(photo, await visitor.upload(PHOTO))
        except BusyError as busy:
            counts.busy += 1
            if clock.time() > end:
                return False
            await asyncio.sleep(_seconds_named(busy))
            continue
        except httpx.HTTPError as error:
            counts.errors.append(repr(error)[:120])
            return False
        break
    if "error" in output and "busy" in str(output["error"]):
        counts.busy += 1
        return False
    if "error" in output or not output:
        counts.errors.append(str(output)[:120])
        return False
    counts.photos.setdefault(number, []).append(clock.time() - began)
    counts.attempts.append(clock.time() - attempt)
    return True


async def draw_map(visitor: Visitor, draw: Function, counts: Counts, end: float) -> None:
    """Have a map drawn; count it, or that the page was busy."""
    try:
        output = await visitor.run(draw)
        counts.maps += "error" not in output
    except BusyError:
        counts.busy += 1
    except httpx.HTTPError as error:
        counts.errors.append(repr(error)[:120])


def _seconds_named(busy: BusyError) -> float:
    return float(re.search(r"(\d+) seconds", str(busy))[1]) * random.uniform(0.8, 1.2)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


if __name__ == "__main__":
    main()
