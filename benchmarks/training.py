"""Measure the duration of the original experiment: ViT-Base, 100 portraits of 224 px, five epochs, against float32.

    python -m benchmarks.training [--json OUT] [--pictures 100] [--shape vit-base] [--size 224]

Weights and pixels are random: neither changes the cost. The recipe `thesis` runs whole, with its scoring after each
epoch, at the precision that the machine chooses; float32 runs one epoch, which is multiplied.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from infant_fer.data.labeled_images import AlignedDataset
from infant_fer.labels import AFFECTS
from infant_fer.training.config import TrainingConfig, read_recipe
from infant_fer.training.pretrained import RANDOM, load_pretrained
from infant_fer.training.provenance import has_bfloat16
from infant_fer.training.trainer import fit
from tests.drawn_data import face_dataset

MOST_SECONDS = {"cpu": 15 * 60, "gpu": 30}
HELD_OUT = 25


def seconds(settings: TrainingConfig, shape: str, size: int, pictures: int) -> float:
    """Return the wall-clock seconds of a fine-tuning after loading."""
    random = np.random.default_rng(0)
    train, dev = (_crops(random, count, size) for count in (pictures, HELD_OUT))
    base = load_pretrained(RANDOM + shape, AFFECTS, size)
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        fit(base, train, dev, settings, Path(folder), 0, resume=False)
        return time.monotonic() - start


def _crops(random: np.random.Generator, count: int, size: int) -> AlignedDataset:
    target = np.eye(len(AFFECTS))[np.arange(count) % len(AFFECTS)]
    return face_dataset(random.integers(0, 256, (count, size, size, 3), np.uint8), np.zeros((count, 0)), target)


def main() -> int:
    """Print the table and write the JSON if --json is given; return 1 when the bar is missed."""
    options = _options()
    thesis = read_recipe("thesis").settings
    device = "gpu" if torch.cuda.is_available() else "cpu"
    plain = replace(thesis, epochs=1, precision="float32")
    whole = seconds(thesis, options.shape, options.size, options.pictures)
    baseline = seconds(plain, options.shape, options.size, options.pictures) * thesis.epochs
    result = {
        "machine": f"{platform.machine()} {device}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "shape": options.shape,
        "pictures": options.pictures,
        "precision": "bfloat16" if has_bfloat16() else "float32",
        "thesis_s": round(whole, 1),
        "float32_s": round(baseline, 1),
        "ratio": round(baseline / whole, 2),
        "bar_s": MOST_SECONDS[device],
    }
    for name, value in result.items():
        print(f"{name:12} {value}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), "utf-8")
    return int(whole > MOST_SECONDS[device])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.training", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--shape", default="vit-base")
    parser.add_argument("--size", type=int, default=224)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
