"""Which rendered faces teach what no rater has labelled? Action units in known strength, and pacifiers and hands as cut-outs."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from infant_fer.alignment import CropSpec, similarity
from infant_fer.errors import DatasetError
from infant_fer.files import write_atomically
from infant_fer.labels import ACTION_UNITS
from infant_fer.workers import Job, spread

SIZE = 160  # px of a render: as large as its face is in the crop
SHARD = 20  # renders in one file: so many are lost at most when a run is stopped
PER_INFANT = 5
SEED = 700_000  # of the renders that teach
VERSION = 1  # raise it when the same arguments give other faces
# What the renderer's actions (ARKit's names, each on both sides) are in FACS. AU25 follows from whatever parts the lips.
UNIT_OF_ACTION = {
    "browInnerUp": "AU1", "browOuterUp": "AU2", "browDown": "AU4", "cheekSquint": "AU6", "noseSneer": "AU9", "mouthSmile": "AU12",
    "mouthFrown": "AU15", "mouthShrugLower": "AU17", "mouthStretch": "AU20", "jawOpen": "AU26", "eyeBlink": "AU43",
}  # fmt: skip
PARTED_BY = {"jawOpen": 3.0, "mouthLowerDown": 1.0, "mouthUpperUp": 1.0, "mouthFunnel": 0.7}  # AU25 for each unit of it
COVERS = ("pacifier", "hand", "blanket")  # what may lie before a mouth
COVER_SHARES = (0.45, 0.4, 0.15)
NAMED_SHARE = 0.7  # of faces with a named expression; the others have a few actions at random


@dataclass(frozen=True, eq=False)
class RenderedFaces:
    """N aligned renders with the truth."""

    luminance: np.ndarray  # (N, S, S) uint8, as aligned crops are
    cover: np.ndarray  # (N, S, S) uint8: 255 where an object lies before the face
    action_units: np.ndarray  # (N, len(ACTION_UNITS)) float32 in 0..1
    infant: np.ndarray  # (N,) int: seed of the infant


def renders_folder(covered: bool, cache: Path, seed: int = SEED) -> Path:
    """Return where `rendered_faces` keeps its faces."""
    return cache / f"rendered-{VERSION}-{'covered' if covered else 'bare'}-{seed}"


def check_renderer(kept: Path) -> None:
    """Raise DatasetError, before any work, where infants cannot be rendered and `kept` is no folder of earlier renders."""
    from infant_fer.synthetic.mesh.data import HOW_TO_GET, is_installed

    if not kept.is_dir() and not is_installed():
        raise DatasetError(f"{HOW_TO_GET}.")


def rendered_faces(
    count: int, covered: bool, cache: Path, seed: int = SEED, processes: int | None = None
) -> RenderedFaces:
    """Return `count` rendered infants, all or none of them `covered`, from the cache after the first time.

    The audit has other infants (their seeds). Raises DatasetError without the packages that render.
    """
    folder = renders_folder(covered, cache, seed)
    files = [folder / f"{start:05}.npz" for start in range(0, count, SHARD)]
    missing = [file for file in files if not file.is_file()]
    if missing:
        _render(missing, covered, seed, processes)
    shards = [dict(np.load(file)) for file in files]
    joined = {name: np.concatenate([shard[name] for shard in shards])[:count] for name in shards[0]}
    return RenderedFaces(**joined)


def action_units(actions: dict[str, float]) -> np.ndarray:
    """Return the (len(ACTION_UNITS),) float32 strengths in 0..1 of a renderer's actions, the stronger side of each."""
    strongest = {
        name: max((weight for action, weight in actions.items() if action.startswith(name)), default=0.0)
        for name in {*UNIT_OF_ACTION, *PARTED_BY}
    }
    units = {unit: strongest[name] for name, unit in UNIT_OF_ACTION.items()}
    units["AU25"] = sum(factor * strongest[name] for name, factor in PARTED_BY.items())
    return np.clip([units[name] for name in ACTION_UNITS], 0, 1).astype(np.float32)


def _render(files: list[Path], covered: bool, seed: int, processes: int | None) -> None:
    try:
        from infant_fer.synthetic.render_jobs import lost, one_thread
    except ImportError as error:
        raise DatasetError(f"Rendered infants need the packages of requirements-synthetic.txt ({error}).") from None
    files[0].parent.mkdir(parents=True, exist_ok=True)
    job = Job(one_thread, partial(_render_shard, covered=covered, seed=seed), lost)
    for _ in tqdm(spread(job, files, processes or os.cpu_count() or 1), total=len(files), desc="Rendering faces"):
        pass


def _render_shard(_: None, file: Path, covered: bool, seed: int) -> None:
    numbers = range(int(file.stem), int(file.stem) + SHARD)
    faces = [_render_one(number, covered, seed) for number in numbers]
    arrays: dict[str, Any] = {name: np.stack([face[name] for face in faces]) for name in faces[0]}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(file, buffer.getvalue())


def _render_one(number: int, covered: bool, seed: int) -> dict[str, np.ndarray]:
    from infant_fer.synthetic import render, sample_infant, sample_light, sample_occluder, sample_view
    from infant_fer.synthetic.portrait import PARTS

    random = np.random.default_rng([seed, number])
    subject = seed + number // PER_INFANT
    actions = _sampled_actions(random)
    occluder = sample_occluder(random, str(random.choice(COVERS, p=COVER_SHARES))) if covered else None
    view, light = sample_view(random), sample_light(random)
    portrait = render(sample_infant(subject).express(actions), view, light, SIZE, occluder)
    spec = CropSpec()
    matrix = similarity(_anchors_px(portrait.landmarks), spec.anchors_px)
    shape = (spec.size, spec.size)
    luminance = cv2.cvtColor(portrait.image, cv2.COLOR_RGB2GRAY)
    cover = np.where(portrait.parts == PARTS.index("occluder"), 255, 0).astype(np.uint8)
    return {
        "luminance": cv2.warpAffine(luminance, matrix, shape, borderMode=cv2.BORDER_REPLICATE),
        "cover": cv2.warpAffine(cover, matrix, shape),
        "action_units": action_units(portrait.actions),
        "infant": np.array(subject),
    }


def _anchors_px(landmarks: dict[str, tuple[float, float]]) -> np.ndarray:
    """Return (3, 2): right eye, left eye and mouth, as face.Face.anchors_px has them."""
    at = {name: np.array(point) for name, point in landmarks.items()}
    eyes = [(at[f"{side} eye outer corner"] + at[f"{side} eye inner corner"]) / 2 for side in ("right", "left")]
    return np.stack([*eyes, (at["right mouth corner"] + at["left mouth corner"]) / 2])


def _sampled_actions(random: np.random.Generator) -> dict[str, float]:
    """Draw a named expression at any strength, or a few actions that need not go together."""
    from infant_fer.synthetic import EXPRESSIONS, sample_expression

    if random.random() < NAMED_SHARE:
        return sample_expression(random, str(random.choice(list(EXPRESSIONS))), float(random.uniform(0.15, 1.1)))
    names = random.choice([*UNIT_OF_ACTION, "mouthLowerDown", "mouthUpperUp"], random.integers(1, 5), replace=False)
    return {str(name): round(float(random.uniform(0.15, 1.1)), 3) for name in names}
