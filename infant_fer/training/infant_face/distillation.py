"""What do earlier networks teach? Their answers, mixed with the labels, become the targets of training faces."""

from __future__ import annotations

import torch

from infant_fer.models.infant_face import InfantFaceModel
from infant_fer.training.infant_face.rows import Faces, outputs

LABELS_SHARE = 0.5  # of a target; the rest is the earlier network's


def distill_emotions(model: InfantFaceModel, faces: Faces) -> Faces:
    """The faces with emotion targets that mix their labels with a pretrained model's answers, so that fine-tuning keeps
    what the pretraining learned (Li and Hoiem 2017). Every face has a label.
    """
    with torch.autocast(model.device.type, dtype=torch.bfloat16):
        emotion = outputs(model, faces).emotion_logits.float().softmax(1)
    return faces.with_targets(faces.affect_soft, LABELS_SHARE * faces.emotion_soft + (1 - LABELS_SHARE) * emotion)
