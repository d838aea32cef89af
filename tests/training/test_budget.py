"""What fits into a time budget is known after the first steps, and kept to."""

import pytest

from zoo.common.console import duration, parse_duration
from zoo.training.budget import TimeBudget


class Clock:
    """A clock that only goes when it is told to."""

    def __init__(self, patch) -> None:
        self.now = 1000.0
        patch.setattr("zoo.training.budget.time.monotonic", lambda: self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def _timed(clock, seconds, step_seconds, *, compilation=20.0) -> TimeBudget:
    """A budget after a compilation, a slow first step and two timed ones."""
    budget = TimeBudget(seconds)
    clock.wait(compilation)
    for step in range(1, 4):
        clock.wait(10.0 if step == 1 else step_seconds)
        budget.completed(step)
    return budget


def test_before_a_step_is_timed_steps_come_one_by_one_until_the_end(clock):
    budget = TimeBudget(100.0)
    assert budget.steps_left(0) == 1 and budget.cut(25, 0) == 1
    assert budget.plan(0, 0, 50) is None
    clock.wait(96.0)  # a twentieth is kept for the save
    assert budget.steps_left(0) == 0 and budget.cut(25, 0) == 1


def test_steps_under_way_and_the_save_are_counted(clock):
    budget = _timed(clock, 100.0, 0.5)
    budget.restart(3, save_seconds=9.0)  # 31 s are over, so 60 s are left
    assert budget.step_seconds == pytest.approx(0.5)
    assert budget.steps_left(3) == pytest.approx(120)
    assert budget.steps_left(28) == pytest.approx(95)
    assert budget.cut(25, 28) == 25 and budget.cut(25, 120) == 3
    assert budget.steps_left(123) < 1


@pytest.mark.parametrize("step_seconds", [0.03, 0.7, 4.0])
def test_a_run_in_dispatches_ends_within_a_step_of_its_budget(clock, step_seconds):
    budget, done, queue = _timed(clock, 540.0, step_seconds), 3, []
    while budget.steps_left(done) >= 1:
        count = budget.cut(25, done)
        done += count
        queue.append((done, count))
        if len(queue) > 2:
            completed, steps = queue.pop(0)
            clock.wait(steps * step_seconds)
            budget.completed(completed)
    clock.wait(sum(steps for _, steps in queue) * step_seconds + budget.save_seconds)
    assert clock.now <= 1000.0 + 540.0 + 1e-6
    assert clock.now > 1000.0 + 540.0 - 2 * step_seconds


def test_a_machine_that_slows_down_is_noticed(clock):
    budget = _timed(clock, 1000.0, 0.5)
    for step in range(4, 14):
        clock.wait(1.0)
        budget.completed(step)
    assert budget.step_seconds == pytest.approx(1.0, rel=0.05)


def test_the_plan_is_one_sentence_said_once(clock):
    budget = _timed(clock, 540.0, 0.4)
    assert budget.plan(0, 3, 18750) == (
        "about 1,208 of 18,750 steps fit in 9 min; the run needs about 16 such budgets"
    )
    assert budget.plan(0, 3, 18750) is None
    assert _timed(clock, 540.0, 0.4).plan(0, 3, 1000) == "all 1,000 steps fit in 9 min"


def test_without_a_budget_nothing_is_cut_or_planned(clock):
    budget = _timed(clock, None, 1.0)
    assert budget.cut(25, 10**6) == 25 and budget.plan(0, 3, 10**9) is None


def test_durations_are_said_in_the_unit_that_suits():
    said = [duration(parse_duration(text)) for text in ("45", "9m", "95m", "40h")]
    assert said == ["45 s", "9 min", "1.6 h", "40.0 h"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("9m", 540), ("1.5h", 5400)]
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-1m", "9 minutes", "1e3"])
def test_other_durations_are_refused(text):
    with pytest.raises(ValueError, match="give a number and s, m or h"):
        parse_duration(text)
