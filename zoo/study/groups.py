"""Runs that differ in their seed only, as one; learning rates chosen by trials."""

import dataclasses
import math
import statistics
from collections.abc import Iterable
from typing import Any

from zoo.recipes.networks import method_and_depth
from zoo.study.estimate import Estimate
from zoo.study.results import Result


@dataclasses.dataclass(frozen=True)
class Group:
    """The runs of one network with one optimizer that differ in their seed only."""

    arch: str
    optimizer: str
    runs: tuple[Result, ...]

    @property
    def finished(self) -> tuple[Result, ...]:
        """Those that did not become non-finite; only these count in means."""
        return tuple(run for run in self.runs if not run.failed)

    @property
    def top1(self) -> Estimate | None:
        """In percent."""
        return Estimate.of([100 * run.metrics["top1"] for run in self.finished if run.metrics])

    @property
    def final_loss(self) -> float:
        """Mean of the finished runs; infinite when there is none."""
        return statistics.fmean(r.final_loss for r in self.finished) if self.finished else math.inf

    def steps_to(self, loss: float) -> Estimate | None:
        """Of the runs that reach it."""
        steps = [run.steps_to(loss) for run in self.finished]
        return Estimate.of([float(step) for step in steps if step is not None])

    def reached(self, loss: float) -> int:
        """How many of the runs come down to a training loss."""
        return sum(run.steps_to(loss) is not None for run in self.finished)

    @property
    def mean_losses(self) -> list[tuple[int, float]]:
        """(step, mean over the finished runs) for every step that all of them logged."""
        runs = [dict(run.losses) for run in self.finished]
        steps = sorted(set.intersection(*(set(run) for run in runs))) if runs else []
        return [(step, statistics.fmean(run[step] for run in runs)) for step in steps]


def groups(results: Iterable[Result]) -> list[Group]:
    """Runs by network and optimizer, seeds in order."""
    found: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        found.setdefault((result.arch, result.optimizer), []).append(result)
    return [
        Group(*key, runs=tuple(sorted(runs, key=lambda run: run.seed)))
        for key, runs in found.items()
    ]


def better_groups(results: Iterable[Result]) -> dict[str, Group]:
    """Network -> its group with the optimizer that ends at the lower training loss."""
    better: dict[str, Group] = {}
    for group in groups(results):
        present = better.get(group.arch)
        if present is None or group.final_loss < present.final_loss:
            better[group.arch] = group
    return better


def chosen_rate(trials: Iterable[Result]) -> float | None:
    """Learning rate of the trial that ends at the lowest training loss.

    None where no trial trains: one within a percent of ln(classes), the loss of guessing, says
    nothing about rates.
    """
    trained = [t for t in trials if not t.failed and t.final_loss < 0.99 * t.target_loss(0)]
    return min(trained, key=lambda trial: trial.final_loss).rate if trained else None


def rates_by_trials(arch: str, trials: Iterable[Result]) -> dict[int, float]:
    """Depth -> learning rate that the trials choose for this network's method.

    Only its own depth, where a trial trains; else the next such depths below and above it.
    """
    method, depth = method_and_depth(arch)
    by_depth: dict[int, list[Result]] = {}
    for trial in trials:
        tried, tried_depth = method_and_depth(trial.arch)
        if tried == method:
            by_depth.setdefault(tried_depth, []).append(trial)
    rates = {d: rate for d, runs in by_depth.items() if (rate := chosen_rate(runs)) is not None}
    if depth in rates:
        return {depth: rates[depth]}
    below, above = [d for d in rates if d < depth], [d for d in rates if d > depth]
    return {d: rates[d] for d in (max(below, default=None), min(above, default=None)) if d}


def same_budget(first: Result, second: Result) -> bool:
    """Whether two runs differ in network, seed and optimizer settings alone."""

    def budget(run: Result) -> dict[str, Any]:
        free = {"seed": None, "optimizer": None, "model": run.config["model"] | {"arch": None}}
        return run.config | free

    return budget(first) == budget(second)
