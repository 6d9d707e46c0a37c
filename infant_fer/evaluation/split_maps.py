"""Where does a checkpoint look on a whole split, and are its maps true? Mean maps, face parts and faithfulness, by infant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from infant_fer.alignment import AlignedFace
from infant_fer.classifier import AffectClassifier
from infant_fer.drawing import overlaid
from infant_fer.errors import DatasetError, ExplanationError
from infant_fer.evaluation.mean_maps import MeanMap, draw_mean_maps, mesh_in_crop
from infant_fer.evaluation.predictions import Predictions
from infant_fer.evaluation.report import PRIVATE, Figure, Section, Table, Text
from infant_fer.explain import METHODS, Score
from infant_fer.explain.faithfulness import Faithfulness, faithfulness
from infant_fer.explain.saliency import batch_size
from infant_fer.face_detection import FaceDetector
from infant_fer.images import data_url
from infant_fer.labels import AFFECTS
from infant_fer.metrics import Proportion, bootstrap_interval
from infant_fer.regions import PARTS, T_ZONE, density_ratio_per_part, part_map, share_per_part

GALLERY_EACH = 6  # faces of a class
WRONG_COLOUR = (213, 94, 0)


@dataclass(frozen=True)
class Mean:
    """The mean of a figure over `n` pictures, with its 95 % bootstrap interval over `infants`."""

    value: float
    interval: tuple[float, float]
    n: int
    infants: int

    @classmethod
    def of(cls, values: Sequence[float], infants: np.ndarray) -> Mean:
        """Average (N ≥ 1,) values; `infants` (N,) says which infant each is of."""
        _, number = np.unique(infants, return_inverse=True)
        sums, counts = np.bincount(number, values), np.bincount(number)
        return cls(float(np.mean(values)), bootstrap_interval(sums, counts), len(values), len(counts))

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        return {"value": self.value, "n": self.n, "infants": self.infants, "interval95": list(self.interval)}

    @property
    def short(self) -> str:
        """Return one table cell."""
        return f"{self.value:.2f} ({self.interval[0]:.2f}–{self.interval[1]:.2f}), n = {self.n}"


@dataclass(frozen=True, eq=False)
class PictureMaps:
    """One picture's maps: `values` (S, S) by method, all of the class that the image stream answers, and what they mark."""

    index: int  # in the split
    infant: str
    truth: str
    answer: str
    landmarks_px: np.ndarray  # (478, 2) in crop pixels
    values: dict[str, np.ndarray]
    shares: dict[str, dict[str, float]]  # per method and part; sums to 1
    ratios: dict[str, dict[str, float]]  # per method and part; 1 is the crop's mean
    tested: dict[str, Faithfulness]


@dataclass(frozen=True, eq=False)
class SplitMaps:
    """The maps of a split's pictures; `missed` is how many have no mesh, `unavailable` says which methods do not apply."""

    pictures: tuple[PictureMaps, ...]
    methods: tuple[str, ...]
    samples: int
    missed: int
    unavailable: dict[str, str]

    def rows(self, **wanted: str) -> list[PictureMaps]:
        """Return the pictures with this `truth` and `answer`, as far as given."""
        return [each for each in self.pictures if all(getattr(each, name) == value for name, value in wanted.items())]

    def mean_map(self, affect: str, method: str) -> MeanMap | None:
        """Return the mean map of the pictures answered as `affect`, in the frame of all crops; None without any."""
        rows = self.rows(answer=affect)
        if not rows:
            return None
        shares = {part: float(np.mean([each.shares[method][part] for each in rows])) for part in PARTS}
        values = np.mean([each.values[method] for each in rows], axis=0)
        return MeanMap(affect, values, np.mean([each.landmarks_px for each in rows], axis=0), shares, len(rows))

    def ratios(self, rows: Sequence[PictureMaps], method: str) -> dict[str, Mean]:
        """Return for each part how bright the map is there, 1 being the crop's mean, brightest first."""
        infants = np.array([each.infant for each in rows])
        found = {part: Mean.of([each.ratios[method][part] for each in rows], infants) for part in PARTS}
        return dict(sorted(found.items(), key=lambda item: -item[1].value))

    def leading(self, rows: Sequence[PictureMaps], method: str, parts: Sequence[str]) -> Proportion:
        """Return in how many pictures the brightest face part for its size is one of `parts`."""
        inside = [part for part in PARTS if part != "outside"]
        lead = [max(inside, key=lambda part: each.ratios[method][part]) in parts for each in rows]
        return Proportion.of(np.array(lead), np.array([each.infant for each in rows]))

    def faithfulness(self) -> dict[str, dict[str, Mean]]:
        """Return for every method the mean areas, and by what share deletion is below random, over the pictures."""
        infants = np.array([each.infant for each in self.pictures])
        found = {}
        for method in self.methods:
            areas = [each.tested[method].to_dict() for each in self.pictures]
            found[method] = {name: Mean.of([each[name] for each in areas], infants) for name in areas[0]}
            found[method]["below_random"] = _below_random(areas, infants)
        return found

    def better_than_random(self) -> dict[str, Proportion]:
        """Return for every method in how many pictures its deletion area is below the random one."""
        infants = np.array([each.infant for each in self.pictures])
        return {
            method: Proportion.of(np.array([each.tested[method].better_than_random for each in self.pictures]), infants)
            for method in self.methods
        }

    def to_dict(self) -> dict:
        """Return plain data for JSON; no picture."""
        faithful, better = self.faithfulness(), self.better_than_random()
        return {
            "n": len(self.pictures),
            "without a mesh": self.missed,
            "samples": self.samples,
            "unavailable": self.unavailable,
            "faithfulness": {
                method: {name: mean.to_dict() for name, mean in means.items()}
                | {"better_than_random": better[method].to_dict()}
                for method, means in faithful.items()
            },
            "emphasis_per_part": {
                method: {
                    affect: {part: mean.to_dict() for part, mean in self.ratios(rows, method).items()}
                    for affect in AFFECTS
                    if (rows := self.rows(answer=affect))
                }
                for method in self.methods
            },
        }

    def sections(self, crops: np.ndarray | None = None) -> Iterator[Section]:
        """Yield the report's sections; with `crops` (N, S, S, 3) of the split also a gallery, which shows faces."""
        yield Section("Are the maps true?", [Text(self.finding()), _faithfulness_table(self)])
        for method in self.methods:
            means = [each for affect in AFFECTS if (each := self.mean_map(affect, method))]
            picture = Figure.of_png(
                draw_mean_maps(means), f"Mean {METHODS[method].title} map by the class that was answered."
            )
            yield Section(METHODS[method].title, [picture, _parts_table(self, method), _zone_table(self, method)])
        if crops is not None:
            yield Section("Faces and maps", [Text(PRIVATE, warning=True), *_gallery(self, crops)])

    def finding(self) -> str:
        """Return the finding on faithfulness in words."""
        words = []
        for method, means in self.faithfulness().items():
            below, edges = means["below_random"], means["deletion_auc"].value < means["edge_deletion_auc"].value
            low, high = (end * 100 for end in below.interval)
            compared = "below" if edges else "not below"
            words.append(
                f"{METHODS[method].title}: deletion area {below.value:.0%} below random ({low:.0f}–{high:.0f}), {compared} edges."
            )
        words += [f"{METHODS[method].title}: {reason}" for method, reason in self.unavailable.items()]
        first = next(iter(self.faithfulness().values()))["below_random"]
        return f"{first.n} pictures of {first.infants} infants, intervals over infants. " + " ".join(words)


def _below_random(areas: Sequence[Mapping[str, float]], infants: np.ndarray) -> Mean:
    """Return 1 - mean deletion area / mean random area, the ratio of two sums bootstrapped over infants."""
    _, number = np.unique(infants, return_inverse=True)
    deletion = np.bincount(number, [each["deletion_auc"] for each in areas])
    random = np.bincount(number, [each["random_deletion_auc"] for each in areas])
    low, high = bootstrap_interval(deletion, random)
    return Mean(1 - float(deletion.sum() / random.sum()), (1 - high, 1 - low), len(areas), len(random))


def split_maps(
    classifier: AffectClassifier,
    finder: FaceDetector,
    measured: Predictions,
    crops: np.ndarray,
    methods: Sequence[str],
    samples: int = 50,
    limit: int | None = None,
) -> SplitMaps:
    """Explain and test every picture of a split, (N, S, S, 3) uint8 crops in the order of `measured`, by several methods.

    The class explained is the image stream's answer. `limit` draws so many pictures, always the same. Hidden crops are not
    mirrored, so that a picture takes seconds. Raises DatasetError when no picture has a mesh, or the classes are none of
    AFFECTS.
    """
    if not set(measured.labels) <= set(AFFECTS):
        raise DatasetError(f"Maps of a split need the classes {', '.join(AFFECTS)}.")
    order = np.sort(np.random.default_rng(0).permutation(len(crops))[:limit])
    pictures, unavailable = [], dict[str, str]()
    for index in tqdm(order, unit="picture", disable=None):
        landmarks = mesh_in_crop(finder, crops[index])
        if landmarks is not None:
            truth, infant = measured.labels[measured.truth[index]], str(measured.subject[index])
            explained = _explain(classifier, crops[index], landmarks, methods, samples, unavailable)
            pictures.append(PictureMaps(int(index), infant, truth, *explained))
    if not pictures:
        raise DatasetError(
            "In no picture of the split was a face's mesh found, so that no map can be assigned to face parts."
        )
    used = tuple(method for method in methods if method not in unavailable)
    return SplitMaps(tuple(pictures), used, samples, len(order) - len(pictures), unavailable)


def _explain(
    classifier: AffectClassifier,
    crop_rgb: np.ndarray,
    landmarks_px: np.ndarray,
    methods: Sequence[str],
    samples: int,
    unavailable: dict[str, str],
) -> tuple:
    """Return the fields of PictureMaps from `answer` on; methods that do not apply are noted and left out."""
    aligned = AlignedFace(crop_rgb, np.eye(2, 3))
    pixel_values, parts = classifier.pixel_values(aligned), part_map(landmarks_px, len(crop_rgb))
    answer = AFFECTS[int(classifier.image_probabilities(crop_rgb[None])[0].argmax())]
    score = classifier.score_of(answer, aligned)
    values, shares, ratios, tested = {}, {}, {}, dict[str, Faithfulness]()
    for name in methods:
        if name in unavailable:
            continue
        try:
            values[name] = METHODS[name].from_options(samples=samples, parts=parts).map(score, pixel_values).values
        except ExplanationError as error:
            unavailable[name] = str(error)
            continue
        shares[name] = share_per_part(values[name], parts)
        ratios[name] = density_ratio_per_part(values[name], parts)
        known = next(iter(tested.values()), None)
        tested[name] = faithfulness(values[name], crop_rgb, _plain_answer(classifier, score), answer, known=known)
    return answer, landmarks_px, values, shares, ratios, tested


def _plain_answer(classifier: AffectClassifier, score: Score):
    """Return a function of crops: the target's probability by the network's quick copy, not mirrored."""

    def answer(crops: np.ndarray) -> np.ndarray:
        pixels = classifier.inputs(crops)
        return np.concatenate([score.probability(each).cpu().numpy() for each in pixels.split(batch_size(pixels))])

    return answer


def _faithfulness_table(maps: SplitMaps) -> Table:
    better = maps.better_than_random()
    rows = [
        (
            METHODS[method].title,
            *(means[name] for name in ("deletion_auc", "random_deletion_auc", "edge_deletion_auc", "insertion_auc")),
            means["below_random"],
            better[method],
        )
        for method, means in maps.faithfulness().items()
    ]
    head = (
        "method",
        "deletion area",
        "at random",
        "by edges",
        "insertion area",
        "share below random",
        "pictures below random",
    )
    return Table(rows, head)


def _parts_table(maps: SplitMaps, method: str) -> Table:
    """Return how bright the map is in each part for each answer, and for negative faces read right and read as neutral."""
    groups = {f"answer {affect}": maps.rows(answer=affect) for affect in AFFECTS}
    groups["negative, read right"] = maps.rows(truth="negative", answer="negative")
    groups["negative, read as neutral"] = maps.rows(truth="negative", answer="neutral")
    groups = {name: rows for name, rows in groups.items() if rows}
    found = {name: maps.ratios(rows, method) for name, rows in groups.items()}
    rows = [(part, *(ratios[part] for ratios in found.values())) for part in PARTS]
    return Table(rows, ("brightness by size, 1 is average", *found))


def _zone_table(maps: SplitMaps, method: str) -> Table:
    """Return in how many pictures the mouth, or the T-zone, leads; the original experiment named it for neutral faces."""
    zones = {"mouth leads": ("mouth",), "T-zone leads (forehead, brows, nose)": T_ZONE, "eyes lead": ("eyes",)}
    groups = {affect: rows for affect in AFFECTS if (rows := maps.rows(answer=affect))}
    cells = [(name, *(maps.leading(each, method, parts) for each in groups.values())) for name, parts in zones.items()]
    return Table(cells, ("brightest part by size", *groups))


def _gallery(maps: SplitMaps, crops: np.ndarray) -> Iterator[Figure]:
    """Yield the first method's maps over the first faces of each true class, wrong answers framed in orange."""
    method = maps.methods[0]
    for affect in AFFECTS:
        for each in sorted(maps.rows(truth=affect), key=lambda each: each.answer == affect)[:GALLERY_EACH]:
            picture = overlaid(crops[each.index], each.values[method])
            if each.answer != affect:
                picture = cv2.copyMakeBorder(picture, 4, 4, 4, 4, cv2.BORDER_CONSTANT, value=WRONG_COLOUR)
            yield Figure(data_url(picture, quality=85), f"labelled {affect}, read as {each.answer}", 128)
