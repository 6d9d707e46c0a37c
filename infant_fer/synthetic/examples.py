"""Render the examples again from their parameters: `python -m infant_fer.synthetic.examples` rewrites examples/*.jpg."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np

from infant_fer.errors import SyntheticError
from infant_fer.synthetic.infant import sample_infant
from infant_fer.synthetic.occluders import Occluder
from infant_fer.synthetic.portrait import render
from infant_fer.synthetic.scene import Light, View

FOLDER = Path(__file__).resolve().parents[2] / "examples"
PARAMETERS = "portraits.json"
QUALITY = 90  # of the JPEG files


def main(arguments: list[str] | None = None) -> int:
    """Write every picture of portraits.json beside it; returns 1 with one sentence when they cannot be made."""
    parser = argparse.ArgumentParser("python -m infant_fer.synthetic.examples", description=__doc__.split(":")[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"where {PARAMETERS} is and the pictures go")
    folder = parser.parse_args(arguments).folder
    try:
        for name, told in parameters(folder).items():
            cv2.imwrite(str(folder / name), picture(told)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
            print(folder / name)
    except SyntheticError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def parameters(folder: Path = FOLDER) -> dict[str, dict]:
    """What portraits.json tells of each file. Raises SyntheticError when it is not there."""
    file = folder / PARAMETERS
    if not file.is_file():
        raise SyntheticError(f"There is no {PARAMETERS} in {folder}; give the folder of the examples.")
    return json.loads(file.read_text("utf-8"))


def picture(told: dict) -> np.ndarray:
    """(H, W, 3) uint8: the portraits of one file, each rendered, turned and cut out as told, side by side."""
    return np.hstack([_placed(face) for face in told["faces"]])


def _placed(face: dict) -> np.ndarray:
    mesh = sample_infant(face["seed"]).express(face["actions"], face["tears"])
    occluder = Occluder(**face["cover"]) if face["cover"] else None
    image = render(mesh, View(**face["view"]), Light(**face["light"]), face["size"], occluder).image
    left, top, right, bottom = face["cut_xyxy"]
    return np.ascontiguousarray(np.rot90(image[top:bottom, left:right], face["quarter_turns"]))


if __name__ == "__main__":
    sys.exit(main())
