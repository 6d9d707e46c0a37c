"""Measure how answers change when one thing in a rendered picture changes: `python -m infant_fer.audit [CHECKPOINT]`."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from infant_fer.arguments import positive, seed
from infant_fer.audit.matched import CLEAR, FACTORS, Picture, infants, matched_sets
from infant_fer.errors import CheckpointError, SyntheticError, exit_status
from infant_fer.files import check_output_file, check_output_folder, write_atomically
from infant_fer.synthetic.mesh.data import HOW_TO_GET, is_installed


def main(arguments: list[str] | None = None) -> int:
    """Print a table and write the files of the options; return 1 after one sentence on stderr when it cannot be done."""
    options = _parser().parse_args(arguments)
    return exit_status(partial(run_audit, options), "Interrupted; no figure was written.")


def run_audit(options: argparse.Namespace) -> None:
    """Check all outputs, audit the checkpoint, print the table and write the outputs. Raises InfantFERError."""
    if not is_installed():
        raise SyntheticError(HOW_TO_GET)
    seeds = infants(options.infants, options.seed)
    expressions = options.expressions or list(CLEAR)
    pictures = matched_sets(seeds, expressions, options.factors or list(FACTORS))

    # torch takes seconds to load; wrong options are refused before
    from infant_fer.audit.effects import Audit, audit_readings
    from infant_fer.audit.reading import is_kept_folder, read_all
    from infant_fer.audit.report import audit_page, audit_plot, audit_text, with_audit
    from infant_fer.checkpoints.safety import CARD
    from infant_fer.checkpoints.sources import resolve
    from infant_fer.training.infant_face.goals import HEADING as GOALS
    from infant_fer.training.infant_face.goals import with_goals

    checkpoint = resolve(options.checkpoint)
    if options.card and checkpoint.revision:
        raise CheckpointError("A card can be written only into a folder of yours; leave --card out for a Hub id.")
    card_files = [checkpoint.path / "audit.json", checkpoint.path / CARD] if options.card else []
    for file in filter(None, (options.json, options.html, *card_files)):
        check_output_file(file)
    if options.plot:
        check_output_file(options.plot, picture=True)
    if options.keep:
        check_output_folder(options.keep, is_kept_folder)
    record = audit_readings(checkpoint.name, read_all(pictures, checkpoint.path, options.keep), options.seed).to_dict()
    audit = Audit.from_dict(record)  # rounded as in the JSON, so that card and record agree
    print(audit_text(audit))
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    if options.json:
        write_atomically(options.json, text)
    if options.plot:
        write_atomically(options.plot, audit_plot(audit))
    if options.html:
        write_atomically(options.html, audit_page(audit, Picture(seeds[0], expressions[-1])))
    if options.card:
        record_file, card = card_files
        write_atomically(record_file, text)
        said = with_audit(card.read_text("utf-8") if card.is_file() else "", audit)
        if GOALS in said:
            said = with_goals(said, json.loads((checkpoint.path / "metrics.json").read_text("utf-8")), record)
        write_atomically(card, said)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("infant-fer audit", description=__doc__.splitlines()[0])
    parser.add_argument(
        "checkpoint", nargs="?", metavar="CHECKPOINT", help="folder or Hub id; default: infant-fer-small"
    )
    parser.add_argument("--infants", type=positive, default=16, metavar="N", help="how many; each is in every set")
    parser.add_argument("--seed", type=seed, default=0, help="the same seed gives the same infants and pictures")
    parser.add_argument(
        "--factors", nargs="+", action="extend", metavar="F", help=f"of {', '.join(FACTORS)}; default: all"
    )
    parser.add_argument(
        "--expressions",
        nargs="+",
        action="extend",
        metavar="E",
        help=f"rendered expressions; default: {', '.join(CLEAR)}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="write a plot, one panel for each factor")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with examples of every level")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the rendered pictures; else none is written")
    parser.add_argument(
        "--card", action="store_true", help="write audit.json and the card's section into the checkpoint"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
