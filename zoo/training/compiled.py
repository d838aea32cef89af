"""The training step as a compiled program, and what it needs."""

import dataclasses

import jax

from zoo.training.step import Batch, Metrics, TrainState


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """The step as a program for these devices, with the data that stays on them."""

    program: jax.stages.Compiled
    data: Batch

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Makes the step, or the steps, and gives `state` away."""
        return self.program(state, batch, self.data)

    @property
    def memory_bytes(self) -> int | None:
        """What the program needs of a device, data and state included; None where unknown."""
        found = self.program.memory_analysis()
        if found is None:
            return None
        given = found.argument_size_in_bytes + found.output_size_in_bytes
        return given - found.alias_size_in_bytes + found.temp_size_in_bytes
