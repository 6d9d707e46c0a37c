"""What does the answer do when part of a face is covered? Fillings for hidden pixels, and the drop for each face part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from infant_fer.locales import Message
from infant_fer.regions import PARTS

FILLS = ("neighbours", "blur", "skin", "mean")
FILL_WORDS = {
    "neighbours": "the colours around it, with a little noise",
    "blur": "a strong blur",
    "skin": "the colour of the cheeks",
    "mean": "the picture's mean colour",
}
FACE_PARTS = tuple(part for part in PARTS if part != "outside")
NOISE_LEVELS = 4.0  # standard deviation in grey levels, so that a filled area is not suspiciously smooth
BLUR_SHARE = 1 / 8  # of the crop's side: no feature of a face survives
EDGE_SHARE = 1 / 40  # of the crop's side; a part is covered a little beyond its outline

Answer = Callable[[np.ndarray], np.ndarray]  # (N, S, S, 3) uint8 crops to (N,) probabilities of one class


def filled(crop_rgb: np.ndarray, masks: np.ndarray, fill: str, skin_rgb: ArrayLike | None = None) -> np.ndarray:
    """Return (N, S, S, 3) uint8: an (S, S, 3) uint8 crop with the pixels of each of the (N, S, S) bool masks hidden.

    `fill` is one of FILLS. "neighbours" interpolates smoothly from the visible pixels and adds noise, in the manner of
    ROAD (Rong et al. 2022, arXiv 2202.00449), whose sparse system is replaced by an image pyramid: the shape of the mask
    then says less than grey holes do. "skin" needs `skin_rgb`. The same input gives the same output. Raises ValueError.
    """
    if fill not in FILLS or (fill == "skin" and skin_rgb is None):
        raise ValueError(f"fill must be one of {', '.join(FILLS)}, and skin needs a colour; got {fill!r}.")
    image = crop_rgb.astype(np.float32)
    hidden: np.ndarray
    if fill == "neighbours":
        noise = np.random.default_rng(0).normal(0, NOISE_LEVELS, (*crop_rgb.shape[:2], 1)).astype(np.float32)
        hidden = np.stack([_interpolated(image, mask) for mask in masks]) + noise
    elif fill == "blur":
        hidden = cv2.GaussianBlur(image, (0, 0), crop_rgb.shape[0] * BLUR_SHARE)[None]
    else:
        hidden = np.broadcast_to(
            image.mean((0, 1)) if fill == "mean" else np.asarray(skin_rgb, np.float32), image.shape
        )[None]
    return np.where(masks[..., None], hidden.round().clip(0, 255), image[None]).astype(np.uint8)


def _interpolated(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return an (S, S, 3) float32 image whose masked pixels are interpolated from the others, coarse to fine."""
    weight = (~mask).astype(np.float32)
    if not weight.any():
        return np.broadcast_to(image.mean((0, 1)), image.shape)
    levels: list[np.ndarray] = [np.dstack([image * weight[..., None], weight])]
    while levels[-1].shape[0] > 1:
        side = (levels[-1].shape[0] + 1) // 2
        levels.append(cv2.resize(levels[-1], (side, side), interpolation=cv2.INTER_AREA))
    found = levels[-1][..., :3] / levels[-1][..., 3:]
    for level in reversed(levels[:-1]):
        coarse = cv2.resize(found, level.shape[1::-1], interpolation=cv2.INTER_LINEAR).reshape(*level.shape[:2], 3)
        known = np.clip(level[..., 3:], 1e-6, None)
        share = np.clip(level[..., 3:], 0, 1)
        found = share * level[..., :3] / known + (1 - share) * coarse
    return found


def skin_colour(crop_rgb: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Return (3,) float RGB: the median colour of the cheeks, or of the whole crop where it has none."""
    cheeks = crop_rgb[parts == PARTS.index("cheeks")]
    return np.median(cheeks if len(cheeks) else crop_rgb.reshape(-1, 3), axis=0)


def part_masks(parts: np.ndarray, names: Sequence[str] = FACE_PARTS) -> np.ndarray:
    """Return (P, S, S) bool: where each named part of an (S, S) part map is, a little widened so that its edges are covered."""
    radius = max(1, round(parts.shape[0] * EDGE_SHARE))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    masks = [(parts == PARTS.index(name)).astype(np.uint8) for name in names]
    return np.stack([cv2.dilate(mask, kernel) for mask in masks]).astype(bool)


@dataclass(frozen=True)
class PartDrops:
    """How the probability of `target` changes when each face part is covered alone, all else left as it is.

    `before` is the probability of the uncovered crop, `covered` that with each of FACE_PARTS covered; a part that the
    crop does not show is missing.
    """

    target: str
    before: float
    covered: dict[str, float]
    fill: str

    @property
    def drops(self) -> dict[str, float]:
        """Return the fall of the probability for each part, largest first; below 0 where it rises."""
        falls = {part: self.before - after for part, after in self.covered.items()}
        return dict(sorted(falls.items(), key=lambda item: -item[1]))

    def sentence(self, part: str) -> Message:
        """Return, as an example: Covering the mouth: positive 91 → 34 %."""
        return covering_sentence(
            Message("Covering {parts}", parts=the_part(part)), self.target, self.before, self.covered[part]
        )

    def rank_correlation(self, density_ratio: dict[str, float]) -> float | None:
        """Return Spearman's correlation over the parts between the drops and a map's density ratio on each part.

        None where one of them is the same for every part, or fewer than three parts are there.
        """
        parts = [part for part in self.covered if part in density_ratio]
        return rank_correlation([self.drops[part] for part in parts], [density_ratio[part] for part in parts])


def the_part(part: str) -> Message:
    """Return the name of a face part within a sentence."""
    return Message("the {part}", part=(part,))


def covering_sentence(action: Message, target: str, before: float, after: float) -> Message:
    """Return one sentence on what an action did to the probability of a class."""
    values = {"action": action, "target": (target,), "before": before * 100, "after": after * 100}
    return Message("{action}: {target} {before:.0f} → {after:.0f} %.", **values)


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float | None:
    """Return Spearman's correlation of two equally long sequences; None where it is not defined."""
    from scipy.stats import spearmanr

    if np.size(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)


def part_drops(crop_rgb: np.ndarray, parts: np.ndarray, answer: Answer, target: str, fill: str = "blur") -> PartDrops:
    """Cover each face part of an (S, S, 3) uint8 crop in turn and ask for the answer, all in one call.

    `parts` is the crop's (S, S) part map. `answer` gives the target's probability for (N, S, S, 3) crops.
    """
    names = [name for name in FACE_PARTS if (parts == PARTS.index(name)).any()]
    covered: Sequence[np.ndarray] = ()
    if names:
        covered = list(filled(crop_rgb, part_masks(parts, names), fill, skin_colour(crop_rgb, parts)))
    before, *after = answer(np.stack([crop_rgb, *covered])).tolist()
    return PartDrops(target, before, dict(zip(names, after, strict=True)), fill)
