"""Measure which way up the faces of turned photos are found: `python -m benchmarks.upside_down --data FOLDER [--limit N]`.

FOLDER holds the research data; its dev infants with an affect are read as they are and turned by 90, 180 and 270 degrees. A
face counts as found the wrong way up when the roll of its landmarks is more than 90 degrees away from that in the photo as it
is, turned as the photo was. The first face of each photo is compared: where several are found, another one may come first.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from infant_fer.analyzer import Analyzer
from infant_fer.images import load_image
from infant_fer.metrics import Proportion
from infant_fer.report import FaceReport
from infant_fer.training.infant_face.data import read_infants

QUARTER_TURNS = (0, 1, 2, 3)  # counter-clockwise


def main() -> None:
    """Read every photo four times; print the shares of each turn, and write the JSON if --json is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", help="default: infant-fer-small")
    parser.add_argument("--limit", type=int, help="photos, drawn at random; default: all")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    analyzer, infants = Analyzer.from_pretrained(options.checkpoint), read_infants(options.data)
    rows = np.flatnonzero((infants.split == "dev") & (infants.truth >= 0))
    rows = np.random.default_rng(0).permutation(rows)[: options.limit]
    turned = [[first_face(analyzer, infants.read(int(row)), turns) for turns in QUARTER_TURNS] for row in rows]
    found = {f"{90 * turns} degrees": figures(turned, infants.subject[rows], turns) for turns in QUARTER_TURNS}
    for name, shares in found.items():
        print(name, {key: str(share) for key, share in shares.items()})
    if options.json:
        options.json.write_text(
            json.dumps({name: {k: v.to_dict() for k, v in each.items()} for name, each in found.items()})
        )


def first_face(analyzer: Analyzer, photo: bytes, quarter_turns: int) -> FaceReport | None:
    """Read a photo turned so often by 90 degrees counter-clockwise; return its first face."""
    rgb = np.ascontiguousarray(np.rot90(load_image(photo), quarter_turns))
    return next(iter(analyzer.analyze(rgb).faces), None)


def figures(turned: list[list[FaceReport | None]], subjects: np.ndarray, turns: int) -> dict[str, Proportion]:
    """Return the shares of photos, of those with a face as they are, without one when turned, and with one the wrong way up.

    `subjects` (N,) are the infants of the N photos, over which the intervals are.
    """
    subjects = subjects[[each[0] is not None for each in turned]]
    pairs = [(each[0], each[turns]) for each in turned if each[0] is not None]
    wrong = np.array([other is not None and wrong_way_up(face, other, turns) for face, other in pairs])
    answered = np.array([other is not None and other.assessment.verdict == "answer" for _, other in pairs])
    return {
        "wrong way up": Proportion.of(wrong, subjects),
        "wrong way up and answered plainly": Proportion.of(wrong & answered, subjects),
        "no face": Proportion.of(np.array([other is None for _, other in pairs]), subjects),
    }


def wrong_way_up(face: FaceReport, turned: FaceReport, quarter_turns: int) -> bool:
    """Return whether the face of the turned photo is more than 90 degrees from where the turn brings that of the photo."""
    expected = face.face.pose.roll - 90 * quarter_turns
    return abs((turned.face.pose.roll - expected + 180) % 360 - 180) > 90


if __name__ == "__main__":
    main()
