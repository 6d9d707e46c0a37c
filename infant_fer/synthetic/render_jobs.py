"""How are thousands of portraits made? On all cores, each with everything that is known of it, going on where it stopped."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from infant_fer.synthetic.expressions import EXPRESSIONS, sample_expression
from infant_fer.synthetic.infant import sample_infant
from infant_fer.synthetic.occluders import Occluder, sample_occluder
from infant_fer.synthetic.portrait import render
from infant_fer.synthetic.scene import sample_light, sample_view

COLUMNS = (
    "file",
    "seed",
    "subject",
    "expression",
    "affect",
    "actions",
    "landmarks_px",
    "tears",
    "cover",
    "infant",
    "view",
    "light",
)
EACH = 5  # portraits of one infant
COVERED, WET = 0.25, 0.5  # shares of covered portraits, and of strong cries with tears
STRONG_CRY = 0.85  # weight of the brows' action in a cry; others run no tears


@dataclass(frozen=True)
class RenderJob:
    """What a worker needs for a portrait besides its number."""

    folder: Path
    seed: int
    size: int
    turned: float
    covered: float
    expressions: tuple[str, ...]


def make(order: RenderJob, count: int) -> None:
    """Render what is not there yet on all cores, then write the manifest, whole."""
    order.folder.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(count) if not _row_file(order, number).is_file()]
    with worker_pool(_start_worker, order) as pool:
        bar = tqdm(total=count, initial=count - len(missing), unit="portrait", desc="Rendering")
        for _ in pool.imap_unordered(_portrait, missing, chunksize=4):
            bar.update()
        bar.close()
    rows = [json.loads(_row_file(order, number).read_text("utf-8")) for number in range(count)]
    partial = order.folder / "manifest.part.csv"
    with partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(order.folder / "manifest.csv")


def worker_pool(start: Callable[..., None] | None, *arguments, count: int | None = None) -> Pool:
    """Processes that render, one a core unless told otherwise; each computes on one thread, as a second would only spin."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read by NumPy when a worker loads it
    return multiprocessing.get_context("spawn").Pool(count or os.cpu_count(), start, arguments)


def _start_worker(order: RenderJob) -> None:
    global _order
    _order = order
    cv2.setNumThreads(1)


def _portrait(number: int) -> None:
    """Picture first, then its row: a row stands for a whole picture."""
    seed, subject = _order.seed + number, _order.seed + number // EACH
    random = np.random.default_rng([_order.seed, number])
    name = str(random.choice(_order.expressions))
    infant, view, light = sample_infant(subject), sample_view(random, _order.turned), sample_light(random)
    actions = sample_expression(random, name)
    tears, occluder = _sample_tears(random, name, actions), _sample_cover(random, _order.covered)
    portrait = render(infant.express(actions, tears), view, light, _order.size, occluder)
    file = f"{number:06}.png"
    cv2.imwrite(str(_order.folder / file), portrait.image[..., ::-1])
    told = {"actions": portrait.actions, "landmarks_px": portrait.landmarks}
    told |= {"tears": tears, "cover": occluder and occluder.told()}
    told |= {"infant": infant.told(), "view": view.told(), "light": light.told()}
    row = {"file": file, "seed": seed, "subject": subject, "expression": name, "affect": EXPRESSIONS[name].affect}
    row |= {key: json.dumps(value) for key, value in told.items()}
    _row_file(_order, number).parent.mkdir(exist_ok=True)
    _row_file(_order, number).write_text(json.dumps(row), "utf-8")


def _sample_tears(random: np.random.Generator, name: str, actions: dict[str, float]) -> float:
    drawn = round(float(random.uniform(0.4, 1.0)), 3) if random.random() < WET else 0.0
    return drawn if name == "cry" and actions["browDownLeft"] >= STRONG_CRY else 0.0


def _sample_cover(random: np.random.Generator, share: float) -> Occluder | None:
    return sample_occluder(random) if random.random() < share else None


def _row_file(order: RenderJob, number: int) -> Path:
    return order.folder / "rows" / f"{number:06}.json"
