"""What is compared: networks and optimizers, at the same steps on the same batches.

Batches are a pure function of (seed, step) and of the data, so that the runs of one seed all see
the same ones. Where several learning rates are given, each contender's own is chosen by the
training loss of short trials of the first seed: the test data has no part in it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo.recipes.sweeps import SweepRun, sweeps
from zoo.study.groups import chosen_rate
from zoo.study.results import Result
from zoo.study.state import result_of
from zoo.training import OptimizerConfig, TrainConfig

RATES = {
    "sgd": (0.3, 0.1, 0.03),
    "muon": (3e-2, 1e-2, 3e-3),
    "adamw": (1e-2, 3e-3, 1e-3),
    "lamb": (1e-2, 3e-3, 1e-3),
    "kfac": (1e-3, 3e-4, 1e-4),
    "soap": (1e-2, 3e-3, 1e-3),
}
"""Optimizer -> learning rates that are tried where a recipe knows none for it."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """One network with one optimizer.

    Attributes:
      config: of its runs, but for seed and learning rate.
      rates: learning rates to choose from; one is taken as it is.
      trial_steps: length of the trials.
    """

    config: TrainConfig
    rates: tuple[float, ...]
    trial_steps: int

    @property
    def name(self) -> str:
        """Network and optimizer."""
        return f"{self.config.model.arch}-{self.config.optimizer.name}"

    def trials(self, seed: int) -> tuple[SweepRun, ...]:
        """One short run per rate; none where there is nothing to choose."""
        if len(self.rates) == 1:
            return ()
        short = dataclasses.replace(self.config, steps=self.trial_steps, epochs=None)
        return tuple(
            SweepRun(f"trials/{self.name}-{rate:g}", _with(short, rate, seed))
            for rate in self.rates
        )

    def run(self, rate: float, seed: int) -> SweepRun:
        """A run that counts."""
        return SweepRun(f"{self.name}-{rate:g}-{seed}", _with(self.config, rate, seed))


@dataclasses.dataclass(frozen=True)
class Line:
    """What is planned and known of one contender.

    Attributes:
      arch, optimizer: which one.
      rate: its learning rate; None while trials are still to choose it.
      at_edge: whether a rate beyond those tried may be better still.
      runs: that count, one per seed; empty while the rate is not chosen.
      planned: how many there are going to be.
      results: of those that are over.
    """

    arch: str
    optimizer: str
    rate: float | None
    at_edge: bool
    runs: tuple[SweepRun, ...]
    planned: int
    results: tuple[Result, ...]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Contenders that are all trained alike.

    Attributes:
      name: of the study.
      contenders: in the order of the table.
      seeds: of the runs that count; trials take the first.
    """

    name: str
    contenders: tuple[Contender, ...]
    seeds: tuple[int, ...]

    @property
    def trials(self) -> tuple[SweepRun, ...]:
        """Of all contenders."""
        return sum((each.trials(self.seeds[0]) for each in self.contenders), ())

    def runs(self, folder: Path) -> tuple[SweepRun, ...]:
        """Runs that count of those contenders whose rate is known, first seeds first."""
        lines = self.lines(folder)
        return tuple(line.runs[i] for i in range(len(self.seeds)) for line in lines if line.runs)

    def lines(self, folder: Path) -> list[Line]:
        """One per contender, with the results that are in `folder`."""
        return [self._line(each, folder) for each in self.contenders]

    def _line(self, each: Contender, folder: Path) -> Line:
        rate, at_edge = self._rate(each, folder)
        runs = () if rate is None else tuple(each.run(rate, seed) for seed in self.seeds)
        arch, optimizer = each.config.model.arch, each.config.optimizer.name
        results = _results(self.name, runs, folder)
        return Line(arch, optimizer, rate, at_edge, runs, len(self.seeds), results)

    def _rate(self, each: Contender, folder: Path) -> tuple[float | None, bool]:
        if len(each.rates) == 1:
            return each.rates[0], False
        trials = each.trials(self.seeds[0])
        found = _results(self.name, trials, folder)
        if len(found) < len(trials):
            return None, False
        # Where no trial trains, the smallest rate is the safest.
        rate = chosen_rate(found) or min(each.rates)
        return rate, rate in (min(each.rates), max(each.rates))


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep of the recipes by its name: its runs are fixed, its rates chosen before."""

    name: str
    planned: tuple[SweepRun, ...]

    trials: tuple[SweepRun, ...] = ()

    def runs(self, folder: Path) -> tuple[SweepRun, ...]:
        """All of them, in order of value."""
        return self.planned

    def lines(self, folder: Path) -> list[Line]:
        """One per network, optimizer and learning rate."""
        found: dict[tuple[str, str, float], list[SweepRun]] = {}
        for run in self.planned:
            optimizer = run.config.optimizer
            key = run.config.model.arch, optimizer.name, optimizer.learning_rate
            found.setdefault(key, []).append(run)
        return [
            Line(*key, False, tuple(runs), len(runs), _results(self.name, runs, folder))
            for key, runs in found.items()
        ]


def find_sweep(name: str) -> Sweep:
    """A sweep of the recipes.

    Raises:
      ValueError: if there is none of this name.
    """
    known = sweeps()
    if name not in known:
        raise ValueError(f"no sweep {name!r}; all: {', '.join(known)}")
    return Sweep(name, known[name])


def compare(
    configs: Mapping[str, TrainConfig],
    *,
    optimizers: Sequence[str] = (),
    rates: Sequence[float] = (),
    seeds: Sequence[int] = (0, 1, 2),
    trial_steps: int | None = None,
) -> Comparison:
    """A comparison of networks, each with every optimizer.

    Args:
      configs: the run of every network, by id.
      optimizers: names; none takes that of each configuration.
      rates: learning rates to choose from; none takes that of the configuration, or `RATES` where
        it is for another optimizer.
      seeds: of the runs that count.
      trial_steps: length of the trials; None: half of `steps`.

    Raises:
      ValueError: if nothing is to be compared, or trials have no length.
    """
    if not configs or not seeds:
        raise ValueError("give at least one network and one seed")
    contenders = []
    for config in configs.values():
        for name in optimizers or (config.optimizer.name,):
            own = config.optimizer
            if name not in RATES:
                raise ValueError(f"no optimizer {name!r}; all: {', '.join(RATES)}")
            optimizer = own if name == own.name else OptimizerConfig(name, clip_norm=own.clip_norm)
            tried = tuple(rates) or ((own.learning_rate,) if optimizer is own else RATES[name])
            length = trial_steps or (config.steps or 0) // 2
            if len(tried) > 1 and length < 1:
                raise ValueError("learning rates are chosen by trials; give --trial-steps")
            changed = dataclasses.replace(config, optimizer=optimizer)
            contenders.append(Contender(changed, tried, length))
    return Comparison("comparison", tuple(contenders), tuple(seeds))


def _with(config: TrainConfig, rate: float, seed: int) -> TrainConfig:
    optimizer = dataclasses.replace(config.optimizer, learning_rate=rate)
    return dataclasses.replace(config, optimizer=optimizer, seed=seed)


def _results(sweep: str, runs: Sequence[SweepRun], folder: Path) -> tuple[Result, ...]:
    found = (result_of(folder / run.name, sweep, run) for run in runs)
    return tuple(result for result in found if result is not None)
