"""Checkpoints of a running training: the one writer of a run directory."""

import atexit
import logging
import operator
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import jax
from jax.experimental import multihost_utils

from zoo.checkpoint import housekeeping, layout, tree
from zoo.checkpoint.errors import CheckpointError, NonFiniteError, save_error
from zoo.checkpoint.lock import take_run
from zoo.checkpoint.reading import Restored, newest_or_none, restore_from
from zoo.checkpoint.saving import StepSave
from zoo.common import files
from zoo.processes.agreement import by_first, gathered

_log = logging.getLogger("zoo.checkpoint")


class RunCheckpoints:
    """Saves, keeps and restores the steps of one run; used only as a context manager.

    Holds the lock of `run_dir` from entry to exit, so it alone cleans and deletes there. Steps
    are written in the background; a failure is raised by the next `save`, `wait` or `poll`, or on
    leaving. A save of step s after restoring step r renames all steps later than r to
    `archived-<step>`: they belong to a line of training that was left.

    Example:
      with RunCheckpoints("runs/demo") as checkpoints:
          if checkpoints.latest_step is not None:
              state = checkpoints.restore(abstract_state).state
          checkpoints.save(100, state, metrics={"top1": 0.93})

    Args:
      run_dir: the run's directory, made when absent; steps go to `<run_dir>/checkpoints/<step>`.
      keep_last: how many newest steps to keep, at least 1.
      keep_best: how many further steps to keep for their metric.
      keep_first: whether the first step is kept too.
      best_metric: the metric that ranks steps; a step without it, or with NaN, is never best.
      best_mode: whether the largest or the smallest value is best.
      save_timeout_s: seconds after which a save under way counts as failed.
    """

    def __init__(
        self,
        run_dir: str | Path,
        *,
        keep_last: int = 2,
        keep_best: int = 1,
        keep_first: bool = False,
        best_metric: str = "top1",
        best_mode: Literal["max", "min"] = "max",
        save_timeout_s: float = 1200.0,
    ):
        if keep_last < 1 or keep_best < 0:
            raise ValueError(f"keep_last={keep_last} must be >= 1, keep_best={keep_best} >= 0")
        if best_mode not in ("max", "min"):
            raise ValueError(f"best_mode={best_mode!r} must be 'max' or 'min'")
        self._run_dir = Path(run_dir).expanduser().absolute()
        self._directory = self._run_dir / layout.CHECKPOINTS
        self._keep_last, self._keep_best = keep_last, keep_best
        self._keep_first = keep_first
        self._best = (best_metric, best_mode)
        self._timeout_s = save_timeout_s
        self._lock: Any = None
        self._saving: StepSave | None = None
        # The last step saved or restored, and the one before it.
        self._position: int | None = None
        self._before: int | None = None
        self._saved: int | None = None
        self._save_seconds: float | None = None
        self._reported: set[str] = set()
        self._open = False

    def __enter__(self) -> Self:
        by_first(self._take)
        seen = gathered(self._directory.is_dir())
        if not all(seen):
            raise CheckpointError(
                f"{self._run_dir} is not there in process {seen.index(False)}; choose a directory "
                "on a file system that all processes share"
            )
        self._open = True
        atexit.register(self._left_open)
        return self

    def _take(self) -> None:
        """Makes the directory this process's own, which cleans and deletes there from now on."""
        try:
            files.make_folder(self._directory)
            self._lock = take_run(self._run_dir)
            housekeeping.purge(self._directory)
        except OSError as error:
            raise CheckpointError(
                f"cannot train in {self._run_dir}: {error.strerror} ({error.filename}); choose "
                "a directory you may write"
            ) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.wait()
            if self._saved is not None and self._primary:
                layout.read_step_record(self._path(self._saved), hash_files=True)
        except CheckpointError as failure:
            if error is None:
                raise
            # The caller's own exception says more about why the run ends.
            _log.error("%s", failure)
        finally:
            self._open = False
            atexit.unregister(self._left_open)
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    @property
    def steps(self) -> list[int]:
        """Complete steps, ascending; names and sizes are checked, nothing is hashed."""
        return list(layout.complete_steps(self._directory))

    @property
    def latest_step(self) -> int | None:
        """The newest step whose every byte verifies; None when the run holds no step at all.

        Raises:
          DamagedCheckpointError: there are finished steps, and all are damaged.
        """
        self.wait()

        def newest_step() -> int | None:
            newest = newest_or_none(self._directory, self._report)
            return None if newest is None else newest.step

        # Only the first process knows which steps are sealed by now; the others follow it.
        return by_first(newest_step)

    @property
    def archived(self) -> list[str]:
        """Names of the directories of steps that were set aside after going back."""
        return housekeeping.archived(self._directory)

    @property
    def save_seconds(self) -> float | None:
        """What the last complete save took, beside whatever else went on; None before the first."""
        return self._save_seconds

    def save(
        self,
        step: int,
        state: Any,
        *,
        metrics: Mapping[str, float] | None = None,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        """Starts saving `state`, whose arrays may be donated as soon as this returns.

        Args:
          step: number of updates behind `state`; larger than the last one saved or restored.
          state: pytree of arrays.
          metrics: measured at this step; NaN and infinity are kept but never count as best.
          record: JSON object stored beside the arrays.

        Raises:
          CheckpointSaveError: the save before this one failed, or this one could not start.
          NonFiniteError: `state` holds NaN or infinity; it is kept in `debug-<step>`.
          UnsupportedStateError: a leaf is no array, is empty, or its name is not unique.
          CheckpointError: the step is not later than the last one.
        """
        self.wait()
        step = self._next_step(step)
        named, _ = tree.flatten_named(state)
        content = layout.StepRecord(
            step=step,
            parameters=tree.array_specs(named),
            metrics={name: float(value) for name, value in (metrics or {}).items()},
            best=self._best,
            record=layout.json_object(record or {}),
            files={},
        )
        bad = tree.non_finite(named)
        path = self._directory / f"debug-{step}" if bad else self._path(step)
        self._start(path, content, named)
        if bad:
            self.wait()
            raise NonFiniteError(
                f"step {step} is not saved: {len(bad)} arrays are not finite ({', '.join(bad[:5])}"
                f"{', ...' * (len(bad) > 5)}); kept in {path} for inspection, lower the learning "
                "rate and resume from the step before",
                step=step,
                names=bad,
                path=path,
            )
        self._before, self._position = self._position, step

    def wait(self) -> None:
        """Blocks until the save under way is complete.

        Raises:
          CheckpointSaveError: it failed, or takes longer than `save_timeout_s`.
        """
        if not self._open:
            raise CheckpointError("RunCheckpoints is not open; use it in a with statement")
        if (saving := self._saving) is None:
            return
        try:
            saving.result()
        except CheckpointError:
            # The step is not there, so it may be saved again.
            self._position = self._before
            raise
        finally:
            self._saving = saving if saving.alive else None
        if saving.path == self._path(saving.step):
            self._saved, self._save_seconds = saving.step, saving.seconds

    def poll(self) -> None:
        """Raises what `wait` would, without blocking on a save that is on time."""
        if self._saving is not None and self._saving.over:
            self.wait()

    def restore(
        self, abstract_state: Any, step: int | None = None, *, cast: bool = False
    ) -> Restored:
        """Reads a step of this run; the next `save` archives all later ones.

        Args:
          abstract_state: pytree of `jax.ShapeDtypeStruct` with shardings.
          step: which one; the newest that verifies when None. A damaged `step` is an error,
            never replaced by another.
          cast: whether floats may change to the dtype of `abstract_state`.

        Raises:
          NoCheckpointError: there is no such step.
          DamagedCheckpointError: its files are not those that were written.
          CheckpointMismatchError: its arrays are not the wanted ones; lists every difference.
        """
        self.wait()
        if step is None and jax.process_count() > 1:
            step = self.latest_step
        restored = restore_from(self._directory, abstract_state, step, self._report, cast=cast)
        self._before = self._position = restored.step
        return restored

    def _next_step(self, step: int) -> int:
        step = operator.index(step)
        if step < 0 or (self._position is not None and step <= self._position):
            raise CheckpointError(
                f"cannot save step {step}: it must be >= 0 and later than the last one saved or "
                f"restored ({self._position}); restore an earlier step to go back"
            )
        return step

    def _start(self, path: Path, record: layout.StepRecord, named: Mapping[str, Any]) -> None:
        regular = path == self._path(record.step)
        after = record.step - 1 if self._position is None else self._position
        try:
            if self._primary:
                housekeeping.make_room(self._directory, path, after=after if regular else None)
        except OSError as error:
            raise save_error(record.step, path, error) from error
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"room for checkpoint {path.name}")
        self._saving = StepSave(
            path,
            record,
            tree.to_storage(named),
            timeout_s=self._timeout_s,
            primary=self._primary,
            then=lambda: housekeeping.retain(
                self._directory, self._keep_last, self._keep_best, keep_first=self._keep_first
            ),
        )

    @property
    def _primary(self) -> bool:
        return self._lock is not None

    def _path(self, step: int) -> Path:
        return self._directory / str(step)

    def _left_open(self) -> None:
        if self._saving is not None:
            step = self._saving.step
            _log.error("step %d may be lost: RunCheckpoints was not left before the end", step)

    def _report(self, message: str) -> None:
        if message not in self._reported:
            self._reported.add(message)
            _log.warning("%s", message)
