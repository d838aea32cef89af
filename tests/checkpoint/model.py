"""What a run directory must hold after any history, kept in memory."""

import dataclasses
import math
from collections.abc import Callable

KEEP_LAST, KEEP_BEST = 2, 1


@dataclasses.dataclass
class Model:
    """The steps of a run and the writer's place in it.

    Attributes:
      kept: step -> (seed of its state, metric), of all that must be there.
      position: step that the present writer saved or restored last.
    """

    kept: dict[int, tuple[int, float]] = dataclasses.field(default_factory=dict)
    position: int | None = None

    def line_until(self, step: int) -> int:
        """The last step that stays when `step` is saved; those after it are of a line left."""
        return step - 1 if self.position is None else self.position

    def with_step(self, step: int, seed: int, metric: float) -> dict[int, tuple[int, float]]:
        """What is kept once `step` is saved."""
        steps = {old: value for old, value in self.kept.items() if old <= self.line_until(step)}
        steps[step] = seed, metric
        ranked = sorted((-m, old) for old, (_, m) in steps.items() if math.isfinite(m))
        kept = {*sorted(steps)[-KEEP_LAST:], *(old for _, old in ranked[:KEEP_BEST])}
        return {old: steps[old] for old in kept}

    def save(self, step: int, seed: int, metric: float) -> None:
        """`step` was saved and reported."""
        self.kept, self.position = self.with_step(step, seed, metric), step

    def kill_while_saving(
        self, step: int, seed: int, metric: float, there: set[int], seed_of: Callable[[int], int]
    ) -> None:
        """Takes over the steps that are `there`, if a kill in the midst of a save may leave them.

        Either the save was complete, and old steps may not all be deleted yet; or it was not, and
        steps of a line that was left may not all be set aside.
        """
        known = dict(self.kept)
        stay = {old for old in known if old <= self.line_until(step)}
        if step in there and seed_of(step) == seed:
            assert set(self.with_step(step, seed, metric)) <= there <= {*stay, step}
            known[step] = seed, metric
        else:
            assert stay <= there <= set(known)
        self.kept = {old: known[old] for old in there}
