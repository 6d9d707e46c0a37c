"""The recipe `ours`: FER2013 first, then infants with every head, temperature on dev, figures on test, a card."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from infant_fer.alignment import CropSpec
from infant_fer.models.infant_face import InfantFaceConfig, InfantFaceModel
from infant_fer.training import figures, metrics
from infant_fer.training.card import model_card
from infant_fer.training.faces_cache import FaceTable, face_table
from infant_fer.training.finetuning import Faces, FinetuningSettings, finetune, outputs
from infant_fer.training.manifest import UNKNOWN, Manifest, read_fer2013, read_infants, read_older
from infant_fer.training.pretraining import PretrainingSettings, emotion_logits, grey_crops, pretrain, unlike

PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 96, "width": 96},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


@dataclass(frozen=True)
class Run:
    """What one run is asked for."""

    data: Path
    output: Path
    cache: Path
    pretrained: Path | None = None  # skip the pretraining
    seeds: tuple[int, ...] = (0, 1)  # fine-tunings whose weights are averaged (Wortsman et al. 2022, "model soups")
    test: bool = True  # measure on the test rows: once, for a checkpoint that is released
    command: str = ""
    pretraining: PretrainingSettings = field(default_factory=PretrainingSettings)
    finetuning: FinetuningSettings = field(default_factory=FinetuningSettings)


@dataclass(frozen=True, eq=False)
class Data:
    """The three sets with their faces; `fer_kept` are the FER2013 training rows unlike any held-out infant."""

    infants: Manifest
    infant_faces: Faces
    older: Manifest
    older_faces: Faces
    fer: Manifest
    fer_grey: torch.Tensor
    fer_kept: np.ndarray


def run(asked: Run, log: Callable[[str], None] = print) -> dict:
    """Make and measure a checkpoint folder; gives the figures. An existing output folder is replaced at the very end."""
    start = time.monotonic()
    data = load(asked, log)
    model = _pretrained(asked, data, log)
    model = _finetuned(asked, model, data, log)
    answer = outputs(model, data.infant_faces)
    dev = data.infants.split == "dev"
    rated = dev & (data.infants.affect != UNKNOWN)
    model.config.logit_temperature = metrics.fit_temperature(answer.logits.numpy()[rated], data.infants.affect[rated])
    results = {"dev": measure(model, answer, data, dev)}
    if asked.test:
        results["test"] = measure(model, answer, data, data.infants.split == "test")
    results["run"] = _provenance(asked, (time.monotonic() - start) / 60)
    _save(model, results, asked)
    for source, share in results["dev"]["accuracy"]["this checkpoint"].items():
        log(f"dev {source}: {share}")
    return results


def load(asked: Run, log: Callable[[str], None] = print) -> Data:
    """Read the sets and find their faces, from the cache after the first time."""
    spec = CropSpec()
    infants, older, fer = (read(asked.data) for read in (read_infants, read_older, read_fer2013))
    tables = [face_table(manifest, spec, asked.cache) for manifest in (infants, older, fer)]
    infant_faces, older_faces = (_faces(*pair) for pair in zip((infants, older), tables[:2], strict=True))
    fer_grey = grey_crops(tables[2].crops)
    held_out = infants.split != "train"
    kept = (fer.split == "train") & ~np.isin(fer.members, np.array(infants.members)[held_out])
    kept &= unlike(fer_grey, infant_faces.grey[held_out])
    log(f"{kept.sum()} of {(fer.split == 'train').sum()} FER2013 training pictures are unlike the held-out infants")
    return Data(infants, infant_faces, older, older_faces, fer, fer_grey, kept)


def measure(model: InfantFaceModel, answer, data: Data, chosen: np.ndarray) -> dict:
    """Accuracies of fusion, streams and baselines, and the other heads' figures, over the chosen rows of the infants."""
    predictions = {
        "this checkpoint": answer.logits.argmax(1).numpy(),
        "image stream alone": answer.image_logits.argmax(1).numpy(),
        "geometry stream alone": answer.geometry_logits.argmax(1).numpy(),
        **figures.baselines(data.infant_faces.geometry.numpy(), data.infant_faces.found.numpy(), data.infants),
    }
    split = str(data.infants.split[chosen][0])
    rated = chosen & (data.infants.affect != UNKNOWN)
    right = {name: predicted[rated] == data.infants.affect[rated] for name, predicted in predictions.items()}
    return {
        "accuracy": {name: figures.accuracies(predicted, data.infants, chosen) for name, predicted in predictions.items()},
        "recall": figures.recalls(predictions["this checkpoint"], data.infants, chosen),
        "heads": {
            **figures.head_figures(answer, model.config.logit_temperature, data.infants, chosen),
            "AUC usable infant's face": _usable_auc(model, answer, data, split),
        },
        "emotions of FER2013": _fer_accuracy(model, data, split),
        "McNemar p": {name: metrics.mcnemar(right["this checkpoint"], other) for name, other in right.items()},
    }


def _faces(manifest: Manifest, table: FaceTable) -> Faces:
    return Faces(
        grey_crops(table.crops),
        torch.from_numpy(table.geometry),
        torch.from_numpy(table.found),
        torch.from_numpy(manifest.affect_soft),
        torch.from_numpy(manifest.emotion).long(),
        torch.from_numpy(manifest.valence_arousal),
        torch.from_numpy(manifest.age).long(),
        torch.from_numpy(manifest.usable),
        torch.from_numpy(manifest.eyes_closed),
    )


def _pretrained(asked: Run, data: Data, log: Callable[[str], None]) -> InfantFaceModel:
    config = InfantFaceConfig(geometry_size=data.infant_faces.geometry.shape[1], face_crop=asdict(CropSpec()))
    if asked.pretrained is None:
        dev = data.fer.split == "dev"
        kept_grey, dev_grey = data.fer_grey[data.fer_kept], data.fer_grey[dev]
        emotion = data.fer.emotion
        return pretrain(kept_grey, emotion[data.fer_kept], dev_grey, emotion[dev], asked.pretraining, config, log)
    model = InfantFaceModel(config)
    found = InfantFaceModel.from_pretrained(asked.pretrained).state_dict()
    model.load_state_dict({**model.state_dict(), **found})
    return model


def _finetuned(asked: Run, model: InfantFaceModel, data: Data, log: Callable[[str], None]) -> InfantFaceModel:
    """Fine-tune once per seed from the same start and average the weights."""
    start = {name: value.clone() for name, value in model.state_dict().items()}
    infants = data.infant_faces.rows(torch.from_numpy(np.flatnonzero(data.infants.split == "train")))
    older = data.older_faces.rows(torch.from_numpy(np.flatnonzero(data.older.split == "train")))
    emotions = _emotion_rows(data)
    finished = []
    for seed in asked.seeds:
        model.load_state_dict(start)
        torch.manual_seed(seed)
        finished.append(finetune(model, infants, older, emotions, replace(asked.finetuning, seed=seed), log).state_dict())
    mean = {name: sum(state[name].double() for state in finished) / len(finished) for name in start}
    model.load_state_dict({name: mean[name].to(start[name].dtype) for name in start})
    return model.eval().requires_grad_(False)


def _emotion_rows(data: Data) -> Faces:
    """FER2013's kept training rows: an emotion, nothing else known."""
    index = np.flatnonzero(data.fer_kept)
    n, geometry_size = len(index), data.infant_faces.geometry.shape[1]
    unknown = torch.full((n,), float("nan"))
    return Faces(
        data.fer_grey[index],
        torch.zeros(n, geometry_size),
        torch.zeros(n, dtype=torch.bool),
        torch.zeros(n, 3),
        torch.from_numpy(data.fer.emotion[index]).long(),
        torch.full((n, 2), float("nan")),
        torch.full((n,), UNKNOWN),
        unknown,
        unknown,
    )


def _usable_auc(model: InfantFaceModel, answer, data: Data, split: str) -> float:
    """Usable infants of a split against its unusable rows and its older faces above eight years."""
    infants = data.infants.split == split
    older = (data.older.split == split) & (data.older.usable == 0)
    others = outputs(model, data.older_faces.rows(torch.from_numpy(np.flatnonzero(older))))
    scores = np.concatenate([answer.usable_logit.numpy()[infants], others.usable_logit.numpy()])
    return metrics.auc(scores, np.concatenate([data.infants.usable[infants], np.zeros(older.sum())]))


def _fer_accuracy(model: InfantFaceModel, data: Data, split: str) -> metrics.Share:
    chosen = data.fer.split == split
    return metrics.accuracy(emotion_logits(model, data.fer_grey[chosen]).argmax(1).numpy(), data.fer.emotion[chosen])


def _provenance(asked: Run, minutes: float) -> dict:
    return {
        "command": asked.command,
        "minutes": round(minutes, 1),
        "seeds": list(asked.seeds),
        "pretraining": asdict(asked.pretraining),
        "fine-tuning": asdict(asked.finetuning),
        "torch": torch.__version__,
        "machine": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
    }


def _save(model: InfantFaceModel, results: dict, asked: Run) -> None:
    """Write the folder beside its final name and rename it, so that nothing half-written bears that name."""
    partial = asked.output.with_name(asked.output.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    (partial / "preprocessor_config.json").write_text(json.dumps(PROCESSOR, indent=2), "utf-8")
    (partial / "metrics.json").write_text(json.dumps(results, indent=1, default=_plain), "utf-8")
    (partial / "README.md").write_text(model_card(asked.output.name, results), "utf-8")
    shutil.rmtree(asked.output, ignore_errors=True)
    partial.rename(asked.output)


def _plain(share: metrics.Share) -> dict:
    return {"value": share.value, "right": share.right, "n": share.n, "interval95": share.interval}
