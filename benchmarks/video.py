"""Measure the reading of clips, `python -m benchmarks.video [--json OUT]`: speed, memory, and errors on rendered clips."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import platform
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import av
import cv2
import numpy as np
import psutil
import torch
from scipy.optimize import linear_sum_assignment

from infant_fer import Analyzer
from infant_fer.face import box_overlap
from infant_fer.images import load_photo
from infant_fer.labels import AFFECTS
from infant_fer.metrics import Proportion
from infant_fer.video.analysis import ClipAnalysis, VideoSettings, analyze_video
from infant_fer.video.reading import ClipReader, ClipSettings
from infant_fer.video.timeline import FrameReading, Timeline

ROOT = Path(__file__).resolve().parent.parent
FACE_PX, FRAME_WH, FPS = 300, (640, 480), 25
SIDES = ("left", "top", "right", "bottom")
SAME_PLACE = 0.3  # intersection over union, from which on a reading can be that of a true person
ONSET_S = 2.0  # how far apart two onsets may lie that are taken for the same
SCENES = {"one": 8.0, "two": 8.0, "still-face": 9.0}  # seconds of each rendered clip
RIGHT, UNSEEN, SEEN = "affect right, of frames read", "not seen, of frames truly not seen", "seen, of frames truly seen"
SHARES = (RIGHT, UNSEEN, SEEN)  # of the infant's frames; intervals are over infants

_worker: Analyzer  # of a worker process


def main() -> None:
    """Run the selected measurements, print each as it ends and write the JSON if --json is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=60.0, help="of the clip whose speed is measured")
    parser.add_argument("--minutes", type=float, default=60.0, help="of the clip whose memory is measured")
    parser.add_argument("--fps", type=float, help=f"frames read a second of that clip; default: all {FPS}")
    parser.add_argument("--infants", type=int, default=3, help="rendered clips of each scene")
    parser.add_argument("--clips", type=Path, help="folder that keeps the rendered clips for the next run")
    options = parser.parse_args()
    results: dict[str, object] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start",
    }
    print_results(results)
    for part in options.parts:
        measured = PARTS[part](options)
        print_results(measured)
        results |= measured
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))


def print_results(results: dict[str, object]) -> None:
    """Print one line for each figure at once, so that a run that is stopped has shown what it had measured."""
    for name, value in results.items():
        print(f"{name:64} {value if isinstance(value, str) else f'{value:.3g}'}", flush=True)


# --- speed and memory ---------------------------------------------------------------------------------------------------


def speed(options: argparse.Namespace) -> dict[str, object]:
    """Return frames a second of one process, of two workers with a thread each, and of a loop over `Analyzer.analyze`."""
    clip = moving_portrait(options.seconds)
    analyzer = Analyzer.from_pretrained()
    n_frames = round(options.seconds * FPS)

    def timed(work: Callable[[], object]) -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        return n_frames / (time.perf_counter() - wall), 1000 * (time.process_time() - cpu) / n_frames

    whole = timed(lambda: analyze_video(io.BytesIO(clip), analyzer, name="clip"))
    naive = timed(lambda: _naive(analyzer, clip))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    single = timed(lambda: analyze_video(io.BytesIO(clip), analyzer, VideoSettings(ahead=False), name="clip"))
    torch.set_num_threads(threads)
    start = time.perf_counter()
    next(ClipAnalysis(io.BytesIO(clip), analyzer).rows())
    first = time.perf_counter() - start
    with ProcessPoolExecutor(2, get_context("spawn"), _load_worker) as pool:
        list(pool.map(_read_in_worker, [clip[:0]] * 2))  # both have loaded
        start = time.perf_counter()
        list(pool.map(_read_in_worker, [clip] * 2))
        two = 2 * n_frames / (time.perf_counter() - start)
    return {
        "one process, frames a second": whole[0],
        "one process, CPU ms a frame": whole[1],
        "one thread, frames a second": single[0],
        "one thread, CPU ms a frame": single[1],
        "two workers of one thread, frames a second": two,
        "two workers over one thread": two / single[0],
        "loop over Analyzer.analyze, frames a second": naive[0],
        "loop over Analyzer.analyze, CPU ms a frame": naive[1],
        "one process over that loop": whole[0] / naive[0],
        "start to first row, seconds": first,
    }


def memory(options: argparse.Namespace) -> dict[str, object]:
    """Return the resident memory after one minute of a long clip and its largest value afterwards, and their ratio."""
    minute = moving_portrait(60.0)
    process, analyzer = psutil.Process(), Analyzer.from_pretrained()
    after_minute, most = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        path.write_bytes(repeated(minute, options.minutes))
        analysis = ClipAnalysis(path, analyzer, VideoSettings(clip=ClipSettings(fps=options.fps)))
        n_frames = 0
        for progress in analysis.steps():
            n_frames += 1
            if progress.time_s < 60:
                continue
            resident = process.memory_info().rss
            after_minute = after_minute or resident
            most = max(most, resident)
        analysis.timeline("long.mp4")
        most = max(most, process.memory_info().rss)
    return {
        "length of the long clip, minutes": options.minutes,
        "frames read of it": f"{n_frames}",
        "resident after one minute, MB": after_minute / 1e6,
        "largest resident afterwards, MB": most / 1e6,
        "largest over one minute's": most / after_minute,
    }


def moving_portrait(seconds: float) -> bytes:
    """Return a clip of 640 × 480 px in which two rendered portraits take turns and move about."""
    faces = [cv2.resize(load_photo(ROOT / "examples" / f"{name}.jpg").rgb, (FACE_PX, FACE_PX), interpolation=cv2.INTER_AREA)
             for name in ("smile", "neutral")]  # fmt: skip
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height = FRAME_WH
        stream.pix_fmt, stream.options = "yuv420p", {"preset": "veryfast"}
        for number in range(round(seconds * FPS)):
            rgb = np.full((FRAME_WH[1], FRAME_WH[0], 3), 120, np.uint8)
            left, top = round(150 + 100 * np.sin(number / 20)), round(90 + 40 * np.cos(number / 17))
            rgb[top : top + FACE_PX, left : left + FACE_PX] = faces[number // 60 % 2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())
    return data.getvalue()


def repeated(clip: bytes, minutes: float) -> bytes:
    """Return a clip of one minute again and again, its packets copied."""
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as target:
        with av.open(io.BytesIO(clip)) as source:
            stream = target.add_stream_from_template(source.streams.video[0])
        for turn in range(round(minutes)):
            with av.open(io.BytesIO(clip)) as source:
                for packet in source.demux(video=0):
                    if packet.dts is not None:
                        shift = round(60 * turn / packet.time_base)
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                        target.mux(packet)
    return data.getvalue()


def _naive(analyzer: Analyzer, clip: bytes) -> None:
    with ClipReader(io.BytesIO(clip), ClipSettings()) as reader:
        for frame in reader.frames():
            analyzer.analyze(frame.rgb)


def _load_worker() -> None:
    global _worker
    torch.set_num_threads(1)
    _worker = Analyzer.from_pretrained()


def _read_in_worker(clip: bytes) -> None:
    if clip:
        analyze_video(io.BytesIO(clip), _worker, VideoSettings(ahead=False), name="clip")


# --- errors on rendered clips -------------------------------------------------------------------------------------------


def errors(options: argparse.Namespace) -> dict[str, object]:
    """Return how the timeline differs from the truth of rendered clips; seeds of infants that nothing was chosen on."""
    analyzer = Analyzer.from_pretrained()
    totals: dict[str, list] = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        for scene in SCENES:
            for number in range(options.infants):
                path = rendered_clip(scene, number, options.clips or Path(temporary))
                timeline = analyze_video(path, analyzer)
                before = {name: len(totals[name]) for name in SHARES}
                compare(timeline, path.with_name(path.stem + ".truth.csv"), totals)
                for name in SHARES:
                    totals[f"infants of {name}"] += [number] * (len(totals[name]) - before[name])
    shares = {
        name: str(Proportion.of(np.array(totals[name], bool), np.array(totals[f"infants of {name}"])))
        for name in SHARES
    }
    onsets = np.array(totals["onset"])
    return {
        "rendered clips": f"{len(SCENES) * options.infants} of {options.infants} infants",
        **shares,
        "onsets matched": f"{len(onsets)} of {sum(totals['true onsets'])}",
        "median onset error, ms": float(1000 * np.median(np.abs(onsets))) if len(onsets) else float("nan"),
        "median onset lag, ms": float(1000 * np.median(onsets)) if len(onsets) else float("nan"),
        "identity switches": float(sum(totals["switches"])),
    }


def rendered_clip(scene: str, number: int, folder: Path) -> Path:
    """Return a clip of a scene and an infant, beside which its truth lies; it is rendered unless the folder has it."""
    from infant_fer.synthetic.clip import write_clip
    from infant_fer.synthetic.clip_spec import SCENES as SPECS

    path = folder / f"{scene}-{number}.mp4"
    if not path.exists():
        write_clip(SPECS[scene](SCENES[scene], 900 + 10 * number), path)
        print(f"rendered {path.name}", file=sys.stderr)
    return path


def compare(timeline: Timeline, truth_path: Path, totals: dict[str, list]) -> None:
    """Add what one clip's timeline gets right. True persons and readings are matched in each frame; the infant is true person 1."""
    with truth_path.open(newline="") as stream:
        truth = [row for row in csv.DictReader(stream)]
    by_time: dict[float, tuple[list[dict], list[FrameReading]]] = defaultdict(lambda: ([], []))
    for row in truth:
        by_time[round(float(row["time_s"]), 3)][0].append(row)
    for reading in timeline.frames:
        if reading.seen:
            by_time[round(reading.time_s, 3)][1].append(reading)
    held: dict[str, int] = {}
    switches = 0
    for rows, readings in by_time.values():
        for row, reading in zip(rows, matched(rows, readings), strict=True):
            if row["person"] == "1":
                _count_frame(row, reading, totals)
            if reading is not None and row["seen"] == "1":
                switches += held.setdefault(row["person"], reading.person) != reading.person
                held[row["person"]] = reading.person
    totals["switches"].append(switches)
    _compare_onsets(timeline, [row for row in truth if row["person"] == "1"], held.get("1"), totals)


@dataclass(frozen=True)
class ClipFace:
    """A face in one frame: the number that its person or track has, and its box in px."""

    person: int
    box_xyxy: tuple[float, float, float, float]


Found = TypeVar("Found", ClipFace, FrameReading)


def matched(rows: list[dict], readings: list[Found]) -> list[Found | None]:
    """Return the reading of each true person of a frame, at most one each, by overlap; visible persons come before hidden ones.

    One-to-one, as in CLEAR MOT (Bernardin and Stiefelhagen 2008): the reading of a person in front is not one of the person behind.
    """
    found: list[Found | None] = [None] * len(rows)
    for seen in ("1", "0"):
        places = [place for place, row in enumerate(rows) if row["seen"] == seen]
        left = [each for each in readings if not any(each is other for other in found)]
        boxes = [[float(rows[place][side]) for side in SIDES] for place in places]
        overlaps = np.array([[box_overlap(each.box_xyxy, box) for each in left] for box in boxes])
        if overlaps.size:
            for row, column in zip(*linear_sum_assignment(-overlaps), strict=True):
                if overlaps[row, column] > SAME_PLACE:
                    found[places[row]] = left[column]
    return found


def _count_frame(row: dict, reading: FrameReading | None, totals: dict[str, list]) -> None:
    visible = float(row["visible"])
    if visible > 0.9:
        totals[SEEN].append(reading is not None)
    elif visible < 0.2:
        totals[UNSEEN].append(reading is None)
    if reading is not None and reading.verdict != "cannot say" and row["seen"] == "1":
        totals[RIGHT].append(reading.label == row["label"])


def _compare_onsets(timeline: Timeline, truth: list[dict], person: int | None, totals: dict[str, list]) -> None:
    true = [(float(now["time_s"]), now["label"]) for before, now in pairwise(truth)
            if now["label"] != before["label"] and now["label"] != "neutral" and float(now["visible"]) > 0.9]  # fmt: skip
    totals["true onsets"].append(len(true))
    found = [
        (each.onset_s, each.label) for each in timeline.intervals if each.person == person and each.label in AFFECTS
    ]
    for time_s, label in true:
        lags = [onset - time_s for onset, other in found if other == label and abs(onset - time_s) <= ONSET_S]
        if lags:
            totals["onset"].append(min(lags, key=abs))


PARTS = {"speed": speed, "memory": memory, "errors": errors}

if __name__ == "__main__":
    main()
