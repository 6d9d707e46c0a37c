"""How does a finished network become steadier? It learns an ensemble's answers to the unchanged face, seeing a changed one.

The targets are half the raters', half the teacher's, which is the ensemble itself or another checkpoint (Hinton, Vinyals and
Dean 2015, arXiv 1503.02531); what the network sees is lit, turned and covered as variation.py does it.
"""

from __future__ import annotations

import time
from dataclasses import asdict

from infant_fer.models.infant_face import InfantFaceModel, separated
from infant_fer.training.infant_face.config import FinetuningConfig
from infant_fer.training.infant_face.data import RecipeData, digest
from infant_fer.training.infant_face.distillation import taught
from infant_fer.training.infant_face.finetuning import distill_emotions, finetune
from infant_fer.training.infant_face.linear_heads import LINEAR_HEADS
from infant_fer.training.infant_face.rendered import RenderedFaces
from infant_fer.training.infant_face.steps import (
    TrainedMember,
    TrainingContext,
    log_for,
    minutes_since,
    step_name,
    weights_digest,
)
from infant_fer.training.provenance import accelerator


def refined(
    ensemble: InfantFaceModel,
    members: list[TrainedMember],
    data: RecipeData,
    context: TrainingContext,
    covers: RenderedFaces | None,
    teacher: InfantFaceModel | None = None,
) -> list[TrainedMember]:
    """Return every network of `ensemble` by itself, those whose family has a refinement after it.

    They learn the answers of `teacher`, by default of the ensemble itself. `members` are the finished networks that the
    ensemble was made of. Minutes are per network; those of a checkpoint that holds several count for its first.
    """
    spent = [minutes for each in members for minutes in (each.minutes, *[0.0] * (each.model.config.members - 1))]
    refinements = [member.refinement for member in context.learning.members]
    return [
        TrainedMember(network, minutes) if settings is None
        else _refined(network, number, settings, minutes, (teacher or ensemble, data, context, covers))
        for number, (network, settings, minutes) in enumerate(zip(separated(ensemble), refinements, spent, strict=True))
    ]  # fmt: skip


def _refined(
    network: InfantFaceModel,
    number: int,
    settings: FinetuningConfig,
    spent: float,
    material: tuple[InfantFaceModel, RecipeData, TrainingContext, RenderedFaces | None],
) -> TrainedMember:
    teacher, data, context, covers = material
    sets, seed = data.training_sets(voted=settings.votes_weight > 0), context.seed + number

    def refine() -> TrainedMember:
        began = time.monotonic()
        network.remove_heads([name for name in LINEAR_HEADS if name in network.config.heads])
        teacher.to(accelerator())
        faces = taught(sets, teacher)
        if settings.distill:
            faces = faces._replace(fer=distill_emotions(teacher, faces.fer))
        student = network.to(accelerator()).requires_grad_(True)
        model = finetune(student, faces, settings, seed, log_for(number), number, covers)
        return TrainedMember(model, round(spent + minutes_since(began), 1))

    wanted = {"data": digest(*sets), "seed": seed, "ensemble": weights_digest(teacher), "refinement": asdict(settings)}
    return context.reused_or_trained(step_name(number, "refined"), wanted, refine)
