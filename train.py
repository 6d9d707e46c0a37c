"""Make a checkpoint: `python train.py --recipe ours --data FOLDER --output checkpoints/NAME`."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path


def main() -> int:
    """Parse the arguments and run the recipe; returns 1 with one sentence when the data cannot be used."""
    options = _parser().parse_args()
    from infant_fer.errors import InfantFERError
    from infant_fer.training.ours import Run, run

    asked = Run(
        data=options.data,
        output=options.output,
        cache=options.cache,
        pretrained=options.pretrained,
        seed=options.seed,
        test=not options.no_test,
        command="python " + shlex.join(["train.py", *sys.argv[1:]]),
    )
    try:
        run(asked)
    except InfantFERError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python train.py", description="Train and measure a checkpoint.")
    parser.add_argument(
        "--recipe", choices=["ours"], default="ours", help="what to do; see infant_fer/training/ours.py"
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with infants.csv, infants.zip, fer2013.zip, older_faces.zip"
    )
    parser.add_argument("--output", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--cache", type=Path, default=Path("data-cache"), help="where found faces are kept (1.3 GB)")
    parser.add_argument("--pretrained", type=Path, help="start from this folder instead of pretraining on FER2013")
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw after the pretraining")
    parser.add_argument("--no-test", action="store_true", help="leave the test rows untouched: for trying things out")
    return parser


if __name__ == "__main__":
    sys.exit(main())
