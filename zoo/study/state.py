"""How far a run of a sweep is, from its files alone."""

import dataclasses
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.checkpoint import CheckpointError, list_steps, read_record
from zoo.common.console import duration
from zoo.data.address import parse_data
from zoo.recipes.sweeps import SweepRun
from zoo.study.results import RESULT, Result
from zoo.training import TrainConfig, read_metrics
from zoo.training.folder import CONFIG, ENVIRONMENT, METRICS, check_config

FAILURE = "failed.json"


@dataclasses.dataclass(frozen=True)
class State:
    """What became of a run.

    Attributes:
      state: "missing", "unfinished", "trained" or "failed".
      step: updates made.
      total_steps: of an unfinished run.
      seconds_left: of training, of an unfinished run whose speed is known.
      reason: of a failure.
      metrics: of a trained run: top1, top5, loss, n.
    """

    state: str
    step: int = 0
    total_steps: int | None = None
    seconds_left: float | None = None
    reason: str | None = None
    metrics: Mapping[str, Any] | None = None

    @property
    def over(self) -> bool:
        """Whether nothing is left to train."""
        return self.state in ("trained", "failed")

    def to_json(self) -> dict[str, Any]:
        """What is known, as JSON values."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}

    def text(self) -> str:
        """The state in words."""
        if self.metrics is not None:
            return f"trained: top-1 {100 * self.metrics['top1']:.2f} %, n {self.metrics['n']:.0f}"
        if self.state == "unfinished":
            left = (
                "" if self.seconds_left is None else f", about {duration(self.seconds_left)} left"
            )
            return f"unfinished at step {self.step} of {self.total_steps}{left}"
        return f"failed at step {self.step}: {self.reason}" if self.reason else self.state


def state_of(run_dir: Path) -> State:
    """The state of the run in `run_dir`, which need not be there."""
    if (run_dir / RESULT).exists():
        found = _read(run_dir / RESULT)
        return State("trained", found["step"], metrics=found["metrics"])
    if (run_dir / FAILURE).exists():
        found = _read(run_dir / FAILURE)
        return State("failed", found["step"], reason=found["reason"])
    try:
        newest = read_record(run_dir) if run_dir.is_dir() and list_steps(run_dir) else None
    except CheckpointError as error:
        return State("failed", reason=f"{error}")
    if newest is None:
        return State("missing")
    total = newest.record["total_steps"]
    speeds = [line.get("images_per_second") for line in read_metrics(run_dir)]
    left = None
    if speeds := [speed for speed in speeds if speed]:
        images = (total - newest.step) * newest.record["config"]["data"]["batch_size"]
        left = round(images / statistics.median(speeds), 1)
    return State("unfinished", newest.step, total, left)


def result_of(run_dir: Path, sweep: str, run: SweepRun) -> Result | None:
    """What a run that is over left in its run directory; None of any other.

    Raises:
      ResumeError: if it was trained with another configuration.
    """
    state = state_of(run_dir)
    if not state.over or not (run_dir / CONFIG).exists():
        return None
    values = {
        "matrix": sweep,
        "row": run.name,
        "state": state.state,
        "arch": run.config.model.arch,
        "optimizer": run.config.optimizer.name,
        "seed": run.config.seed,
        "steps": state.step,
        "config": recorded_config(run_dir, run.config),
        "environment": _read(run_dir / ENVIRONMENT),
        **({"failure": state.reason} if state.reason else _read(run_dir / RESULT)),
    }
    return Result(run_dir, values, METRICS)


def recorded_config(run_dir: Path, expected: TrainConfig) -> dict[str, Any]:
    """The configuration of a run as JSON values, without the place of its data.

    Raises:
      ResumeError: naming each field that decides the weights and is not as expected.
    """
    values = _placeless(TrainConfig.from_json(_read(run_dir / CONFIG))).to_json()
    check_config(run_dir, {"config": values}, _placeless(expected))
    return values


def _placeless(config: TrainConfig) -> TrainConfig:
    name = str(parse_data(config.data.name).placeless)
    return dataclasses.replace(
        config, data=dataclasses.replace(config.data, name=name, data_dir=None)
    )


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
