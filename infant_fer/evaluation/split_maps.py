"""Where does a checkpoint look on a whole split, and are its maps true? Mean maps, face parts and faithfulness, by infant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from infant_fer.alignment import AlignedFace
from infant_fer.classifier import AffectClassifier
from infant_fer.errors import DatasetError, ExplanationError
from infant_fer.evaluation.mean_maps import MeanMap, mesh_in_crop
from infant_fer.evaluation.predictions import Predictions
from infant_fer.explain import METHODS, Score
from infant_fer.explain.faithfulness import Faithfulness, faithfulness
from infant_fer.explain.saliency import batch_size
from infant_fer.face_detection import FaceDetector
from infant_fer.labels import AFFECTS
from infant_fer.metrics import Mean, Proportion, bootstrap_interval, bootstrap_ranks
from infant_fer.regions import PARTS, T_ZONE, density_ratio_per_part, part_map, share_per_part

FACE_PARTS = tuple(part for part in PARTS if part != "outside")
ZONES = {"mouth": ("mouth",), "T-zone": T_ZONE, "eyes": ("eyes",)}  # whose lead is counted


@dataclass(frozen=True)
class PartRank:
    """Where a face part comes among FACE_PARTS by the mean brightness for its size, 1 first, and how often it is the brightest."""

    rank: int
    interval: tuple[int, int] | None  # 95 %, bootstrap over infants; None for one infant's pictures
    leads: Proportion  # of the pictures

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        return {"rank": self.rank, "interval95": self.interval and list(self.interval), "leads": self.leads.to_dict()}


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
    split: str = "dev"

    def rows(self, **wanted: str) -> list[PictureMaps]:
        """Return the pictures with this `truth` and `answer`, as far as given."""
        return [each for each in self.pictures if all(getattr(each, name) == value for name, value in wanted.items())]

    def mean_map(self, affect: str, method: str) -> MeanMap | None:
        """Return the mean map of the pictures answered as `affect`; None without any."""
        rows = self.rows(answer=affect)
        if not rows:
            return None
        maps = [each.values[method] for each in rows]
        return MeanMap.of(affect, maps, [each.landmarks_px for each in rows], [each.shares[method] for each in rows])

    def ratios(self, rows: Sequence[PictureMaps], method: str) -> dict[str, Mean]:
        """Return for each part how bright the map is there, 1 being the crop's mean, brightest first.

        Of the pictures whose map marks something; empty where none does.
        """
        rows = _marked(rows, method)
        if not rows:
            return {}
        infants = np.array([each.infant for each in rows])
        found = {part: Mean.of([each.ratios[method][part] for each in rows], infants) for part in PARTS}
        return dict(sorted(found.items(), key=lambda item: -item[1].value))

    def leading(self, rows: Sequence[PictureMaps], method: str, parts: Sequence[str]) -> Proportion:
        """Return in how many pictures whose map marks something the brightest face part for its size is one of `parts`."""
        rows = _marked(rows, method)
        lead = [max(FACE_PARTS, key=lambda part: each.ratios[method][part]) in parts for each in rows]
        return Proportion.of(np.array(lead, bool), np.array([each.infant for each in rows]))

    def ranking(self, rows: Sequence[PictureMaps], method: str) -> dict[str, PartRank]:
        """Return the rank of each face part in pictures such as those of one class, the brightest for its size first.

        Of the pictures whose map marks something; empty where none does.
        """
        rows = _marked(rows, method)
        if not rows:
            return {}
        infants = np.array([each.infant for each in rows])
        ratios = np.array([[each.ratios[method][part] for part in FACE_PARTS] for each in rows])
        ranks, intervals = bootstrap_ranks(ratios, infants)
        several = len(set(infants)) > 1
        found = {
            part: PartRank(int(rank), (int(low), int(high)) if several else None, self.leading(rows, method, (part,)))
            for part, rank, (low, high) in zip(FACE_PARTS, ranks, intervals, strict=True)
        }
        return dict(sorted(found.items(), key=lambda item: item[1].rank))

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
        """Return plain data for JSON; no picture. Classes that no picture was read as are left out."""
        faithful, better = self.faithfulness(), self.better_than_random()
        answered = {affect: rows for affect in AFFECTS if (rows := self.rows(answer=affect))}
        return {
            "split": self.split,
            "n": len(self.pictures),
            "without a mesh": self.missed,
            "samples": self.samples,
            "unavailable": self.unavailable,
            "faithfulness": {
                method: {name: mean.to_dict() for name, mean in means.items()}
                | {"better_than_random": better[method].to_dict()}
                for method, means in faithful.items()
            },
            "emphasis_per_part": {  # density ratios; scripts read them by this name
                method: {
                    affect: {part: mean.to_dict() for part, mean in self.ratios(rows, method).items()}
                    for affect, rows in answered.items()
                }
                for method in self.methods
            },
            "part_ranking": {
                method: {
                    affect: {part: rank.to_dict() for part, rank in self.ranking(rows, method).items()}
                    for affect, rows in answered.items()
                }
                for method in self.methods
            },
            "zone_leads": {
                method: {
                    affect: {zone: self.leading(rows, method, parts).to_dict() for zone, parts in ZONES.items()}
                    for affect, rows in answered.items()
                }
                for method in self.methods
            },
        }


def _marked(rows: Sequence[PictureMaps], method: str) -> list[PictureMaps]:
    """Return the pictures whose map marks something: the parts of a map without variation are all alike."""
    return [each for each in rows if each.tested[method].marks]


def _below_random(areas: Sequence[Mapping[str, float]], infants: np.ndarray) -> Mean:
    """Return 1 - mean deletion area / mean random area, the ratio of two sums bootstrapped over infants."""
    _, number = np.unique(infants, return_inverse=True)
    deletion = np.bincount(number, [each["deletion_auc"] for each in areas])
    random = np.bincount(number, [each["random_deletion_auc"] for each in areas])
    interval = None
    if len(random) > 1:
        low, high = bootstrap_interval(deletion, random)
        interval = (1 - high, 1 - low)
    return Mean(1 - float(deletion.sum() / random.sum()), interval, len(areas), len(random))


def check_affects(labels: Sequence[str]) -> None:
    """Raise DatasetError unless the classes are of AFFECTS."""
    if not set(labels) <= set(AFFECTS):
        raise DatasetError(f"Maps of a split need the classes {', '.join(AFFECTS)}; these are {', '.join(labels)}.")


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
    AFFECTS, and ExplanationError when no method applies to the checkpoint.
    """
    check_affects(measured.labels)
    order = np.sort(np.random.default_rng(0).permutation(len(crops))[:limit])
    pictures, unavailable = [], dict[str, str]()
    for index in tqdm(order, unit="picture", disable=None):
        landmarks = mesh_in_crop(finder, crops[index])
        if landmarks is not None:
            truth, infant = measured.labels[measured.truth[index]], str(measured.subject[index])
            explained = _explain(classifier, crops[index], landmarks, methods, samples, unavailable)
            if len(unavailable) == len(set(methods)):
                raise ExplanationError("None of the methods applies. " + " ".join(unavailable.values()))
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
