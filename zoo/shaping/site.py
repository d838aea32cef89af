"""`Site`: an equation of the forward pass, where it stands, and what is assumed there."""

import dataclasses
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from zoo.shaping.assumptions import Assumption
from zoo.shaping.builder import GraphBuilder
from zoo.shaping.refusals import user_line
from zoo.shaping.visitor import shape_of
from zoo.shaping.weights import Uses


class PrimitiveError(ValueError):
    """A primitive that the theory has no map for; the message is half a sentence."""


@dataclasses.dataclass(frozen=True)
class Site:
    """One equation as the walk meets it.

    Attributes:
      eqn: the equation.
      calls: that are being entered, outermost first.
      builder: of the kernel graph.
      uses: of weights so far.
      delta: whether kernels of convolutions are zero but for their centre tap.
    """

    eqn: JaxprEqn
    calls: list[JaxprEqn]
    builder: GraphBuilder
    uses: Uses
    delta: bool

    @property
    def name(self) -> str:
        """Of the primitive."""
        return self.eqn.primitive.name

    @property
    def where(self) -> str:
        """file:line of the network's code; empty if unknown."""
        return user_line(self.eqn, self.calls)

    def shape(self, operand: int = 0) -> tuple[int, ...]:
        """Of an operand."""
        return shape_of(self.eqn.invars[operand])

    @property
    def result(self) -> tuple[int, ...]:
        """Shape of the first output."""
        return shape_of(self.eqn.outvars[0])

    @property
    def dtype(self) -> np.dtype:
        """Of the first output."""
        aval: Any = self.eqn.outvars[0].aval
        return aval.dtype

    def assume(self, kind: str, sentence: str, cure: str) -> Assumption:
        """An assumption made here."""
        return self.builder.assume(Assumption(kind, sentence, cure, self.where))
