"""Affect classes, the mapping from emotions to affect, and their words and colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infant_fer.errors import CheckpointError

AFFECTS = ("positive", "neutral", "negative")
EMOTIONS = ("happy", "neutral", "surprise", "sad", "angry", "fear", "disgust")
# Of FER+ (Barsoum et al. 2016, arXiv 1608.01041), in the order of its votes.
VOTED_EMOTIONS = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")
# Of the Facial Action Coding System (Ekman, Friesen and Hager 2002; Oster, Baby FACS 2006), in the order of that head. AU4 is
# 3 + 4 of Baby FACS, AU26 stands for 26 and 27.
ACTION_UNITS = ("AU1", "AU2", "AU4", "AU6", "AU9", "AU12", "AU15", "AU17", "AU20", "AU25", "AU26", "AU43")
# Meters in plain words, each the strongest of its action units.
METERS = {
    "smile": ("AU12",),
    "knit brow": ("AU4",),
    "narrowed eyes": ("AU6", "AU43"),
    "open mouth": ("AU25", "AU26"),
}
AGE_GROUPS = ("newborn", "baby", "toddler", "older")

# Okabe and Ito's colour-blind-safe palette, https://jfly.uni-koeln.de/color/
AFFECT_COLOURS = {"positive": "#009E73", "neutral": "#767676", "negative": "#D55E00"}

# Surprise is neither pleasant nor unpleasant by itself (Barrett et al. 2019), so it counts as neutral here.
EMOTION_TO_AFFECT = {
    "happy": "positive",
    "neutral": "neutral",
    "surprise": "neutral",
    "sad": "negative",
    "angry": "negative",
    "fear": "negative",
    "disgust": "negative",
    "contempt": "negative",
    "cry": "negative",
}

_SYNONYMS = {
    "pos": "positive", "neu": "neutral", "neg": "negative",
    "happiness": "happy", "joy": "happy", "surprised": "surprise", "sadness": "sad", "anger": "angry",
    "fearful": "fear", "afraid": "fear", "disgusted": "disgust", "crying": "cry",
}  # fmt: skip


def canonical_label(name: str) -> str:
    """Return the project's name of a label found in a checkpoint or a file ("Happiness" -> "happy")."""
    word = name.strip().lower()
    return _SYNONYMS.get(word, word)


def affect_of_labels(names: Sequence[str]) -> tuple[str, ...]:
    """Map a checkpoint's label names, in order, to affects; raises CheckpointError for a label that is neither."""
    affects = []
    for name in names:
        label = canonical_label(name)
        affect = label if label in AFFECTS else EMOTION_TO_AFFECT.get(label)
        if affect is None:
            known = ", ".join((*AFFECTS, *EMOTION_TO_AFFECT))
            raise CheckpointError(
                f"The checkpoint's label {name!r} is no affect and no emotion. "
                f"Set id2label in its config.json to names among: {known}."
            )
        affects.append(affect)
    missing = [affect for affect in AFFECTS if affect not in affects]
    if missing:
        raise CheckpointError(f"The checkpoint's labels {list(names)} give no {' and no '.join(missing)} class.")
    return tuple(affects)


def affect_of(label: str) -> str:
    """Return the affect of a canonical label, which is an affect or an emotion."""
    return label if label in AFFECTS else EMOTION_TO_AFFECT[label]


def is_emotions(names: Sequence[str]) -> bool:
    """Tell whether label names are emotions that still have to be summed into affect."""
    return not {canonical_label(name) for name in names} <= set(AFFECTS)


def sum_to_affect(probabilities: Mapping[str, float]) -> dict[str, float]:
    """Sum emotion probabilities (canonical names) into the three affects; the total is kept."""
    totals = dict.fromkeys(AFFECTS, 0.0)
    for label, probability in probabilities.items():
        totals[affect_of(label)] += probability
    return totals


def meters(action_units: Mapping[str, float]) -> dict[str, float]:
    """Return the four METERS in 0..1 from the strengths of action units."""
    return {name: max(action_units[unit] for unit in units) for name, units in METERS.items()}
