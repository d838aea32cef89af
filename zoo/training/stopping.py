"""When a run has stopped getting better: the one rule, and what of it a checkpoint remembers."""

from collections.abc import Iterable


class EarlyStopping:
    """Counts evaluations since the best one.

    Args:
      patience: evaluations in a row without a better top-1 after which a run ends; 0: none do.
      history: top-1 of the evaluations so far, as a checkpoint remembers them.
    """

    def __init__(self, patience: int, history: Iterable[float] = ()) -> None:
        self.patience, self.history = patience, list(history)

    def add(self, top1: float) -> None:
        """Notes one more evaluation."""
        self.history.append(top1)

    @property
    def over(self) -> bool:
        """Whether the run ends; an equal top-1 is not a better one."""
        if not self.patience or not self.history:
            return False
        best = self.history.index(max(self.history))
        return len(self.history) - 1 - best >= self.patience
