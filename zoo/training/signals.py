"""Stopping between two steps, on SIGTERM, SIGINT or when time is up, with the state saved."""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

import jax
import numpy as np
from jax.experimental import multihost_utils


class RunStopped(Exception):
    """The run was stopped from outside and its state is saved.

    Attributes:
      step: number of updates behind the saved state.
      exit_code: of the command line.
      together: all processes of the run raise it at the same step.
    """

    exit_code = 1
    together = True

    def __init__(self, message: str, *, step: int):
        super().__init__(message)
        self.step = step


class Preempted(RunStopped):
    """Stopped by SIGTERM; start the same command again to go on."""

    exit_code = 75


class Interrupted(RunStopped):
    """Stopped by Ctrl-C; start the same command again to go on."""

    exit_code = 130


class BudgetSpent(RunStopped):
    """Stopped because the time budget is spent; start the same command again to go on."""

    exit_code = 75


_TIME_IS_UP = 127  # in place of a signal's number, of which there are fewer
# Seconds between two times that processes ask each other whether to stop: preempted machines are
# given about 30, and every asking waits for all.
_ASK_SECONDS = 2.0
_MOST_STEPS = 1000
# Launchers tell every process of a group, and its parent tells it once more.
_SAME_SIGNAL_SECONDS = 1.0


class StopRequest:
    """While open, the first SIGTERM or SIGINT only sets `signal`; a second one acts at once.

    The same signal once more within a second is still the first. In another thread than the main
    one signals are left alone.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._received = 0.0
        self._previous: dict[int, Any] = {}
        self._next_asking = 0
        self._last_asking: tuple[int, float] | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def received(self, step: int, *, late: bool = False) -> int | None:
        """What to stop for after `step`, the same on all processes: the largest number of any.

        A single process always answers. Several ask each other every few seconds, at the same
        steps, since asking waits for all.

        Args:
          step: number of updates made.
          late: whether the time of this process is up, which is a reason to stop too.
        """
        mine = self.signal or (_TIME_IS_UP if late else 0)
        if jax.process_count() == 1:
            return mine or None
        if step < self._next_asking:
            return None
        told = np.asarray([mine, -self._steps_to_next_asking(step)], np.int32)
        largest = np.max(multihost_utils.process_allgather(told), axis=0)
        self._next_asking = step - int(largest[1])
        return int(largest[0]) or None

    def _steps_to_next_asking(self, step: int) -> int:
        now, before = time.monotonic(), self._last_asking
        self._last_asking = (step, now)
        if before is None:
            return 1
        pace = max(now - before[1], 1e-6) / (step - before[0])
        return min(max(int(_ASK_SECONDS / pace), 1), _MOST_STEPS)

    def error(self, number: int, step: int) -> RunStopped:
        """The exception to raise once the state of `step` is saved."""
        if number == _TIME_IS_UP:
            text = f"the time budget is spent; step {step} is saved, run again to go on"
            return BudgetSpent(text, step=step)
        kind = Interrupted if number == signal.SIGINT else Preempted
        name = signal.Signals(number).name
        return kind(f"stopped by {name}; step {step} is saved, run again to go on", step=step)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.signal, self._received = number, now
        elif number != self.signal or now - self._received > _SAME_SIGNAL_SECONDS:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)
