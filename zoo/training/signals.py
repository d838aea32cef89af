"""Stopping between two steps, on SIGTERM, SIGINT or when time is up, with the state saved."""

import math
import re
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


_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_TIME_IS_UP = 127  # in place of a signal's number, of which there are fewer


def parse_duration(text: str) -> float:
    """Seconds of a duration such as "540", "540s", "9m" or "1.5h".

    Raises:
      ValueError: if `text` is nothing of this kind.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None:
        raise ValueError(f"duration {text!r}; give a number and s, m or h, such as 9m")
    return float(match[1]) * _UNITS[match[2]]


class StopRequest:
    """While open, the first SIGTERM or SIGINT only sets `signal`; a second one acts at once.

    In another thread than the main one signals are left alone.

    Args:
      time_budget: seconds from now after which to stop too; None never does.
    """

    def __init__(self, time_budget: float | None = None) -> None:
        self._deadline = time.monotonic() + (math.inf if time_budget is None else time_budget)
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

    def received(self, *, agree: bool, budgeted: bool = True) -> int | None:
        """What to stop for, the same on all processes: the largest number any of them has.

        Args:
          agree: whether this is a step at which all processes ask, since asking waits for all. A
            single process always answers.
          budgeted: whether a spent time budget counts.
        """
        is_late = budgeted and time.monotonic() >= self._deadline
        mine = self.signal or (_TIME_IS_UP if is_late else 0)
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
