"""What does a run train on, and what is recorded of it? Device, precision, place among processes, provenance, resuming."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError

from infant_fer.alignment import CropSpec
from infant_fer.data.labeled_images import AlignedDataset
from infant_fer.data.leakage import Leaks
from infant_fer.errors import DatasetError, OutputError
from infant_fer.files import check_output_folder, write_atomically
from infant_fer.training.config import ExperimentConfig, TrainingConfig
from infant_fer.training.pretrained import PretrainedModel

if TYPE_CHECKING:  # imports this module
    from infant_fer.training.action_units import ActionUnitFigures


def accelerator() -> torch.device:
    """Return the first NVIDIA GPU that torch sees, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def trainer_device() -> str:
    """Return where transformers' Trainer computes: "cuda", "mps" (Apple) or "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def has_bfloat16() -> bool:
    """Return whether this machine multiplies bfloat16 natively; elsewhere it would be slower than float32."""
    return torch.cuda.is_bf16_supported() if torch.cuda.is_available() else torch.cpu._is_avx512_bf16_supported()


def machine(device: str) -> str:
    """Return a description for the model card of the hardware that computed: "cuda", "mps" or "cpu"."""
    if device == "cuda":
        return f"GPU {torch.cuda.get_device_name()}"
    if device == "mps":
        return f"{platform.machine()} GPU of Apple"
    return f"{platform.machine()} CPU, {os.cpu_count()} cores"


def is_distributed() -> bool:
    """Return whether torchrun or accelerate started more than one process."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_main_process() -> bool:
    """Return whether this is the only process, or the one that prints and writes."""
    return int(os.environ.get("RANK", "0")) == 0


def log(message: str) -> None:
    """Print a message once, by the main process."""
    if is_main_process():
        print(message, flush=True)


@contextmanager
def main_process_first() -> Iterator[None]:
    """Run the block in the main process first; the others follow when it is done, and find what it has cached."""
    if not is_distributed():
        yield
        return
    from accelerate import PartialState

    on_cpu = not torch.cuda.is_available()
    with PartialState(cpu=on_cpu, **({"backend": "gloo"} if on_cpu else {})).main_process_first():
        yield


GOES_ON = " Free some space: the same command with --resume goes on from what is finished."  # advice of `written`
TORCH_WRITER = "inline_container.cc"  # in the message of the RuntimeError that torch.save raises on a full disk


@contextmanager
def written(place: Path, advice: str = "") -> Iterator[None]:
    """Run a block that saves weights to `place`. Raises OutputError for what their writers raise, as on a full disk."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0].rstrip(".")
        if isinstance(error, RuntimeError):
            if TORCH_WRITER not in str(error):
                raise
            reason = "a file could not be written to its end"
        raise OutputError(f"{place} could not be written: {reason}.{advice}") from error


STARTED_FILE = "started.json"  # in a run's folder
WITH_SPACES = {
    name.replace(" ", "_"): name for name in ("average folds", "action units", "processor minutes", "split seed")
}
MAY_DIFFER = ("command", "torch", "machine")  # between a run and its continuation


def publishable(argument: str) -> str:
    """Return a command line's argument as a card may show it: of a path outside the working folder only the last name.

    The parts of `--vary base=A,B` and of `two-stream:FOLDER+OTHER` count for themselves. After a private one every part is taken
    for a piece of a path, since a folder's name may hold a comma, too.
    """
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    if _is_private(value):
        return option + equals + Path(value).name
    shown, hidden = [], False
    for part in re.split(r"([=,+]|(?:stream|fusion):)", value):
        hidden = hidden or _is_private(part.strip())
        shown.append(Path(part.strip()).name if hidden else part)
    return option + equals + "".join(shown)


def published_command(words: Iterable[str], watched: Sequence[Path]) -> str:
    """Return the command line of train.py as a card may show it, from its arguments `words`, each of them `publishable`.

    The pictures that it watches have numbers, because a file's name may name a child.
    """
    numbers = {path: f"picture-{number}" for number, path in enumerate(watched, 1)}
    shown = ["train.py"]
    for word in words:
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        number = numbers.get(Path(value))
        shown.append(publishable(word) if number is None else option + equals + number)
    return "python " + shlex.join(shown)


def _is_private(value: str) -> bool:
    path = Path(value)
    return path.is_absolute() or ".." in path.parts or value.startswith("~")


@dataclass(frozen=True)
class Provenance:
    """What the card and `metrics.json` say of a run; None for what is known only at its end, or was not chosen."""

    command: str
    recipe: str
    base: str
    data: str  # the last name of its source
    labels: list[str]
    split: str  # how the splits were made
    crops: str  # "aligned" or "whole"
    split_sha256: str  # of the lines "split picture"
    counts: dict[str, dict[str, int]]  # pictures by split and class
    subjects_known: bool  # whether the data identify their infants
    leaks: dict[str, int]  # how many infants, files and pictures are in several splits
    folds: int  # of the cross-validation; 0 is none
    average_folds: bool  # the folds share train and dev alone
    repeats: int
    rendered: str  # the class that renders fill up; empty: none
    warped: str
    aux: str
    teacher: str | None
    seed: int
    settings: TrainingConfig
    crop: CropSpec
    torch: str  # its version
    machine: str
    split_seed: int | None = None  # where the split and the folds were drawn with another seed
    subjects_guessed: bool | None = None  # True: file names alone identify them
    action_units: ActionUnitFigures | None = None
    minutes: float | None = None  # of training and measuring, after the faces were found
    processor_minutes: float | None = None  # of a shared machine, too
    resumed: bool | None = None  # True: the minutes are those since the run was resumed

    @classmethod
    def of(
        cls, config: ExperimentConfig, base: PretrainedModel, dataset: AlignedDataset, splits: np.ndarray, across: Leaks
    ) -> Provenance:
        """Describe a run before it trains; `across` are the leaks of its (N,) str splits."""
        images = dataset.images
        listing = "\n".join(f"{split} {member}" for split, member in zip(splits, images.members, strict=True))
        return cls(
            command=config.command,
            recipe=config.recipe,
            base=str(base),
            data=Path(config.data.source).name,
            labels=list(images.labels),
            split=config.data.split,
            crops=config.data.crops,
            split_sha256=hashlib.sha256(listing.encode(errors="surrogateescape")).hexdigest(),
            counts={name: images.rows(splits == name).counts() for name in ("train", "dev", "test")},
            subjects_known=images.subjects_known,
            subjects_guessed=images.subjects_guessed or None,
            leaks=across.counts(),
            folds=config.folds.count,
            average_folds=config.folds.average,
            repeats=config.folds.repeats,
            rendered=config.rendered,
            warped=config.warped,
            aux=config.aux,
            teacher=config.teacher and publishable(config.teacher),
            seed=config.seed,
            split_seed=config.split_seed,
            settings=config.settings,
            crop=base.crop,
            torch=torch.__version__,
            machine=machine(trainer_device()),
        )

    def to_dict(self) -> dict:
        """Return plain data for JSON, without what is not known."""
        plain = {WITH_SPACES.get(name, name): value for name, value in asdict(self).items()}
        plain["action units"] = self.action_units and self.action_units.to_dict()
        return {name: value for name, value in plain.items() if value is not None or name == "teacher"}


def start_run(folder: Path, description: Mapping[str, object], resume: bool) -> bool:
    """Record what the run in `folder` is, after deleting the steps of an earlier one, which a later resume would take up.

    Return whether an earlier one is continued.
    `description` is what Provenance.to_dict returns. Raises DatasetError when the run to resume differs in anything but
    MAY_DIFFER, and OutputError when the folder holds what no run has written.
    """
    file, description = folder / STARTED_FILE, json.loads(json.dumps(description))
    continued = resume and file.is_file()
    if continued:
        before = json.loads(file.read_text("utf-8"))
        if before.keys() != description.keys():
            raise DatasetError(
                "The run to resume was begun by another version of this program. Start anew without --resume."
            )
        other = [name for name in description if name not in MAY_DIFFER and description[name] != before[name]]
        if other:
            raise DatasetError(
                f"The run to resume had another {', another '.join(other)}. Give the same command, or start anew without --resume."
            )
    else:
        check_output_folder(folder, lambda place: (place / STARTED_FILE).is_file())
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(description, indent=1))
    return continued
