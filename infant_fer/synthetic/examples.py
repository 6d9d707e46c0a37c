"""Render the examples again from their parameters: `python -m infant_fer.synthetic.examples` rewrites examples/*.jpg."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from infant_fer.errors import SyntheticError, exit_status
from infant_fer.files import write_atomically
from infant_fer.synthetic.infant import sample_infant
from infant_fer.synthetic.occluders import Occluder
from infant_fer.synthetic.portrait import render
from infant_fer.synthetic.scene import Light, View

FOLDER = Path(__file__).resolve().parents[2] / "examples"
PARAMETERS = "portraits.json"
QUALITY = 90  # of the JPEG files


def main(arguments: list[str] | None = None) -> int:
    """Write every picture of portraits.json beside it; return 1 after one sentence on stderr on failure."""
    parser = argparse.ArgumentParser("python -m infant_fer.synthetic.examples", description=__doc__.split(":")[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"where {PARAMETERS} is and the pictures go")
    return exit_status(partial(_write, parser.parse_args(arguments).folder))


def _write(folder: Path) -> None:
    for name, entry in parameters(folder).items():
        coded = cv2.imencode(".jpg", picture(entry)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        write_atomically(folder / name, coded.tobytes())
        print(folder / name)


def parameters(folder: Path = FOLDER) -> dict[str, dict]:
    """Return the entry of portraits.json for each file. Raises SyntheticError when there is no portraits.json."""
    file = folder / PARAMETERS
    if not file.is_file():
        raise SyntheticError(f"There is no {PARAMETERS} in {folder}; give the folder of the examples.")
    return json.loads(file.read_text("utf-8"))


def picture(entry: dict) -> np.ndarray:
    """Render an entry of portraits.json as (H, W, 3) uint8 RGB: its faces, cropped and rotated, side by side."""
    return np.hstack([_face(face) for face in entry["faces"]])


def _face(face: dict) -> np.ndarray:
    mesh = sample_infant(face["seed"]).express(face["actions"], face["tears"])
    occluder = Occluder(**face["occluder"]) if face["occluder"] else None
    image = render(mesh, View(**face["view"]), Light(**face["light"]), face["size"], occluder).image
    left, top, right, bottom = face["cut_xyxy"]
    return np.ascontiguousarray(np.rot90(image[top:bottom, left:right], face["quarter_turns"]))


if __name__ == "__main__":
    sys.exit(main())
