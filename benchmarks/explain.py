"""Measure how long the tests of a map take on a rendered face: covering, faithfulness and the grid of six methods.

    python -m benchmarks.explain [--checkpoint FOLDER] [--json OUT] [--repeats 3]

Seconds are medians of wall time; beside them is the processor time of one call, which a busy computer changes less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.smoothgrad import _cpu
from infant_fer import Analyzer
from infant_fer.analyzer import ExplanationSettings
from infant_fer.explain.__main__ import USUAL_METHODS
from infant_fer.explain.comparison import answer_of, compare
from infant_fer.explain.faithfulness import faithfulness
from infant_fer.ui.map_tests.experiments import Cover, covered_answer

PHOTO = Path(__file__).parent.parent / "examples" / "smile.jpg"
BARS = {"cover a part": 0.15, "faithfulness of one map": 1.0, "grid of six methods": 6.0}  # s, embedded checkpoint
LARGE_BARS = {"cover a part": 0.15, "faithfulness of one map": 6.0, "grid of six methods": None}  # a ViT-S


@dataclass(frozen=True)
class Timing:
    """One case: medians of wall and processor seconds, and the bar of the wall seconds (None: none)."""

    case: str
    wall_s: float
    cpu_s: float
    bar_s: float | None

    @property
    def met(self) -> bool:
        """Tell whether the bar is reached."""
        return self.bar_s is None or self.wall_s <= self.bar_s


def time_case(case: str, work: Callable[[], object], repeats: int, bar_s: float | None) -> Timing:
    """Time `work` after one warm-up."""
    work()
    wall, cpu = [], []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    return Timing(case, statistics.median(wall), statistics.median(cpu), bar_s)


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="folder (default: infant-fer-small)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    analyzer = Analyzer.from_pretrained(options.checkpoint, device="cpu")
    report = analyzer.analyze(PHOTO)
    face, bars = report.face(1), LARGE_BARS if options.checkpoint else BARS
    values = analyzer.explain(report, 1, ExplanationSettings("gradcam")).face(1).explanation.saliency.values
    answer = answer_of(analyzer.classifier, face.prediction.label)
    work = {
        "cover a part": lambda: covered_answer(analyzer, face, Cover(("mouth",))),
        "faithfulness of one map": lambda: faithfulness(values, face.aligned.crop_rgb, answer, face.prediction.label),
        "grid of six methods": lambda: list(
            compare(
                {"c": (analyzer, report)}, report.face(1).face.box_xyxy, USUAL_METHODS, [None], ExplanationSettings()
            )
        ),
    }
    timings = [time_case(case, each, options.repeats, bars[case]) for case, each in work.items()]
    machine = {"cpu": _cpu(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    print(f"{machine['cpu']}, {machine['threads']} threads, {report.checkpoint}")
    for each in timings:
        bar = "" if each.bar_s is None else f"  ≤ {each.bar_s} s: {'met' if each.met else 'MISSED'}"
        print(f"{each.case:26} {each.wall_s:7.2f} s wall {each.cpu_s:7.2f} s processor{bar}")
    if options.json:
        cases = [asdict(each) | {"met": each.met} for each in timings]
        options.json.write_text(json.dumps(machine | {"checkpoint": report.checkpoint, "cases": cases}, indent=2))


if __name__ == "__main__":
    main()
