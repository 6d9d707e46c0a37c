"""Run by torchrun in a test: train a tiny model on drawn faces and write the dev loss of every epoch."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers as hf

from infant_fer.labels import AFFECTS
from infant_fer.training import pretrained as bases
from infant_fer.training.config import TrainingConfig
from infant_fer.training.trainer import FitRun, fit
from tests.drawn_data import drawn_face, face_dataset

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def dev_losses(batch: int, folder: Path) -> list[float]:
    """Return the dev loss of every epoch of a training whose steps take `batch` faces in each process."""
    bases.SHAPES["tiny"] = lambda: hf.ViTConfig(image_size=32, patch_size=8, **SIZES)
    torch.manual_seed(0)
    base = bases.load_pretrained("random:tiny", AFFECTS, 32)
    classes = np.arange(32) % 3
    faces = np.stack([drawn_face(AFFECTS[c], n, 32) for n, c in enumerate(classes)])
    crops = face_dataset(faces, np.zeros((32, 0)), np.eye(3)[classes])
    settings = TrainingConfig(epochs=6, batch=batch, learning_rate=1e-3, warmup=0.0, precision="float32")
    history = fit(base, crops, crops, settings, FitRun(folder))
    return [entry["eval_dev_loss"] for entry in history if "eval_dev_loss" in entry]


if __name__ == "__main__":
    out = Path(sys.argv[2])
    losses = dev_losses(int(sys.argv[1]), out.parent / "run")
    if int(torch.distributed.get_rank()) == 0:
        out.write_text(json.dumps(losses))
