"""Trains one plain network with several optimisers on digits, and tabulates steps and seconds.

usage: python tools/compare_optimizers.py --workdir runs/optimizers --out runs/optimizers.md

Each optimiser's learning rate is the one of its list that ends a run of seed 0 at the least
training loss; with it two more seeds are trained. A BatchNorm ResNet with SGD is the papers'
yardstick. Time is that of all cores together, so that other work on the machine counts little.
Started again, it goes on where it was stopped.
"""

import argparse
import dataclasses
import functools
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax

from zoo.models import Params
from zoo.training import (
    OptimizerConfig,
    RegularizationConfig,
    TrainConfig,
    TrainState,
    load_config,
    prepare,
)
from zoo.training.step import Batch, Metrics

RECIPE = Path("configs/vanilla_resnet50_tat_lrelu_digits.py")
VANILLA, YARDSTICK = "vanilla_resnet50_tat_lrelu", "resnet50"
CONTENDERS: dict[str, tuple[str, OptimizerConfig, tuple[float, ...]]] = {
    "SGD": (VANILLA, OptimizerConfig("sgd", clip_norm=1.0), (0.03, 0.1, 0.3)),
    "K-FAC": (VANILLA, OptimizerConfig("kfac"), (1e-4, 3e-4, 1e-3)),
    "SGD, BatchNorm ResNet": (YARDSTICK, OptimizerConfig("sgd", clip_norm=1.0), (0.03, 0.1, 0.3)),
    "Muon": (VANILLA, OptimizerConfig("muon", momentum=0.95), (1e-2, 3e-2)),
}
SEEDS = (0, 1, 2)
TARGET = 1.0
_WINDOW = 10


@dataclasses.dataclass(frozen=True)
class Trained:
    """One run.

    Attributes:
      rate: peak of the learning rate.
      losses: training loss of every step.
      core_seconds: computing time of a step on all cores.
    """

    rate: float
    losses: list[float]
    core_seconds: float

    @property
    def smoothed(self) -> list[float]:
        """Mean of the last ten losses at each step from the tenth on."""
        starts = range(len(self.losses) - _WINDOW + 1)
        return [statistics.fmean(self.losses[i : i + _WINDOW]) for i in starts]

    @property
    def final_loss(self) -> float:
        """Mean of the last ten losses; infinite where they are not finite."""
        return self.smoothed[-1] if math.isfinite(self.smoothed[-1]) else math.inf

    @property
    def steps_to_target(self) -> int | None:
        """First step at which the mean of the last ten losses is below `TARGET`."""
        below = (i for i, loss in enumerate(self.smoothed) if loss < TARGET)
        first = next(below, None)
        return None if first is None else first + _WINDOW


class Contender:
    """One network with one optimiser; compiled once, for all rates and seeds.

    Args:
      recipe: with a learning rate of 1.
      workdir: folder of the curves.
    """

    def __init__(self, recipe: TrainConfig, workdir: Path) -> None:
        self._recipe, self._workdir = recipe, workdir

    def train(self, rate: float, seed: int) -> Trained:
        """The run, read from the folder where it is there."""
        recipe = self._recipe
        name = f"{recipe.model.arch}-{recipe.optimizer.name}-{rate:g}-{recipe.steps}-{seed}.json"
        path = self._workdir / name
        if not path.exists():
            path.write_text(json.dumps(dataclasses.asdict(self._trained(rate, seed))) + "\n")
        trained = Trained(**json.loads(path.read_text()))
        print(f"{name}: loss {trained.final_loss:.4f}, {trained.core_seconds:.3f} s", flush=True)
        return trained

    def _trained(self, rate: float, seed: int) -> Trained:
        run = prepare(dataclasses.replace(self._recipe, seed=seed))
        params = _initial_params(dataclasses.replace(run.config, optimizer=OptimizerConfig()))
        state = jax.device_put(run.train_step.init(params), run.shardings)
        losses, spent = [], 0.0
        for number in range(run.total_steps):
            batch = run.place(run.pipeline.batch(number))
            if number == 1:  # the first one compiles
                spent = -time.process_time()
            state, metrics = self._step(state, batch, rate)
            losses.append(float(metrics["loss"]))
        spent += time.process_time()
        return Trained(rate, losses, spent / (run.total_steps - 1))

    @functools.cached_property
    def _step(self) -> Callable[[TrainState, Batch, float], tuple[TrainState, Metrics]]:
        base = prepare(self._recipe).train_step

        def step(state: TrainState, batch: Batch, rate: float) -> tuple[TrainState, Metrics]:
            scaled = dataclasses.replace(base, schedule=lambda t: rate * base.schedule(t))
            return scaled(state, batch)

        return jax.jit(step, donate_argnums=0)


def main() -> None:
    """Trains what is missing, then writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True, help="folder of the curves")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--steps", type=int, default=100, help="updates of each run (100)")
    parser.add_argument("--width", type=float, default=0.125, help="of the network (0.125)")
    args = parser.parse_args()
    args.workdir.mkdir(parents=True, exist_ok=True)
    rows = [
        "| optimizer | rate: loss at the end, seed 0 | loss at the best rate, 3 seeds "
        f"| steps to {TARGET:g} | core-seconds a step | core-seconds to it |",
        "|---|---|---|---|---|---|",
    ]
    for title, (arch, optimizer, rates) in CONTENDERS.items():
        contender = Contender(_recipe(arch, optimizer, args.steps, args.width), args.workdir)
        tried = [contender.train(rate, SEEDS[0]) for rate in rates]
        best = min(tried, key=lambda run: run.final_loss)
        runs = [best, *(contender.train(best.rate, seed) for seed in SEEDS[1:])]
        rows.append(_row(title, tried, runs))
    text = "\n".join([*rows, "", _how(args.steps, args.width)]) + "\n"
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text, encoding="utf-8")
    print(text)


@functools.cache
def _initial_params(config: TrainConfig) -> Params:
    """On the host, as every run gives its own away."""
    return jax.device_get(prepare(config).initial_state().params)


def _recipe(arch: str, optimizer: OptimizerConfig, steps: int, width: float) -> TrainConfig:
    recipe = load_config(RECIPE)
    return dataclasses.replace(
        recipe,
        steps=steps,
        model=recipe.model.with_arch(arch).with_options(width=width),
        optimizer=dataclasses.replace(optimizer, learning_rate=1.0),
        regularization=RegularizationConfig(),  # smoothed labels would bound the loss from below
    )


def _row(title: str, tried: list[Trained], runs: list[Trained]) -> str:
    steps = [run.steps_to_target for run in runs]
    reached = [count for count in steps if count is not None]
    each = statistics.fmean(run.core_seconds for run in runs)
    cells = (
        title,
        ", ".join(f"{run.rate:g}: {run.final_loss:.3f}" for run in tried),
        _mean([run.final_loss for run in runs]),
        ", ".join("never" if count is None else str(count) for count in steps),
        f"{each:.3f}",
        f"{each * statistics.fmean(reached):.1f}" if reached else "-",
    )
    return f"| {' | '.join(cells)} |"


def _mean(values: list[float]) -> str:
    return f"{statistics.fmean(values):.3f} ± {statistics.stdev(values) / len(values) ** 0.5:.3f}"


def _how(steps: int, width: float) -> str:
    return (
        f"Digits, {steps} steps of {load_config(RECIPE).data.batch_size}, width {width:g}, "
        f"{len(SEEDS)} seeds (mean and standard error); `python tools/compare_optimizers.py` on "
        f"{os.cpu_count()} {platform.machine()} CPU cores, jax {jax.__version__}."
    )


if __name__ == "__main__":
    main()
