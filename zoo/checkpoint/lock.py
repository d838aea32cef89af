"""One writer per run directory."""

from pathlib import Path
from typing import Any

from zoo.checkpoint.errors import RunInUseError
from zoo.common.locks import LockHeldError, take_lock

LOCK_NAME = ".lock"


def take_run(run_dir: Path) -> Any:
    """The lock of a run directory, held until its `release()`, or the end of this process.

    Raises:
      RunInUseError: another process, or another object of this one, holds it.
      OSError: the directory cannot be written.
    """
    try:
        return take_lock(run_dir / LOCK_NAME)
    except LockHeldError as held:
        raise RunInUseError(
            f"run directory {run_dir} is in use by {held}; wait for it to end or train into "
            "another directory"
        ) from None
