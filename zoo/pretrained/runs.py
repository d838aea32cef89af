"""What a training run says about itself beside its weights: what was measured, and on which split.

Owns the reading of what fine-tuning leaves in its run directory: `result.json`, and `chosen.json`,
which names the step that the directory stands for.
"""

from pathlib import Path
from typing import Any

from zoo.checkpoint import read_record
from zoo.checkpoint.layout import CHECKPOINTS
from zoo.checkpoint.reading import Restored
from zoo.pretrained.strict_json import ManifestError, read_object

RESULT, CHOSEN, ENVIRONMENT = "result.json", "chosen.json", "env.json"
_CHOSE = ", which chose the step"
_OWN = ("folder", "csv")
_MEASURED = (
    "top1", "top5", "loss", "n", "correct1", "correct5", "data", "split", "device", "precision",
    "standard_error", "calibration_error",
)  # fmt: skip


def run_metrics(run: str | Path, restored: Restored | None = None) -> dict[str, dict[str, Any]]:
    """Measurements of one step of a run by data set and split, the most honest first.

    What was measured after training comes first. What was measured while training, on images that
    may have chosen the step, follows under the name of its split.

    Args:
      run: the run directory.
      restored: record of the step; None takes the newest.
    """
    restored = read_record(run) if restored is None else restored
    result = _result_of(Path(run), restored.step)
    found: dict[str, dict[str, Any]] = {}
    if result:
        measured = result["evaluation"]
        choose, test = (f"{measured['data']} {result['splits'][k]}" for k in ("choose", "measure"))
        found[test + (_CHOSE if test == choose else "")] = measured
        found.setdefault(choose + _CHOSE, result["validation"])
    elif restored.metrics and "data" in restored.record:
        config = restored.record.get("config", {})
        split = config.get("eval", {}).get("split", "test")
        name = f"{restored.record['data']['source']} {split}"
        chose = config.get("checkpoint", {}).get("served") == "best"
        found[name + (_CHOSE if chose else "")] = restored.metrics
    return found


def run_record(run: str | Path, restored: Restored) -> dict[str, Any]:
    """What a manifest says of a run beside its model: metrics, recipe, terms of the data.

    Paths of this machine are left out: what is uploaded names the last part of them.

    Args:
      run: the run directory.
      restored: record of the step that it stands for.
    """
    result = _result_of(Path(run), restored.step)
    environment = Path(run) / ENVIRONMENT
    made = read_object(environment) if environment.is_file() else {}
    devices = made.get("devices", {})
    recipe: dict[str, Any] = {
        **_without_paths(restored.record.get("config", {})),
        "steps": restored.step,
        "commit": made.get("commit"),
        "hardware": f"{devices['count']} x {devices['kind']}" if devices else None,
    }
    if not result:
        return {"metrics": _manifest_metrics(run_metrics(run, restored)), "recipe": recipe}
    names = ("weight", "splits", "steps_made", "kept_network", "layers", "probe", "trained")
    recipe["finetuning"] = {key: result[key] for key in (*names, "baseline", "confused")}
    measured = {
        **result["evaluation"], "balanced_accuracy": result["metrics"]["balanced_accuracy"]
    }  # fmt: skip
    test = f"{measured['data']} {result['splits']['measure']}"
    terms = result["data_terms"] or "terms not stated"
    before = result["weight"].get("data_terms") or "terms of its data not stated"
    return {
        "metrics": _manifest_metrics({test: measured}),
        "recipe": recipe,
        "data_terms": f"{measured['data']}: {terms}; {result['weight']['name']}: {before}",
    }


def trained_on(run: str | Path) -> str | None:
    """The name of the data that a training run was trained on; None for what is no such run."""
    if not (Path(run).expanduser() / CHECKPOINTS).is_dir():
        return None
    return read_record(run).record.get("config", {}).get("data", {}).get("name")


def chosen_step(run: str | Path) -> int | None:
    """The step that fine-tuning chose for its run directory; None where none was chosen.

    Raises:
      ManifestError: if the note of it is damaged.
    """
    path = Path(run).expanduser() / CHOSEN
    if not path.is_file():
        return None
    step = read_object(path).get("step")
    if type(step) is not int or step < 0:
        raise ManifestError(f"{path} names no step; fine-tune again in another directory")
    return step


def _result_of(run: Path, step: int) -> dict[str, Any]:
    """`result.json` of fine-tuning if it is about this step, else nothing.

    `zoo compare` leaves a file of this name too; what it holds was measured while training.
    """
    path = run.expanduser() / RESULT
    result = read_object(path) if path.is_file() else {}
    return result if "evaluation" in result and result.get("step") == step else {}


def _manifest_metrics(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Measurements in the form of a manifest, whose counts are whole numbers."""
    metrics = {}
    for name, values in found.items():
        n = int(values["n"])
        right = [round(values[key] * n) for key in ("top1", "top5")]
        known = {key: values[key] for key in (*_MEASURED, "balanced_accuracy") if key in values}
        counts = {"n": n, "correct1": right[0], "correct5": right[1]}
        metrics[name] = {**known, **counts, "top1": right[0] / n, "top5": right[1] / n}
    return metrics


def _without_paths(config: dict[str, Any]) -> dict[str, Any]:
    data = dict(config.get("data", {}))
    kind, _, path = str(data.get("name", "")).partition(":")
    if kind in _OWN:
        data["name"] = f"{kind}:{Path(path).name}"
    return {**config, "data": {**data, "data_dir": None}}
