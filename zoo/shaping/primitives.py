"""What each JAX primitive does to a signal: nothing, scale it, add signals, or break the theory."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from zoo.shaping.affine import AFFINE, affine, unlike
from zoo.shaping.assumptions import Assumption
from zoo.shaping.axes import CHANNELS
from zoo.shaping.builder import GraphBuilder
from zoo.shaping.constants import IN_PLACE, REARRANGE
from zoo.shaping.elementwise import Elementwise
from zoo.shaping.rearrange import REARRANGING, REDUCING, concatenated, moved, reduced
from zoo.shaping.signals import Channels, Constant, Signal, Term, Value
from zoo.shaping.site import PrimitiveError, Site
from zoo.shaping.sums import normalised, single, unit
from zoo.shaping.weights import overlap

_KEEPS_ZERO = ("", "add", "sub", "add_any", "mul", "div", *REARRANGE, "concatenate", "stack")


def signal_result(inputs: Sequence[Value], site: Site) -> Signal:
    """The signal a primitive makes of signals and constants.

    Args:
      inputs: at least one `Signal`; the others `Constant`.
      site: the equation, and the graph, which grows by a node where signals mix or pass an
        activation.

    Raises:
      PrimitiveError, SumError: where the theory has no map.
    """
    name = site.name
    signals = [one for one in inputs if isinstance(one, Signal)]
    if name == "shaped_activation":
        term = unit(single(signals[0]))
        if site.eqn.params["activation"].linear_share and term.axes[-1:] not in CHANNELS:
            raise PrimitiveError(
                "applies an activation whose linear channels are counted along the last axis to a "
                "signal with its channels elsewhere; move them there"
            )
        return Signal((nonlinear(term, None, site.builder, lambda: site.where),))
    if name in ("add", "sub", "add_any"):
        return _add(inputs, site)
    if name in ("mul", "div", "neg"):
        return _scale(inputs, site)
    if name in ("concatenate", "stack"):
        return concatenated(inputs, site)
    if name in AFFINE:
        return affine(list(inputs), site)
    if name in REARRANGING | REDUCING:
        return _kept(inputs, site)
    if name in ("max", "min"):
        raise PrimitiveError(
            f"picks the {name} of several signals, as maxout does, for which there is no kernel "
            "map; apply an activation to one signal"
        )
    raise PrimitiveError(f"applies the primitive {name}")


def nonlinear(
    term: Term, function: Elementwise | None, builder: GraphBuilder, where: Callable[[], str]
) -> Term:
    """`term` after a nonlinear layer; a concatenation passes it piece by piece."""
    if not term.pieces:
        node = builder.nonlinear(term.node, function, term.assumed | _unmet(term, builder, where))
        return Term(node, drawn=term.drawn, axes=term.axes, channels=term.channels)
    pieces = []
    for piece, share in term.pieces:
        is_normal, assumed = piece.is_normal and term.is_normal, piece.assumed | term.assumed
        read = dataclasses.replace(piece, is_normal=is_normal, assumed=assumed)
        pieces.append((nonlinear(read, function, builder, where), share))
    node = builder.mix_shares((piece.node, share) for piece, share in pieces)
    return Term(
        node, drawn=term.drawn, axes=term.axes, channels=term.channels, pieces=tuple(pieces)
    )


def _unmet(term: Term, builder: GraphBuilder, where: Callable[[], str]) -> frozenset[Assumption]:
    """What the kernel map of a nonlinear layer asks of its argument and cannot be seen."""
    if not term.is_normal:
        sentence = (
            "feeds a nonlinear layer with what is no sum over many channels (the output of another "
            "one or of a product, or the input itself), taken as normal"
        )
        kind, cure = "normality", "put a dense layer or a convolution before it"
    elif term.channels == Channels.UNLIKE:
        sentence = (
            "feeds a nonlinear layer with channels of different kernels, as a sum with a "
            "concatenation is, as if they were alike"
        )
        kind, cure = "pieces", "put a dense layer or a convolution before it"
    else:
        return frozenset()
    return frozenset([builder.assume(Assumption(kind, sentence, cure, where()))])


def _add(inputs: Sequence[Value], site: Site) -> Signal:
    if site.name == "sub":
        inputs = [inputs[0], _negated(inputs[1])]
    signals = [one for one in inputs if isinstance(one, Signal)]
    if len(signals) == 2:
        added = normalised(Signal(signals[0].terms + signals[1].terms), site.builder)
        return Signal(added.terms, site.where) if len(added.terms) > 1 else added
    constant = next(one for one in inputs if isinstance(one, Constant))
    if constant.value == 0:
        return signals[0]
    if not constant.weights and constant.value is not None:
        raise PrimitiveError(
            f"adds the number {constant.value:.4g} to a signal, which the kernel maps do not see; "
            "remove it, shifts belong to the activation"
        )
    if not constant.weights or constant.is_drawn:
        raise PrimitiveError(
            "adds numbers that are no weights to a signal, as noise and fixed position codes do; "
            "remove them, or add them before the first layer"
        )
    return _shifted(signals[0], constant, site)


def _shifted(signal: Signal, bias: Constant, site: Site) -> Signal:
    """A bias is a weight, and zero at initialisation."""
    if bias.changed_by not in _KEEPS_ZERO:
        raise PrimitiveError(
            f"adds numbers computed from weights ({bias.changed_by}), which are no bias that "
            "begins at zero; add a parameter of its own, or nothing"
        )
    if bias.numbers is None or not np.any(np.asarray(bias.numbers)):
        return signal
    shift = site.assume(
        "bias",
        "adds an array that is not zero, as position codes are, taken as a bias that begins at "
        "zero",
        "add it before the first layer",
    )
    return Signal(tuple(term.assuming(shift) for term in signal.terms), signal.where)


def _negated(value: Value) -> Value:
    if isinstance(value, Signal):
        return value.scaled(-1.0, np.dtype("float64"))
    if isinstance(value, Constant) and value.value is not None:
        return dataclasses.replace(value, value=-value.value)
    return value


def _scale(inputs: Sequence[Value], site: Site) -> Signal:
    name = site.name
    if name == "neg":
        inputs, name = [*inputs, Constant(-1.0)], "mul"
    signals = [one for one in inputs if isinstance(one, Signal)]
    if len(signals) == 2 and name == "mul":
        return _product(signals, site)
    if len(signals) == 2:
        raise PrimitiveError(
            "divides a signal by values computed from the input, as normalisation layers and "
            "softmax do; remove it"
        )
    if name == "div" and isinstance(inputs[1], Signal):
        raise PrimitiveError("divides by a signal, which is a nonlinearity; remove it")
    position, constant = next((i, v) for i, v in enumerate(inputs) if isinstance(v, Constant))
    factor = constant.value
    if factor is None:
        many = position < len(site.eqn.invars) and math.prod(site.shape(position)) > 1
        raise PrimitiveError(_unknown_factor(many, constant))
    if name == "div" and factor == 0:
        raise PrimitiveError("divides a signal by 0; divide by another number")
    factor = 1 / factor if name == "div" else factor
    scaled = signals[0].scaled(factor, site.dtype)
    return normalised(scaled, site.builder)


def _product(signals: list[Signal], site: Site) -> Signal:
    first, second = terms = tuple(single(one) for one in signals)
    if overlap(first.drawn, second.drawn) or not (first.drawn or second.drawn):
        raise PrimitiveError(
            "multiplies a signal by values that are not independent of it, as normalisation "
            "layers and attention do; remove it, or let each factor have an affine layer of its own"
        )
    if first.axes != second.axes:
        raise PrimitiveError(
            "multiplies signals whose channels lie on different axes; transpose one of them"
        )
    assumed = first.assumed | second.assumed
    if first.channels == second.channels == Channels.UNLIKE:
        assumed |= {unlike(site)}
    return Signal(
        (
            Term(
                site.builder.product((term.node for term in terms), assumed),
                first.weight * second.weight,
                precision=max(first.precision, second.precision),
                drawn=first.drawn | second.drawn,
                axes=first.axes,
                channels=min(first.channels, second.channels),
            ),
        )
    )


def _unknown_factor(many: bool, factor: Constant) -> str:
    if not factor.weights or factor.is_drawn:
        return (
            "multiplies a signal by numbers that are no weights, as dropout in training and masks "
            "do; trace it in evaluation mode and without masks"
        )
    if many:
        return (
            "multiplies a signal by a vector of weights, as BatchNorm and LayerScale do; fold it "
            "into the affine layer before it"
        )
    return (
        "multiplies a signal by a scalar weight whose value is not known while tracing, as PReLU "
        "and ReZero do; use a Python number"
    )


def _kept(inputs: Sequence[Value], site: Site) -> Signal:
    first, name = inputs[0], site.name
    if not isinstance(first, Signal) or any(isinstance(one, Signal) for one in inputs[1:]):
        raise PrimitiveError(f"indexes or pads with a signal ({name}), for which there is no map")
    term = single(first)
    if name in IN_PLACE:
        return Signal((term,))
    return Signal((reduced(term, site) if name in REDUCING else moved(term, 0, site),))
