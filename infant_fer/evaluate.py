"""Measure checkpoints on labelled images: `python -m infant_fer.evaluate CHECKPOINT... --data FOLDER_OR_TABLE`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from infant_fer.errors import CheckpointError, DatasetError, exit_status

if TYPE_CHECKING:
    from infant_fer.evaluation.comparison import Evaluation
    from infant_fer.evaluation.scores import ThesisSpread
    from infant_fer.evaluation.split_maps import SplitMaps
    from infant_fer.models.infant_face import InfantFaceModel


def main(arguments: list[str] | None = None) -> int:
    """Print a table and write the requested files; return 1 with one sentence when something cannot be used."""
    options = _parser().parse_args(arguments)
    return exit_status(partial(_evaluate, options))


def _evaluate(options: argparse.Namespace) -> None:
    from infant_fer.data.datasets import read_labeled_images
    from infant_fer.evaluation.comparison import evaluate
    from infant_fer.evaluation.map_report import sections
    from infant_fer.evaluation.report import Section, Text, evaluation_page
    from infant_fer.evaluation.scores import SPREAD, mcnemar, mcnemar_caution, thesis_spread
    from infant_fer.evaluation.vote import save_vote
    from infant_fer.files import write_atomically
    from infant_fer.trust.report import IN_SAMPLE

    _check_options(options)
    images = read_labeled_images(options.data, options.classes, options.pictures, options.cache)
    log = partial(print, file=sys.stderr)
    for line in (*(f"left out: {each}" for each in images.left_out), *images.notes):
        log(line)
    _check_steps(options, images.labels)
    evaluation = evaluate(
        options.checkpoints, images, options.split_name, options.cache, options.split_method, options.ensemble, log
    )
    in_sample = [IN_SAMPLE] if evaluation.trust and evaluation.split != "test" else []
    for sentence in (*evaluation.warnings, *in_sample):
        log(sentence)
    first, *_ = evaluation.predictions.values()
    p_values = mcnemar(first, evaluation.predictions)
    for number, (name, predictions) in enumerate(evaluation.predictions.items()):
        print(f"{name}: {predictions.accuracy}" + (f", McNemar p {p_values[name]:.2g}" if number else ""))
        if cost := evaluation.costs.get(name):
            print(f"  {cost.parameters:,} parameters, {cost.milliseconds:.1f} ms for one crop")
    if len(p_values) > 1 and (caution := mcnemar_caution(first.accuracy)):
        print(caution)
    if evaluation.missed:
        print(evaluation.missed)
    more: dict[str, object] = {}  # what is measured of the first checkpoint alone
    further = []
    if options.spread:
        spread = thesis_spread(first)
        more[SPREAD] = spread and spread.to_dict()
        words = _spread_words(spread, len(first.truth))
        print(words)
        further.append(Section("What 25 test pictures can tell", [Text(words)]))
    if options.maps:
        maps = _split_maps(options, evaluation)
        more["maps"] = maps.to_dict()
        further += sections(maps, evaluation.crops if options.gallery else None)
    if options.json:
        write_atomically(options.json, json.dumps(_figures(evaluation, more), indent=1))
    if options.save:
        save_vote(options.checkpoints, evaluation, options.save)
    if options.report:
        write_atomically(options.report, evaluation_page(evaluation, options.gallery, further))
    if options.heads:
        _print_heads(options)


def _check_options(options: argparse.Namespace) -> None:
    """Raise an InfantFERError for an option without the one it needs, and for an output that cannot be written."""
    from infant_fer.evaluation.comparison import ALL
    from infant_fer.files import check_distinct_outputs, check_output_file, check_output_folder

    if options.heads and options.split_name == ALL:
        raise DatasetError("--heads measures one split of the research data: test, dev or train.")
    if options.gallery and not options.report:
        raise DatasetError("--gallery shows faces in the report: add --report FILE.")
    if options.maps_limit is not None and not options.maps:
        raise DatasetError("--maps-limit says how many pictures --maps explains: add --maps METHOD.")
    if options.maps_limit is not None and options.maps_limit < 1:
        raise DatasetError(f"--maps-limit must be at least 1; {options.maps_limit} was given.")
    card = _card_files(options) if options.card else ()
    outputs = [each for each in (options.json, options.report, *card) if each]
    for output in outputs:
        check_output_file(output, inputs=(Path(options.data), *options.pictures))
    check_distinct_outputs(outputs)
    if options.save:
        if not options.ensemble:
            raise DatasetError("--save writes an ensemble: add --ensemble mean, accuracy or classes.")
        check_output_folder(options.save)


def _check_steps(options: argparse.Namespace, labels: Sequence[str]) -> None:
    """Raise an InfantFERError, before the evaluation, where a later step could not be done with data of the classes `labels`."""
    if options.maps:
        from infant_fer.evaluation.split_maps import check_affects

        check_affects(labels)
    if options.save:
        from infant_fer.evaluation.vote import vote_members

        vote_members(options.checkpoints, labels)
    if options.heads:
        from infant_fer.training.infant_face.data import read_fer2013, read_infants, read_older

        _model_with_heads(options)
        folder = _research_data(options)
        for read in (read_infants, read_older, read_fer2013):
            read(folder)


def _figures(evaluation: Evaluation, more: dict[str, object]) -> dict[str, dict]:
    """Return all figures by model as plain data, with `more` and the votes of several models in the first one's."""
    from infant_fer.evaluation.predictions import votes
    from infant_fer.evaluation.scores import scores

    figures = {name: scores(each).to_dict() for name, each in evaluation.predictions.items()}
    for each in figures.values():
        each["pictures without a face"] = evaluation.without_face
    for name, cost in evaluation.costs.items():
        figures[name]["cost"] = asdict(cost)
    for name, found in evaluation.trust.items():
        figures[name]["trust"] = found.to_dict()
    if len(evaluation.models) > 1:
        more = {**more, "votes": votes(evaluation.models)}
    figures[next(iter(figures))].update(more)
    return figures


def _spread_words(spread: ThesisSpread | None, pictures: int) -> str:
    """Return the spread over the thesis splits of so many measured pictures as a sentence, or why there is none."""
    from infant_fer.data.splits import THESIS_SIZES

    if pictures < (needed := sum(THESIS_SIZES.values())):
        return (
            f"no spread: it needs {needed} measured pictures, and there are {pictures}. Name another --part or more data; "
            "of pictures that the checkpoint was trained on, train.py --folds reports the spread in cross-validation."
        )
    if spread is None:
        return "no spread: these pictures have no split of 100 / 25 / 25 that keeps every infant in one split"
    return (
        f"over {spread.splits} splits with {spread.test_pictures} test pictures: mean {spread.mean * 100:.1f} %, "
        f"standard deviation {spread.deviation * 100:.1f}, {spread.lowest * 100:.0f} to {spread.highest * 100:.0f} %"
    )


def _split_maps(options: argparse.Namespace, evaluation: Evaluation) -> SplitMaps:
    """Explain the measured split with the first checkpoint and print the finding."""
    from infant_fer.checkpoints.sources import face_bundle
    from infant_fer.classifier import AffectClassifier
    from infant_fer.evaluation.map_report import finding, write_maps
    from infant_fer.evaluation.split_maps import split_maps
    from infant_fer.face_detection import FaceDetector

    classifier, finder = AffectClassifier.from_pretrained(options.checkpoints[0]), FaceDetector(face_bundle())
    first = next(iter(evaluation.predictions.values()))
    maps = split_maps(classifier, finder, first, evaluation.crops, options.maps, limit=options.maps_limit)
    maps = replace(maps, split=options.split_name)
    print(finding(maps.to_dict()))
    if options.card:
        write_maps(_card_files(options)[0].parent, maps.to_dict(), classifier.weights_sha256)
    return maps


def _card_files(options: argparse.Namespace) -> tuple[Path, Path]:
    """Return the files that --card writes. Raises CheckpointError without --maps, and for a Hub id."""
    from infant_fer.checkpoints.safety import CARD
    from infant_fer.checkpoints.sources import resolve
    from infant_fer.evaluation.map_report import RECORD

    checkpoint = resolve(options.checkpoints[0])
    if not options.maps or checkpoint.revision:
        raise CheckpointError("--card writes the figures of --maps into the first checkpoint, a folder of yours.")
    return checkpoint.path / RECORD, checkpoint.path / CARD


def _print_heads(options: argparse.Namespace) -> None:
    """Print the figures of the other heads of the recipe infant_face, on the research data that has labels for them."""
    from infant_fer.training.infant_face.data import load
    from infant_fer.training.infant_face.figures import measure

    loaded = load(_research_data(options), options.cache, log=partial(print, file=sys.stderr))
    rows = loaded.infants.images.split == options.split_name
    print(json.dumps(measure(_model_with_heads(options), loaded, rows).to_dict(), indent=1))


def _research_data(options: argparse.Namespace) -> Path:
    """Return the folder of the research data, which --data names, or its table."""
    data = Path(options.data)
    return data.parent if data.name == "infants.csv" else data


def _model_with_heads(options: argparse.Namespace) -> InfantFaceModel:
    """Return the first checkpoint's model. Raises CheckpointError unless it is of the recipe infant_face."""
    from infant_fer.checkpoints.loading import load_checkpoint
    from infant_fer.models.infant_face import InfantFaceModel

    checkpoint = load_checkpoint(options.checkpoints[0])
    model = checkpoint.model
    if not isinstance(model, InfantFaceModel) or model.geometry is None:
        raise CheckpointError(
            f"{checkpoint.name} is not of the recipe infant_face: it has no further heads to measure."
        )
    return model


class _MethodNames:
    """The names of the attribution methods, read only when they are needed: that loads torch, which takes seconds."""

    def __iter__(self) -> Iterator[str]:
        from infant_fer.explain import METHODS

        return iter(METHODS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("infant-fer evaluate", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("checkpoints", nargs="+", metavar="CHECKPOINT", help="folder or Hub id; the first is compared")
    add("--data", required=True, help="what train.py takes as --data")
    add(
        "--part",
        dest="split_name",
        choices=["test", "dev", "train", "all"],
        default="dev",
        help="the split to measure on, or all pictures (default: dev, on which epochs are chosen); measure test once, at the end",
    )
    add(
        "--split",
        dest="split_method",
        choices=["given", "subject", "thesis", "thesis-classes", "holdout", "frames"],
        default="",
        help="how to split; without it as the first checkpoint's training did, or as the data says",
    )
    add("--classes", nargs="+", action="extend", help="use only images of these labels")
    add("--pictures", type=Path, nargs="+", action="extend", default=[], help="where a table's images are")
    add("--cache", type=Path, default=Path("data-cache"), help="where found faces are kept")
    add(
        "--ensemble",
        choices=["mean", "accuracy", "classes"],
        default="",
        help="let the checkpoints vote, too: alike, or weighed by their dev accuracy, or by their dev F1 of each class",
    )
    add("--save", type=Path, metavar="FOLDER", help="write the ensemble as one checkpoint")
    add(
        "--json",
        type=Path,
        help="write every figure; with several checkpoints also what each named each picture, by its file name, which may name a child",
    )
    add("--report", type=Path, help="write a page of tables and plots")
    add(
        "--maps",
        nargs="+",
        action="extend",
        choices=_MethodNames(),
        metavar="METHOD",
        help="explain every picture with the first checkpoint and test the maps; the methods are %(choices)s",
    )
    add("--maps-limit", type=int, metavar="N", help="of --maps: explain only N pictures, drawn at random")
    add(
        "--card", action="store_true", help="write maps.json and the card's section on --maps into the first checkpoint"
    )
    add(
        "--gallery",
        action="store_true",
        help="show the faces with the surest wrong and right answers in --report: private images",
    )
    add(
        "--spread",
        action="store_true",
        help="say how far 25 test pictures spread, over 50 such splits of 150 or more measured pictures",
    )
    add(
        "--heads",
        action="store_true",
        help="measure this project's other heads on its research data, a folder or its infants.csv",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
