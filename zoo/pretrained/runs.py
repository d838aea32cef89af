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

RESULT, CHOSEN = "result.json", "chosen.json"
_CHOSE = ", which chose the step"


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
    if "evaluation" in result:
        measured = result["evaluation"]
        choose, test = (f"{measured['data']} {result['splits'][k]}" for k in ("choose", "measure"))
        found[test + (_CHOSE if test == choose else "")] = measured
        found.setdefault(choose + _CHOSE, result["validation"])
    elif restored.metrics:
        config = restored.record.get("config", {})
        split = config.get("eval", {}).get("split", "test")
        name = f"{restored.record['data']['source']} {split}"
        chose = config.get("checkpoint", {}).get("served") == "best"
        found[name + (_CHOSE if chose else "")] = restored.metrics
    return found


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
    """`result.json` if it is about this step, else nothing."""
    path = run / RESULT
    result = read_object(path) if path.is_file() else {}
    return result if result.get("step") == step else {}
