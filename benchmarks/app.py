"""Measure the app on this machine, `python -m benchmarks.app [--json OUT]`: label, trust, live loop, page start, memory."""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import psutil
import torch

from infant_fer import Analyzer
from infant_fer.drawing import draw_faces
from infant_fer.images import Photo, data_url, load_photo
from infant_fer.trust.gate import assess
from infant_fer.trust.rules import findings
from infant_fer.trust.steadiness import VIEWS

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "examples" / "smile.jpg"
FRAME_WH = (640, 480)


def main() -> None:
    """Measure, print a table and write the JSON if --json is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    start_seconds = page_start_seconds()
    analyzer = Analyzer.from_pretrained()
    results = {
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores, {torch.get_num_threads()} torch threads",
        **latencies(analyzer, options.repeats),
        **trust_latencies(analyzer, options.repeats),
        "page ready, seconds": start_seconds,
        **memory(analyzer),
    }
    print(
        "\n".join(f"{name:48} {value if isinstance(value, str) else f'{value:.3g}'}" for name, value in results.items())
    )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


def latencies(analyzer: Analyzer, repeats: int) -> dict[str, float]:
    """Return medians in milliseconds; the ratio's baseline is face detection, which any system on these landmarks needs."""
    photo = load_photo(PHOTO)
    frame = Photo(cv2.resize(photo.rgb, FRAME_WH), FRAME_WH)

    def live() -> None:
        report = analyzer.analyze(frame, thorough=False)
        data_url(draw_faces(report), quality=90)

    finding = _median_ms(lambda: analyzer.face_detector.find(photo.rgb), repeats)
    reading = _median_ms(lambda: analyzer.analyze(PHOTO), repeats)
    frame_ms = _median_ms(live, repeats)
    return {
        "face finding alone (baseline), ms": finding,
        "photo file to label, ms": reading,
        "photo file to label, times the baseline": reading / finding,
        "live frame to drawn picture, ms": frame_ms,
        "live frames a second": 1000 / frame_ms,
    }


def trust_latencies(analyzer: Analyzer, repeats: int) -> dict[str, float]:
    """Return medians of what trust takes for one face beyond its reading: the assessment, and the steadiness of the answer."""
    report = analyzer.analyze(PHOTO)
    face = report.face(1)

    def assessment() -> None:
        found = findings(face.face, face.aligned, face.prediction)
        assess(face.prediction, found, analyzer.classifier.trust)

    return {
        "assessment of one face, ms": _median_ms(assessment, repeats),
        f"steadiness over {VIEWS} pictures, ms": _median_ms(lambda: analyzer.check_steadiness(report), repeats),
    }


def page_start_seconds() -> float:
    """Return the seconds from `python app.py` until its address is printed."""
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-u", "app.py", "--port", "7899"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        for line in process.stdout:
            if re.search(r"The page is ready", line):
                return time.monotonic() - start
    finally:
        process.terminate()
        process.wait()
    raise RuntimeError("the page did not start")


def memory(analyzer: Analyzer) -> dict[str, float]:
    """Return the resident memory of this process in MiB after 10 and after 100 analyses."""
    resident = {}
    for count in range(1, 101):
        analyzer.analyze(PHOTO)
        if count in (10, 100):
            resident[f"memory after {count} analyses, MiB"] = psutil.Process().memory_info().rss / 2**20
    return resident


def _median_ms(work: Callable[[], object], repeats: int) -> float:
    for _ in range(3):
        work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return median(seconds) * 1000


if __name__ == "__main__":
    main()
