"""The command line: `infant-fer read|video|explain|evaluate|audit|trust|export|render ...`; `python -m infant_fer PHOTO...` is `read`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from infant_fer.batch import ReadSettings, photo_files, read_files
from infant_fer.errors import exit_status
from infant_fer.images import printable

DELEGATED = {  # commands with a parser of their own
    "explain": ("infant_fer.explain.__main__", "Explain one photo by several methods, and test the maps."),
    "evaluate": ("infant_fer.evaluate", "Measure checkpoints on labelled pictures."),
    "video": ("infant_fer.video.__main__", "Read clips: timelines, bouts and files for coding tools."),
    "audit": ("infant_fer.audit.__main__", "Measure a checkpoint on matched sets of rendered infants."),
    "trust": ("infant_fer.trust.__main__", "Fit a checkpoint's trust data on labelled pictures."),
    "export": ("infant_fer.export", "Write a checkpoint of the recipe infant_face as ONNX, in float32 and in 8 bits."),
    "render": ("infant_fer.synthetic.__main__", "Render labelled portraits of infants."),
}
FILE_NAMES = "file names, which may name a child."
INTERRUPTED = (
    "Interrupted. Results so far are kept: in a new output, or beside an earlier one as NAME.part; "
    "with --resume the same command continues."
)


class _ReadByDefault(TyperGroup):
    """A group of commands with `read` as the default: a first word that is no command is an argument of `read`."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["read", *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx, formatter) -> None:
        """Write the help of the group, then that of `read`, whose options need no command before them."""
        super().format_help(ctx, formatter)
        read_command = self.commands["read"]
        with read_command.make_context("infant-fer", [], resilient_parsing=True) as context:
            read_command.format_help(context, formatter)


app = typer.Typer(
    cls=_ReadByDefault,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Read the expression of infants' faces. Without a command, PHOTO_OR_FOLDER... is read.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 unless nothing could be read (1), the command is wrong (2) or interrupted (130)."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is loaded: waiting threads must not spin
    try:
        app(args=None if arguments is None else list(arguments), prog_name="infant-fer")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


@app.command()
def read(  # typer takes one parameter for each option
    photos: Annotated[
        list[str], typer.Argument(metavar="PHOTO_OR_FOLDER...", help="Photos, or folders searched for photos.")
    ],
    json: Annotated[
        Path | None, typer.Option(metavar="OUT", help=f"Write every report as JSON, with the photos' {FILE_NAMES}")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="OUT", help=f"Write one row a face as CSV, with the photos' {FILE_NAMES}")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="OUT", help="Write one self-contained page; it shows the photos and their file names."),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Also compute the SmoothGrad map of face 1 (50 samples); needs --json or --html."
        ),
    ] = False,
    steadiness: Annotated[
        bool,
        typer.Option(
            "--steadiness", help="Also count in how many of 32 slightly changed copies face 1 gets the same label."
        ),
    ] = False,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="C", help="Folder or Hub id; default: infant-fer-small."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="Of explanations: auto, float32 or bfloat16.")] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Processes that read photos, each on one thread.")] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep a journal beside the output; the same command continues from it.")
    ] = False,
    ray: Annotated[
        str | None, typer.Option(metavar="A", help="Read on a Ray cluster: auto, or its address. See docs/cluster.md.")
    ] = None,
) -> None:
    """Read photos; print one CSV row a face, or write JSON, CSV and HTML."""
    files = photo_files(photos)
    if not files:
        print(f"No photo was found in: {', '.join(map(printable, photos))}.", file=sys.stderr)
        raise typer.Exit(1)
    outputs = {name: path for name, path in (("json", json), ("csv", csv), ("html", html)) if path}
    settings = ReadSettings(explain, workers, ray, resume, checkpoint, steadiness, device, precision)
    load = partial(_analyzer, checkpoint, device, precision)
    raise typer.Exit(exit_status(lambda: int(not read_files(load, files, outputs, settings)), INTERRUPTED, status=2))


def _analyzer(checkpoint: str | None, device: str, precision: str):
    from infant_fer.analyzer import Analyzer  # torch takes seconds; --help and a wrong path should not wait for it

    return Analyzer.from_pretrained(checkpoint, device=device, precision=precision)


def _delegate(module: str):
    def command(context: typer.Context) -> None:
        # the module imports the larger packages when it runs
        raise typer.Exit(exit_status(lambda: import_module(module).main(context.args)))

    return command


for _name, (_module, _help) in DELEGATED.items():
    app.command(
        _name,
        help=_help,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(_delegate(_module))


if __name__ == "__main__":
    from infant_fer.__main__ import main  # under its own name, by which worker processes find its functions

    sys.exit(main())
