"""What can go wrong for a user: every message says what must hold, what was given and what to do next."""

from __future__ import annotations

import sys
from collections.abc import Callable

EXTRA_OF = {  # packages that a command cannot do without, and the extra that brings them
    "av": "video",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "sklearn": "train",
}


class InfantFERError(Exception):
    """Any fault that the user can repair."""

    @property
    def sentence(self) -> str:
        """Return the message; a locales.Message stays one, which a translator can say in another language."""
        return self.args[0] if self.args else ""


class ImageError(InfantFERError):
    """The bytes are no photo that can be read safely."""


class FaceModelError(InfantFERError):
    """The face landmark bundle is missing or altered."""


class CheckpointError(InfantFERError):
    """The checkpoint is missing, of the wrong kind, or not safe to load."""


class DatasetError(InfantFERError):
    """The training data cannot be used as it stands."""


class OutputError(InfantFERError):
    """A file or folder cannot be written where it should be, or would replace what this program did not write."""


class TrainingError(InfantFERError):
    """A training run ended early."""


class SyntheticError(InfantFERError):
    """A synthetic infant cannot be made with the given settings."""


class ExplanationError(InfantFERError):
    """An attribution method does not apply to the checkpoint or lacks what it needs."""


class ClipError(InfantFERError):
    """The file is no video clip that can be read safely."""


class ClusterError(InfantFERError):
    """No cluster can be reached, or it has lost all its workers."""


def exit_status(work: Callable[[], int | None], interrupted: str = "Interrupted.", status: int = 1) -> int:
    """Run a command; return what it returns (None: 0), `status` after an InfantFERError, 130 after Ctrl-C.

    Without a package of EXTRA_OF it returns 2. The fault's sentence, which extra to install, or `interrupted`, is printed on
    stderr; every other exception is passed on.
    """
    try:
        return work() or 0
    except InfantFERError as error:
        print(error, file=sys.stderr)
        return status
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA_OF:
            raise
        how = f"pip install '.[{EXTRA_OF[package]}]' in the project's folder"
        print(f"This command needs {package}: {how}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return 130
