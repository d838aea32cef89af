"""What the one writer of a run moves and deletes; only the holder of the lock calls this.

A directory is first renamed to `.trash-...`, then deleted, so that a half-deleted step never
looks like a step.
"""

import contextlib
import logging
import os
import shutil
from pathlib import Path

from zoo.checkpoint import layout
from zoo.checkpoint.arrays import TEMPORARY_SUFFIX

_TRASH = ".trash-"
_ARCHIVED = "archived-"
_log = logging.getLogger("zoo.checkpoint")


def purge(checkpoints: Path) -> None:
    """Deletes what a killed writer left: unfinished saves and half-deleted steps."""
    for path in sorted(checkpoints.iterdir()):
        if path.name.endswith(TEMPORARY_SUFFIX) or path.name.startswith(_TRASH):
            _log.info("removing %s, left by an interrupted run", path)
            _remove(path)


def make_room(checkpoints: Path, path: Path, *, after: int | None) -> None:
    """Clears the way for a save into `path`.

    Unfinished saves are deleted, an earlier debug state at `path` too; step directories later
    than `after` are renamed to `archived-<step>`.
    """
    purge(checkpoints)
    if after is None:
        if os.path.lexists(path):
            trash(path)
        return
    for step, directory in layout.step_directories(checkpoints).items():
        if step > after:
            target = _free_name(checkpoints / f"{_ARCHIVED}{step}")
            os.rename(directory, target)
            _log.warning("step %d is no longer part of this run; it is now %s", step, target)


def archived(checkpoints: Path) -> list[str]:
    """Names of the archived directories, sorted."""
    return sorted(p.name for p in checkpoints.iterdir() if p.name.startswith(_ARCHIVED))


def retain(checkpoints: Path, keep_last: int, keep_best: int, *, keep_first: bool) -> None:
    """Deletes complete steps that are neither among the last nor among the best, nor the first."""
    records = layout.complete_steps(checkpoints)
    steps = sorted(records)
    kept = {*steps[-keep_last:], *steps[: int(keep_first)], *layout.best_steps(records, keep_best)}
    for step in records:
        if step in kept:
            continue
        try:
            trash(checkpoints / str(step))
        except OSError as error:
            # The new step is safe whether or not an old one goes away.
            _log.warning("step %d cannot be deleted: %s", step, error)


def discard(path: Path) -> None:
    """Deletes what a failed save left of `path`."""
    _remove(path.with_name(path.name + TEMPORARY_SUFFIX))
    if os.path.lexists(path) and not (path / layout.RECORD_NAME).exists():
        # The failure that led here is the one to report.
        with contextlib.suppress(OSError):
            trash(path)


def trash(path: Path) -> None:
    """Deletes `path`, which at no moment is there in part under its own name."""
    doomed = _free_name(path.with_name(f"{_TRASH}{path.name}"))
    os.rename(path, doomed)
    _remove(doomed)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
        return
    # What cannot be deleted now (a busy network file) is purged by the next run.
    shutil.rmtree(path, ignore_errors=True)


def _free_name(path: Path) -> Path:
    candidate, number = path, 1
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate
