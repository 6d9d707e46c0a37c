"""Render labelled portraits: `python -m infant_fer.synthetic --n 1000 --out FOLDER`. Interrupted, it resumes where it stopped."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from infant_fer.arguments import amount, positive, seed, share
from infant_fer.errors import SyntheticError, exit_status
from infant_fer.synthetic.expressions import EXPRESSIONS, check_expression
from infant_fer.synthetic.mesh.data import HOW_TO_GET, is_installed
from infant_fer.synthetic.render_jobs import COVERED, PER_INFANT, RenderJob, run_job

SEED = (
    "the same seed gives the same portraits. Their infants are SEED, SEED + 1 and so on: "
    f"seeds less than N / {PER_INFANT} apart share some"
)


def main(arguments: list[str] | None = None) -> int:
    """Write the pictures and manifest.csv; return 1 after one sentence on stderr on failure."""
    options = _parser().parse_args(arguments)
    return exit_status(partial(_render, options), "Interrupted. The same command resumes from here.")


def _render(options: argparse.Namespace) -> None:
    if not is_installed():
        raise SyntheticError(HOW_TO_GET)
    names = tuple(options.expressions or EXPRESSIONS)
    for name in names:
        check_expression(name)
    run_job(RenderJob(options.out, options.seed, options.size, options.turned, options.covered, names), options.n)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("infant-fer render", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=positive, default=100, help="portraits; five of each infant")
    parser.add_argument("--out", type=Path, required=True, help="folder for pictures and manifest.csv")
    parser.add_argument("--size", type=positive, default=512, help="side in px")
    parser.add_argument("--seed", type=seed, default=0, help=SEED)
    parser.add_argument("--turned", type=amount, default=1.0, help="how far heads turn: 0 is frontal, 1 a snapshot")
    parser.add_argument("--covered", type=share, default=COVERED, help="share with a hat, pacifier, blanket or hand")
    parser.add_argument("--expressions", nargs="+", action="extend", help="which to draw from; default: all")
    return parser


if __name__ == "__main__":
    sys.exit(main())
