"""Fit a checkpoint's trust data on labelled faces: `infant-fer trust CHECKPOINT --table infants.csv`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from infant_fer.errors import CheckpointError, DatasetError, exit_status
from infant_fer.files import check_output_file
from infant_fer.trust.assessment import DISTANCE_WORDS


def main(arguments: list[str] | None = None) -> int:
    """Write trust.json, trust.safetensors and the card's section into the folder; return 1 with one sentence on a fault."""
    options = _parser().parse_args(arguments)
    return exit_status(partial(run, options))


def run(options: argparse.Namespace) -> None:
    """Check the folder, fit, write and print the figures. Raises InfantFERError."""
    from infant_fer.checkpoints.loading import load_checkpoint  # torch takes seconds to load
    from infant_fer.checkpoints.safety import CARD
    from infant_fer.checkpoints.sources import resolve
    from infant_fer.files import write_atomically
    from infant_fer.trust.fitting import Infants, fit_trust, read_faces, read_groups
    from infant_fer.trust.report import trust_text, with_trust
    from infant_fer.trust.store import SETTINGS, TENSORS

    sources = _sources(options.group)
    place = resolve(options.checkpoint)
    if place.revision:
        raise CheckpointError("Trust data can be written only into a folder of yours, not into a Hub id.")
    for name in (SETTINGS, TENSORS, CARD):
        check_output_file(place.path / name)
    checkpoint = load_checkpoint(options.checkpoint)
    data = Infants(options.table, tuple(options.pictures), options.split_method)
    faces = read_faces(checkpoint, data, options.others, options.cache)
    groups = read_groups(sources, checkpoint.crop, options.cache)
    faces = replace(faces, measured=groups, distance=options.distance)
    trust = fit_trust(checkpoint.model, checkpoint.processor, faces, options.test)
    trust.save(place.path)
    card = place.path / CARD
    written = card.read_text("utf-8") if card.is_file() else ""
    write_atomically(card, with_trust(written, trust))
    print(trust_text(trust.figures))


def _sources(groups: Sequence[str]) -> dict[str, Path]:
    """Return the folders of `--group NAME=FOLDER` by name. Raises DatasetError."""
    from infant_fer.trust.fitting import OWN_GROUPS

    found = {}
    for words in groups:
        name, equals, source = words.partition("=")
        if not name or not equals or not Path(source).exists():
            raise DatasetError(f"--group takes NAME=FOLDER, or a zip in the folder's place; {words!r} is none.")
        if name in found or name in OWN_GROUPS:
            raise DatasetError(f"There is a group {name!r} already; choose another name for {source}.")
        found[name] = Path(source)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("infant-fer trust", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="the folder that gets the trust data")
    parser.add_argument("--table", type=Path, required=True, help="what train.py took as --data, or infants.csv")
    parser.add_argument(
        "--pictures", type=Path, nargs="+", action="extend", default=[], help="where a table's images are"
    )
    parser.add_argument(
        "--split",
        dest="split_method",
        choices=["given", "subject"],
        help="how to split a data set of which the checkpoint records no split; subject: of infants that it was not trained on",
    )
    parser.add_argument("--others", type=Path, help="folder or zip of faces that are no infants'")
    parser.add_argument(
        "--group",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=FOLDER",
        help="further pictures to be declined, such as animals=FOLDER: measured for the card, not fitted on",
    )
    parser.add_argument(
        "--distance",
        choices=DISTANCE_WORDS,
        help="the distance from the training faces that is kept and shown; default: that which tells --others best",
    )
    parser.add_argument("--cache", type=Path, default=Path("data-cache"), help="where found faces are kept")
    parser.add_argument("--test", action="store_true", help="measure the test rows, too: once, at the end")
    return parser


if __name__ == "__main__":
    sys.exit(main())
