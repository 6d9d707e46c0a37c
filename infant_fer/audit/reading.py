"""Render the pictures of an audit and read them with a checkpoint end to end, on all cores."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
from tqdm import tqdm

from infant_fer.analyzer import Analyzer
from infant_fer.audit.matched import FIRST_INFANT, Picture
from infant_fer.files import write_atomically
from infant_fer.synthetic.expressions import EXPRESSIONS
from infant_fer.synthetic.render_jobs import lost, one_thread
from infant_fer.workers import Job, spread


@dataclass(frozen=True)
class Reading:
    """The answer for a picture's face; probabilities are None where no face was found."""

    picture: Picture
    probabilities: dict[str, float] | None  # by affect

    @property
    def label(self) -> str | None:
        """Return the likeliest affect, or None where no face was found."""
        return max(self.probabilities, key=self.probabilities.__getitem__) if self.probabilities else None

    @property
    def rendered_affect(self) -> str:
        """Return the affect that the rendered expression is meant to show."""
        return EXPRESSIONS[self.picture.expression].affect


def read(analyzer: Analyzer, picture: Picture, keep: Path | None = None) -> Reading:
    """Render a picture and read its first face; `keep` is a folder for the PNG."""
    image = picture.scene().render()
    if keep:
        write_atomically(keep / file_name(picture), cv2.imencode(".png", image[..., ::-1])[1].tobytes())
    faces = analyzer.analyze(image).faces
    return Reading(picture, dict(faces[0].prediction.probabilities) if faces else None)


def read_all(pictures: Sequence[Picture], checkpoint: Path, keep: Path | None = None) -> list[Reading]:
    """Read every picture with the checkpoint in a folder, in their order, one process a core; show a progress bar."""
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
    _analyzer(checkpoint)  # fetches the landmark bundle once, before there are workers
    job = Job(partial(_analyzer, checkpoint), partial(read, keep=keep), lost)
    answers = spread(job, pictures, os.cpu_count() or 1)
    return list(tqdm(answers, total=len(pictures), unit="picture", desc="Auditing", disable=None))


def file_name(picture: Picture) -> str:
    """Return the name of a kept picture: what it shows."""
    words = (str(picture.infant), picture.expression, picture.factor or "plain", picture.level)
    return "_".join("-".join(re.findall(r"\w+", word)) for word in words if word) + ".png"


def is_kept_folder(folder: Path) -> bool:
    """Tell whether a folder holds nothing but pictures that an audit has kept."""
    digits = len(str(FIRST_INFANT))
    return all(re.fullmatch(rf"\d{{{digits},}}_[\w-]+\.png", file.name) for file in folder.iterdir())


def _analyzer(checkpoint: Path) -> Analyzer:
    one_thread()
    return Analyzer.from_pretrained(checkpoint, device="cpu")
