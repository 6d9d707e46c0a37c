"""What the tab "Test the map" shows: values for its components from a visitor's session. No layout, no events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from infant_fer.analyzer import Analyzer, ExplanationSettings
from infant_fer.checkpoints.registry import CheckpointRegistry
from infant_fer.evaluation import plots
from infant_fer.evaluation.map_report import method_sentence, read_maps
from infant_fer.explain import METHODS
from infant_fer.explain.comparison import MeasuredMap, Unavailable, agreement, compare, measure
from infant_fer.explain.covering import the_part
from infant_fer.explain.saliency import SaliencyMap
from infant_fer.explain.sanity import randomization, steadiness
from infant_fer.images import data_url
from infant_fer.labels import AFFECT_COLOURS, AFFECTS
from infant_fer.locales import Message
from infant_fer.regions import PART_UNITS
from infant_fer.report import Explanation, FaceReport
from infant_fer.templates import render
from infant_fer.ui.compute import MAP, PHOTO, TURNS
from infant_fer.ui.map_tests.experiments import (
    SHOWN_PX,
    Cover,
    GuessOverlap,
    cover_of,
    covered_answer,
    map_over_crop,
    part_at,
    shown_crop,
)
from infant_fer.ui.photo.view import report_with_face, user_error
from infant_fer.ui.sessions import Session

TEMPLATE = "map_tests.html.j2"
NO_GUESS = "Mark where you looked first: let a tap on the face mark where you looked, then tap."
MOST_MAPS = 24  # compared at once; each takes seconds

TOO_MANY_MAPS = "At most {count} maps are compared at once. Choose fewer methods, classes or checkpoints."


def covered(registry: CheckpointRegistry, session: Session, checkpoint: str, cover: Cover) -> list:
    """Keep the cover and return values for the picture, the answer and the covered parts."""
    face, analyzer = _face(session), registry.analyzer(checkpoint)
    session.cover = cover
    with TURNS.turn(PHOTO):
        answer = covered_answer(analyzer, face, cover)
    words = render(TEMPLATE, session.language, kind="cover", answer=answer, colours=AFFECT_COLOURS)
    return [shown_crop(answer.crop_rgb, cover.guess), str(words), list(cover.parts)]


def tapped(
    registry: CheckpointRegistry,
    session: Session,
    checkpoint: str,
    shown_xy: Sequence[float],
    action: str,
    fill: str,
) -> list:
    """Cover or mark what was tapped at pixels of the shown crop; values as of `covered`."""
    face = _face(session)
    x, y = (min(max(float(each) / SHOWN_PX, 0.0), 1.0) for each in shown_xy)
    cover = replace(cover_of(session), fill=fill)  # a new photo or face forgets the cover, and the page shows the fill
    return covered(registry, session, checkpoint, cover.tapped(x, y, action, part_at(face, x, y)))


def overlap_html(registry: CheckpointRegistry, session: Session, checkpoint: str, settings: ExplanationSettings) -> str:
    """Return the map beside the visitor's guess, and how far they overlap."""
    face, analyzer, guess = _face(session), registry.analyzer(checkpoint), cover_of(session).guess
    with TURNS.turn(MAP):
        explained = _explained(analyzer, session, settings)
    values = explained.saliency.for_display()
    crop_rgb = face.aligned.crop_rgb
    pictures = [(Message("What the map marks"), data_url(map_over_crop(crop_rgb, values), quality=88))]
    if guess:
        pictures.insert(0, (Message("Where you looked"), data_url(shown_crop(crop_rgb, guess), quality=88)))
    overlap = GuessOverlap.of(guess, values)
    words = overlap.sentence if overlap else NO_GUESS
    return str(render(TEMPLATE, session.language, kind="pictures", pictures=pictures, sentences=[words]))


def measured_html(
    registry: CheckpointRegistry, session: Session, checkpoint: str, settings: ExplanationSettings
) -> str:
    """Return deletion and insertion curves, and the table of all parts beside the map's own ranking."""
    analyzer = registry.analyzer(checkpoint)
    report = report_with_face(session)
    with TURNS.turn(MAP):
        measured = measure(analyzer, report, session.face_number, settings)
    saliency = measured.explanation.saliency
    curves = plots.deletion_curves(measured.faithfulness.curves, saliency.target, session.language)
    return str(
        render(
            TEMPLATE,
            session.language,
            kind="measured",
            target=saliency.target,
            faithfulness=measured.faithfulness,
            over_split=_over_split(analyzer, saliency.method),
            curves=plots.png_url(curves),
            rows=_part_rows(measured),
            correlation=measured.rank_correlation,
        )
    )


def _over_split(analyzer: Analyzer, method: str) -> str:
    """Return one sentence on the method's maps over a whole split; empty where the checkpoint's card has no such figure."""
    classifier = analyzer.classifier
    folder = getattr(classifier, "folder", None)  # a classifier of one's own need not have one
    record = read_maps(folder, classifier.weights_sha256) if folder else None  # type: ignore[attr-defined]
    return method_sentence(record, method) if record else ""


def _part_rows(measured: MeasuredMap) -> list[dict]:
    """Return the face parts by their drop when covered, with the map's density ratios and the action units there."""
    ratios = measured.explanation.density_ratio
    ranks = sorted(measured.drops.covered, key=lambda part: -ratios[part])
    return [
        {
            "part": the_part(part),
            "drop": drop,
            "rank": ranks.index(part) + 1,
            "ratio": ratios[part],
            "units": PART_UNITS[part],
        }
        for part, drop in measured.drops.drops.items()
    ]


def randomized_html(
    registry: CheckpointRegistry, session: Session, checkpoint: str, settings: ExplanationSettings, share: float
) -> str:
    """Return the map of a network with random layers beside the real one, and how alike they are."""
    face, analyzer = _face(session), registry.analyzer(checkpoint)
    with TURNS.turn(MAP):
        real = _explained(analyzer, session, settings).saliency
        score, pixels, method, _ = analyzer.map_inputs(face, _settings_of(real, settings))
        found = randomization(method, score, pixels, real, share)
    crop_rgb = face.aligned.crop_rgb
    pictures = [
        (Message("The network as trained"), data_url(map_over_crop(crop_rgb, real.for_display()), quality=88)),
        (
            Message("{share:.0%} of its layers random", share=share),
            data_url(map_over_crop(crop_rgb, found.saliency.for_display()), quality=88),
        ),
    ]
    return str(render(TEMPLATE, session.language, kind="pictures", pictures=pictures, sentences=[found.sentence()]))


def steady_html(registry: CheckpointRegistry, session: Session, checkpoint: str, settings: ExplanationSettings) -> str:
    """Return how alike the map stays with other random numbers and under a shift by one pixel."""
    face, analyzer = _face(session), registry.analyzer(checkpoint)
    with TURNS.turn(MAP):
        real = _explained(analyzer, session, settings).saliency
        drawn = _settings_of(real, settings)
        score, pixels, method, _ = analyzer.map_inputs(face, drawn)
        found = steadiness(method, score, pixels, real, seeds=(drawn.seed + 1,))
    seeds = Message("This method draws no random numbers.")
    if found.seeds is not None:
        seeds = Message("With other random numbers: {similarity}.", similarity=found.seeds.words)
    shift = Message("With the face one pixel further right: {similarity}.", similarity=found.shift.words)
    sentences = [seeds, shift, Message("1 is the same map; near 0 is unrelated.")]
    return str(render(TEMPLATE, session.language, kind="pictures", pictures=[], sentences=sentences))


def compared_html(
    registry: CheckpointRegistry,
    session: Session,
    checkpoints: Sequence[str],
    methods: Sequence[str],
    targets: Sequence[str],
    settings: ExplanationSettings,
) -> Iterator[str]:
    """Yield a grid of at most MOST_MAPS maps that grows by one map at a time, and at last how far they agree."""
    report = report_with_face(session)
    methods, targets = list(dict.fromkeys(methods)), list(dict.fromkeys(targets))  # a program may name one often
    if len(checkpoints) * len(methods) * max(1, len(targets)) > MOST_MAPS:
        raise user_error(Message(TOO_MANY_MAPS, count=MOST_MAPS))
    analyzers = {}
    for name in checkpoints:
        analyzer = registry.analyzer(name)
        own = analyzer.classifier.name, getattr(analyzer.classifier, "weights_sha256", "")
        same = own == (report.checkpoint, report.weights_sha256)
        analyzers[name] = analyzer, report if same else analyzer.analyze(report.photo)
    wanted = [target if target in AFFECTS else None for target in targets] or [None]
    steps = compare(analyzers, _face(session).face.box_xyxy, list(methods), wanted, settings)
    found: list[MeasuredMap | Unavailable] = []
    requested = len(analyzers) * len(wanted) * len(methods)
    while True:
        with TURNS.turn(MAP):
            step = next(steps, None)
        if step is None:
            break
        found.append(step)
        yield _grid_html(found, requested, session.language)
    yield _grid_html(found, len(found), session.language)


def _grid_html(found: list[MeasuredMap | Unavailable], requested: int, language: str) -> str:
    maps = [each for each in found if isinstance(each, MeasuredMap)]
    cells = []
    for each in maps:
        saliency = each.explanation.saliency
        cells.append(
            {
                "title": METHODS[saliency.method].title,
                "target": saliency.target,
                "checkpoint": each.checkpoint,
                "picture": data_url(map_over_crop(each.face.aligned.crop_rgb, saliency.for_display()), quality=85),
                "reading": Message.joined(*filter(None, (METHODS[saliency.method].reading, saliency.coverage))),
                "sentence": each.faithfulness.sentence(),
                "area": each.faithfulness.deletion.area,
                "random": each.faithfulness.random_deletion.area,
                "marks": each.faithfulness.marks,
                "tested": each.faithfulness.can_be_tested,
                "better": each.faithfulness.better_than_random,
            }
        )
    done = len(found) >= requested
    numbers = (
        agreement([each.explanation.saliency.values for each in maps]) if done and len(maps) > 1 else np.ones((0, 0))
    )
    return str(
        render(
            TEMPLATE,
            language,
            kind="grid",
            cells=cells,
            missing=[
                (METHODS[each.method].title, each.checkpoint, each.reason)
                for each in found
                if isinstance(each, Unavailable)
            ],
            done=len(found),
            requested=requested,
            agreement=numbers.tolist(),
        )
    )


def _face(session: Session) -> FaceReport:
    return report_with_face(session).face(session.face_number)


def _explained(analyzer: Analyzer, session: Session, settings: ExplanationSettings) -> Explanation:
    """Return the explanation of the chosen face: the Photo tab's own if it is complete and of the same method and classes."""
    report = report_with_face(session)
    face = report.face(session.face_number)
    if face.explanation is not None and face.explanation.complete:
        known = face.explanation.saliency
        target = settings.target or face.prediction.label
        if (known.method, known.target, known.versus) == (settings.method, target, settings.versus):
            return face.explanation
    explanation = analyzer.explain(report, session.face_number, settings).face(session.face_number).explanation
    assert explanation is not None
    return explanation


def _settings_of(drawn: SaliencyMap, settings: ExplanationSettings) -> ExplanationSettings:
    """Return the settings of a map that may be the Photo tab's, with its own samples, noise and seed."""
    options = drawn.options
    return replace(
        settings,
        target=drawn.target,
        samples=drawn.requested_samples,
        noise=float(options.get("noise", settings.noise)),
        seed=int(options.get("seed", settings.seed)),
    )
