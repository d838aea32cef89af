"""What an evaluation measured."""

import dataclasses
import math
from typing import Any

from zoo.data import Preprocessing
from zoo.evaluation.examples import Answers
from zoo.evaluation.measures import wilson_interval


@dataclasses.dataclass(frozen=True)
class EvalResult:
    """What was measured, and everything that decides the number.

    Attributes:
      top1, top5: fractions of `n`; with fewer than five classes top5 is 1.
      loss: mean cross-entropy in nats.
      n: examples seen, always the size of the split.
      correct1, correct5: integer counts.
      data, split: where the examples came from.
      preprocess: fields of the `Preprocessing` that was applied.
      precision: of matrix products.
      device: number and kind of devices.
      batch_size: examples per step over all devices.
      versions: library -> version.
      calibration_error: expected calibration error of the first answers, 15 bins.
      real_correct, real_n: counts by ReaL labels, for ImageNet's validation images only.
      answers: what was answered to each example; not part of `to_json`.
    """

    top1: float
    top5: float
    loss: float
    n: int
    correct1: int
    correct5: int
    data: str
    split: str
    preprocess: dict[str, Any]
    precision: str
    device: str
    batch_size: int
    versions: dict[str, str]
    calibration_error: float
    real_correct: int | None = None
    real_n: int | None = None
    answers: Answers | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def standard_error(self) -> float:
        """Of top1 over the choice of examples: sqrt(p (1 - p) / n)."""
        return math.sqrt(self.top1 * (1 - self.top1) / self.n)

    @property
    def top1_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of top1 over the choice of examples."""
        return wilson_interval(self.correct1, self.n)

    @property
    def real_top1(self) -> float | None:
        """Accuracy by ReaL labels, where they are known."""
        return (
            self.real_correct / self.real_n
            if self.real_n and self.real_correct is not None
            else None
        )

    def to_json(self) -> dict[str, Any]:
        """What is known of the attributes but `answers`, and what follows, as JSON values."""
        return {name: value for name, value in self._values().items() if value is not None}

    def _values(self) -> dict[str, Any]:
        names = [field.name for field in dataclasses.fields(self) if field.name != "answers"]
        preprocess = {k: list(v) if isinstance(v, tuple) else v for k, v in self.preprocess.items()}
        return {
            **{name: getattr(self, name) for name in names},
            "standard_error": self.standard_error,
            "top1_interval": list(self.top1_interval),
            "real_top1": self.real_top1,
            "preprocess": preprocess,
        }

    def to_row(self, model: str) -> dict[str, Any]:
        """The same as one flat row of a table, `model` first."""
        values = {**self._values(), **self._values()["preprocess"], "model": model}
        versions = " ".join(f"{key}={item}" for key, item in self.versions.items())
        return {name: _cell(values.get(name)) for name in _COLUMNS} | {"versions": versions}


def failed_row(model: str, data: str, split: str, precision: str, error: str) -> dict[str, Any]:
    """A row with the columns of `EvalResult.to_row` that says why there is no result."""
    known = {
        "model": model, "data": data, "split": split, "precision": precision, "error": error,
    }  # fmt: skip
    return {name: known.get(name, "") for name in _COLUMNS}


_COLUMNS = (
    "model",
    *(f.name for f in dataclasses.fields(EvalResult) if f.name not in ("preprocess", "answers")),
    *("standard_error", "top1_interval", "real_top1"),
    *(f.name for f in dataclasses.fields(Preprocessing)),
    "error",
)


def _cell(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return " ".join(str(item) for item in value)
    return "" if value is None else value
