"""Measure checkpoints on labelled pictures: `python -m infant_fer.evaluate CHECKPOINT... --data FOLDER_OR_TABLE`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from infant_fer.errors import CheckpointError, DatasetError, InfantFERError


def main(arguments: list[str] | None = None) -> int:
    """Print a table and write the files asked for; returns 1 with one sentence when something cannot be read."""
    options = _parser().parse_args(arguments)
    try:
        _measure(options)
    except InfantFERError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _measure(options: argparse.Namespace) -> None:
    from infant_fer.data.datasets import read_labeled_images
    from infant_fer.evaluation.comparison import evaluate
    from infant_fer.evaluation.scores import mcnemar, scores
    from infant_fer.evaluation.sections import evaluation_page

    if options.heads and options.part == "all":
        raise DatasetError("--heads measures one part of the research data: test, dev or train.")
    pictures = read_labeled_images(options.data, options.classes, options.pictures, options.cache)
    found = evaluate(options.checkpoints, pictures, options.part, options.cache, options.split, options.ensemble)
    first, *_ = found.answers.values()
    against = mcnemar(first, found.answers)
    for number, (name, answers) in enumerate(found.answers.items()):
        print(f"{name}: {answers.accuracy}" + (f", McNemar p {against[name]:.2g}" if number else ""))
    if options.json:
        options.json.write_text(
            json.dumps({name: scores(each).to_dict() for name, each in found.answers.items()}, indent=1), "utf-8"
        )
    if options.report:
        options.report.write_text(evaluation_page(found, options.gallery), "utf-8")
    if options.heads:
        _print_heads(options)


def _print_heads(options: argparse.Namespace) -> None:
    """The other heads of this project's own model, on the research data that has labels for them."""
    from infant_fer.checkpoints.loading import load_checkpoint
    from infant_fer.models.infant_face import InfantFaceModel
    from infant_fer.training.infant_face.data import load
    from infant_fer.training.infant_face.figures import measure
    from infant_fer.training.infant_face.run import plain

    checkpoint = load_checkpoint(options.checkpoints[0])
    model = checkpoint.model
    if not isinstance(model, InfantFaceModel) or model.geometry is None:
        raise CheckpointError(
            f"{checkpoint.name} is not of the recipe infant_face: it has no further heads to measure."
        )
    loaded = load(Path(options.data), options.cache, log=lambda line: print(line, file=sys.stderr))
    print(json.dumps(measure(model, loaded, loaded.infants.pictures.split == options.part), indent=1, default=plain))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m infant_fer.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT", help="folder or Hub id; the first is compared")
    parser.add_argument("--data", required=True, help="what train.py takes as --data")
    parser.add_argument(
        "--part", choices=["test", "dev", "train", "all"], default="dev", help="test once for a release"
    )
    parser.add_argument(
        "--split",
        choices=["given", "subject", "thesis", "holdout"],
        default="",
        help="how to part; without it as the first checkpoint's training did, or as the data says",
    )
    parser.add_argument("--classes", nargs="+", help="use only pictures of these labels")
    parser.add_argument("--pictures", type=Path, nargs="+", default=[], help="where a table's pictures lie")
    parser.add_argument("--cache", type=Path, default=Path("data-cache"), help="where found faces are kept")
    parser.add_argument("--ensemble", choices=["mean", "accuracy"], default="", help="average the checkpoints, too")
    parser.add_argument("--json", type=Path, help="write every figure")
    parser.add_argument("--report", type=Path, help="write a page of tables and plots")
    parser.add_argument(
        "--gallery", action="store_true", help="show misclassified faces in the report: private pictures"
    )
    parser.add_argument("--heads", action="store_true", help="measure this project's other heads on its research data")
    return parser


if __name__ == "__main__":
    sys.exit(main())
