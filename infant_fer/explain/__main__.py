"""Explain one photo by several methods and test every map: `infant-fer explain PHOTO --methods smoothgrad gradcam`."""

from __future__ import annotations

import argparse
import html
import json
import re
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from infant_fer.arguments import positive, seed
from infant_fer.errors import ExplanationError, ImageError, exit_status
from infant_fer.explain import METHODS
from infant_fer.files import check_output_file, check_output_folder, write_atomically
from infant_fer.images import printable
from infant_fer.labels import AFFECTS

if TYPE_CHECKING:  # load torch
    from infant_fer.evaluation.report import Section
    from infant_fer.explain.comparison import MeasuredMap
    from infant_fer.report import Report

PAGE = "explanations.html"
DIFFERENCE_PICTURE, DIFFERENCE_HEADING = "difference-from-average.png", "Difference from an average face"
PICTURES_HEADING = "Pictures in the folder of this page"
SIGNED = "for and against"  # of drawing.MAP_VIEWS
USUAL_METHODS = ("smoothgrad", "integrated_gradients", "gradcam", "layercam", "occlusion", "part_occlusion")
HOW_TO_TEST = (
    "A map is a claim about the model, not about the infant. Deletion: hide what the map marks first; a faithful map makes "
    "the answer fall soon, so its area is small, below that of hiding at random. Insertion: show what it marks first; the "
    "area is large. Hidden places take the colours around them. The answers are the image stream's, without landmarks."
)


def main(arguments: list[str] | None = None) -> int:
    """Print one line a map and write the requested files; return 1 with one sentence when something cannot be used."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.versus in (options.target or []):
        parser.error(f"argument --versus: {options.versus} is a --target, too; no class is compared with itself")
    return exit_status(partial(_explain, options))


def _explain(options: argparse.Namespace) -> None:
    """Check all outputs, explain, print and write. Raises InfantFERError."""
    if options.json:
        check_output_file(options.json, [Path(options.photo)])
    if options.out:
        check_output_folder(options.out, lambda folder: (folder / PAGE).is_file())

    from infant_fer.analyzer import (
        Analyzer,
        ExplanationSettings,
    )  # loads mediapipe and transformers; wrong options are refused before
    from infant_fer.evaluation.predictions import unique_name
    from infant_fer.explain.comparison import MeasuredMap, Unavailable, compare

    analyzers: dict[str, tuple[Analyzer, Report]] = {}
    for source in options.checkpoints or [None]:
        analyzer = Analyzer.from_pretrained(source, device=options.device, precision=options.precision)
        report = analyzer.analyze(options.photo)
        if not analyzers and options.face > len(report.faces):
            raise ImageError(f"{printable(options.photo)}: {len(report.faces)} faces were found; give another --face.")
        analyzers[unique_name(report.checkpoint, analyzers)] = analyzer, report
    _, first = next(iter(analyzers.values()))
    box_xyxy = first.face(options.face).face.box_xyxy
    settings = ExplanationSettings(versus=options.versus, samples=options.samples, seed=options.seed)
    found: list[MeasuredMap | Unavailable] = []
    for each in compare(analyzers, box_xyxy, options.methods or USUAL_METHODS, options.target or [None], settings):
        found.append(each)
        print(each.line)
    measured = [each for each in found if isinstance(each, MeasuredMap)]
    if not measured:
        raise ExplanationError(
            "There is no map to write; the lines above say why. An earlier --json or --out stays as it was."
        )
    if options.json:
        record = {
            "photo": printable(Path(options.photo).name),
            "face": options.face,
            "explanations": [each.to_dict() for each in measured],
            "unavailable": [vars(each) for each in found if isinstance(each, Unavailable)],
        }
        write_atomically(options.json, json.dumps(record, indent=1, ensure_ascii=False))
    if options.out:
        write_folder(options.out, measured, first, options.face)


def write_folder(folder: Path, measured: list[MeasuredMap], report: Report, number: int) -> None:
    """Write a picture of every map, and a page that shows them side by side with their tests and names the pictures.

    Beside them stands how face `number` of the report differs from an average one, which no checkpoint has a part in.
    Pictures that an earlier page in the folder names are deleted: they may show another face.
    """
    from infant_fer.deformation import difference_words, why_declined
    from infant_fer.drawing import DIFFERENCE_OVERLAY, close_up, draw_faces
    from infant_fer.evaluation.report import Block, Figure, Section, Table, Text
    from infant_fer.images import encode_png

    difference: list[Block] = [Text(difference_words(report, number))]
    pictures = _map_pictures(measured)
    if not why_declined(report, number):
        picture = pictures[DIFFERENCE_PICTURE] = encode_png(draw_faces(close_up(report), number, DIFFERENCE_OVERLAY))
        difference.append(Figure.of_png(picture, "Full colour: at most half or at least twice as large."))
    listed = [Table([(name,) for name in pictures])] if pictures else []
    sections = [Section(DIFFERENCE_HEADING, difference), Section(PICTURES_HEADING, listed)]
    folder.mkdir(parents=True, exist_ok=True)
    for name in _named_pictures(folder / PAGE):
        (folder / name).unlink(missing_ok=True)
    write_atomically(folder / PAGE, page(measured, sections))  # first, so that it names whatever is written after it
    for name, picture in pictures.items():
        write_atomically(folder / name, picture)


def _map_pictures(measured: list[MeasuredMap]) -> dict[str, bytes]:
    """Return the PNG of every map, and of what speaks against its class where it says so, by file name."""
    from infant_fer.drawing import close_up, draw_saliency
    from infant_fer.images import encode_png

    pictures: dict[str, bytes] = {}
    names: list[str] = []
    for each in measured:
        saliency = each.explanation.saliency
        stem = "-".join((Path(each.checkpoint).name, saliency.method, saliency.target))
        name = stem if stem not in names else f"{stem}-{names.count(stem) + 1}"
        names.append(stem)
        view = close_up(each.report)
        pictures[f"{name}.png"] = encode_png(draw_saliency(view, each.number))
        if saliency.signed is not None:
            pictures[f"{name}-signed.png"] = encode_png(draw_saliency(view, each.number, view=SIGNED))
    return pictures


def _named_pictures(page: Path) -> list[str]:
    """Return the names of the pictures beside an earlier page; none of them leads out of its folder."""
    if not page.is_file():
        return []
    _, _, listed = page.read_text("utf-8", "replace").partition(f"<h2>{PICTURES_HEADING}</h2>")
    names = map(html.unescape, re.findall(r'<th scope="row">([^<]+\.png)</th>', listed))
    return [name for name in names if Path(name).name == name]


def page(measured: list[MeasuredMap], further: Iterable[Section] = ()) -> str:
    """Return one self-contained HTML page: the maps side by side, what was measured on each, and how far they agree."""
    from infant_fer.drawing import close_up, draw_saliency
    from infant_fer.evaluation import plots
    from infant_fer.evaluation.report import Figure, Section, Table, Text, report_page
    from infant_fer.explain.comparison import agreement
    from infant_fer.images import data_url

    titles, maps, details = [], [], []
    for each in measured:
        saliency, method = each.explanation.saliency, METHODS[each.explanation.saliency.method]
        title = f"{method.title}, {saliency.target}"
        titles.append(f"{title}, {each.checkpoint}")
        view = close_up(each.report)
        reading = " ".join(filter(None, (method.reading, saliency.coverage)))
        maps.append(Figure(data_url(draw_saliency(view, each.number), quality=90), f"{title}. {reading}", 300))
        signed = []
        if saliency.signed is not None:
            picture = data_url(draw_saliency(view, each.number, view=SIGNED), quality=90)
            signed = [Figure(picture, f"Blue speaks for {saliency.target}, orange against it.", 300)]
        drops = Table(
            [(part, f"{drop * 100:z.0f}", f"{each.explanation.density_ratio[part]:.1f}") for part, drop in each.drops.drops.items()],
            ("covered part", f"points that {saliency.target} falls", "the map's brightness there, 1 is average"),
        )  # fmt: skip
        curves = Figure.of_png(
            plots.deletion_curves(each.faithfulness.curves, saliency.target), "Deletion and insertion."
        )
        tested = each.faithfulness
        warning = not tested.marks or (tested.can_be_tested and not tested.better_than_random)
        details.append(Section(titles[-1], [Text(each.faithfulness.sentence(), warning), *signed, curves, drops]))
    numbers = agreement([each.explanation.saliency.values for each in measured])
    rows = [(name, *(f"{value:.2f}" for value in row)) for name, row in zip(titles, numbers, strict=True)]
    agree = Table(rows, ("rank correlation", *(str(number) for number in range(1, len(titles) + 1))))
    sections = [Section("Maps", [Text(HOW_TO_TEST), *maps]), Section("Do the maps agree?", [agree]), *details]
    return report_page("Explanations", [*sections, *further])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("infant-fer explain", description=__doc__.splitlines()[0])
    parser.add_argument("photo", metavar="PHOTO")
    parser.add_argument(
        "--methods",
        nargs="+",
        action="extend",
        choices=METHODS,
        metavar="M",
        help=f"of %(choices)s; default: {', '.join(USUAL_METHODS)}",
    )
    parser.add_argument(
        "--target", nargs="+", action="extend", choices=AFFECTS, help="classes to explain; default: the predicted one"
    )
    parser.add_argument("--versus", choices=AFFECTS, help="explain why the target rather than this class")
    parser.add_argument(
        "--checkpoints", nargs="+", action="extend", metavar="C", help="folders or Hub ids; default: infant-fer-small"
    )
    parser.add_argument(
        "--face",
        type=positive,
        default=1,
        metavar="N",
        help="number of the face, by the first checkpoint; 1 is the likeliest",
    )
    parser.add_argument("--samples", type=positive, default=50, metavar="N", help="noisy copies or path steps")
    parser.add_argument("--seed", type=seed, default=0, help="of noise and masks")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--precision", default="auto", help="of gradients: auto, float32 or bfloat16")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write pictures and explanations.html; they show the face, and replace those of an earlier explanations.html",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write every figure; it has the photo's file name, which may name a child",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
