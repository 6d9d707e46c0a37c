"""What do the experiments of the tab "Test the map" compute? Covers, guesses and their pictures, from a visitor's session."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from infant_fer.analyzer import Analyzer, ExplanationSettings
from infant_fer.drawing import overlaid
from infant_fer.explain.covering import FACE_PARTS, covering_sentence, filled, part_masks, skin_colour, the_part
from infant_fer.labels import AFFECTS
from infant_fer.locales import Message
from infant_fer.regions import PARTS, part_map
from infant_fer.report import FaceReport
from infant_fer.ui.sessions import Session

SHOWN_PX = 384  # side of the shown crop
SPOT_SHARE = 1 / 12  # radius of a tapped spot, of the crop's side
MOST_SPOTS = 200
COVERS_PART, COVERS_SPOT, GUESSES = "covers the part of the face", "covers a spot", "marks where I looked"
GUESS_COLOUR = (86, 180, 233)  # Okabe and Ito's sky blue


@dataclass(frozen=True)
class Cover:
    """What is covered: face parts, and spots as (x, y) in shares of the crop's side; and the spots of a guess."""

    parts: tuple[str, ...] = ()
    spots: tuple[tuple[float, float], ...] = ()
    guess: tuple[tuple[float, float], ...] = ()
    fill: str = "blur"

    def tapped(self, x: float, y: float, action: str, part: str) -> Cover:
        """Return the cover after a tap at (x, y), shares of the crop's side, on a face part; a covered part is uncovered."""
        if action == GUESSES:
            return replace(self, guess=(*self.guess, (x, y))[-MOST_SPOTS:])
        if action == COVERS_SPOT:
            return replace(self, spots=(*self.spots, (x, y))[-MOST_SPOTS:])
        if part == "outside":
            return self
        kept = tuple(each for each in self.parts if each != part)
        return replace(self, parts=kept if part in self.parts else (*kept, part))

    @property
    def words(self) -> Message | None:
        """Return what is covered, for a sentence; None for nothing."""
        names = [the_part(part) for part in FACE_PARTS if part in self.parts]
        names += [Message("{count} spots", count=len(self.spots))] * (len(self.spots) > 1)
        names += [Message("1 spot")] * (len(self.spots) == 1)
        if len(names) < 2:
            return names[0] if names else None
        return Message("{first} and {last}", first=Message.joined(*names[:-1], between=", "), last=names[-1])


@dataclass(frozen=True, eq=False)
class CoveredAnswer:
    """The (S, S, 3) crop as it is covered, and the probabilities of AFFECTS before and after, by the image stream alone."""

    crop_rgb: np.ndarray
    before: dict[str, float]
    after: dict[str, float]
    label: str  # of the uncovered crop
    words: Message | None  # what is covered; None for nothing

    @property
    def sentence(self) -> Message:
        """Return the effect of the cover on the uncovered crop's label."""
        if self.words is None:
            return Message("Nothing is covered.")
        action = Message("Covering {parts}", parts=self.words)
        named = covering_sentence(action, self.label, self.before[self.label], self.after[self.label])
        now = max(self.after, key=self.after.__getitem__)
        if now == self.label:
            return named
        return Message.joined(named, Message("The answer is now {affect}.", affect=(now,)))


def cover_of(session: Session) -> Cover:
    """Return the session's cover, an empty one at first."""
    return session.cover if isinstance(session.cover, Cover) else Cover()


def parts_of(face: FaceReport) -> np.ndarray:
    """Return the (S, S) part map of a face's crop."""
    return part_map(face.aligned.to_crop(face.face.landmarks_px), face.aligned.crop_rgb.shape[0])


def part_at(face: FaceReport, x: float, y: float) -> str:
    """Return the face part at (x, y), shares of the crop's side."""
    parts = parts_of(face)
    last = len(parts) - 1
    return PARTS[parts[min(int(y * len(parts)), last), min(int(x * len(parts)), last)]]


def covered_answer(analyzer: Analyzer, face: FaceReport, cover: Cover) -> CoveredAnswer:
    """Cover the face's crop and ask for the answer, before and after in one call."""
    crop_rgb, parts = face.aligned.crop_rgb, parts_of(face)
    mask = spots_mask(cover.spots, len(parts))
    if cover.parts:
        mask |= part_masks(parts, cover.parts).any(0)
    covered = filled(crop_rgb, mask[None], cover.fill, skin_colour(crop_rgb, parts))[0]
    before, after = (
        dict(zip(AFFECTS, each.tolist(), strict=True))
        for each in analyzer.classifier.image_probabilities(np.stack([crop_rgb, covered]))  # type: ignore[attr-defined]
    )
    return CoveredAnswer(covered, before, after, max(before, key=before.__getitem__), cover.words)


def spots_mask(spots: tuple[tuple[float, float], ...], side: int) -> np.ndarray:
    """Return (side, side) bool: disks around the spots."""
    mask = np.zeros((side, side), np.uint8)
    for x, y in spots:
        centre = round(x * side - 0.5), round(y * side - 0.5)
        cv2.circle(mask, centre, max(1, round(SPOT_SHARE * side)), 1, -1)
    return mask.astype(bool)


def shown_crop(crop_rgb: np.ndarray, guess: tuple[tuple[float, float], ...] = ()) -> np.ndarray:
    """Return an (S, S, 3) crop enlarged to (SHOWN_PX, SHOWN_PX, 3) uint8, with the guessed spots tinted."""
    large = cv2.resize(crop_rgb, (SHOWN_PX, SHOWN_PX), interpolation=cv2.INTER_CUBIC)
    if guess:
        place = spots_mask(guess, SHOWN_PX)
        large[place] = (0.5 * large[place] + 0.5 * np.array(GUESS_COLOUR)).astype(np.uint8)
    return large


def map_over_crop(crop_rgb: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the enlarged crop under an (S, S) map in 0..1, (SHOWN_PX, SHOWN_PX, 3) uint8."""
    large = cv2.resize(values.astype(np.float32), (SHOWN_PX, SHOWN_PX), interpolation=cv2.INTER_LINEAR)
    return overlaid(shown_crop(crop_rgb), large)


@dataclass(frozen=True)
class GuessOverlap:
    """The share of the guessed area that the map marks too, of its equally many strongest pixels, and the share by chance."""

    overlap: float
    chance: float

    @classmethod
    def of(cls, guess: tuple[tuple[float, float], ...], values: np.ndarray) -> GuessOverlap | None:
        """Compare the guessed spots with an (S, S) map; None without a guess."""
        mask = spots_mask(guess, values.shape[0])
        count = int(mask.sum())
        if not count:
            return None
        strongest = np.zeros(values.size, bool)
        strongest[np.argsort(-values, axis=None, kind="stable")[:count]] = True
        return cls(float((strongest.reshape(mask.shape) & mask).sum() / count), count / values.size)

    @property
    def sentence(self) -> Message:
        """Return the overlap in words."""
        return Message(
            "You and the map agree on {overlap:.0%} of the area that you marked; by chance it would be {chance:.0%}. "
            "Where you looked and what the model used need not be the same.",
            overlap=self.overlap,
            chance=self.chance,
        )


def settings_of(method: str, target: str, versus: str, seed: int = 0) -> ExplanationSettings:
    """Return the settings of the tested map from the values of the tab; a class that is none of AFFECTS is not set."""
    return ExplanationSettings(
        method, target if target in AFFECTS else None, versus if versus in AFFECTS else None, seed=seed
    )
