"""How much of a run fits into the time it is given."""

import math
import time

import jax

from zoo.common.console import duration

# Weight of the newest measurement: the speed of a shared machine changes.
_NEWEST = 0.3
# Share of the budget kept for the save as long as none was measured.
_UNMEASURED_SAVE = 0.05


class TimeBudget:
    """A limit of time, in steps: learns how long a step takes while the run goes.

    Args:
      seconds: from now on; None never ends.

    Attributes:
      step_seconds: time of one step, None before two dispatches were timed.
      save_seconds: what to keep for saving the state at the end.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = math.inf if seconds is None else seconds
        self._deadline = time.monotonic() + self.seconds
        self.step_seconds: float | None = None
        self.save_seconds = 0.0 if seconds is None else _UNMEASURED_SAVE * seconds
        self._mark: tuple[int, float] | None = None
        self._planned = False

    def completed(self, step: int | None) -> None:
        """The device has just completed `step`; None if nothing is known to be complete.

        The first one only starts the clock, since the first call also loads the program.
        """
        if step is None or (self._mark is not None and step <= self._mark[0]):
            return
        now = time.monotonic()
        if self._mark is not None:
            seconds = (now - self._mark[1]) / (step - self._mark[0])
            before = seconds if self.step_seconds is None else self.step_seconds
            self.step_seconds = before + _NEWEST * (seconds - before)
        self._mark = (step, now)

    def restart(self, step: int, save_seconds: float | None = None) -> None:
        """All up to `step` is complete, and the time since then was not spent on training.

        Args:
          step: the last one made.
          save_seconds: what the last save took, if one is complete.
        """
        self._mark = (step, time.monotonic())
        if save_seconds is not None:
            self.save_seconds = save_seconds

    def steps_left(self, done: int) -> float:
        """How many steps still fit once `done` are under way: at most 1 before a step is timed."""
        end = self._deadline - self.save_seconds
        if self.seconds == math.inf:
            return math.inf
        if self.step_seconds is None or self._mark is None:
            return 1.0 if time.monotonic() < end else 0.0
        step, then = self._mark
        return step + (end - then) / self.step_seconds - done

    def cut(self, count: int, done: int) -> int:
        """As many of `count` steps as fit, at least one.

        Several processes, which must all do the same, cut nothing.
        """
        if jax.process_count() > 1:
            return count
        return max(1, int(min(count, self.steps_left(done))))

    def plan(self, start: int, done: int, total: int) -> str | None:
        """What a run from step `start` to `total` needs, said once, when the speed is known."""
        if self._planned or self.seconds == math.inf or self.step_seconds is None:
            return None
        self._planned = True
        fitting, wanted = done - start + max(int(self.steps_left(done)), 0), total - start
        budget = duration(self.seconds)
        if fitting >= wanted:
            return f"all {wanted:,} steps fit in {budget}"
        budgets = math.ceil(wanted / max(fitting, 1))
        return (
            f"about {fitting:,} of {wanted:,} steps fit in {budget}; "
            f"the run needs about {budgets:,} such budgets"
        )
