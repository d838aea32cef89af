"""When a run has stopped getting better: the one rule, and what of it a checkpoint remembers."""

from collections.abc import Iterable, Mapping


def score(metrics: Mapping[str, float], criterion: str) -> float:
    """How good an evaluation is, the higher the better: its top-1, or its loss with a minus."""
    return metrics["top1"] if criterion == "top1" else -metrics["loss"]


class EarlyStopping:
    """Counts evaluations since the best one.

    Args:
      patience: evaluations in a row without a better score after which a run ends; 0: none do.
      history: scores of the evaluations so far, as a checkpoint remembers them.
    """

    def __init__(self, patience: int, history: Iterable[float] = ()) -> None:
        self.patience, self.history = patience, list(history)

    def add(self, score: float) -> None:
        """Notes one more evaluation."""
        self.history.append(score)

    @property
    def over(self) -> bool:
        """Whether the run ends; an equal score is not a better one."""
        if not self.patience or not self.history:
            return False
        best = self.history.index(max(self.history))
        return len(self.history) - 1 - best >= self.patience
