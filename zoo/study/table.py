"""One row per contender: accuracy, speed of learning, time and memory of a step."""

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.study.comparison import Line
from zoo.study.estimate import Estimate, short
from zoo.study.groups import Group
from zoo.study.state import state_of

TARGET_SHARE = 0.9


@dataclasses.dataclass(frozen=True)
class Row:
    """What is known of one contender.

    Attributes:
      arch, optimizer, rate, at_edge, planned: as in `Line`.
      top1: in percent, over the finished runs.
      final_loss: mean training loss of the last logged windows.
      steps: logged steps to the target loss, of the runs that get there.
      reached: how many do.
      target_loss: 90 % of the way from guessing to the lowest loss the targets allow.
      step_ms: median over the runs of the median over a log's windows but the first.
      memory_bytes: what the step needs of a device.
      finished, failed, at_chance: how many runs; failed ones count in no mean.
      unfinished: run -> its state in words, of those that are not over.
    """

    arch: str
    optimizer: str
    rate: float | None
    at_edge: bool
    planned: int
    top1: Estimate | None
    final_loss: float | None
    steps: Estimate | None
    reached: int
    target_loss: float | None
    step_ms: float | None
    memory_bytes: int | None
    finished: int
    failed: int
    at_chance: int
    unfinished: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return dataclasses.asdict(self)


HEADER = (
    "network", "optimizer", "peak rate", "top-1, %", "n", "training loss at the end",
    f"steps to {TARGET_SHARE:.0%}", "step, ms", "memory, MB", "not counted",
)  # fmt: skip


def make_row(line: Line, folder: Path) -> Row:
    """The row of a contender, from the results in `folder`."""
    group = Group(line.arch, line.optimizer, line.results)
    target = line.results[0].target_loss(TARGET_SHARE) if line.results else None
    over = {result.key[1] for result in line.results}
    waiting = [run for run in line.runs if run.name not in over]
    memory = [m for run in group.finished if (m := run.values.get("memory_bytes"))]
    return Row(
        arch=line.arch,
        optimizer=line.optimizer,
        rate=line.rate,
        at_edge=line.at_edge,
        planned=line.planned,
        top1=group.top1,
        final_loss=group.final_loss if group.finished else None,
        steps=None if target is None else group.steps_to(target),
        reached=0 if target is None else group.reached(target),
        target_loss=target,
        step_ms=_step_ms(group),
        memory_bytes=max(memory, default=None),
        finished=len(group.finished),
        failed=len(group.runs) - len(group.finished),
        at_chance=sum(run.at_chance for run in group.finished),
        unfinished={run.name: state_of(folder / run.name).text() for run in waiting},
    )


def cells(row: Row) -> list[str]:
    """The row as text, under `HEADER`."""
    rate = "not chosen yet" if row.rate is None else f"{row.rate:g}"
    memory = "-" if row.memory_bytes is None else f"{row.memory_bytes / 1e6:,.1f}"
    return [
        row.arch,
        row.optimizer,
        f"{rate} (at the edge of those tried)" if row.at_edge else rate,
        short(row.top1),
        f"{row.finished} of {row.planned}",
        "-" if row.final_loss is None else f"{row.final_loss:.4f}",
        f"{short(row.steps, 0)} ({row.reached} of {row.finished + row.failed})",
        "-" if row.step_ms is None else f"{row.step_ms:,.1f}",
        memory,
        _left_out(row),
    ]


def _left_out(row: Row) -> str:
    missing = row.planned - row.finished - row.failed
    parts = [(missing, "missing"), (row.failed, "failed"), (row.at_chance, "at chance, counted")]
    return ", ".join(f"{count} {word}" for count, word in parts if count) or "-"


def _step_ms(group: Group) -> float | None:
    speeds: Sequence[float] = [
        1000 * run.config["data"]["batch_size"] / run.images_per_second
        for run in group.finished
        if run.images_per_second
    ]
    return statistics.median(speeds) if speeds else None
