"""What a traced value is to the kernel graph, and how signals add.

A value is a constant (weights, numbers), raw input (before the first weight), or a signal: a node
of the kernel graph times a number, or a sum of such terms that is not (yet) normalised.
"""

import dataclasses
import math

import numpy as np

from zoo.shaping.builder import GraphBuilder
from zoo.shaping.elementwise import Program
from zoo.shaping.graph import SQUARES_TOLERANCE

Layers = frozenset[object]


class SumError(ValueError):
    """Signals were added in a way the theory has no map for; the message is half a sentence."""


@dataclasses.dataclass(frozen=True)
class Constant:
    """Depends on no input.

    Attributes:
      value: the number all its elements are, where that is known.
      weights: identities of the weights it was computed from; empty for numbers made in code.
    """

    value: float | None = None
    weights: Layers = frozenset()


@dataclasses.dataclass(frozen=True)
class Raw:
    """Computed from the network's input without weights: preprocessing.

    Attributes:
      root: identity of the value this is a multiple of.
      scale: the multiple.
    """

    root: object
    scale: float = 1.0


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
      drawn: weights of the affine layer last passed at all, before the node or after it.
      precision: relative rounding error of `weight`.
      is_mean: whether it was averaged over locations or examples.
      origin: identity of the array this is a multiple of, element by element.
    """

    node: int
    weight: float = 1.0
    layers: Layers | None = None
    precision: float = 0.0
    is_mean: bool = False
    drawn: Layers = frozenset()
    origin: object = dataclasses.field(default_factory=object, compare=False, repr=False)

    @property
    def tolerance(self) -> float:
        """How far a square of weights may be from 1: bfloat16 holds 0.8 as 0.80078."""
        return max(SQUARES_TOLERANCE, 2 * self.precision)


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
    """

    term: Term
    program: Program
    scale: float
    called: str
    refusal: str

    @property
    def whole(self) -> Program:
        """The function with its scale."""
        return self.program.scaled(self.scale)


Value = Constant | Raw | Signal | Stacked | Pending


def normalised(signal: Signal, builder: GraphBuilder) -> Signal:
    """`signal` as one node if the squares of its weights add to 1, else as it is.

    Raises:
      SumError: if summands are not independent.
    """
    terms = tuple(term for term in signal.terms if term.weight) or signal.terms[:1]
    _check_independent(terms)
    total = math.fsum(term.weight**2 for term in terms)
    precision = max(term.precision for term in terms)
    if len(terms) == 1 or abs(total - 1) > Term(0, precision=precision).tolerance:
        return Signal(terms, signal.where)
    node = builder.mix_shares(zip((term.node for term in terms), _shares(terms), strict=True))
    return Signal((mixed(node, terms),), signal.where)


def mixed(node: int, terms: tuple[Term, ...]) -> Term:
    """`node` as what became of several terms."""
    drawn = frozenset().union(*(term.drawn for term in terms))
    return Term(node, layers=joined_layers(terms), drawn=drawn)


def _shares(terms: tuple[Term, ...]) -> list[float]:
    """Squared weights that add to 1, without the rounding of the type they were computed in.

    Such a sum has one weight more than it needs: what takes most digits to write, as 0.9539392
    beside 0.3, is what the type left of sqrt(1 - 0.3^2), and follows from the others.
    """
    squares = [term.weight**2 for term in terms]
    digits = [_digits(term.weight) for term in terms]
    rounded = [square for square, n in zip(squares, digits, strict=True) if n == max(digits)]
    written = [square for square, n in zip(squares, digits, strict=True) if n < max(digits)]
    correction = (1 - math.fsum(written)) / math.fsum(rounded)
    return [
        square * (correction if n == max(digits) else 1.0)
        for square, n in zip(squares, digits, strict=True)
    ]


def _digits(weight: float) -> int:
    mantissa, _ = f"{weight:.14e}".split("e")
    return len(mantissa.lstrip("-").rstrip("0"))


def joined_layers(terms: tuple[Term, ...]) -> Layers | None:
    """All last layers, or None if some term has none: then the whole is not independent."""
    layers = [term.layers for term in terms if term.layers is not None]
    return frozenset().union(*layers) if len(layers) == len(terms) else None


def single(signal: Signal) -> Term:
    """The only term.

    Raises:
      SumError: if the signal is a sum that is not normalised.
    """
    if len(signal.terms) == 1:
        return signal.terms[0]
    weights = [term.weight for term in signal.terms]
    total = math.fsum(weight**2 for weight in weights)
    numbers = ", ".join(f"{weight:.4g}" for weight in weights)
    made = f" in {signal.where}" if signal.where else ""
    raise SumError(
        f"adds signals with weights {numbers}{made}, whose squares add to {total:.4g} instead of "
        f"1; weigh them by w and sqrt(1 - w^2), such as 0.8 and 0.6, or divide the sum by "
        f"{math.sqrt(total):.4g}"
    )


def _check_independent(terms: tuple[Term, ...]) -> None:
    seen: set[object] = set()
    direct = [term for term in terms if term.layers is None]
    if any(term.is_mean for term in terms) and len({term.node for term in terms}) < len(terms):
        raise SumError(
            "combines a signal with its own mean, as normalisation layers do; remove the layer, "
            "shaped networks keep their scale by themselves"
        )
    if len({term.node for term in direct}) < len(direct):
        raise SumError(
            "adds a signal to itself, so the summands are not independent; put an affine layer of "
            "its own at the end of one of them"
        )
    if len(direct) > 1:
        raise SumError(
            f"adds {len(direct)} signals that do not end in an affine layer of their own, so they "
            "are not independent; end all but one in a dense layer or a convolution"
        )
    for term in terms:
        if term.layers and seen & term.layers:
            raise SumError(
                "adds two signals that end in the same weights, so they are not independent; give "
                "each its own affine layer"
            )
        seen |= term.layers or frozenset()


def _significant_bits(dtype: np.dtype) -> int:
    widths = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}
    return widths.get(np.dtype(dtype).name, 4)
