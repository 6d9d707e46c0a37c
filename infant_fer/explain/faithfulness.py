"""Is a map true? The answer while the cells it marks are hidden, or shown, one after the other, beside other orders.

Deletion and insertion: Petsiuk et al. 2018, arXiv 1806.07421. Cells instead of single pixels: Samek et al. 2017,
arXiv 1509.06321. Filling instead of grey holes: Rong et al. 2022, arXiv 2202.00449.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from infant_fer.explain.covering import Answer, filled
from infant_fer.explain.saliency import marks_something
from infant_fer.locales import Message

CELLS = 16  # of a side; one is 6 px in a crop of 96, less than the width of an eye
STEPS = 20
CURVES = ("hiding what the map marks", "showing what the map marks", "hiding at random", "hiding edges")
LEAST_ANSWER = 0.2  # probability of the class below which there is too little that hiding could lower
SAID_SHARE = 0.1  # of the picture, the tenth of which the sentence tells


@dataclass(frozen=True, eq=False)
class Curve:
    """The answer (K,) in 0..1 while the share (K,) of cells is hidden (deletion) or shown (insertion), from 0 to 1."""

    shares: np.ndarray
    answers: np.ndarray

    @property
    def area(self) -> float:
        """Return the area under the curve in 0..1, by the trapezoid rule."""
        return float(np.trapezoid(self.answers, self.shares))

    def at(self, share: float) -> float:
        """Return the answer at a share, between the measured ones by straight lines."""
        return float(np.interp(share, self.shares, self.answers))


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """How the probability of `target` falls and rises by a map's order, and by a random and an edge detector's order.

    The smaller the deletion area and the larger the insertion area, the more faithful the map is to the model. A map
    without any variation `marks` nothing, and its order of the cells is no order.
    """

    target: str
    deletion: Curve
    insertion: Curve
    random_deletion: Curve
    edge_deletion: Curve
    fill: str
    marks: bool = True

    @property
    def better_than_random(self) -> bool:
        """Return whether the map's deletion area is below that of a random order."""
        return self.marks and self.deletion.area < self.random_deletion.area

    @property
    def can_be_tested(self) -> bool:
        """Return whether the map marks something, and the whole crop is read as `target`: hiding lowers nothing that is near 0."""
        return self.marks and self.deletion.at(0.0) >= LEAST_ANSWER

    @property
    def margin(self) -> float:
        """Return by what share the map's deletion area is below the random one; below 0 where it is larger."""
        return 1 - self.deletion.area / self.random_deletion.area if self.random_deletion.area > 0 else 0.0

    def sentence(self) -> Message:
        """Return one sentence for people, about hiding the tenth of the picture that the map marks most."""
        if not self.marks:
            return Message("This map marks nothing, so that there is nothing to hide first.")
        start = Message(
            "Hiding the marked tenth of the picture changes '{target}' from {whole:.0f} to {marked:.0f} %; "
            "hiding a random tenth, to {random:.0f} %.",
            target=(self.target,),
            whole=self.deletion.at(0.0) * 100,
            marked=self.deletion.at(SAID_SHARE) * 100,
            random=self.random_deletion.at(SAID_SHARE) * 100,
        )
        if not self.can_be_tested:
            return Message.joined(
                start,
                Message(
                    "'{target}' has too little probability here for hiding to test its map.", target=(self.target,)
                ),
            )
        if not self.better_than_random:
            return Message.joined(start, Message("This map is no better than a random one."))
        if self.deletion.area >= self.edge_deletion.area:
            return Message.joined(start, Message("A simple edge detector does as well as this map."))
        return start

    @property
    def curves(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return shares and answers of every curve by its name for people."""
        named = zip(CURVES, (self.deletion, self.insertion, self.random_deletion, self.edge_deletion), strict=True)
        return {name: (curve.shares, curve.answers) for name, curve in named}

    def to_dict(self) -> dict[str, float]:
        """Return the areas for JSON."""
        return {
            "deletion_auc": round(self.deletion.area, 4),
            "insertion_auc": round(self.insertion.area, 4),
            "random_deletion_auc": round(self.random_deletion.area, 4),
            "edge_deletion_auc": round(self.edge_deletion.area, 4),
        }


def faithfulness(
    values: np.ndarray,
    crop_rgb: np.ndarray,
    answer: Answer,
    target: str,
    fill: str = "neighbours",
    seed: int = 0,
    known: Faithfulness | None = None,
) -> Faithfulness:
    """Measure an (S, S) map of an (S, S, 3) uint8 crop; `answer` gives the target's probability for (N, S, S, 3) crops.

    All curves are computed in one call of `answer`. Each step of the random deletion hides other random cells, drawn from
    `seed`: its area then varies less than that of one random order. `known`, the result for another map of the same crop
    and settings, lends its random and edge curves.
    """
    side, shares, marks = crop_rgb.shape[0], np.linspace(0, 1, STEPS + 1), marks_something(values)
    marked = cell_order(values)
    inner = shares[1:-1]  # the whole crop and the wholly hidden one are the same for all
    masks = [_hidden(marked, share, side) for share in shares]
    masks += [~_hidden(marked, share, side) for share in inner]
    if known is None:
        generator, edges = np.random.default_rng(seed), cell_order(edge_map(crop_rgb))
        masks += [_hidden(generator.permutation(marked), share, side) for share in inner]
        masks += [_hidden(edges, share, side) for share in inner]
    answers = answer(filled(crop_rgb, np.stack(masks), fill)).astype(np.float64)
    whole, hidden = answers[0], answers[STEPS]
    insertion, *references = answers[STEPS + 1 :].reshape(-1, len(inner))
    deletion, shown = Curve(shares, answers[: STEPS + 1]), Curve(shares, np.array([hidden, *insertion, whole]))
    if known is not None:
        return Faithfulness(target, deletion, shown, known.random_deletion, known.edge_deletion, fill, marks)
    random, edge = (Curve(shares, np.array([whole, *each, hidden])) for each in references)
    return Faithfulness(target, deletion, shown, random, edge, fill, marks)


def cell_order(values: np.ndarray) -> np.ndarray:
    """Return the cells of an (S, S) map from the largest mean to the smallest, (CELLS²,) int; ties keep their places."""
    return np.argsort(-cell_means(values), kind="stable")


def cell_means(values: np.ndarray) -> np.ndarray:
    """Return the mean of an (S, S) map in each cell, (CELLS²,), row by row."""
    cells = _cells(values.shape[0]).ravel()
    return np.bincount(cells, values.ravel()) / np.bincount(cells)


def edge_map(crop_rgb: np.ndarray) -> np.ndarray:
    """Return (S, S) float32: the length of the luminance's gradient (Sobel), which knows nothing of the model."""
    luminance = cv2.cvtColor(crop_rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.hypot(cv2.Sobel(luminance, cv2.CV_32F, 1, 0), cv2.Sobel(luminance, cv2.CV_32F, 0, 1))


def _cells(side: int) -> np.ndarray:
    """Return (side, side) int: the number of the cell that each pixel is in, row by row."""
    count = min(CELLS, side)
    places = np.arange(side) * count // side
    return places[:, None] * count + places


def _hidden(order: np.ndarray, share: float, side: int) -> np.ndarray:
    """Return (side, side) bool: the pixels of the first `share` of the cells in `order`."""
    return np.isin(_cells(side), order[: round(share * len(order))])
