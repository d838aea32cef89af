"""What an evaluation measured."""

import dataclasses
import math
from typing import Any


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

    @property
    def standard_error(self) -> float:
        """Of top1 over the choice of examples: sqrt(p (1 - p) / n)."""
        return math.sqrt(self.top1 * (1 - self.top1) / self.n)

    def to_json(self) -> dict[str, Any]:
        """All attributes and the standard error, as JSON values."""
        values = {**dataclasses.asdict(self), "standard_error": self.standard_error}
        preprocess = {k: list(v) if isinstance(v, tuple) else v for k, v in self.preprocess.items()}
        return {**values, "preprocess": preprocess}
