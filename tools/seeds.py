"""Runs that differ in their seed only, as one: means, standard errors, and who is compared."""

import dataclasses
import math
import re
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from evidence import Evidence

BASELINE = "resnet"
METHODS = {
    "vanilla_resnet{}_tat_lrelu": "TAT, leaky ReLU",
    "vanilla_resnet{}_dks_softplus": "DKS, softplus",
    "vanilla_resnet{}_eoc_relu": "EOC, ReLU",
    "resnet{}": "BatchNorm, shortcuts",
    "rescaled_resnet{}_dks_softplus": "DKS, softplus, rescaled shortcuts",
    "vanilla_resnet{}_tat_tanh": "TAT, tanh",
}


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Mean over runs, and its standard error (None for a single run)."""

    mean: float
    error: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate | None":
        """None of no values; the error is the sample's standard deviation / sqrt(n)."""
        if not values:
            return None
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
        return cls(statistics.fmean(values), error, len(values))

    def minus(self, other: "Estimate") -> "Estimate":
        """Difference of two independent estimates; n is the smaller one."""
        error = None
        if self.error is not None and other.error is not None:
            error = math.hypot(self.error, other.error)
        return Estimate(self.mean - other.mean, error, min(self.n, other.n))


@dataclasses.dataclass(frozen=True)
class Group:
    """The runs of one network with one optimizer that differ in their seed only."""

    arch: str
    optimizer: str
    runs: tuple[Evidence, ...]

    @property
    def finished(self) -> tuple[Evidence, ...]:
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


def groups(rows: Iterable[Evidence]) -> list[Group]:
    """Runs by network and optimizer, seeds in order."""
    found: dict[tuple[str, str], list[Evidence]] = {}
    for row in rows:
        found.setdefault((row.result["arch"], row.result["optimizer"]), []).append(row)
    return [
        Group(*key, runs=tuple(sorted(runs, key=lambda run: run.result["seed"])))
        for key, runs in found.items()
    ]


def better_groups(rows: Iterable[Evidence]) -> dict[str, Group]:
    """Network -> its group with the optimizer that ends at the lower training loss."""
    better: dict[str, Group] = {}
    for group in groups(rows):
        present = better.get(group.arch)
        if present is None or group.final_loss < present.final_loss:
            better[group.arch] = group
    return better


def arch_parts(arch: str) -> tuple[str, int]:
    """Method in words, or the id's own words, and depth."""
    depth = re.search(r"resnet(\d+)", arch)
    if depth is None:
        raise ValueError(f"{arch!r} names no depth; rows of the matrix are ...resnetDEPTH...")
    pattern = arch.replace(depth.group(1), "{}", 1)
    return METHODS.get(pattern, pattern.format("")), int(depth.group(1))


def baseline_of(arch: str) -> str:
    """Id of the BatchNorm ResNet of the same depth."""
    return f"{BASELINE}{arch_parts(arch)[1]}"


def peak_rate(row: Evidence) -> float:
    """Peak of the learning rate."""
    return row.config["optimizer"]["learning_rate"]


def chosen_rate(trials: Iterable[Evidence]) -> float | None:
    """Learning rate of the trial that ends at the lowest training loss.

    None where no trial trains: one within a percent of ln(classes), the loss of guessing, says
    nothing about rates.
    """
    trained = [t for t in trials if not t.failed and t.final_loss < _guessing(t)]
    return peak_rate(min(trained, key=lambda trial: trial.final_loss)) if trained else None


def _guessing(trial: Evidence) -> float:
    return 0.99 * math.log(trial.result["classes"])


def rates_by_trials(arch: str, trials: Iterable[Evidence]) -> dict[int, float]:
    """Depth -> learning rate that the trials choose for this network's method.

    Only its own depth, where a trial trains; else the next such depths below and above it.
    """
    method, depth = arch_parts(arch)
    by_depth: dict[int, list[Evidence]] = {}
    for trial in trials:
        tried, tried_depth = arch_parts(trial.result["arch"])
        if tried == method:
            by_depth.setdefault(tried_depth, []).append(trial)
    rates = {d: rate for d, rows in by_depth.items() if (rate := chosen_rate(rows)) is not None}
    if depth in rates:
        return {depth: rates[depth]}
    below, above = [d for d in rates if d < depth], [d for d in rates if d > depth]
    return {d: rates[d] for d in (max(below, default=None), min(above, default=None)) if d}


def same_budget(first: Evidence, second: Evidence) -> bool:
    """Whether two runs differ in network, seed and optimizer settings alone."""

    def budget(row: Evidence) -> dict[str, Any]:
        free = {"seed": None, "optimizer": None, "model": row.config["model"] | {"arch": None}}
        return row.config | free

    return budget(first) == budget(second)
