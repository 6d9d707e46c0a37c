"""Measure a checkpoint of this project on the research data: `python -m infant_fer.evaluate CHECKPOINT --data FOLDER`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from infant_fer.errors import CheckpointError, InfantFERError


def main(arguments: list[str] | None = None) -> int:
    """Print the figures as a table and the rest as JSON; returns 1 with one sentence when something cannot be read."""
    options = _parser().parse_args(arguments)
    try:
        figures = evaluate(options.checkpoint, options.data, options.cache, options.split)
    except InfantFERError as error:
        print(error, file=sys.stderr)
        return 1
    from infant_fer.training.card import accuracy_table
    from infant_fer.training.ours import plain

    print(accuracy_table(figures["accuracy"]))
    print(json.dumps({name: value for name, value in figures.items() if name != "accuracy"}, indent=1, default=plain))
    return 0


def evaluate(checkpoint: Path, data: Path, cache: Path, split: str) -> dict:
    """Figures of a checkpoint folder on the dev or test rows, as in its card. Raises CheckpointError, DatasetError."""
    from infant_fer.models.infant_face import InfantFaceModel
    from infant_fer.training.data import load
    from infant_fer.training.figures import measure

    try:
        model = InfantFaceModel.from_pretrained(checkpoint, local_files_only=True).eval()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{checkpoint} is no checkpoint made by train.py: {str(error).splitlines()[0]}") from None
    loaded = load(data, cache, log=lambda line: print(line, file=sys.stderr))
    return measure(model, loaded, loaded.infants.split == split)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m infant_fer.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="folder made by train.py")
    parser.add_argument("--data", type=Path, required=True, help="folder with infants.csv and its archives")
    parser.add_argument("--cache", type=Path, default=Path("data-cache"), help="where found faces are kept (1.3 GB)")
    parser.add_argument(
        "--split", choices=["dev", "test"], default="dev", help="test only for a checkpoint that is released"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
