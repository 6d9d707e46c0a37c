"""What can go wrong for a user: every message says what must hold, what was given and what to do next."""


class InfantFERError(Exception):
    """Any fault that the user can repair."""


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
