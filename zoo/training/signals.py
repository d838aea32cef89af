"""Stopping between two steps, on SIGTERM, SIGINT or when time is up, with the state saved."""

import signal
import threading
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
    """

    exit_code = 1

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


class StopRequest:
    """While open, the first SIGTERM or SIGINT only sets `signal`; a second one acts at once.

    In another thread than the main one signals are left alone.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

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

    def received(self, *, agree: bool, late: bool = False) -> int | None:
        """What to stop for, the same on all processes: the largest number any of them has.

        Args:
          agree: whether this is a step at which all processes ask, since asking waits for all. A
            single process always answers.
          late: whether the time of this process is up, which is a reason to stop too.
        """
        mine = self.signal or (_TIME_IS_UP if late else 0)
        if jax.process_count() == 1:
            return mine or None
        if not agree:
            return None
        mine = np.asarray(mine, np.int32)
        return int(np.max(multihost_utils.process_allgather(mine))) or None

    def error(self, number: int, step: int) -> RunStopped:
        """The exception to raise once the state of `step` is saved."""
        if number == _TIME_IS_UP:
            text = f"the time budget is spent; step {step} is saved, run again to go on"
            return BudgetSpent(text, step=step)
        kind = Interrupted if number == signal.SIGINT else Preempted
        name = signal.Signals(number).name
        return kind(f"stopped by {name}; step {step} is saved, run again to go on", step=step)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)
