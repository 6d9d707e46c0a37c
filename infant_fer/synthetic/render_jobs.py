"""Render thousands of portraits on all cores, each with all its parameters; an interrupted job resumes where it stopped."""

from __future__ import annotations

import csv
import json
import os
import re
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from infant_fer.errors import SyntheticError
from infant_fer.files import check_output_folder, open_atomically, write_atomically
from infant_fer.synthetic.expressions import EXPRESSIONS, sample_expression
from infant_fer.synthetic.infant import sample_infant
from infant_fer.synthetic.occluders import Occluder, sample_occluder
from infant_fer.synthetic.portrait import render
from infant_fer.synthetic.scene import sample_light, sample_view
from infant_fer.workers import Job, spread

MANIFEST, ROWS, JOB = "manifest.csv", "rows", "job.json"  # what a job writes beside its pictures
COLUMNS = ("file", "subject", "expression", "affect")  # the subject is the infant's seed; the job's is in JOB
JSON_COLUMNS = ("actions", "landmarks_px", "tears", "occluder", "infant", "view", "light")
PER_INFANT = 5  # portraits of one infant
COVERED, WET = 0.25, 0.5  # shares of portraits with an occluder, and of strong cries with tears
STRONG_CRY = 0.85  # weight of the brows' action in a cry; weaker ones have no tears


@dataclass(frozen=True)
class RenderJob:
    """The parameters that all portraits of a folder share.

    The infants are `seed`, `seed` + 1 and so on, PER_INFANT portraits of each; seeds that are closer share infants.
    """

    folder: Path
    seed: int
    size: int  # side in px
    turned: float  # as in sample_view
    covered: float  # share of portraits with an occluder
    expressions: tuple[str, ...]


def run_job(job: RenderJob, count: int) -> None:
    """Render the portraits 0 to `count` - 1 that are not there yet on all cores, then write the manifest of these atomically.

    Raises OutputError for a folder that holds anything but portraits, SyntheticError for portraits of another job.
    """
    check_output_folder(job.folder, _holds_portraits)
    (job.folder / ROWS).mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(count) if not _row_file(job, number).is_file()]
    _check_same_job(job)
    results = spread(Job(one_thread, partial(_render_portrait, job), lost), missing, os.cpu_count() or 1)
    for _ in tqdm(results, total=count, initial=count - len(missing), unit="portrait", desc="Rendering"):
        pass
    rows = [_read_row(_row_file(job, number)) for number in range(count)]
    with open_atomically(job.folder / MANIFEST) as stream:
        writer = csv.DictWriter(stream, COLUMNS + JSON_COLUMNS, extrasaction="ignore")  # older rows have a seed, too
        writer.writeheader()
        writer.writerows(rows)


def one_thread() -> None:
    """Let OpenCV compute on one thread: what a worker that renders loads."""
    cv2.setNumThreads(1)


def lost(item: Any) -> Any:
    """Raise SyntheticError: workers have died twice while they rendered `item`."""
    raise SyntheticError(
        f"A rendering process has died at {item}, perhaps for lack of memory. Close other programs and start again."
    )


def _render_portrait(job: RenderJob, _: None, number: int) -> None:
    """Write the picture first, then its row, so that a row stands for a whole picture."""
    subject = job.seed + number // PER_INFANT
    random = np.random.default_rng([job.seed, number])
    name = str(random.choice(job.expressions))
    infant, view, light = sample_infant(subject), sample_view(random, job.turned), sample_light(random)
    actions = sample_expression(random, name)
    tears, occluder = _sample_tears(random, name, actions), _sample_occluder(random, job.covered)
    portrait = render(infant.express(actions, tears), view, light, job.size, occluder)
    file = f"{number:06}.png"
    write_atomically(job.folder / file, cv2.imencode(".png", portrait.image[..., ::-1])[1].tobytes())
    plain = (file, subject, name, EXPRESSIONS[name].affect)
    scene = (occluder and asdict(occluder), asdict(infant), asdict(view), asdict(light))
    parameters = (portrait.actions, portrait.landmarks, tears, *scene)
    row = dict(zip(COLUMNS, plain, strict=True)) | dict(zip(JSON_COLUMNS, map(json.dumps, parameters), strict=True))
    write_atomically(_row_file(job, number), json.dumps(row))


def _sample_tears(random: np.random.Generator, name: str, actions: dict[str, float]) -> float:
    drawn = round(float(random.uniform(0.4, 1.0)), 3) if random.random() < WET else 0.0
    return drawn if name == "cry" and actions["browDownLeft"] >= STRONG_CRY else 0.0


def _sample_occluder(random: np.random.Generator, share: float) -> Occluder | None:
    return sample_occluder(random) if random.random() < share else None


def _row_file(job: RenderJob, number: int) -> Path:
    return job.folder / ROWS / f"{number:06}.json"


def _read_row(file: Path) -> dict:
    return json.loads(file.read_text("utf-8"))


def _holds_portraits(folder: Path) -> bool:
    """Tell whether a job has written into a folder: its rows lie there, and no other file among them."""
    rows = folder / ROWS
    return rows.is_dir() and all(re.fullmatch(r"\d{6}\.json|\..*\.part", file.name) for file in rows.iterdir())


def _check_same_job(job: RenderJob) -> None:
    """Record the job's parameters in a folder without portraits; else raise SyntheticError unless its portraits have the same.

    Of portraits from before there was a record, the first one tells seed and size.
    """
    record, parameters = job.folder / JOB, json.loads(json.dumps({**asdict(job), "folder": None}))
    portraits = sorted((job.folder / ROWS).glob("*.json"))
    if not portraits:
        write_atomically(record, json.dumps(parameters))
    elif record.is_file():
        before = json.loads(record.read_text("utf-8"))
        if other := [name for name, value in parameters.items() if before.get(name) != value]:
            raise SyntheticError(
                f"{job.folder} holds portraits with another {', another '.join(other)}. Give a new folder, or the same options."
            )
    for file in portraits[:1]:
        number, picture = int(file.stem), cv2.imread(str(job.folder / f"{file.stem}.png"))
        seed = _read_row(file).get("seed", job.seed + number) - number
        if seed != job.seed or (picture is not None and len(picture) != job.size):
            size = "" if picture is None else f" and of {len(picture)} px"
            raise SyntheticError(
                f"{job.folder} holds portraits of seed {seed}{size}. Give a new folder, or the same options."
            )
