"""Evidence of one finished row: what was run, measured again here and now.

Part of tools/publish_zoo.py. Nothing in it tells where on a machine the run or its data were.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import publish
from evidence import (
    FORMAT_VERSION,
    LOG,
    LOGITS,
    RESULT,
    Evidence,
    compressed_logits,
    count_correct,
    unpacked_logits,
)
from train_zoo import FAILURE, located, state_of

from zoo.common.files import digest_of
from zoo.complexity import count_macs, count_params
from zoo.data.address import parse_data
from zoo.pretrained import load_pretrained
from zoo.training import TrainConfig
from zoo.training.folder import CONFIG, METRICS, check_config


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where runs come from, and by which code they were made and are measured.

    Attributes:
      matrix: name of the matrix.
      runs: folder with one run directory a row.
      data_dir: where the data set's files are.
      commit: of this repository, by which rows are measured.
      training_commit: of runs whose `env.json` names none.
    """

    matrix: str
    runs: Path
    data_dir: str | None
    commit: str
    training_commit: str | None


def publish_evidence(row: Any, origin: Origin, folder: Path) -> str:
    """Measures a finished row and writes its evidence; what became of it, in words.

    Args:
      row: of the matrix.
      origin: of its run.
      folder: to write to.

    Raises:
      ValueError: saying why the run cannot vouch for anything, or that `folder` holds another.
    """
    run = origin.runs / row.name
    state = state_of(run)
    if state["state"] not in ("trained", "failed"):
        return f"no evidence: {state['state']}"
    if state["state"] == "failed" and not (run / FAILURE).exists():
        raise ValueError(state["reason"])
    result = {
        "format_version": FORMAT_VERSION,
        "matrix": origin.matrix,
        "row": row.name,
        "state": state["state"],
        "arch": row.config.model.arch,
        "optimizer": row.config.optimizer.name,
        "seed": row.config.seed,
        "steps": state["step"],
        "training_seconds": state.get("training_seconds"),
        "config": config_of(run, row.config),
        **_environment(run, origin),
    }
    log = (run / METRICS).read_bytes() if (run / METRICS).exists() else b""
    if (folder / RESULT).exists():
        _require_same(Evidence.read(folder), result, log)
        return "evidence present"
    files = {LOG: log}
    if state["state"] == "trained":
        measured, files[LOGITS] = _measure(run, row.config, origin)
        result |= measured
    else:
        result["failure"] = state["reason"]
    result["files"] = {name: digest_of(content) for name, content in files.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    # Last: a folder without it is no evidence.
    (folder / RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return "evidence written"


def config_of(run: Path, expected: TrainConfig) -> dict[str, Any]:
    """The configuration of a run as JSON values, without the place of its data.

    Raises:
      ValueError: naming each field that decides the weights and is not as in the matrix.
    """
    config = TrainConfig.from_json(json.loads((run / CONFIG).read_text(encoding="utf-8")))
    data = dataclasses.replace(config.data, data_dir=None)
    data = dataclasses.replace(data, name=str(parse_data(data.name).placeless))
    values = dataclasses.replace(config, data=data).to_json()
    check_config(run, {"config": values}, expected)
    return values


def _environment(run: Path, origin: Origin) -> dict[str, Any]:
    environment = publish.read_environment(run)
    commit = environment.pop("commit", None) or origin.training_commit
    if commit is None:
        raise ValueError(f"{run.name}: env.json names no commit; give --training-commit")
    if commit.endswith("-dirty"):
        raise ValueError(f"{run.name} was trained by code with changes; commit and train it again")
    environment["command"] = publish.public_command(environment["command"])
    return {"commit": commit, "environment": environment}


def _require_same(present: Evidence, result: dict[str, Any], log: bytes) -> None:
    same = present.result["files"][LOG] == digest_of(log)
    if not same or present.config != result["config"]:
        raise ValueError(f"{present.folder} holds evidence of another run; remove it first")


def _measure(run: Path, expected: TrainConfig, origin: Origin) -> tuple[dict[str, Any], bytes]:
    publish.finished_record(run)
    model = load_pretrained(run)
    source = publish.open_split(located(expected, origin.data_dir).to_json())
    measured = publish.measure(model, source, keep_logits=True)
    answers = measured.answers
    assert answers is not None and answers.logits is not None and model.preprocess is not None
    packed = compressed_logits(answers.logits, answers.label)
    if count_correct(*unpacked_logits(packed)) != (measured.correct1, measured.correct5):
        raise RuntimeError("the logits do not give the counts: a fault of this code")
    command = f"python tools/publish_zoo.py --matrix {origin.matrix}"
    command += "" if origin.data_dir is None else " --data-dir DIR"
    size = (*model.preprocess.image_size, model.config.in_channels)
    metrics = publish.metric_entry(measured, command, origin.commit)
    most_frequent = max(list(answers.label).count(label) for label in set(answers.label))
    facts = {
        "params": count_params(model),
        "macs": count_macs(model, size),
        "classes": model.config.num_classes,
        "metrics": {**metrics, "most_frequent": most_frequent},
    }
    return facts, packed
