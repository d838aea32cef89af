"""What a traced value is to the kernel graph.

A value is a constant (weights, numbers), raw input (before the first weight), or a signal: a node
of the kernel graph times a number, or a sum of such terms that is not (yet) normalised.
"""

import dataclasses
import enum
from typing import Any

import numpy as np

from zoo.shaping.assumptions import Assumption
from zoo.shaping.elementwise import Program
from zoo.shaping.graph import SQUARES_TOLERANCE
from zoo.shaping.weights import Weights


class Channels(enum.IntEnum):
    """How the channels of a signal differ: what a piece of them tells of the others."""

    UNLIKE = 0  # of different kernels, as after a concatenation, or unknown, as in the input
    ALIKE = 1  # of one kernel
    FRESH = 2  # of one kernel, each from rows of weights of its own, in their order


@dataclasses.dataclass(frozen=True)
class Constant:
    """Depends on no input.

    Attributes:
      value: the number all its elements are, where that is known.
      weights: identities of the weights it was computed from; empty for numbers made in code.
      numbers: an array that holds its elements, perhaps with others; None if unknown.
      changed_by: the primitive that made other numbers of weights; empty for none.
      is_drawn: whether it was drawn at random inside the traced function.
    """

    value: float | None = None
    weights: Weights = frozenset()
    numbers: Any = dataclasses.field(default=None, compare=False, repr=False)
    changed_by: str = ""
    is_drawn: bool = False


@dataclasses.dataclass(frozen=True)
class Raw:
    """Computed from the network's input without weights: preprocessing.

    Attributes:
      rank: number of axes.
      sources: identities of the inputs it was computed from.
      form: tells apart what was made of them, wherever its elements lie.
      root: identity of the value this is a multiple of, element by element.
      scale: the multiple.
    """

    rank: int
    sources: frozenset[object]
    form: object
    root: object = dataclasses.field(default_factory=object)
    scale: float = 1.0

    @property
    def scaled_form(self) -> object:
        """Its form with the scale."""
        return self.form if self.scale == 1 else (self.form, self.scale)

    def rearranged(self, rank: int) -> "Raw":
        """The same numbers, or some of them, at other places."""
        return Raw(rank, self.sources, self.scaled_form)


@dataclasses.dataclass(frozen=True)
class Stacked:
    """Signals of all iterations of a scan, stacked; fine as long as nothing reads it."""


@dataclasses.dataclass(frozen=True)
class Term:
    """`weight` times a node of the kernel graph.

    Attributes:
      node: index in the `GraphBuilder`.
      weight: product of the numbers met since the node.
      layers: weights of the affine layer last passed since the node; None if there was none.
      precision: relative rounding error of `weight`.
      is_mean: whether it was averaged over locations or examples.
      drawn: weights of the affine layer last passed at all, before the node or after it.
      axes: which hold locations and which channels, see `axes`.
      channels: how they differ.
      is_normal: whether it is a sum over many channels, and so normal in the wide limit.
      pieces: of a concatenation, the parts and their shares of the channels.
      assumed: what was taken for granted since the node.
      origin: identity of the array this is a multiple of, element by element.
    """

    node: int
    weight: float = 1.0
    layers: Weights | None = None
    precision: float = 0.0
    is_mean: bool = False
    drawn: Weights = frozenset()
    axes: str = ""
    channels: Channels = Channels.UNLIKE
    is_normal: bool = False
    pieces: tuple[tuple["Term", float], ...] = ()
    assumed: frozenset[Assumption] = frozenset()
    origin: object = dataclasses.field(default_factory=object, compare=False, repr=False)

    @property
    def tolerance(self) -> float:
        """How far a square of weights may be from 1: bfloat16 holds 0.8 as 0.80078."""
        return max(SQUARES_TOLERANCE, 2 * self.precision)

    def moved(self, **changes: Any) -> "Term":
        """The same numbers at other places."""
        return dataclasses.replace(self, origin=object(), **changes)

    def assuming(self, *assumptions: Assumption | None) -> "Term":
        """The same with assumptions, as far as they are any."""
        found = frozenset(one for one in assumptions if one is not None)
        return dataclasses.replace(self, assumed=self.assumed | found) if found else self


@dataclasses.dataclass(frozen=True)
class Signal:
    """Sum of terms; with several terms the sum is not normalised.

    Attributes:
      terms: at least one.
      where: where the sum was made, for the error if it is used as it is.
    """

    terms: tuple[Term, ...]
    where: str = ""

    def scaled(self, factor: float, dtype: np.dtype) -> "Signal":
        """`factor` times this, with the factor rounded to `dtype`."""
        precision = 2.0 ** -_significant_bits(dtype)
        terms = [
            dataclasses.replace(
                term, weight=factor * term.weight, precision=max(term.precision, precision)
            )
            for term in self.terms
        ]
        return Signal(tuple(terms), self.where)


@dataclasses.dataclass(frozen=True, eq=False)
class Pending:
    """An elementwise function of a signal that may go on; an affine operation makes it a node.

    Attributes:
      term: what it is a function of; its weight is part of `program`.
      program: the function.
      scale: number that multiplies it.
      called: name of the first nonlinear part; empty if there was none yet.
      refusal: why it cannot be shaped, in one sentence.
      where: file:line of the first part.
    """

    term: Term
    program: Program
    scale: float
    called: str
    refusal: str
    where: str = ""

    @property
    def whole(self) -> Program:
        """The function with its scale."""
        return self.program.scaled(self.scale)


Value = Constant | Raw | Signal | Stacked | Pending


def _significant_bits(dtype: np.dtype) -> int:
    widths = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}
    return widths.get(np.dtype(dtype).name, 4)
