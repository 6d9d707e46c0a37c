"""Several maps of one face side by side, each measured: methods, classes and checkpoints, and how far they agree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np

from infant_fer.errors import ExplanationError
from infant_fer.explain.covering import Answer, PartDrops, part_drops, rank_correlation
from infant_fer.explain.faithfulness import Faithfulness, cell_means, faithfulness
from infant_fer.labels import AFFECTS
from infant_fer.locales import Message
from infant_fer.regions import part_map

if TYPE_CHECKING:  # analyzer imports this package
    from infant_fer.analyzer import Analyzer, ExplanationSettings
    from infant_fer.classifier import AffectClassifier
    from infant_fer.report import Explanation, FaceReport, Report


NO_FACE_THERE = "This checkpoint found no face at that place."


class MeasuredJSON(TypedDict):
    """The JSON of one measured map; `seed` is None for methods without one."""

    checkpoint: str
    method: str
    target: str
    versus: NotRequired[str]
    faithfulness: dict[str, float]
    better_than_random: bool
    part_drop: dict[str, float]
    share_per_part: dict[str, float]
    rank_correlation: float | None
    samples: int
    precision: str
    device: str
    seed: int | None
    sentence: str


@dataclass(frozen=True, eq=False)
class MeasuredMap:
    """A complete map of one face with its tests; `report` holds the map as the face's explanation.

    `checkpoint` is its unique name in the comparison; a second folder of one name gets a number.
    """

    checkpoint: str
    report: Report
    number: int  # of the face
    faithfulness: Faithfulness
    drops: PartDrops

    @property
    def face(self) -> FaceReport:
        """Return the face with its explanation."""
        return self.report.face(self.number)

    @property
    def explanation(self) -> Explanation:
        """Return the map with its share and density ratio per part."""
        explanation = self.face.explanation
        assert explanation is not None  # `measure` sets it
        return explanation

    @property
    def rank_correlation(self) -> float | None:
        """Return Spearman's correlation over the face parts between the map's density ratios and the drops when covered."""
        return self.drops.rank_correlation(self.explanation.density_ratio)

    @property
    def line(self) -> str:
        """Return what was explained and how faithful the map is, as one line."""
        saliency = self.explanation.saliency
        return f"{self.checkpoint}, {saliency.method}, {saliency.target}: {self.faithfulness.sentence()}"

    def to_dict(self) -> MeasuredJSON:
        """Return plain data for JSON."""
        saliency = self.explanation.saliency
        versus = {} if saliency.versus is None else {"versus": saliency.versus}
        correlation = self.rank_correlation
        seed = saliency.options.get("seed")
        return {
            "checkpoint": self.checkpoint,
            "method": saliency.method,
            "target": saliency.target,
            **versus,  # type: ignore[typeddict-item]
            "faithfulness": self.faithfulness.to_dict(),
            "better_than_random": self.faithfulness.better_than_random,
            "part_drop": {part: round(drop, 4) for part, drop in self.drops.drops.items()},
            "share_per_part": {part: round(share, 4) for part, share in self.explanation.shares.items()},
            "rank_correlation": None if correlation is None else round(correlation, 4),
            "samples": saliency.samples,
            "precision": saliency.precision,
            "device": saliency.device,
            "seed": None if seed is None else int(seed),
            "sentence": self.faithfulness.sentence(),
        }


@dataclass(frozen=True)
class Unavailable:
    """A map that a method cannot give, and the sentence that says why."""

    checkpoint: str
    method: str
    target: str
    reason: str

    @property
    def line(self) -> str:
        """Return what could not be explained and why, as one line."""
        return f"{self.checkpoint}, {self.method}, {self.target}: {self.reason}"


def answer_of(classifier: AffectClassifier, target: str, versus: str | None = None) -> Answer:
    """Return a function of (N, S, S, 3) uint8 crops: the target's probability, or of target and `versus` the target's share.

    The image stream alone answers; see `AffectClassifier.image_probabilities`.
    """

    def answer(crops: np.ndarray) -> np.ndarray:
        found = classifier.image_probabilities(crops)
        wanted = found[:, AFFECTS.index(target)]
        if versus is None:
            return wanted
        return wanted / np.clip(wanted + found[:, AFFECTS.index(versus)], 1e-12, None)

    return answer


def measure(
    analyzer: Analyzer, report: Report, number: int, settings: ExplanationSettings, known: MeasuredMap | None = None
) -> MeasuredMap:
    """Explain one face and test the map: deletion, insertion, and the drop when each face part is covered.

    `known`, another method's result for the same checkpoint, face, classes and seed, lends what does not depend on the map: the
    random and edge curves and the drops. Raises ExplanationError where the method does not apply to the checkpoint.
    """
    explained = analyzer.explain(report, number, settings)
    face = explained.face(number)
    assert face.explanation is not None
    saliency, crop_rgb = face.explanation.saliency, face.aligned.crop_rgb
    answer = answer_of(analyzer.classifier, saliency.target, saliency.versus)  # type: ignore[arg-type]
    lent = None if known is None else known.faithfulness
    tested = faithfulness(saliency.values, crop_rgb, answer, saliency.target, seed=settings.seed, known=lent)
    if known is not None:
        return MeasuredMap(report.checkpoint, explained, number, tested, known.drops)
    parts = part_map(face.aligned.to_crop(face.face.landmarks_px), crop_rgb.shape[0])
    drops = part_drops(crop_rgb, parts, answer, saliency.target)
    return MeasuredMap(report.checkpoint, explained, number, tested, drops)


def compare(
    analyzers: Mapping[str, tuple[Analyzer, Report]],
    box_xyxy: Sequence[float],
    methods: Sequence[str],
    targets: Iterable[str | None],
    settings: ExplanationSettings,
) -> Iterator[MeasuredMap | Unavailable]:
    """Yield a measured map for every checkpoint, class and method, in this order; `targets` None is the predicted class.

    `analyzers` are pairs of an analyzer and its own report of the photo, by the checkpoint's name. The face is the one at
    `box_xyxy` in the photo's pixels: each checkpoint numbers faces by whom it takes for an infant.
    """
    for name, (analyzer, report) in analyzers.items():
        face = report.face_at(box_xyxy)
        for target in targets:
            known = None
            for method in methods:
                if face is None:
                    yield Unavailable(name, method, target or "", NO_FACE_THERE)
                    continue
                explained = target or face.prediction.label
                if explained == settings.versus:
                    same = Message("'{affect}' cannot be compared with itself.", affect=(explained,))
                    yield Unavailable(name, method, explained, same)
                    continue
                wanted = replace(settings, method=method, target=target)
                try:
                    known = replace(measure(analyzer, report, face.number, wanted, known), checkpoint=name)
                    yield known
                except ExplanationError as error:
                    yield Unavailable(name, method, explained, str(error))


def agreement(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Return (M, M) Spearman correlations between (S, S) maps, over the means of their cells; NaN where undefined.

    Maps of checkpoints with other crop sizes can be compared, because the cells are the same.
    """
    cells = [cell_means(values) for values in maps]
    found = np.eye(len(maps))
    for first in range(len(maps)):
        for second in range(first):
            value = rank_correlation(cells[first], cells[second])
            found[first, second] = found[second, first] = np.nan if value is None else value
    return found
