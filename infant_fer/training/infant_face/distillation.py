"""How does a network learn an ensemble's answers? A small student alone, or each finished network again, to be steadier.

Hinton, Vinyals and Dean (2015, arXiv 1503.02531); the targets are half the raters', half the teacher's. The student starts as a
narrower copy of the teacher's MobileNet. A refined network sees faces lit, turned and covered as variation.py does it, and learns
the answers to the unchanged ones.
"""

from __future__ import annotations

import time
from dataclasses import asdict

import numpy as np
import torch

from infant_fer.errors import TrainingError
from infant_fer.models.image_streams import LAST_WIDTH
from infant_fer.models.infant_face import ImageReader, InfantFaceConfig, InfantFaceModel, separated
from infant_fer.training.infant_face.config import FinetuningConfig
from infant_fer.training.infant_face.data import RecipeData, TrainingSets, digest, outputs
from infant_fer.training.infant_face.finetuning import distill_emotions, finetune
from infant_fer.training.infant_face.linear_heads import LINEAR_HEADS
from infant_fer.training.infant_face.steps import (
    StepSettings,
    TrainedMember,
    TrainingContext,
    log_for,
    minutes_since,
    step_name,
    weights_digest,
)
from infant_fer.training.provenance import accelerator
from infant_fer.training.rendered import RenderedFaces

FAMILY = "mobilenet"
TEACHER_SHARE = 0.5  # of a target


def narrowed_student(teacher: InfantFaceModel, last_width: int) -> InfantFaceModel:
    """Return the teacher's first MobileNet by itself, of its last layer only the `last_width` most used channels.

    A channel is used as much as its largest activation by the norm, gamma and beta, times what the heads make of it. The
    student is about to learn what that leaves out. Raises TrainingError without a MobileNet or with fewer channels.
    """
    families = teacher.config.families
    if FAMILY not in families:
        raise TrainingError(f"The teacher has no {FAMILY} to start the student from, only {', '.join(families)}.")
    reader = teacher.image_readers[families.index(FAMILY)]
    layer = reader.image.backbone.layer[-1]
    if not 1 <= last_width <= reader.image.width:
        raise TrainingError(f"The last layer can have 1 to {reader.image.width} channels, not {last_width}.")
    heads = list(teacher.config.heads)
    use = torch.stack([getattr(reader, name).weight.norm(dim=0) for name in heads]).sum(0)
    size = layer.normalization.weight.abs() + layer.normalization.bias.clamp_min(0)
    kept = (use * size).argsort(descending=True)[:last_width].sort().values
    config = InfantFaceConfig(
        **{
            **teacher.config.to_dict(),
            "members": 1,
            "families": [FAMILY],
            "member_weights": None,
            "backbones": {FAMILY: {**teacher.config.backbones[FAMILY], LAST_WIDTH: last_width}},
        }
    )
    student = InfantFaceModel(config)
    mine = student.image_readers[0]
    mine.load_state_dict({name: _cut(name, value, kept, mine) for name, value in reader.state_dict().items()})
    return student


def _cut(name: str, value: torch.Tensor, kept: torch.Tensor, student: ImageReader) -> torch.Tensor:
    """Return a weight of the wide network with the `kept` channels of its last layer alone, as the student's has them."""
    wanted = student.state_dict()[name].shape
    if value.shape == wanted:
        return value
    return value[kept] if value.shape[0] != wanted[0] else value[:, kept]


def taught(sets: TrainingSets, teacher: InfantFaceModel, settings: FinetuningConfig) -> TrainingSets:
    """Return the sets with targets of the infants' votes that are half the teacher's; what nobody rated stays unknown.

    FER2013's faces have its emotions and its affect as `settings` say.
    """
    answer = outputs(teacher, sets.infants)
    infants = sets.infants
    affect = (answer.logits.float() / teacher.config.logit_temperature).softmax(1).numpy()
    infants = infants.with_target(_mixed(infants.images.target, affect))
    for name, logits in (("emotion", answer.emotion_logits), ("votes", answer.vote_logits)):
        if logits is not None:
            infants = infants.with_head(name, _mixed(infants.images.heads[name], logits.float().softmax(1).numpy()))
    rated = infants.images.heads["valence_arousal"]
    mixed = (1 - TEACHER_SHARE) * rated + TEACHER_SHARE * answer.valence_arousal.numpy()  # NaN stays NaN
    infants = infants.with_head("valence_arousal", mixed.astype(np.float32))
    fer = distill_emotions(teacher, sets.fer, settings.taught_adults) if settings.distill else sets.fer
    return sets._replace(infants=infants, fer=fer)


def _mixed(votes: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return (N, C) float32: TEACHER_SHARE of the teacher where there are votes, zeros elsewhere."""
    known = votes.sum(1, keepdims=True) > 0
    return (known * ((1 - TEACHER_SHARE) * votes + TEACHER_SHARE * probabilities)).astype(np.float32)


def refined(
    ensemble: InfantFaceModel,
    members: list[TrainedMember],
    data: RecipeData,
    context: TrainingContext,
    occluders: RenderedFaces | None,
    teacher: InfantFaceModel | None = None,
) -> list[TrainedMember]:
    """Return every network of `ensemble` by itself, those whose family has a refinement after it.

    They learn the answers of `teacher`, by default of the ensemble itself. `members` are the finished networks that the
    ensemble was made of. Minutes are per network; those of a checkpoint that holds several count for its first.
    """
    spent = [minutes for each in members for minutes in (each.minutes, *[0.0] * (each.model.config.members - 1))]
    refinements = [member.refinement for member in context.config.learning.members]
    teaching = _Teaching((teacher or ensemble), data)
    return [
        TrainedMember(network, minutes) if settings is None
        else _refined(network, number, settings, minutes, (teaching, context, occluders))
        for number, (network, settings, minutes) in enumerate(zip(separated(ensemble), refinements, spent, strict=True))
    ]  # fmt: skip


class _Teaching:
    """A teacher and the training sets; networks with the same settings share one reading of these by it."""

    def __init__(self, teacher: InfantFaceModel, data: RecipeData):
        self.teacher, self.data = teacher, data
        self._taught: dict[tuple, TrainingSets] = {}

    def sets(self, settings: FinetuningConfig) -> TrainingSets:
        """Return the sets with the raters' targets."""
        return self.data.training_sets(voted=settings.votes_weight > 0)

    def taught(self, settings: FinetuningConfig) -> TrainingSets:
        """Return the sets with targets that are half the teacher's."""
        key = (settings.votes_weight > 0, settings.distill, settings.taught_adults)
        if key not in self._taught:
            self._taught[key] = taught(self.sets(settings), self.teacher.to(accelerator()), settings)
        return self._taught[key]


def _refined(
    network: InfantFaceModel,
    number: int,
    settings: FinetuningConfig,
    spent: float,
    material: tuple[_Teaching, TrainingContext, RenderedFaces | None],
) -> TrainedMember:
    teaching, context, occluders = material
    seed = context.config.seed + number

    def refine() -> TrainedMember:
        began = time.monotonic()
        network.remove_heads([name for name in LINEAR_HEADS if name in network.config.heads])
        faces = teaching.taught(settings)
        student = network.to(accelerator()).requires_grad_(True)
        model = finetune(student, faces, settings, seed, log_for(number), number, occluders)
        return TrainedMember(model, round(spent + minutes_since(began), 1))

    wanted: StepSettings = {
        "data": digest(*teaching.sets(settings)),
        "seed": seed,
        "ensemble": weights_digest(teaching.teacher),
        "start": weights_digest(network),
        "refinement": asdict(settings),
        **context.occluders_of(settings),
    }
    return context.reused_or_trained(step_name(number, "refined"), wanted, refine)


def rounded_to_half(model: InfantFaceModel) -> InfantFaceModel:
    """Round every weight of a model in place to what half precision can hold, so that a file of half the size is no other model."""
    with torch.no_grad():
        for value in (*model.parameters(), *model.buffers()):
            if value.is_floating_point():
                value.copy_(value.half().float())
    return model
