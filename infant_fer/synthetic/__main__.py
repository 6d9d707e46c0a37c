"""Make labelled portraits: `python -m infant_fer.synthetic --n 1000 --out FOLDER`. Interrupted, it goes on where it stopped."""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from infant_fer.errors import SyntheticError
from infant_fer.synthetic.expressions import EXPRESSIONS, sample_expression
from infant_fer.synthetic.infant import sample_infant
from infant_fer.synthetic.mesh_data import HOW_TO_GET, is_installed

COLUMNS = ("file", "seed", "subject", "expression", "affect", "actions", "landmarks_px", "infant", "view", "light")
EACH = 5  # portraits of one infant


@dataclass(frozen=True)
class Order:
    """What a worker needs for a portrait besides its number."""

    folder: Path
    seed: int
    size: int
    turned: float
    expressions: tuple[str, ...]


def main(arguments: list[str] | None = None) -> int:
    """Write the pictures and manifest.csv; returns 1 with one sentence when they cannot be made."""
    options = _parser().parse_args(arguments)
    try:
        if not is_installed():
            raise SyntheticError(HOW_TO_GET)
        if unknown := set(options.expressions) - set(EXPRESSIONS):
            raise SyntheticError(f"There is no expression {unknown.pop()!r}; there are {', '.join(EXPRESSIONS)}.")
        make(Order(options.out, options.seed, options.size, options.turned, tuple(options.expressions)), options.n)
    except SyntheticError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. The same command goes on from here.", file=sys.stderr)
        return 130
    return 0


def make(order: Order, count: int) -> None:
    """Render what is not there yet on all cores, then write the manifest, whole."""
    order.folder.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(count) if not _row_file(order, number).is_file()]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), _start_worker, (order,)) as pool:
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


def _start_worker(order: Order) -> None:
    global _order
    _order = order
    cv2.setNumThreads(1)


def _portrait(number: int) -> None:
    """Picture first, then its row: a row stands for a whole picture."""
    from infant_fer.synthetic.portrait import render
    from infant_fer.synthetic.scene import sample_light, sample_view

    seed, subject = _order.seed + number, _order.seed + number // EACH
    random = np.random.default_rng([_order.seed, number])
    name = str(random.choice(_order.expressions))
    infant, view, light = sample_infant(subject), sample_view(random, _order.turned), sample_light(random)
    portrait = render(infant.express(sample_expression(random, name)), view, light, _order.size)
    file = f"{number:06}.png"
    cv2.imwrite(str(_order.folder / file), portrait.image[..., ::-1])
    told = {"actions": portrait.actions, "landmarks_px": portrait.landmarks}
    told |= {"infant": infant.told(), "view": view.told(), "light": light.told()}
    row = {"file": file, "seed": seed, "subject": subject, "expression": name, "affect": EXPRESSIONS[name].affect}
    row |= {key: json.dumps(value) for key, value in told.items()}
    _row_file(_order, number).parent.mkdir(exist_ok=True)
    _row_file(_order, number).write_text(json.dumps(row), "utf-8")


def _row_file(order: Order, number: int) -> Path:
    return order.folder / "rows" / f"{number:06}.json"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m infant_fer.synthetic", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100, help="portraits; five of each infant")
    parser.add_argument("--out", type=Path, required=True, help="folder for pictures and manifest.csv")
    parser.add_argument("--size", type=int, default=512, help="side in px")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same portraits")
    parser.add_argument("--turned", type=float, default=1.0, help="how far heads turn: 0 is frontal, 1 a snapshot")
    parser.add_argument("--expressions", nargs="+", default=list(EXPRESSIONS), help="which to draw from")
    return parser


if __name__ == "__main__":
    sys.exit(main())
