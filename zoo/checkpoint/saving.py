"""One save in the background: the arrays are written, then sealed with their record."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zoo.checkpoint import arrays, housekeeping, layout
from zoo.checkpoint.errors import save_error


class StepSave:
    """A save under way.

    Args:
      path: directory to write; what is in its way has been moved.
      record: what to write beside the arrays once they are complete.
      named: the arrays by name; they may be donated once this returns.
      timeout_s: seconds after which the save counts as failed.
      primary: whether this process writes the record and cleans up.
      then: called when the step is complete, by the primary process only.

    Attributes:
      seconds: from the start to the end of the save, once it is complete.

    Raises:
      CheckpointSaveError: it could not even start.
    """

    def __init__(
        self,
        path: Path,
        record: layout.StepRecord,
        named: Mapping[str, Any],
        *,
        timeout_s: float,
        primary: bool,
        then: Callable[[], None],
    ):
        self.step, self.path = record.step, path
        self._record, self._primary, self._then = record, primary, then
        self._timeout_s = timeout_s
        self._started = time.monotonic()
        self.seconds = 0.0
        self._error: BaseException | None = None
        try:
            finish = arrays.start_saving(path, named, item=layout.ITEM, timeout_s=timeout_s)
        # Orbax reports a full disk, a lost directory and much else by any exception.
        except Exception as error:
            self._clean_up()
            raise save_error(self.step, path, error) from error
        self._thread = threading.Thread(target=self._work, args=(finish,), daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether `result` returns or raises at once."""
        return not self._thread.is_alive() or self._age > self._timeout_s

    def result(self) -> None:
        """Blocks until the step is complete.

        Raises:
          CheckpointSaveError: it failed, or takes longer than the timeout.
        """
        self._thread.join(max(self._timeout_s - self._age, 0.0))
        error = self._error
        if self._thread.is_alive():
            error = TimeoutError(f"still writing after {self._age:.0f} s (save_timeout_s)")
        if error is not None:
            raise save_error(self.step, self.path, error) from error

    @property
    def alive(self) -> bool:
        """Whether something is still being written, on time or not."""
        return self._thread.is_alive()

    @property
    def _age(self) -> float:
        return time.monotonic() - self._started

    def _work(self, finish: Callable[[], None]) -> None:
        try:
            finish()
            if self._primary:
                layout.seal(self.path, self._record)
                self._then()
            self.seconds = self._age
        # This is the top of a thread: whatever it was, `result` raises it to the caller.
        except Exception as error:
            self._error = error
            self._clean_up()

    def _clean_up(self) -> None:
        if self._primary:
            housekeeping.discard(self.path)
