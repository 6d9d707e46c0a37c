"""Train and measure a checkpoint: `python train.py --data FOLDER_OR_TABLE --base HUB_ID_OR_FOLDER --recipe NAME`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def main() -> int:
    """Parse the arguments and run the recipe; return 1 after one sentence when something cannot be used."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is loaded: waiting threads must not spin
    options = _parser().parse_args()
    from infant_fer.errors import exit_status
    from infant_fer.training.command import train
    from infant_fer.training.provenance import published_command

    command = published_command(sys.argv[1:], options.watch)
    interrupted = "Interrupted. Finished steps are kept; the same command with --resume continues."
    return exit_status(lambda: train(options, command), interrupted)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python train.py", description="Train and measure a checkpoint.")
    parser.add_argument("--data", required=True, help="folder, zip, CSV table, or a Hub data set's owner/name")
    parser.add_argument(
        "--output",
        type=Path,
        help="checkpoint folder to write (default: checkpoints/RECIPE); the app lists checkpoints/*",
    )
    parser.add_argument(
        "--recipe",
        default="thesis",
        help="one of thesis, iface, mobile, affectnet, part-tokens, two-stream, infant-face (also: ours); default: thesis",
    )
    _add_start(parser)
    parser.add_argument("--epochs", type=int, help="number of epochs, instead of the recipe's")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="such as batch=16 or mixing=all; of part-tokens also filters and enlarged",
    )
    parser.add_argument(
        "--keep", choices=["best", "last"], help="keep the epoch with the best dev accuracy, or the last"
    )
    parser.add_argument(
        "--balance",
        help="none, weighted (drawn alike), undersampled, loss (weights in the loss), synthetic:CLASS (renders) or warped:CLASS "
        "(other train faces, warped by the mesh)",
    )
    parser.add_argument(
        "--aux", help="action-units: learn them beside the classes, from renders, blendshapes and labels; or none"
    )
    parser.add_argument("--size", type=int, help="side of the crops in px, for random weights")
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw")
    _add_data(parser)
    parser.add_argument(
        "--size-curve", action="store_true", help="also train on 1/8, 1/4 and 1/2 of the pictures, for the report"
    )
    parser.add_argument(
        "--teacher",
        help="checkpoint whose probabilities become half of each target; recipe infant_face: of the student or the refinement",
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run, with the same result")
    parser.add_argument(
        "--watch", type=Path, nargs="+", action="extend", default=[], metavar="FILE",
        help="draw the map and the attention of these pictures after every epoch; the report shows them: private pictures",
    )  # fmt: skip
    parser.add_argument(
        "--gallery",
        action="store_true",
        help="show the faces with the surest wrong and right answers in the report: private pictures",
    )
    parser.add_argument("--push-to-hub", metavar="OWNER/NAME", help="upload the finished checkpoint")
    infant_face = parser.add_argument_group("recipe infant_face")
    infant_face.add_argument("--variant", help="small, vit, mobile, pair or mobilenet: which networks (default: small)")
    infant_face.add_argument("--only-member", type=int, metavar="N", help="train network N alone, and stop")
    infant_face.add_argument(
        "--start-from",
        type=Path,
        metavar="CHECKPOINT",
        help="take the first networks from this checkpoint instead of training them",
    )
    infant_face.add_argument("--no-test", action="store_true", help="do not measure the test rows")
    return parser


def _add_start(parser: argparse.ArgumentParser) -> None:
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--base",
        help="pretrained model: folder, Hub id, timm:NAME, random:SHAPE such as random:resnet18, or two-stream:FOLDER (also late-fusion: "
        "and image-stream:), two streams over a MobileNet-v1 or DINOv2; FOLDER+MOBILENET reads the landmarks from a second one; "
        "recipe infant_face: the folder of the backbone, by default that of the research data",
    )
    start.add_argument(
        "--compare",
        nargs="+",
        action="extend",
        metavar="BASE",
        help="train several bases with the same settings and keep the best on dev (of averaged folds, in their cross-validation)",
    )
    parser.add_argument(
        "--vary",
        metavar="NAME=A,B,C",
        help="train variants of one setting alike, print one table and keep the best on dev, such as "
        "mixing=none,cutout,mixup,cutmix,fmix,all (all: one of the four, drawn for each batch)",
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("data")
    data.add_argument(
        "--split",
        choices=["given", "subject", "thesis", "thesis-classes", "holdout"],
        help="how to split the data, instead of the recipe's",
    )
    data.add_argument("--folds", type=int, help="also cross-validate by infant, in this many folds")
    data.add_argument("--repeats", type=int, help="repeats of the cross-validation, each with other folds (default: 1)")
    data.add_argument("--average-folds", action="store_true", help="keep the average of the folds' models")
    data.add_argument("--classes", nargs="+", action="extend", help="use only pictures of these labels")
    data.add_argument(
        "--pictures",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        help="folders or zips with the pictures of a table",
    )
    data.add_argument(
        "--crops", choices=["aligned", "whole"], help="faces aligned as in the app, or whole pictures, resized"
    )
    data.add_argument("--whole-pictures", action="store_true", help="use a whole picture if no face is found in it")
    leaks = data.add_mutually_exclusive_group()
    leaks.add_argument("--drop-leaks", action="store_true", help="train without pictures whose infant is held out")
    leaks.add_argument("--allow-leakage", action="store_true", help="train even if an infant is in several splits")
    data.add_argument("--cache", type=Path, default=Path("data-cache"), help="folder that caches the found faces")


if __name__ == "__main__":
    sys.exit(main())
