"""Render portraits from settings that a person sets by hand, and interpolate between expressions, as on the page's Lab tab."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from infant_fer.errors import SyntheticError
from infant_fer.locales import Message
from infant_fer.synthetic.expressions import EXPRESSIONS, check_expression
from infant_fer.synthetic.infant import Infant, sample_infant
from infant_fer.synthetic.occluders import sample_occluder
from infant_fer.synthetic.portrait import Portrait, render
from infant_fer.synthetic.scene import Light, View

SIZE_PX = 384  # at 256 px answers may differ by 0.1 from those at 512, here by 0.03
STRONGEST = 1.2  # the largest weight a named expression has
AGE_ENDS = (-0.25, 0.12)  # of Infant.age, as drawn by sample_infant
# A dim room, so that the direction of the light shows.
LAMP = Light(key=(8.0, 8.0, 8.0), sharpness=6.0, room=(0.25, 0.27, 0.29))
# Linear albedo from light to dark, one for each class of the individual typology angle (Chardon et al. 1991).
TONES = np.array(
    [(0.68, 0.47, 0.38), (0.56, 0.37, 0.265), (0.42, 0.265, 0.18), (0.36, 0.215, 0.14), (0.25, 0.14, 0.09), (0.12, 0.06, 0.04)]
)  # fmt: skip


@dataclass(frozen=True)
class Movement:
    """A facial action to be set by hand: its ARKit name, the FACS action unit it comes nearest to, and plain words."""

    name: str
    unit: str
    words: str


# Every action of the named expressions; the first twelve make most of the difference.
MOVEMENTS = (
    Movement("mouthSmile", "AU12", "Smile"),
    Movement("jawOpen", "AU26", "Mouth open"),
    Movement("mouthFrown", "AU15", "Lip corners down"),
    Movement("mouthStretch", "AU20", "Lips stretched"),
    Movement("browDown", "AU4", "Brows together"),
    Movement("browInnerUp", "AU1", "Inner brows raised"),
    Movement("browOuterUp", "AU2", "Outer brows raised"),
    Movement("eyeBlink", "AU43", "Eyes closed"),
    Movement("eyeWide", "AU5", "Eyes wide"),
    Movement("eyeSquint", "AU7", "Eyes narrowed"),
    Movement("noseSneer", "AU9", "Nose wrinkled"),
    Movement("cheekSquint", "AU6", "Cheeks raised"),
    Movement("mouthUpperUp", "AU10", "Upper lip raised"),
    Movement("mouthLowerDown", "AU16", "Lower lip pulled down"),
    Movement("mouthShrugLower", "AU17", "Lower lip pushed up"),
    Movement("mouthDimple", "AU14", "Lip corners drawn in"),
    Movement("mouthPress", "AU24", "Lips pressed together"),
    Movement("mouthRollUpper", "AU28", "Upper lip rolled in"),
    Movement("mouthFunnel", "AU22", "Lips rounded"),
    Movement("tongueOut", "AU19", "Tongue out"),
)
MAIN = 12


@dataclass(frozen=True)
class LabSettings:
    """One portrait of the lab. Light and view are in degrees, as in Light and View."""

    actions: dict[str, float]
    seed: int = 1
    age: float = 0.6  # 0 newborn, 1 toddler
    tone: float = 0.2  # of the skin, 0 light, 1 dark
    tears: float = 0.0
    occluder: str | None = None  # of OCCLUDERS
    azimuth: float = Light.azimuth
    elevation: float = Light.elevation
    brightness: float = Light.exposure
    yaw: float = 0.0
    pitch: float = 0.0


def actions_of(name: str) -> dict[str, float]:
    """Return the weight of every movement in a named expression. Raises SyntheticError for an unknown name."""
    check_expression(name)
    return {each.name: EXPRESSIONS[name].actions.get(each.name, 0.0) for each in MOVEMENTS}


def portrait(settings: LabSettings, size: int = SIZE_PX) -> Portrait:
    """Render the settings; two portraits of one seed differ only where their settings do."""
    view = View(yaw=settings.yaw, pitch=settings.pitch, background=settings.seed)
    light = replace(LAMP, azimuth=settings.azimuth, elevation=settings.elevation, exposure=settings.brightness)
    occluder = settings.occluder and sample_occluder(np.random.default_rng(settings.seed), settings.occluder)
    return render(infant(settings).express(settings.actions, settings.tears), view, light, size, occluder or None)


def infant(settings: LabSettings) -> Infant:
    """Return the infant of the seed, at the age and with the skin tone of the settings."""
    low, high = AGE_ENDS
    drawn = sample_infant(settings.seed, age=low + settings.age * (high - low))
    return replace(drawn, colours=replace(drawn.colours, skin=skin_of(settings.tone)))


def drawn_age_and_tone(seed: int) -> tuple[float, float]:
    """Return age and tone of a seed's infant as drawn, on the scales of the settings, to the nearest hundredth."""
    drawn, (low, high) = sample_infant(seed), AGE_ENDS
    scale = np.linspace(0, 1, 101)
    away = [np.abs(np.log(np.divide(skin_of(tone), drawn.colours.skin))).sum() for tone in scale]
    age = np.clip((drawn.age - low) / (high - low), 0, 1)
    return round(float(age), 2), round(float(scale[np.argmin(away)]), 2)


def skin_of(tone: float) -> tuple[float, float, float]:
    """Return the linear RGB of a tone between 0, the lightest of TONES, and 1, the darkest; equal steps look about equal."""
    places = np.linspace(0, 1, len(TONES))
    red, green, blue = (round(float(np.exp(np.interp(tone, places, channel))), 4) for channel in np.log(TONES).T)
    return red, green, blue


# --- interpolation ----------------------------------------------------------------------------------------------------

TWO_EXPRESSIONS = "An interpolation needs two different expressions and at least two steps."
STEPS = 11  # so that each changes the weights by a tenth


@dataclass(frozen=True, eq=False)
class InterpolationStep:
    """One rendered picture and the answer to it; `number` counts from 1."""

    number: int
    settings: LabSettings
    image: np.ndarray  # (S, S, 3) uint8
    probabilities: Mapping[str, float] | None  # by affect; None where no face was found

    @property
    def label(self) -> str | None:
        """Return the likeliest affect, or None where no face was found."""
        return max(self.probabilities, key=self.probabilities.__getitem__) if self.probabilities else None


@dataclass(frozen=True)
class Flip:
    """A change of the answer between two steps, which are neighbours but for steps in which no face was found."""

    before: int
    after: int
    was: str
    becomes: str


def interpolate(
    settings: LabSettings,
    start: str,
    end: str,
    read: Callable[[np.ndarray], Mapping[str, float] | None],
    steps: int = STEPS,
    size: int = SIZE_PX,
) -> Iterator[InterpolationStep]:
    """Yield pictures of the settings' infant whose actions go in equal steps from one named expression to another.

    `read` gives the probabilities for an (S, S, 3) uint8 picture, or None when it finds no face. Raises SyntheticError.
    """
    if start == end or steps < 2:
        raise SyntheticError(TWO_EXPRESSIONS)
    for number in range(1, steps + 1):
        step = replace(settings, actions=actions_at(start, end, number, steps))
        image = portrait(step, size).image
        yield InterpolationStep(number, step, image, read(image))


def actions_at(start: str, end: str, number: int, steps: int = STEPS) -> dict[str, float]:
    """Return the weight of every movement in a step, the first being 1, between two named expressions."""
    share = (number - 1) / (steps - 1)
    last = actions_of(end)
    return {name: (1 - share) * weight + share * last[name] for name, weight in actions_of(start).items()}


def flips(labels: Sequence[str | None]) -> list[Flip]:
    """Return where the answer changes along the steps."""
    known = [(number, label) for number, label in enumerate(labels, 1) if label is not None]
    return [Flip(before, after, was, becomes) for (before, was), (after, becomes) in pairwise(known) if was != becomes]


def interpolation_sentence(labels: Sequence[str | None]) -> Message:
    """Return a sentence that says where the answer changes along the steps, and where no face was found."""
    if not labels:
        return Message("No picture has been rendered yet.")
    missed = [str(number) for number, label in enumerate(labels, 1) if label is None]
    if len(missed) == len(labels):
        return Message("No face was found in any picture.")
    words = _changes_sentence(flips(labels), next(filter(None, labels)))
    if not missed:
        return words
    return Message.joined(words, Message("No face was found in step {steps}.", steps=", ".join(missed)))


def _changes_sentence(changes: Sequence[Flip], first: str) -> Message:
    if not changes:
        return Message("The answer stays {affect} throughout.", affect=(first,))
    values = [
        {"before": each.before, "after": each.after, "was": (each.was,), "becomes": (each.becomes,)} for each in changes
    ]
    if len(values) == 1:
        return Message(
            "Between step {before} and step {after} the answer changes from {was} to {becomes}.", **values[0]
        )
    several = [Message("between step {before} and step {after} from {was} to {becomes}", **each) for each in values]
    joined = Message.joined(*several, between="; ")
    return Message("The answer changes {count} times: {changes}.", count=len(several), changes=joined)
