"""Measure the speed of SmoothGrad: the project's loop against captum's NoiseTunnel, one sample at a time in float32, in the same run.

    python -m benchmarks.smoothgrad [--json OUT] [--samples 50] [--checkpoint FOLDER] [--skip-vit-base]

Times are whole maps of a crop of
random pixels: neither the pixels nor the weights change the cost. `cosine` compares its map with the same noise through the
plain float32 model. `prepare` is paid once, at a checkpoint's first explanation.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from captum.attr import NoiseTunnel, Saliency
from transformers import AutoModelForImageClassification, ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from infant_fer.alignment import AlignedFace
from infant_fer.checkpoints.sources import resolve
from infant_fer.classifier import AffectClassifier
from infant_fer.explain.gradients import SmoothGrad
from infant_fer.explain.saliency import AffectLogits, Score
from infant_fer.labels import AFFECTS

TARGET = AFFECTS[0]
NOISE = 0.15  # of the crop's range, the page's default
WARM_UP_SAMPLES = 10  # also those of the comparison with float32


@dataclass(frozen=True)
class Bar:
    """The bar of a case: at most `seconds` (None: no limit) and at least `ratio` times captum's speed."""

    seconds: float | None
    ratio: float


@dataclass(frozen=True)
class ExperimentResult:
    """One case: medians of seconds for a whole map, and how near a map is to the float32 one with the same noise."""

    case: str
    size_px: int
    samples: int
    prepare_s: float
    own_s: float
    captum_s: float
    ratio: float
    cosine_to_float32: float
    bar: Bar

    @property
    def met(self) -> bool:
        """Tell whether both bars are reached."""
        return self.ratio >= self.bar.ratio and (self.bar.seconds is None or self.own_s <= self.bar.seconds)


# "auto", the app's default, is float32 for the embedded checkpoint and bfloat16 for a ViT where the processor has it.
SMALL_BARS = {"auto": Bar(1.5, 3.0), "bfloat16": Bar(1.5, 3.0)}


def measure(case: str, folder: Path, precision: str, bar: Bar, samples: int, repeats: int) -> ExperimentResult:
    """Time both loops alternately on the checkpoint in `folder`, after a warm-up of each."""
    classifier = AffectClassifier.from_pretrained(folder, device="cpu", precision=precision)
    aligned = _random_crop(classifier.crop.size)
    pixel_values = classifier.pixel_values(aligned)
    start = time.perf_counter()
    score = classifier.score_of(TARGET, aligned)
    prepare_s = time.perf_counter() - start
    plain = _plain_score(folder)
    few = _project_loop(score, pixel_values, WARM_UP_SAMPLES), _project_loop(plain, pixel_values, WARM_UP_SAMPLES)
    _captum(plain, pixel_values, 1)
    own, captum = [], []
    for _ in range(repeats):
        own.append(_seconds(lambda: _project_loop(score, pixel_values, samples)))
        captum.append(_seconds(lambda: _captum(plain, pixel_values, samples)))
    own_s, captum_s = statistics.median(own), statistics.median(captum)
    ratio = captum_s / own_s
    case = f"{case}, {score.precision}"
    return ExperimentResult(case, classifier.crop.size, samples, prepare_s, own_s, captum_s, ratio, _cosine(*few), bar)


def save_vit_base(folder: Path) -> None:
    """Save a ViT-Base/16 (Dosovitskiy et al. 2021, 86 M parameters, 224 px) with random weights and three classes."""
    _save_vit(folder, 224)


def save_vit_small(folder: Path) -> None:
    """Save a ViT-S/14 for crops of 98 px (22 M parameters, 7 × 7 patches) with random weights and three classes."""
    sizes = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536, "patch_size": 14}
    _save_vit(folder, 98, **sizes)


def _save_vit(folder: Path, size: int, **sizes: int) -> None:
    labels = dict(enumerate(AFFECTS))
    names = {"id2label": labels, "label2id": {name: i for i, name in labels.items()}}
    config = ViTConfig(num_labels=len(AFFECTS), image_size=size, **names, **sizes)
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": size, "width": size}).save_pretrained(folder)


def _plain_score(folder: Path) -> Score:
    """Return the target's logit from the model as transformers loads it, in float32."""
    model = AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
    names = model.config.id2label
    indices = [[index for index, name in names.items() if name == affect] for affect in AFFECTS]
    return Score(AffectLogits(model, indices), TARGET)


def _project_loop(score: Score, pixel_values: torch.Tensor, samples: int) -> np.ndarray:
    return SmoothGrad(samples, NOISE).map(score, pixel_values).values


def _captum(score: Score, pixel_values: torch.Tensor, samples: int) -> torch.Tensor:
    deviation = NOISE * float(pixel_values.max() - pixel_values.min())
    return NoiseTunnel(Saliency(score)).attribute(
        pixel_values, nt_type="smoothgrad", nt_samples=samples, nt_samples_batch_size=1, stdevs=deviation, abs=False
    )


def _random_crop(size: int) -> AlignedFace:
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    return AlignedFace(pixels, np.eye(2, 3))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


def _cpu() -> str:
    """Return the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _print_table(machine: dict, results: list[ExperimentResult]) -> None:
    print(f"{machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}")
    print(f"{'case':40} {'px':>4} {'n':>3} {'prepare':>8} {'own':>8} {'captum':>8} {'ratio':>6} {'cosine':>7}  bar")
    for one in results:
        limit = f"≤ {one.bar.seconds} s, " if one.bar.seconds else ""
        print(
            f"{one.case:40} {one.size_px:4} {one.samples:3} "
            f"{one.prepare_s:6.2f} s {one.own_s:6.2f} s {one.captum_s:6.2f} s {one.ratio:5.2f}x "
            f"{one.cosine_to_float32:7.4f}  {limit}≥ {one.bar.ratio}x: {'met' if one.met else 'MISSED'}"
        )


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--checkpoint", type=Path, help="folder of the small checkpoint (default: infant-fer-small)")
    parser.add_argument("--repeats", type=int, default=3, help="of the small checkpoint; ViT-Base runs once")
    parser.add_argument("--skip-vit-base", action="store_true")
    options = parser.parse_args()
    small = resolve(options.checkpoint).path
    results = [
        measure(f"embedded ({small.name})", small, precision, SMALL_BARS[precision], options.samples, options.repeats)
        for precision in SMALL_BARS
    ]
    with tempfile.TemporaryDirectory() as folder:
        save_vit_small(Path(folder))
        case = "ViT-S/14 of 98 px, random weights"
        results.append(measure(case, Path(folder), "auto", Bar(3.0, 2.5), options.samples, options.repeats))
    if not options.skip_vit_base:
        with tempfile.TemporaryDirectory() as folder:
            save_vit_base(Path(folder))
            results.append(
                measure("ViT-Base, random weights", Path(folder), "auto", Bar(None, 2.5), options.samples, 1)
            )
    machine = {"cpu": _cpu(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    _print_table(machine, results)
    if options.json:
        cases = [asdict(one) | {"met": one.met} for one in results]
        options.json.write_text(json.dumps(machine | {"cases": cases}, indent=2))


if __name__ == "__main__":
    main()
