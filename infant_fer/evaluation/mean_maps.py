"""Where does a checkpoint look for each class? The mean SmoothGrad map over several faces, whose eyes and mouths are brought together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.figure import Figure

from infant_fer.alignment import AlignedFace, aligned_landmarks, similarity
from infant_fer.classifier import AffectClassifier
from infant_fer.evaluation.plots import png
from infant_fer.explain.gradients import SmoothGrad
from infant_fer.face import anchors
from infant_fer.face_detection import FaceDetector
from infant_fer.labels import AFFECTS
from infant_fer.regions import OUTLINES, PARTS, part_map, share_per_part

FACES_EACH = 10
SAMPLES = 25
FINDING_SIZE = 288  # px; crops are enlarged to it for finding the mesh again


@dataclass(frozen=True, eq=False)
class MeanMap:
    """One affect's mean map (S, S) over `n` faces, the mean mesh (478, 2) in crop pixels, and the share per face part.

    Each map and mesh was moved so that eyes and mouth lie at their mean place, as in whole pictures they lie anywhere; what
    was moved in from outside a crop counts as 0.
    """

    affect: str
    values: np.ndarray
    landmarks_px: np.ndarray
    shares: dict[str, float]
    n: int

    @classmethod
    def of(
        cls,
        affect: str,
        values: Sequence[np.ndarray],
        meshes: Sequence[np.ndarray],
        shares: Sequence[Mapping[str, float]],
    ) -> MeanMap:
        """Return the mean of N maps (S, S), each with its mesh (478, 2) in crop pixels and its share per face part."""
        target = _mean_anchors(np.stack([anchors(mesh) for mesh in meshes]))
        moved = [
            cv2.warpAffine(each, similarity(anchors(mesh), target), each.shape)
            for each, mesh in zip(values, meshes, strict=True)
        ]
        mesh = aligned_landmarks(np.stack(meshes), target).mean(axis=0)
        mean_shares = {part: float(np.mean([each[part] for each in shares])) for part in PARTS}
        return cls(affect, np.mean(moved, axis=0), mesh, mean_shares, len(moved))


def mean_maps(
    classifier: AffectClassifier, finder: FaceDetector, crops: np.ndarray, affects: np.ndarray, seed: int = 0
) -> list[MeanMap]:
    """Explain up to FACES_EACH of the (N, S, S, 3) crops of every affect, (N,) str, for that affect.

    The image stream alone is explained. Crops in which no mesh is found again do not count; an affect without any has
    no map.
    """
    order = np.random.default_rng(seed).permutation(len(crops))
    maps = []
    for affect in AFFECTS:
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for index in order[affects[order] == affect]:
            if len(found) == FACES_EACH:
                break
            landmarks = mesh_in_crop(finder, crops[index])
            if landmarks is not None:
                found.append((_map(classifier, crops[index], affect, seed), landmarks))
        if found:
            shares = [share_per_part(each, part_map(mesh, len(each))) for each, mesh in found]
            values, meshes = zip(*found, strict=True)
            maps.append(MeanMap.of(affect, values, meshes, shares))
    return maps


def draw_mean_maps(*rows: Sequence[MeanMap], names: Sequence[str] = ("",)) -> bytes:
    """Return a PNG of maps beside each other under the mean face's outlines, a row for each name; no photograph is in it.

    Of several rows each affect has a column.
    """
    affects = [affect for affect in AFFECTS if any(each.affect == affect for maps in rows for each in maps)]
    figure = Figure(figsize=(2.6 * len(affects), 3.0 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(affects), squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    for drawn, maps, name in zip(grid, rows, names, strict=True):
        for each in maps:
            axes = drawn[affects.index(each.affect)]
            axes.imshow(each.values, cmap="inferno", vmin=0)
            for path in (path for paths in OUTLINES.values() for path in paths):
                axes.plot(*each.landmarks_px[list(path)].T, color="white", linewidth=0.8)
            title = f"{name}\n" * bool(name) + f"{each.affect} (n = {each.n})"
            axes.set(xlim=(0, len(each.values)), ylim=(len(each.values), 0))
            axes.set_title(title, fontsize=9 if name else None)
    return png(figure)


def mesh_in_crop(finder: FaceDetector, crop_rgb: np.ndarray) -> np.ndarray | None:
    """Return (478, 2) in crop pixels; None when no face is found again."""
    scale = FINDING_SIZE / crop_rgb.shape[0]
    faces = finder.find(cv2.resize(crop_rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), thorough=False)
    return faces[0].landmarks_px / scale if faces else None


def _map(classifier: AffectClassifier, crop_rgb: np.ndarray, affect: str, seed: int) -> np.ndarray:
    aligned = AlignedFace(crop_rgb, np.eye(2, 3))
    score = classifier.score_of(affect, aligned)
    return SmoothGrad(SAMPLES, seed=seed).map(score, classifier.pixel_values(aligned)).values


def _mean_anchors(each: np.ndarray) -> np.ndarray:
    """Return the mean (3, 2) of (N, 3, 2) anchors, with their mean place, turn and size (Procrustes mean, Gower 1975).

    The plain mean of shapes that are turned against each other would be smaller than each.
    """
    places = each.mean(axis=1)
    shapes = (each - places[:, None]) @ (1, 1j)  # (N, 3) complex: a turn and a size are one factor
    eyes = shapes[:, 1] - shapes[:, 0]
    upright = (shapes * (abs(eyes) / eyes)[:, None] / np.linalg.norm(shapes, axis=1)[:, None]).mean(axis=0)
    turn = np.sum(eyes / abs(eyes))
    turn = turn / abs(turn) if abs(turn) > 1e-6 else 1.0  # turns that cancel each other: upright
    mean = upright / np.linalg.norm(upright) * np.linalg.norm(shapes, axis=1).mean() * turn
    return places.mean(axis=0) + np.stack([mean.real, mean.imag], axis=1)
