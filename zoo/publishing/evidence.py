"""Evidence of one finished run of a sweep: what was run, measured again here and now.

Nothing in it tells where on a machine the run or its data were.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from zoo.common import files
from zoo.common.files import digest_of
from zoo.complexity import count_macs, count_params
from zoo.pretrained import load_pretrained
from zoo.publishing.logits import compressed_logits, count_correct, unpacked_logits
from zoo.publishing.measuring import measure, metric_entry, open_split
from zoo.publishing.origins import finished_record, public_command, read_environment
from zoo.recipes.sweeps import SweepRun
from zoo.study import Result, located, state_of
from zoo.study.results import FORMAT_VERSION, LOG, LOGITS, RESULT
from zoo.study.state import FAILURE, recorded_config
from zoo.training import TrainConfig
from zoo.training.folder import METRICS


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where runs come from, and by which code they were made and are measured.

    Attributes:
      sweep: its name.
      runs: folder with one run directory a run.
      data_dir: where the data set's files are.
      commit: of the code by which runs are measured.
      training_commit: of runs whose `env.json` names none.
    """

    sweep: str
    runs: Path
    data_dir: str | None
    commit: str
    training_commit: str | None = None


def publish_evidence(run: SweepRun, origin: Origin, folder: Path) -> str:
    """Measures a finished run and writes its evidence; what became of it, in words.

    Args:
      run: of the sweep.
      origin: where it was trained.
      folder: to write to.

    Raises:
      ValueError: saying why the run cannot vouch for anything, or that `folder` holds another.
    """
    run_dir = origin.runs / run.name
    state = state_of(run_dir)
    if not state.over:
        return f"no evidence: {state.state}"
    if state.state == "failed" and not (run_dir / FAILURE).exists():
        raise ValueError(state.reason)
    result = {
        "format_version": FORMAT_VERSION,
        "matrix": origin.sweep,
        "row": run.name,
        "state": state.state,
        "arch": run.config.model.arch,
        "optimizer": run.config.optimizer.name,
        "seed": run.config.seed,
        "steps": state.step,
        **_kept(run_dir),
        "config": recorded_config(run_dir, run.config),
        **_environment(run_dir, origin),
    }
    log = (run_dir / METRICS).read_bytes() if (run_dir / METRICS).exists() else b""
    if (folder / RESULT).exists():
        _require_same(Result.read(folder), result, log)
        return "evidence present"
    contents = {LOG: log}
    if state.state == "trained":
        measured, contents[LOGITS] = _measure(run_dir, run.config, origin)
        result |= measured
    else:
        result["failure"] = state.reason
    result["files"] = {name: digest_of(content) for name, content in contents.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    # Last: a folder without it is no evidence.
    files.write(folder / RESULT, json.dumps(result, indent=1) + "\n")
    return "evidence written"


def _kept(run_dir: Path) -> dict[str, Any]:
    """What only the training itself could measure."""
    path = run_dir / RESULT
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept = {"training_seconds": found.get("training_seconds")}
    return kept | ({"memory_bytes": found["memory_bytes"]} if found.get("memory_bytes") else {})


def _environment(run_dir: Path, origin: Origin) -> dict[str, Any]:
    environment = read_environment(run_dir)
    commit = environment.pop("commit", None) or origin.training_commit
    if commit is None:
        raise ValueError(f"{run_dir.name}: env.json names no commit; give --training-commit")
    if commit.endswith("-dirty"):
        raise ValueError(
            f"{run_dir.name} was trained by code with changes; commit and train it again"
        )
    environment["command"] = public_command(environment["command"])
    return {"commit": commit, "environment": environment}


def _require_same(present: Result, result: dict[str, Any], log: bytes) -> None:
    same = present.values["files"][LOG] == digest_of(log)
    if not same or present.config != result["config"]:
        raise ValueError(f"{present.folder} holds evidence of another run; remove it first")


def _measure(run_dir: Path, expected: TrainConfig, origin: Origin) -> tuple[dict[str, Any], bytes]:
    finished_record(run_dir)
    model = load_pretrained(run_dir)
    source = open_split(located(expected, origin.data_dir).to_json())
    measured = measure(model, source, keep_logits=True)
    answers = measured.answers
    assert answers is not None and answers.logits is not None
    packed = compressed_logits(answers.logits, answers.label)
    if count_correct(*unpacked_logits(packed)) != (measured.correct1, measured.correct5):
        raise RuntimeError("the logits do not give the counts: a fault of this code")
    command = f"zoo publish --sweep {origin.sweep}"
    command += "" if origin.data_dir is None else " --data-dir DIR"
    size = (*model.preprocess.image_size, model.config.in_channels)
    metrics = metric_entry(measured, command, origin.commit)
    most_frequent = max(list(answers.label).count(label) for label in set(answers.label))
    facts = {
        "params": count_params(model.network),
        "macs": count_macs(model.network, size),
        "classes": model.config.num_classes,
        "metrics": {**metrics, "most_frequent": most_frequent},
    }
    return facts, packed
