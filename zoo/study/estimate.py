"""A mean over runs, and how far it may be off."""

import dataclasses
import math
import statistics
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Mean over runs, and its standard error (None for a single run)."""

    mean: float
    error: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate | None":
        """None of no values; the error is the sample's standard deviation / sqrt(n)."""
        if not values:
            return None
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
        return cls(statistics.fmean(values), error, len(values))

    def minus(self, other: "Estimate") -> "Estimate":
        """Difference of two independent estimates; n is the smaller one."""
        error = None
        if self.error is not None and other.error is not None:
            error = math.hypot(self.error, other.error)
        return Estimate(self.mean - other.mean, error, min(self.n, other.n))

    def times(self, factor: float) -> "Estimate":
        """The same in another unit."""
        error = None if self.error is None else abs(factor) * self.error
        return Estimate(factor * self.mean, error, self.n)

    def text(self, digits: int = 2) -> str:
        """Mean ± standard error."""
        error = "" if self.error is None else f" ± {self.error:.{digits}f}"
        return f"{self.mean:.{digits}f}{error}"


def short(value: Estimate | None, digits: int = 2) -> str:
    """`Estimate.text`, or a dash where there is none."""
    return "-" if value is None else value.text(digits)
