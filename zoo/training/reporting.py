"""What a run says while it runs: log lines, TensorBoard, the progress bar."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import jax

from zoo.common.console import Progress
from zoo.common.json_values import finite
from zoo.training.config import TrainConfig
from zoo.training.folder import METRICS

AVERAGED = ("loss", "top1")
"""Metrics whose mean over a log interval is logged; of all others the last value is."""


class Writer(Protocol):
    """A destination of log lines."""

    def write(self, line: Mapping[str, Any]) -> None:
        """Takes one line: JSON values, with "step"."""
        ...

    def close(self) -> None:
        """Writes out what is held back."""
        ...


class JsonlWriter:
    """Appends lines to `metrics.jsonl`, each flushed, numbers that are not finite as null."""

    def __init__(self, run_dir: Path) -> None:
        self._file = open(run_dir / METRICS, "a", encoding="utf-8")

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends one line."""
        self._file.write(json.dumps(finite(line), allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class TensorBoardWriter:
    """Scalars as TensorBoard event files in `<run_dir>/tensorboard`.

    Raises:
      ValueError: if tensorboardX is not installed.
    """

    def __init__(self, run_dir: Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ValueError(
                "log.tensorboard needs tensorboardX; run: pip install "
                "'flax-vanilla-zoo[tensorboard]', or set log.tensorboard=False"
            ) from error
        self._writer = SummaryWriter(str(run_dir / "tensorboard"))

    def write(self, line: Mapping[str, Any]) -> None:
        """Adds every number of a line under its path."""
        for name, value in _scalars(line):
            if name != "step":
                self._writer.add_scalar(name, value, line["step"])

    def close(self) -> None:
        """Writes out the events."""
        self._writer.close()


class Reporter:
    """Everything that watches one run; silent on all processes but the first.

    Where standard error is no terminal, a line per log interval stands in for the progress bar.

    Args:
      config: of the run.
      run_dir: where the logs go.
      total: number of steps of the run.
      start: steps already made.
      progress: False shows nothing; the log is written all the same.
    """

    def __init__(
        self, config: TrainConfig, run_dir: Path, total: int, start: int, *, progress: bool
    ) -> None:
        main = jax.process_index() == 0
        self._config, self._run_dir, self._main = config, run_dir, main
        self._total, self._step = total, start
        self._shown = progress and main
        self._prints = self._shown and not sys.stderr.isatty()
        self._writers: list[Writer] = []
        self._last = (time.monotonic(), start)
        self._bar = Progress(
            "training", total, done=start, shown=self._shown, lines=False, stays=True
        )

    def __enter__(self) -> Self:
        if self._main:
            self._writers.append(JsonlWriter(self._run_dir))
            if self._config.log.tensorboard:
                self._writers.append(TensorBoardWriter(self._run_dir))
        self._bar.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.__exit__()
        for writer in self._writers:
            writer.close()

    def begin(self, start: int, compile_seconds: float) -> None:
        """The step is compiled and the first one follows."""
        self.say(f"compiled in {compile_seconds:.1f} s")
        self._last = (time.monotonic(), start)

    def advance(self, step: int) -> None:
        """`step` updates are under way."""
        self._step = step
        self._bar.reach(step)

    def training_line(
        self, step: int, averaged: Mapping[str, Sequence[float]], newest: Mapping[str, Any]
    ) -> None:
        """Logs the steps since the last line.

        Args:
          step: the last of them.
          averaged: the `AVERAGED` metrics of each.
          newest: all metrics of the last.
        """
        then, before = self._last
        now = time.monotonic()
        self._last = (now, step)
        rate = (step - before) / max(now - then, 1e-9)
        means = {name: sum(values) / len(values) for name, values in averaged.items()}
        speed = rate * self._config.data.batch_size
        self._write({"step": step, **newest, **means, "images_per_second": speed})
        left = f"{(self._total - step) / rate:.0f} s left" if rate else ""
        self._note(
            f"loss {means['loss']:.4g}  top1 {means['top1']:.1%}  {speed:,.0f} images/s", left
        )

    def evaluation_line(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs an evaluation, which the speed of training does not count."""
        split = self._config.eval.split
        self._write({"step": step, "split": split, "eval": dict(metrics)})
        self.say(
            f"step {step}: {split} top1 {metrics['top1']:.2%}, loss {metrics['loss']:.4g}, "
            f"{metrics['n']} examples"
        )
        self._last = (time.monotonic(), step)

    def say(self, text: str) -> None:
        """Prints a sentence, above the bar where there is one."""
        if self._shown:
            self._bar.say(text)

    def _write(self, line: Mapping[str, Any]) -> None:
        for writer in self._writers:
            writer.write(line)

    def _note(self, text: str, left: str) -> None:
        self._bar.reach(self._step, note=text)
        if self._prints:
            self._bar.say(f"step {self._step}/{self._total}  {text}  {left}")


def _scalars(line: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found = []
    for name, value in line.items():
        if isinstance(value, Mapping):
            found += _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            found.append((prefix + name, value))
    return found
