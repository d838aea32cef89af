"""The files of a run directory beside its checkpoints, and the rules for going on with a run.

`config.json` and `env.json` say what ran and where, `metrics.jsonl` what came of it: one JSON
object per line, of training or of an evaluation.
"""

import dataclasses
import datetime
import json
import operator
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import msgspec

from zoo.checkpoint import RunCheckpoints
from zoo.common import files
from zoo.common.environment import code_commit, library_versions
from zoo.cpu import prepare
from zoo.cpu.flags import deciding_flags
from zoo.processes.agreement import require_same
from zoo.training.config import TrainConfig

CONFIG = "config.json"
ENVIRONMENT = "env.json"
METRICS = "metrics.jsonl"
# Fields that change how a run is watched, stored or fed, but no bit of its weights; which kernels
# `kernels` stands for is asked on its own.
_FREE = ("log.", "checkpoint.", "eval.", "data.workers", "data.data_dir", "kernels")


class ResumeError(ValueError):
    """A run cannot go on as asked; the message names what differs."""


def open_checkpoints(run_dir: Path, config: TrainConfig) -> RunCheckpoints:
    """The checkpoints of a run, its best steps judged by `eval.criterion`."""
    kept, criterion = config.checkpoint, config.eval.criterion
    return RunCheckpoints(
        run_dir,
        keep_last=kept.keep_last,
        keep_best=kept.keep_best,
        keep_first=kept.keep_first,
        best_metric=criterion,
        best_mode="max" if criterion == "top1" else "min",
    )


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Lines "path: old -> new" for every value that two JSON objects do not share."""
    lines = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before!r} -> {after!r}")
    return lines


def require_same_start(config: TrainConfig) -> None:
    """Refuses to train where the processes of a run have other configurations or code.

    Raises:
      ProcessesDifferError: on all processes, with what differs.
    """
    code = {"commit": code_commit(), "python": platform.python_version(), **library_versions()}
    code |= {"xla_flags": deciding_flags()}
    settings = config.to_json()
    for field in ("data_dir", "workers"):  # each host has its own disks and cores
        del settings["data"][field]
    require_same({"configuration": settings, "code": code, "devices": jax.local_device_count()})


def config_differences(
    before: Mapping[str, Any], config: TrainConfig, *, watched: bool = False
) -> list[str]:
    """Lines "field: before -> now" of what decides the weights of a run.

    Args:
      before: a configuration as a run recorded it.
      config: the one of now.
      watched: also compare how the run is evaluated, which decides the step that is kept.
    """
    free = tuple(prefix for prefix in _FREE if not (watched and prefix == "eval."))
    # Through the type, so that a field younger than the run counts with its default.
    old = TrainConfig.from_json(dict(before)).to_json()
    return [line for line in differences(old, config.to_json()) if not line.startswith(free)]


def check_config(run_dir: Path, record: Mapping[str, Any], config: TrainConfig) -> None:
    """Refuses to go on with a run under another configuration.

    How a run is logged, evaluated, stored and fed may change; what decides its weights may not.

    Raises:
      ResumeError: with every differing field.
    """
    lines = config_differences(record.get("config", {}), config)
    if lines:
        raise ResumeError(
            f"{run_dir} holds a run of another configuration; take another directory, or allow "
            "the change (--allow-config-change):\n  " + "\n  ".join(lines)
        )


def check_data(run_dir: Path, record: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> None:
    """Refuses to go on with a run on other data, or data in another order.

    Raises:
      ResumeError: with every differing field of the fingerprint.
    """
    lines = differences(record.get("data", {}), fingerprint)
    if lines:
        raise ResumeError(
            f"the data of the run in {run_dir} has changed; bring it back, or allow the change "
            "(--allow-data-change):\n  " + "\n  ".join(lines)
        )


def with_kernels_of(config: TrainConfig, record: Mapping[str, Any]) -> TrainConfig:
    """`config` for going on with a run: where it leaves the kernels open, XLA's if they were."""
    if not record or config.kernels != "auto" or _by(record) != "XLA":
        return config
    return dataclasses.replace(config, kernels="xla")


def _by(record: Mapping[str, Any]) -> str:
    return record.get("kernels", "XLA")  # of runs that are older than the field


def check_kernels(run_dir: Path, record: Mapping[str, Any], kernels: str) -> None:
    """Refuses to go on with a run by other kernels, whose sums round otherwise.

    Raises:
      ResumeError: if the run was computed by others than `kernels`.
    """
    before = _by(record)
    if before != kernels:
        raise ResumeError(
            f"{run_dir} holds a run computed by {before}, here it would be {kernels}; set `kernels`"
            " to what it was, or allow the change (--allow-config-change)"
        )


def numerics() -> dict[str, Any]:
    """What decides the bits of a step beside configuration, data and kernels, as JSON values."""
    versions = {name: library_versions()[name] for name in ("jax", "jaxlib")}
    flags = deciding_flags()
    return {**versions, "device": jax.devices()[0].device_kind, "xla_flags": flags}


def changed_numerics(record: Mapping[str, Any]) -> str:
    """A sentence on what makes a run go on with other bits than it would have had; "" if nothing.

    No mistake of the user's, and often a cure: so it is said, not refused.
    """
    if "numerics" not in record:
        return ""  # a run that starts, or is older than the field
    lines = differences(record["numerics"], numerics())
    return f"the run goes on with other bits: {'; '.join(lines)}" if lines else ""


def write_description(run_dir: Path, config: TrainConfig) -> None:
    """Writes `config.json` and `env.json` of a run that starts or goes on."""
    write_json(run_dir / CONFIG, config.to_json())
    write_json(run_dir / ENVIRONMENT, environment())


def environment() -> dict[str, Any]:
    """Commit, versions, devices and command of this process, as JSON values."""
    devices = jax.devices()
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "commit": code_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": library_versions(),
        "backend": jax.default_backend(),
        "devices": {"count": len(devices), "kind": devices[0].device_kind},
        "processes": jax.process_count(),
        "cpus": os.cpu_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "cpu": prepare()._asdict(),
    }


def read_metrics(run_dir: str | Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`; an unfinished last line is left out.

    Raises:
      ResumeError: a finished line is no JSON object of a step.
    """
    path = Path(run_dir) / METRICS
    if not path.exists():
        return []
    lines: list[dict[str, Any]] = []
    try:
        for text in path.read_bytes().split(b"\n")[:-1]:
            line = msgspec.json.decode(text, type=dict[str, Any])
            operator.index(line["step"])
            lines.append(line)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ResumeError(
            f"line {len(lines) + 1} of {path} is damaged ({error}); restore the file or remove it"
        ) from None
    return lines


def truncate_metrics(run_dir: Path, step: int) -> None:
    """Removes the lines of steps later than `step`, which will be made again."""
    path = run_dir / METRICS
    if path.exists():
        kept = [json.dumps(line) + "\n" for line in read_metrics(run_dir) if line["step"] <= step]
        files.write(path, "".join(kept))


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file of a run directory, whole or not at all."""
    files.write(path, json.dumps(value, indent=1) + "\n")
