"""What do the networks of a shipped checkpoint learn, and in what order? Settings of the recipe infant_face."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infant_fer.training.config import INFANT_FACE, RECIPES


@dataclass(frozen=True)
class PretrainingConfig:
    """One round of pretraining on FER2013, saved with the run."""

    # (epochs, side of the crops in px): small crops first, as an epoch of them takes less than half the time.
    stages: tuple[tuple[int, int], ...] = ((24, 64), (8, 96))
    mild: float = 0.0  # fraction of each batch that is augmented weakly, the rest strongly
    batch: int = 128
    learning_rate: float = 4e-3  # OneCycle's peak
    weight_decay: float = 0.05  # on matrices only
    label_smoothing: float = 0.1  # FER2013's labels are about 65 % agreed
    ema: float = 0.998
    warmup: float = 0.2
    schedule: str = "one-cycle"  # or "cosine": up linearly, then down along a cosine
    layer_decay: float = 1.0  # factor on the rate from one layer to the next below (BEiT, Bao et al. 2022)
    head_rate: float = 1.0  # factor on the heads' rate
    emotion_weight: float = 1.0  # of FER2013's label in the loss
    votes_weight: float = 0.0  # of FER+'s votes; above 0, its official train split is learned instead of FER2013's own


@dataclass(frozen=True)
class FinetuningConfig:
    """The fine-tuning on infants, saved with the run."""

    epochs: int = 10  # of the infants' rows; half a minute each on two cores
    infants: int = 80  # pictures of each kind in a batch
    older: int = 16  # for the age and usable heads
    emotions: int = 64  # of FER2013, so that the seven emotions are not forgotten
    learning_rate: float = 1e-3  # the peak, then down along a cosine
    mild: float = 0.0  # fraction of each batch that is augmented weakly, the rest strongly
    weight_decay: float = 0.05
    ema: float = 0.99
    warmup: float = 0.1
    valence_weight: float = 0.5
    emotion_weight: float = 0.5
    votes_weight: float = 0.0  # of FER+'s votes; above 0, the batch's FER2013 faces are of the official train split
    distill: bool = (
        True  # half of FER2013's emotion targets are probabilities of the pretrained network, or the teacher
    )
    taught_adults: float = 0.0  # weight of FER2013's faces in the affect's loss: they learn the teacher's affect
    decay_norms: bool = True  # weight decay on biases and norms too, and one rate for all layers
    layer_decay: float = 1.0  # as in the pretraining; needs decay_norms = false
    head_rate: float = 1.0
    other_weight: float = 0.3  # age, usable, eyes closed, mouth covered
    lit_share: float = 0.0  # of each batch: hard light, dark faces; see variation.py
    turned_share: float = 0.0  # of each batch: the head turned in three dimensions
    covered_share: float = 0.0  # of the infants: a rendered pacifier or hand before the mouth
    rare_weight: float = 3.0  # how much more often infants' rows are drawn that are unusable or have the mouth covered


@dataclass(frozen=True)
class GeometryConfig:
    """The training of the geometry stream, seconds on one core; saved with the run."""

    epochs: int = 30
    batch: int = 128
    learning_rate: float = 2e-3  # OneCycle's peak
    weight_decay: float = 0.3
    noise: float = 0.15  # in standard deviations of each feature


@dataclass(frozen=True)
class MemberConfig:
    """How one network of the checkpoint is trained; `family` is one of models.image_streams.FAMILIES."""

    family: str
    pretraining: tuple[PretrainingConfig, ...]  # rounds, each from the averaged weights of the one before
    fine_tuning: FinetuningConfig
    base: str | None = None  # folder of bases/ in the research data with the pretrained backbone; None: random weights
    drop_path: float = 0.0  # share of a transformer's residual branches that training leaves out
    input_side: int | None = (
        None  # px to which a transformer's crops are enlarged; None: as little as its patches allow
    )
    refinement: FinetuningConfig | None = None  # of the finished network, which learns the whole ensemble's answers


@dataclass(frozen=True)
class StudentConfig:
    """How one small network learns from a finished ensemble, the teacher; it starts as a narrower copy of its MobileNet."""

    last_width: int  # channels of the last layer, of 1024
    fine_tuning: FinetuningConfig


@dataclass(frozen=True)
class RecipeConfig:
    """All settings of the recipe, saved with the run. Members differ by their seed: the run's, one more, and so on."""

    members: tuple[MemberConfig, ...]
    geometry: GeometryConfig
    occluders: int = 160  # renders of infants with an occluder, from which it is cut out
    renders: int = 0  # of infants without one, for the action units; 0: no such head
    student: StudentConfig | None = None  # instead of members: one network that learns from a teacher
    half: bool = False  # round the weights to half precision, and store them so

    @property
    def renders_occluders(self) -> bool:
        """Return whether any network learns from rendered objects before the mouth."""
        return any(each.covered_share > 0 for each in self._fine_tunings)

    @property
    def learns_votes(self) -> bool:
        """Return whether any network learns FER+'s votes, at whatever step."""
        rounds = [each.votes_weight for member in self.members for each in member.pretraining]
        return any(weight > 0 for weight in (*rounds, *(each.votes_weight for each in self._fine_tunings)))

    @property
    def _fine_tunings(self) -> list[FinetuningConfig]:
        trained = [each for member in self.members for each in (member.fine_tuning, member.refinement)]
        trained.append(self.student.fine_tuning if self.student else None)
        return [each for each in trained if each]


def variants() -> tuple[str, ...]:
    """Return the names of the recipe's variants, the default first."""
    return tuple(_table()["variants"])


def member_families(learning: Mapping[str, Any]) -> list[str]:
    """Return the families of the networks of a saved RecipeConfig, none for a student."""
    return [each["family"] for each in learning["members"]]


def variant_of(learning: Mapping[str, Any]) -> str | None:
    """Return the name of the variant with the networks of a saved RecipeConfig, None where there is none."""
    networks = member_families(learning)
    return next((name for name, each in _table()["variants"].items() if each["networks"] == networks), None)


def expected_time() -> str:
    """Return how long the default variant takes, in words."""
    return str(_table()["expected_time"])


def recipe(variant: str | None = None) -> RecipeConfig:
    """Read a variant from the recipe's file, by default the first."""
    table = _table()
    families = {name: _member(name, settings) for name, settings in table["families"].items()}
    chosen = table["variants"][variant or variants()[0]]
    student = table["student"]
    return RecipeConfig(
        members=tuple(families[name] for name in chosen["networks"]),
        geometry=GeometryConfig(**table["geometry"]),
        occluders=table["occluders"],
        renders=table["renders"],
        student=None
        if chosen["networks"]
        else StudentConfig(student["last_width"], FinetuningConfig(**student["fine_tuning"])),
        half=chosen.get("half", False),
    )


def _table() -> dict[str, Any]:
    return tomllib.loads((RECIPES / f"{INFANT_FACE}.toml").read_text("utf-8"))


def _member(family: str, settings: dict[str, Any]) -> MemberConfig:
    rounds = [{**each, "stages": tuple(map(tuple, each["stages"]))} for each in settings["pretraining"]]
    trained: dict[str, Any] = {
        name: FinetuningConfig(**settings[name]) for name in ("fine_tuning", "refinement") if name in settings
    }
    trained["pretraining"] = tuple(PretrainingConfig(**each) for each in rounds)
    return MemberConfig(family, **{**settings, **trained})


@dataclass(frozen=True)
class RunConfig:
    """One run of the recipe."""

    data: Path
    output: Path
    cache: Path
    runs: Path = Path("runs")  # finished members are kept here
    resume: bool = False  # take from there what was trained with the same settings
    seed: int = 0
    test: bool = True  # measure on the test rows, for a checkpoint that is released
    command: str = ""
    base: Path | None = None  # folder of the pretrained backbone, instead of the research data's
    random_weights: bool = False  # the backbone's architecture alone, as the baseline of what pretraining brings
    start_from: Path | None = None  # checkpoint whose networks are the first members, instead of training these
    teacher: Path | None = None  # checkpoint that a student learns from
    only_member: int | None = None  # train this member alone, from 1, and stop
    learning: RecipeConfig = field(default_factory=recipe)
