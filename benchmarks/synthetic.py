"""Measure whether MediaPipe finds and reads rendered infants, and the CPU seconds of rendering.

    python -m benchmarks.synthetic [--json OUT] [--n 300] [--size 384] [--timed 200] [--skip-speed]

Faces: `--n` infants of every tone and age, turned by up to 30 degrees, in the named expressions, searched once as on
the live page. Expressions: a fifth as many infants, each against its own neutral face in the same view and light.
Speed: CPU seconds of one process without MediaPipe, after its start, with new infants each time.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from tqdm import tqdm

from infant_fer.synthetic import EXPRESSIONS, Light, View, render, sample_expression, sample_infant, sample_light
from infant_fer.synthetic.mesh.data import NEWBORN, RACES
from infant_fer.synthetic.mesh.solid import MESH_POINTS

if TYPE_CHECKING:
    from infant_fer.face import Face
    from infant_fer.face_detection import FaceDetector

TURNED = 30.0  # degrees
TODDLER = 0.12  # the oldest that sample_infant draws
PER_INFANT = 5  # as the command `python -m infant_fer.synthetic` draws them
MANY = 10_000
# What must rise from an infant's neutral face in MediaPipe's blendshapes, each the mean of both sides.
RISING = {
    "smile": ("mouthSmile",),
    "laugh": ("mouthSmile",),
    "cry": ("browDown", "eyeSquint"),
    "fuss": ("browDown",),
    "surprise": ("jawOpen", "browInnerUp"),
}


@dataclass(frozen=True)
class Bar:
    """One measured figure and the bar it must reach."""

    name: str
    value: float
    bar: float
    at_most: bool

    @property
    def met(self) -> bool:
        """Tell whether the figure reaches its bar."""
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        return f"{self.name:64} {self.value:9.3f}   {sign} {self.bar:g}: {'met' if self.met else 'MISSED'}"


def measure_faces(detector: FaceDetector, count: int, size: int) -> tuple[list[Bar], dict[str, float]]:
    """Return the share of faces found, and each landmark's median error in distances between the eyes' outer corners."""
    away, found = {name: [] for name in MESH_POINTS}, 0
    for number in tqdm(range(count), desc="Faces"):
        random = np.random.default_rng([1, number])
        age = NEWBORN + (TODDLER - NEWBORN) * number / max(count - 1, 1)
        race, expression = race_and_expression(number)
        infant = sample_infant(number, race=race, age=age)
        actions = sample_expression(random, expression)
        view = _turned(random)
        portrait = render(infant.express(actions), view, sample_light(random), size)
        face = _largest(detector, portrait.image)
        if face is None:
            print(f"not found: infant {number}, {expression}, yaw {view.yaw:.0f}")
            continue
        found += 1
        known = {name: np.array(at) for name, at in portrait.landmarks.items()}
        between = np.linalg.norm(known["left eye outer corner"] - known["right eye outer corner"])
        for name, index in MESH_POINTS.items():
            away[name].append(float(np.linalg.norm(face.landmarks_px[index, :2] - known[name]) / between))
    each = {name: float(np.median(values)) for name, values in away.items() if values}
    errors = np.mean(list(away.values()), 0)  # of a portrait, the mean over its landmarks
    return [
        Bar(f"found of {count} faces turned by up to {TURNED:.0f} degrees", found / count, 0.98, at_most=False),
        Bar(
            "landmarks' mean error / outer eye corners' distance (median)", float(np.median(errors)), 0.06, at_most=True
        ),
    ], each


def race_and_expression(number: int) -> tuple[str, str]:
    """Return what the infant of this number is drawn with: of as many numbers as there are pairs, each pair once."""
    expressions = list(EXPRESSIONS)
    return RACES[number // len(expressions) % len(RACES)], expressions[number % len(expressions)]


def measure_expressions(detector: FaceDetector, count: int, size: int) -> list[Bar]:
    """Return in which share of infants each blendshape rises with each expression; a face not found counts against it."""
    risen = {(name, shape): [] for name, shapes in RISING.items() for shape in shapes}
    for number in tqdm(range(count), desc="Expressions"):
        random = np.random.default_rng([2, number])
        infant, view, light = sample_infant(10_000 + number), View(background=number), sample_light(random)
        resting = _blendshapes(detector, infant, {}, view, light, size)
        for name, shapes in RISING.items():
            acting = _blendshapes(detector, infant, sample_expression(random, name), view, light, size)
            for shape in shapes:
                rise = _both_sides(acting, shape) - _both_sides(resting, shape) if acting and resting else -1.0
                risen[name, shape].append(rise)
    return [
        Bar(
            f"{name}: {shape} rises (of {count}; median by {np.median(rises):+.2f})",
            float(np.mean(np.array(rises) > 0)),
            0.95,
            at_most=False,
        )
        for (name, shape), rises in risen.items()
    ]


def measure_speed(count: int) -> tuple[list[Bar], dict[str, float]]:
    """Return CPU seconds and peak memory of one process that only renders."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        start_s, large_s, small_s, peak_mib = pool.submit(_timed, count).result()
    minutes = (MANY * small_s / 2 + start_s) / 60
    return [
        Bar("CPU seconds per portrait of 512 px", large_s, 1.0, at_most=True),
        Bar("peak memory of the process, MiB", peak_mib, 600, at_most=True),
        Bar(f"minutes for {MANY:,} of 128 px on 2 cores, extrapolated from {count}", minutes, 40, at_most=True),
    ], {"CPU seconds per portrait of 128 px": small_s, "CPU seconds to start": start_s}


def _timed(count: int) -> tuple[float, float, float, float]:
    """Return CPU seconds to start, per portrait of 512 and of 128 px written to a file, and peak resident memory in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        for size in (512, 128):
            list(_drawn(Path(folder), size, 1))
        start_s = time.process_time()
        large = list(_drawn(Path(folder), 512, max(count // 8, 5)))
        small = list(_drawn(Path(folder), 128, count))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return start_s, float(np.mean(large)), float(np.mean(small)), peak / (2**20 if sys.platform == "darwin" else 2**10)


def _drawn(folder: Path, size: int, count: int) -> Iterator[float]:
    """Yield the CPU seconds of each of `count` portraits, from the infant's seed to the file."""
    for number in range(count):
        start = time.process_time()
        random = np.random.default_rng([3, number])
        actions = sample_expression(random, str(random.choice(list(EXPRESSIONS))))
        mesh = sample_infant(number // PER_INFANT).express(actions)
        portrait = render(mesh, _turned(random), sample_light(random), size)
        cv2.imwrite(str(folder / f"{number}.png"), portrait.image[..., ::-1])
        yield time.process_time() - start


def _turned(random: np.random.Generator) -> View:
    return View(
        yaw=float(random.uniform(-TURNED, TURNED)),
        pitch=float(random.normal(0, 5)),
        roll=float(random.normal(0, 6)),
        background=int(random.integers(2**31)),
        blur=float(max(0.0, random.normal(0.2, 0.4))),
        jpeg=int(random.integers(70, 96)),
    )


def _largest(detector: FaceDetector, image: np.ndarray) -> Face | None:
    return next(iter(detector.find(image, thorough=False)), None)


def _blendshapes(
    detector: FaceDetector, infant, actions, view: View, light: Light, size: int
) -> dict[str, float] | None:
    face = _largest(detector, render(infant.express(actions), view, light, size).image)
    return face and face.blendshapes


def _both_sides(blendshapes: dict[str, float], name: str) -> float:
    return float(np.mean([blendshapes[each] for each in (name, f"{name}Left", f"{name}Right") if each in blendshapes]))


def main() -> int:
    """Print the table and write the JSON if --json is given; return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument(
        "--n", type=int, default=300, help="faces to search for; a fifth as many infants change expression"
    )
    parser.add_argument("--size", type=int, default=384, help="side of their pictures in px")
    parser.add_argument("--timed", type=int, default=200, help="portraits of 128 px to time, and an eighth of 512 px")
    parser.add_argument("--skip-speed", action="store_true")
    options = parser.parse_args()
    from infant_fer.face_detection import FaceDetector  # not at the top: the process that is timed loads no MediaPipe

    detector = FaceDetector()
    bars, landmarks = measure_faces(detector, options.n, options.size)
    bars += measure_expressions(detector, max(options.n // 5, 1), options.size)
    others = {f"landmark error (median): {name}": value for name, value in landmarks.items()}
    if not options.skip_speed:
        speed, seconds = measure_speed(options.timed)
        bars, others = bars + speed, others | seconds
    print("\n".join([*(f"{name:64} {value:9.3f}" for name, value in others.items()), *map(str, bars)]))
    if options.json:
        figures = others | {one.name: {"value": one.value, "bar": one.bar, "met": one.met} for one in bars}
        options.json.write_text(json.dumps(figures, indent=1), "utf-8")
    missed = [one.name for one in bars if not one.met]
    if missed:
        print(f"MISSED: {'; '.join(missed)}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
