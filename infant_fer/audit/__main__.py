"""See how answers move when one thing in a rendered picture changes: `python -m infant_fer.audit [CHECKPOINT]`."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path

from infant_fer.audit.factors import FACTORS
from infant_fer.audit.matched import CLEAR, Picture, infants, matched_sets
from infant_fer.errors import CheckpointError, InfantFERError, SyntheticError
from infant_fer.synthetic.mesh.data import HOW_TO_GET, is_installed

HOW_TO_MEASURE = "The audit measures with what training needs: pip install -r requirements-train.txt"


def main(arguments: list[str] | None = None) -> int:
    """Print a table and write the files asked for; returns 1 with one sentence when it cannot be done."""
    options = _parser().parse_args(arguments)
    try:
        if not is_installed():
            raise SyntheticError(HOW_TO_GET)
        if not importlib.util.find_spec("sklearn"):
            raise SyntheticError(HOW_TO_MEASURE)
        _audit(options)
    except InfantFERError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; no figure was written.", file=sys.stderr)
        return 130
    return 0


def _audit(options: argparse.Namespace) -> None:
    from infant_fer.audit.reading import read_all  # torch takes seconds; --help and a wrong word should not wait for it
    from infant_fer.audit.record import audited
    from infant_fer.audit.report import audit_page, audit_plot, audit_text
    from infant_fer.checkpoints.sources import resolve

    seeds = infants(options.infants, options.seed)
    pictures = matched_sets(seeds, options.expressions, options.factors)
    checkpoint = resolve(options.checkpoint)
    if options.card and checkpoint.revision:
        raise CheckpointError("A card can be written only into a folder of yours; leave --card out for a Hub id.")
    readings = read_all(pictures, checkpoint.path, options.keep)
    audit = audited(checkpoint.name, readings, options.seed)
    print(audit_text(audit))
    if options.json:
        options.json.write_text(_json(audit.to_dict()), "utf-8")
    if options.plot:
        options.plot.write_bytes(audit_plot(audit))
    if options.html:
        options.html.write_text(audit_page(audit, Picture(seeds[0], options.expressions[-1])), "utf-8")
    if options.card:
        _write_card(checkpoint.path, audit.to_dict())


def _write_card(folder: Path, audit: dict) -> None:
    """Put audit.json beside the weights and its section into the card, each whole or not at all."""
    from infant_fer.audit.section import with_audit
    from infant_fer.checkpoints.safety import CARD

    card = folder / CARD
    text = card.read_text("utf-8") if card.is_file() else ""
    for file, content in ((folder / "audit.json", _json(audit)), (card, with_audit(text, audit))):
        partial = file.with_name(file.name + ".part")
        partial.write_text(content, "utf-8")
        partial.replace(file)


def _json(audit: dict) -> str:
    return json.dumps(audit, indent=1, ensure_ascii=False) + "\n"


def _file(text: str) -> Path:
    """A path in a folder that exists: found out now, not after the pictures are read."""
    if not Path(text).parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {Path(text).parent}")
    return Path(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m infant_fer.audit", description=__doc__.splitlines()[0])
    parser.add_argument(
        "checkpoint", nargs="?", metavar="CHECKPOINT", help="folder or Hub id; default: the embedded one"
    )
    parser.add_argument("--infants", type=int, default=16, metavar="N", help="how many; each is in every set")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same infants and pictures")
    parser.add_argument("--factors", nargs="+", default=list(FACTORS), metavar="F", help=f"of {', '.join(FACTORS)}")
    parser.add_argument("--expressions", nargs="+", default=list(CLEAR), metavar="E", help="rendered expressions")
    parser.add_argument("--json", type=_file, metavar="FILE", help="write every figure")
    parser.add_argument("--plot", type=_file, metavar="FILE.png", help="write a plot, one panel a factor")
    parser.add_argument("--html", type=_file, metavar="FILE", help="write a page with examples of every level")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the rendered pictures; else none is written")
    parser.add_argument(
        "--card", action="store_true", help="write audit.json and the card's section into the checkpoint"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
