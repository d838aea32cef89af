"""How signals add: sums of independent terms, and when their weights are normalised."""

import itertools
import math

from zoo.shaping.builder import GraphBuilder
from zoo.shaping.signals import Signal, Term
from zoo.shaping.weights import Weights, overlap


class SumError(ValueError):
    """Signals were added in a way the theory has no map for; the message is half a sentence."""


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
    return Signal((mixed(terms, shares(terms), builder),), signal.where)


def mixed(terms: tuple[Term, ...], parts: list[float], builder: GraphBuilder) -> Term:
    """What becomes of several terms of these shares: a node, unless all are of the same one."""
    if len({term.axes for term in terms}) > 1:
        raise SumError(
            "joins signals whose channels lie on different axes; transpose one of them, so that "
            "channels meet channels"
        )
    assumed = frozenset().union(*(term.assumed for term in terms))
    is_one = len({term.node for term in terms}) == 1
    node = builder.mix_shares(
        zip((term.node for term in terms), parts, strict=True), frozenset() if is_one else assumed
    )
    return Term(
        node,
        layers=joined_layers(terms),
        drawn=frozenset().union(*(term.drawn for term in terms)),
        axes=terms[0].axes,
        channels=min(term.channels for term in terms),
        is_normal=all(term.is_normal for term in terms),
        assumed=assumed if is_one else frozenset(),
    )


def shares(terms: tuple[Term, ...]) -> list[float]:
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


def joined_layers(terms: tuple[Term, ...]) -> Weights | None:
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


def unit(term: Term) -> Term:
    """The term, if its weight is 1.

    Raises:
      SumError: if it is not.
    """
    if abs(term.weight**2 - 1) > term.tolerance:
        raise SumError(
            f"multiplies a signal by {term.weight:.4g} before a nonlinear layer, so its scale is "
            "no longer 1; remove the factor"
        )
    return term


def _check_independent(terms: tuple[Term, ...]) -> None:
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
    for one, other in itertools.combinations(terms, 2):
        if _is_new(one, other) or _is_new(other, one):
            continue
        if one.layers and other.layers and overlap(one.layers, other.layers):
            raise SumError(
                "adds two signals that end in the same weights, so they are not independent; give "
                "each its own affine layer"
            )
        raise SumError(
            "adds a signal to a function of itself, so the summands are not independent; end one "
            "of them in an affine layer of its own"
        )


def _is_new(one: Term, other: Term) -> bool:
    """Whether `one` ends in weights that `other` does not hold, so that their product has mean 0.

    A layer before the last one of `other` may be the same: behind a layer of its own nothing of
    it is left that could correlate.
    """
    return bool(one.layers) and not overlap(one.layers or frozenset(), other.drawn)
