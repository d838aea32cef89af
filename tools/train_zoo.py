"""Trains the rows of configs/zoo_matrix.py in order of value, within a time budget.

  python tools/train_zoo.py --matrix digits --list
  python tools/train_zoo.py --matrix cifar10 --data-dir ~/data --budget 9m

Run twice, it goes on where it stopped. A row that is trained leaves its checkpoints, `config.json`,
`env.json`, `metrics.jsonl`, `result.json` and `logits.npz` (logits and labels of every evaluated
image, in order) in WORKDIR/MATRIX/ROW; `tools/publish_zoo.py` makes evidence and weights of it.
"""

import argparse
import dataclasses
import json
import runpy
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from zoo.checkpoint import CheckpointError, list_steps, read_record
from zoo.common import files
from zoo.common.console import duration, parse_duration
from zoo.data.address import parse_data
from zoo.training import (
    BudgetSpent,
    NonFiniteError,
    RunStopped,
    TrainConfig,
    fit,
    read_metrics,
)

MATRIX = Path(__file__).resolve().parents[1] / "configs" / "zoo_matrix.py"
RESULT, LOGITS, FAILURE = "result.json", "logits.npz", "failed.json"
_LOGITS_BATCH = 250


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when all rows are trained, 75 when the budget ended first, 2 for a mistake."""
    matrices = runpy.run_path(str(MATRIX))["matrices"]()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--list", action="store_true", help="the state of every row, no training")
    task.add_argument("--budget", help="how long to train, such as 90s, 9m or 1h; then save")
    parser.add_argument("--matrix", choices=matrices, default="cifar10")
    parser.add_argument("--workdir", type=Path, default=Path("runs/zoo"), help="folder of the runs")
    parser.add_argument("--data-dir", help="where the data set's files are")
    parser.add_argument("--json", action="store_true", help="the rows as JSON, last line of stdout")
    arguments = parser.parse_args(argv)
    rows, folder = matrices[arguments.matrix], arguments.workdir / arguments.matrix
    code = 0
    try:
        if arguments.budget is not None:
            code = train(rows, folder, parse_duration(arguments.budget), arguments.data_dir)
    except RunStopped as stopped:
        print(f"train_zoo: {stopped}", file=sys.stderr)
        code = stopped.exit_code
    except (ValueError, OSError) as error:
        print(f"train_zoo: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    found = [{"row": row.name, **state_of(folder / row.name)} for row in rows]
    print("\n".join(f"{state['row']:<40} {sentence(state)}" for state in found))
    if arguments.json:
        print(json.dumps(found))
    return code


def train(rows: tuple[Any, ...], folder: Path, budget: float, data_dir: str | None) -> int:
    """Trains rows in order until all are done or `budget` seconds are over.

    A row that becomes non-finite is noted as failed and left alone from then on.
    """
    end = time.monotonic() + budget
    for row in rows:
        run_dir = folder / row.name
        if state_of(run_dir)["state"] in ("trained", "failed"):
            continue
        left = end - time.monotonic()
        if left <= 0:
            return BudgetSpent.exit_code
        print(f"train_zoo: {row.name}, {left:.0f} s left", file=sys.stderr)
        try:
            train_row(located(row.config, data_dir), run_dir, left)
        except NonFiniteError as error:
            _write(run_dir / FAILURE, {"step": error.step, "reason": str(error)})
    return 0


def train_row(config: TrainConfig, run_dir: Path, budget: float) -> None:
    """Trains one row to its end, then writes its logits and, last of all, its result.

    Raises:
      RunStopped: when the budget is spent or a signal came, with the state saved.
    """
    result = fit(config, run_dir, time_budget=budget)
    logits = run_dir / LOGITS
    write_logits(result.model, config, logits)
    seconds = _training_seconds(run_dir, config.data.batch_size)
    described = {
        "arch": config.model.arch,
        "optimizer": config.optimizer.name,
        "seed": config.seed,
        "step": result.step,
        "metrics": result.metrics,
        "training_seconds": seconds,
        "logits": {"file": logits.name, "bytes": logits.stat().st_size},
    }
    _write(run_dir / RESULT, described)


def write_logits(model: Any, config: TrainConfig, path: Path) -> None:
    """Writes float32 logits [n, classes] and labels [n] of the evaluation split, compressed."""
    import jax
    import numpy as np

    from zoo.data import eval_batches, limit, open_source
    from zoo.models import merge, split

    source = open_source(config.data.name, config.eval.split, data_dir=config.data.data_dir)
    source = limit(source, config.eval.limit) if config.eval.limit else source
    graphdef, params = split(model)

    @jax.jit
    def logits_of(params: Any, images: Any) -> Any:
        with jax.default_matmul_precision("highest"):
            return merge(graphdef, params)(config.preprocessing.normalize(images))

    size = min(_LOGITS_BATCH, len(source))
    batches = eval_batches(source, config.preprocessing, batch_size=size)
    parts = [(np.asarray(logits_of(params, b["image"])), b["label"], b["mask"]) for b in batches]
    logits, labels, mask = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    with open(path, "wb") as file:
        np.savez_compressed(file, logits=logits[mask], labels=labels[mask])


def state_of(run_dir: Path) -> dict[str, Any]:
    """What became of a row: state "missing", "unfinished", "trained" or "failed", and figures."""
    for name, state in ((RESULT, "trained"), (FAILURE, "failed")):
        if (run_dir / name).exists():
            return {"state": state, **json.loads((run_dir / name).read_text(encoding="utf-8"))}
    try:
        newest = read_record(run_dir) if run_dir.is_dir() and list_steps(run_dir) else None
    except CheckpointError as error:
        return {"state": "failed", "step": 0, "reason": f"{error}"}
    if newest is None:
        return {"state": "missing"}
    total = newest.record["total_steps"]
    state = {"state": "unfinished", "step": newest.step, "total_steps": total}
    speeds = [line.get("images_per_second") for line in read_metrics(run_dir)]
    if speeds := [speed for speed in speeds if speed]:
        images = (total - newest.step) * newest.record["config"]["data"]["batch_size"]
        state["seconds_left"] = round(images / statistics.median(speeds), 1)
    return state


def sentence(state: dict[str, Any]) -> str:
    """A row's state in words."""
    if state["state"] == "trained":
        measured = state["metrics"]
        return f"trained: top-1 {100 * measured['top1']:.2f} %, n {measured['n']}"
    if state["state"] == "unfinished":
        left = state.get("seconds_left")
        more = "" if left is None else f", about {duration(left)} left"
        return f"unfinished at step {state['step']} of {state['total_steps']}{more}"
    if state["state"] == "failed":
        return f"failed at step {state['step']}: {state['reason']}"
    return "missing"


def located(config: TrainConfig, data_dir: str | None) -> TrainConfig:
    """The configuration with its data where it is on this machine."""
    if data_dir is None:
        return config
    if parse_data(config.data.name).folder is not None:
        data = dataclasses.replace(config.data, name=f"folder:{data_dir}")
    else:
        data = dataclasses.replace(config.data, data_dir=data_dir)
    return dataclasses.replace(config, data=data)


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


if __name__ == "__main__":
    sys.exit(main())
