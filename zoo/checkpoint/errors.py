"""What can go wrong with a checkpoint, by what the caller can do about it."""

from collections.abc import Sequence
from pathlib import Path

# Substrings of the errors TensorStore raises on a full disk; errno 28 is ENOSPC.
_FULL_DISK_MARKS = ("os_error_code='28'", "RESOURCE_EXHAUSTED", "No space left on device")


class CheckpointError(ValueError):
    """A checkpoint cannot be read or written as asked."""


class NoCheckpointError(CheckpointError):
    """The path holds no checkpoint at all."""


class RunInUseError(CheckpointError):
    """Another process trains in this run directory."""


class DamagedCheckpointError(CheckpointError):
    """Files on disk are not the files that were written: missing, extra or altered."""


class CheckpointMismatchError(CheckpointError):
    """The stored arrays are not the wanted ones.

    Attributes:
      differences: one line per missing, extra, mis-shaped or mis-typed array.
    """

    def __init__(self, message: str, differences: Sequence[str]):
        super().__init__(message)
        self.differences = tuple(differences)


class UnsupportedStateError(CheckpointError):
    """The tree to be saved or restored cannot be stored under unique names."""


class NonFiniteError(CheckpointError):
    """The state holds NaN or infinity; it was kept aside, not as a step.

    Attributes:
      step: the step of the refused save.
      names: the arrays that are not finite.
      path: where the state was kept for inspection.
    """

    def __init__(self, message: str, *, step: int, names: Sequence[str], path: Path):
        super().__init__(message)
        self.step = step
        self.names = tuple(names)
        self.path = path


class CheckpointSaveError(CheckpointError):
    """A save did not reach the disk; all earlier steps are as they were.

    Attributes:
      step: the step that is not saved.
      path: its directory, which does not exist.
      out_of_space: whether the disk was full.
      exit_code: of a command that ends with this error; None is the usual one.
    """

    def __init__(self, message: str, *, step: int, path: Path, out_of_space: bool = False):
        super().__init__(message)
        self.step = step
        self.path = path
        self.out_of_space = out_of_space
        self.exit_code = 5 if out_of_space else None


def save_error(step: int, path: Path, cause: BaseException) -> CheckpointSaveError:
    """The error to raise for a save of `step` into `path` that failed with `cause`."""
    full = any(mark in str(cause) for mark in _FULL_DISK_MARKS)
    reason = " ".join(str(cause).split("[tensorstore_spec")[0].split())[:300]
    advice = (
        f"the disk of {path.parent} is full; free space or train into another directory"
        if full
        else f"{type(cause).__name__}: {reason}"
    )
    return CheckpointSaveError(
        f"step {step} was not saved to {path}: {advice}; earlier steps are untouched",
        step=step,
        path=path,
        out_of_space=full,
    )
