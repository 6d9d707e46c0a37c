"""Several fine-tuned models teach one: their mean answers become the targets of every training face."""

from __future__ import annotations

import copy

import torch

from infant_fer.models.infant_face import InfantFaceModel
from infant_fer.training.rows import Faces, outputs

VOTES_SHARE = 0.5  # of the labels in a target, where a face has labels; the rest is the teachers'


def taught(teachers: list[InfantFaceModel], faces: Faces) -> Faces:
    """The faces with affect and emotion targets that mix their labels with the teachers' mean probabilities.

    The teachers see crop and mirror image (Hinton et al. 2015, without a temperature: the votes are soft already).
    """
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answers = [outputs(teacher, faces) for teacher in teachers]
    affect = torch.stack([answer.logits.float().softmax(1) for answer in answers]).mean(0)
    emotion = torch.stack([answer.emotion_logits.float().softmax(1) for answer in answers]).mean(0)
    return faces.with_targets(_mixed(faces.affect_soft, affect), _mixed(faces.emotion_soft, emotion))


def remembered(model: InfantFaceModel, faces: Faces) -> Faces:
    """The faces with emotion targets that mix their labels with a pretrained model's answers, so that fine-tuning keeps
    what the pretraining learned (Li and Hoiem 2017).
    """
    with torch.autocast("cpu", dtype=torch.bfloat16):
        emotion = outputs(model, faces).emotion_logits.float().softmax(1)
    return faces.with_targets(faces.affect_soft, _mixed(faces.emotion_soft, emotion))


def mean_weights(models: list[InfantFaceModel]) -> InfantFaceModel:
    """A model with the mean weights of models that were fine-tuned from one start (Wortsman et al. 2022)."""
    states = [model.state_dict() for model in models]
    mean = {name: sum(state[name].double() for state in states) / len(states) for name in states[0]}
    model = copy.deepcopy(models[0])
    model.load_state_dict({name: value.to(states[0][name].dtype) for name, value in mean.items()})
    return model


def _mixed(labels: torch.Tensor, taught_: torch.Tensor) -> torch.Tensor:
    known = labels.sum(1, keepdim=True) > 0
    return torch.where(known, VOTES_SHARE * labels + (1 - VOTES_SHARE) * taught_, taught_)
