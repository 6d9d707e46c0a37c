"""Render frames of many infants' clips as a labelled data set: `python -m infant_fer.synthetic.clip_frames --out FOLDER`.

`evaluate --split frames` and `--split subject` on it show what a split by frames is worth: frames of one infant on both sides.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from infant_fer.arguments import positive, seed
from infant_fer.errors import SyntheticError, exit_status
from infant_fer.files import check_output_folder, filled_folder, open_atomically, write_atomically
from infant_fer.synthetic.clip import drawn_frames
from infant_fer.synthetic.clip_spec import Act, Actor, ClipSpec
from infant_fer.synthetic.expressions import EXPRESSIONS
from infant_fer.synthetic.mesh.data import HOW_TO_GET, is_installed
from infant_fer.synthetic.render_jobs import lost, one_thread
from infant_fer.workers import Job, spread

TABLE = "frames.csv"
COLUMNS = ("file", "label", "subject", "time_s")
SECONDS = 12.0  # of each clip: an expression of each affect, between which the face rests
SEED = (
    "the same seed gives the same frames. The infants are SEED, SEED + 1 and so on: "
    "seeds less than INFANTS apart share some"
)
BY_AFFECT = {
    affect: tuple(name for name, each in EXPRESSIONS.items() if each.affect == affect and name not in ("sleep", "yawn"))
    for affect in ("positive", "neutral", "negative")
}


@dataclass(frozen=True)
class FrameSet:
    """The parameters of a data set: `per_affect` frames of each affect of each infant."""

    folder: Path
    infants: int
    per_affect: int
    size: int = 160  # side in px
    seed: int = 0


def render_frames(chosen: FrameSet, workers: int = 1) -> Path:
    """Render the frames, PNG files and TABLE, into a new or empty folder; return the table.

    The folder is there once it is complete: of an interrupted run nothing is left. Raises OutputError and SyntheticError.
    """
    if not is_installed():
        raise SyntheticError(HOW_TO_GET)
    check_output_folder(chosen.folder, is_ours=lambda folder: False)
    infants = range(chosen.seed, chosen.seed + chosen.infants)
    with filled_folder(chosen.folder, lambda _: ()) as folder, open_atomically(folder / TABLE) as stream:
        job = Job(one_thread, partial(_render, replace(chosen, folder=folder)), lost)
        rows = csv.writer(stream)
        rows.writerow(COLUMNS)
        for each in tqdm(spread(job, infants, workers), total=chosen.infants, unit="infant", disable=None):
            rows.writerows(each)
    return chosen.folder / TABLE


def infant_clip(seed: int, size: int) -> ClipSpec:
    """Return the clip of one infant, which shows an expression of each affect in an order and at times of its own."""
    random = np.random.default_rng([seed, 11])
    acts, start = [], 0.0
    for affect in random.permutation(list(BY_AFFECT)):
        length = SECONDS / 3
        onset, offset = start + random.uniform(0.1, 0.25) * length, start + random.uniform(0.8, 0.95) * length
        acts.append(
            Act(float(onset), float(offset), str(random.choice(BY_AFFECT[affect])), float(random.uniform(0.7, 1)))
        )
        start += length
    actor = Actor(seed, tuple(acts), size=1.25, sway=8.0)
    return ClipSpec((actor,), SECONDS, fps=25.0, size_wh=(size, size), seed=seed)


def _render(chosen: FrameSet, _: None, seed: int) -> list[tuple]:
    spec = infant_clip(seed, chosen.size)
    times, rows = [], []
    for act in spec.actors[0].acts:  # within the hold of each act, where the label is beyond doubt
        times += np.linspace(act.onset_s + 0.25, act.offset_s - 0.25, chosen.per_affect).tolist()
    for number, frame in enumerate(drawn_frames(spec, times)):
        name = f"infant{seed:04}_{number:03}.png"
        write_atomically(chosen.folder / name, cv2.imencode(".png", frame.image_rgb[..., ::-1])[1].tobytes())
        rows.append((name, frame.faces[0].label, f"infant{seed:04}", f"{frame.time_s:.3f}"))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Render the frames; return 1 after one sentence on stderr on failure."""
    parser = argparse.ArgumentParser("python -m infant_fer.synthetic.clip_frames", description=__doc__.split(":")[0])
    parser.add_argument("--out", type=Path, required=True, help=f"new folder for the pictures and {TABLE}")
    parser.add_argument("--infants", type=positive, default=30)
    parser.add_argument("--per-affect", type=positive, default=8, help="frames of each affect of an infant")
    parser.add_argument("--size", type=positive, default=160, help="side in px, even")
    parser.add_argument("--seed", type=seed, default=0, help=SEED)
    parser.add_argument("--workers", type=positive, default=1, help="processes")
    options = parser.parse_args(arguments)
    frames = FrameSet(options.out, options.infants, options.per_affect, options.size, options.seed)
    return exit_status(lambda: print(render_frames(frames, options.workers)))


if __name__ == "__main__":
    sys.exit(main())
