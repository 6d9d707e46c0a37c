"""How does a checkpoint come to lie on disk? Whole or not at all, and read again by the app's own road."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from infant_fer.alignment import AlignedFace
from infant_fer.classifier import AffectClassifier
from infant_fer.errors import DatasetError

SAME_LOGITS = 1e-4  # what saving and loading may change


def write_checkpoint(output: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder beside `output`, then rename it, so that nothing half-written bears the final name.

    An existing `output` is replaced. Raises DatasetError when it cannot be written, on a full disk for instance.
    """
    partial = output.with_name(output.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        write(partial)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        advice = " Free some space and start again." if error.errno == errno.ENOSPC else ""
        raise DatasetError(f"{output} could not be written: {error.strerror or error}.{advice}") from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(output, ignore_errors=True)
    partial.rename(output)


def check_saved(folder: Path, crops: np.ndarray, probabilities: np.ndarray) -> None:
    """Load a folder as the app does and compare its answers for (N, S, S, 3) crops with those that were measured.

    Raises DatasetError when they differ by more than SAME_LOGITS.
    """
    classifier = AffectClassifier.from_pretrained(folder, device="cpu")
    for crop, expected in zip(crops, probabilities, strict=True):
        logits = classifier.output(AlignedFace(crop, np.eye(2, 3)))["logits"]
        answer = (logits.double() / classifier.temperature).softmax(-1).numpy()
        if np.abs(answer - expected).max() > SAME_LOGITS:
            raise DatasetError(f"{folder} answers otherwise after loading ({answer} for {expected}); it is not kept.")
