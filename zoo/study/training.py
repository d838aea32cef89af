"""Trains the runs of a sweep in order, within a time budget, going on where it stopped.

A run that is trained has checkpoints, `config.json`, `env.json`, `metrics.jsonl` and `result.json`
in its folder; one that became non-finite has `failed.json` and is left alone from then on.
"""

import dataclasses
import json
import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from zoo.common import files
from zoo.data.address import parse_data
from zoo.data.records import source_labels
from zoo.evaluation.measures import wilson_interval
from zoo.recipes.sweeps import SweepRun
from zoo.study.results import RESULT
from zoo.study.state import FAILURE, recorded_config, state_of
from zoo.training import BudgetSpent, FitResult, NonFiniteError, TrainConfig, fit, read_metrics
from zoo.training.examples import open_split
from zoo.training.folder import CONFIG


def train(
    runs: Iterable[SweepRun], folder: Path, budget: float = math.inf, data_dir: str | None = None
) -> float:
    """Trains runs in order until all are over or `budget` seconds are.

    Args:
      runs: in order; each has the folder of its name.
      folder: of the runs.
      budget: seconds; what is begun first makes one step at least, however short they are.
      data_dir: where the data set's files are.

    Returns:
      The seconds of the budget that are left.

    Raises:
      RunStopped: when the budget is spent or a signal came, with the state saved.
      ResumeError: if a folder holds a run of another configuration.
    """
    runs, end, begun = tuple(runs), time.monotonic() + budget, False
    for run in runs:
        if (folder / run.name / CONFIG).exists():
            recorded_config(folder / run.name, run.config)
    for run in runs:
        run_dir = folder / run.name
        if state_of(run_dir).over:
            continue
        left = end - time.monotonic()
        if left <= 0 and begun:
            sentence = f"the time is over before {run.name}; the same command goes on"
            raise BudgetSpent(sentence, step=0)
        print(f"{run.name}{'' if math.isinf(left) else f', {left:.0f} s left'}", file=sys.stderr)
        try:
            begun = True
            _train_one(located(run.config, data_dir), run_dir, max(left, 0.0))
        except NonFiniteError as error:
            _write(run_dir / FAILURE, {"step": error.step, "reason": str(error)})
    return end - time.monotonic()


def located(config: TrainConfig, data_dir: str | None) -> TrainConfig:
    """The configuration with its data where it is on this machine."""
    if data_dir is None:
        return config
    if parse_data(config.data.name).folder is not None:
        data = dataclasses.replace(config.data, name=f"folder:{data_dir}")
    else:
        data = dataclasses.replace(config.data, data_dir=data_dir)
    return dataclasses.replace(config, data=data)


def _train_one(config: TrainConfig, run_dir: Path, budget: float) -> None:
    """Trains one run to its end, then writes, last of all, its result."""
    result = fit(config, run_dir, time_budget=None if math.isinf(budget) else budget)
    described = {
        "arch": config.model.arch,
        "optimizer": config.optimizer.name,
        "seed": config.seed,
        "step": result.step,
        "metrics": _counted(result, config),
        "classes": len(result.model.classes),
        "training_seconds": _training_seconds(run_dir, config.data.batch_size),
        "memory_bytes": result.memory_bytes,
    }
    _write(run_dir / RESULT, described)


def _counted(result: FitResult, config: TrainConfig) -> dict[str, Any]:
    """The last evaluation, with what tells it from guessing."""
    measured = result.metrics
    labels = source_labels(open_split(config, config.eval.split, config.eval.limit)).tolist()
    n, correct = len(labels), round(measured["top1"] * len(labels))
    return {
        **measured,
        "n": n,
        "split": config.eval.split,
        "top1_interval": list(wilson_interval(correct, n)),
        "most_frequent": max(labels.count(label) for label in set(labels)),
    }


def _training_seconds(run_dir: Path, batch_size: int) -> float:
    """Time in training steps over all sessions, from the logged speed."""
    seconds, before = 0.0, 0
    for line in read_metrics(run_dir):
        if "images_per_second" in line:
            seconds += (line["step"] - before) * batch_size / line["images_per_second"]
            before = line["step"]
    return round(seconds, 1)


def _write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, json.dumps(value, indent=1) + "\n")
