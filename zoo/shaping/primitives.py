"""What each JAX primitive does to a signal: nothing, scale it, add signals, or break the theory."""

import dataclasses
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from zoo.shaping.builder import GraphBuilder
from zoo.shaping.signals import (
    Constant,
    Signal,
    SumError,
    Term,
    Value,
    mixed,
    normalised,
    single,
)

# Rearrange, drop, repeat, round or pool elements of one signal.
_KEEP = frozenset(
    "reshape transpose squeeze expand_dims broadcast_in_dim slice dynamic_slice gather rev pad "
    "convert_element_type reduce_precision copy copy_p stop_gradient optimization_barrier name "
    "sharding_constraint device_put split reduce_max reduce_window_max pvary reshard mesh_cast "
    "layout_constraint".split()
)  # fmt: skip
# Of these the elements stay where they are.
IN_PLACE = frozenset(
    "convert_element_type reduce_precision copy copy_p stop_gradient optimization_barrier name "
    "sharding_constraint device_put pvary reshard mesh_cast layout_constraint".split()
)
_SELECT = frozenset({"slice", "dynamic_slice", "gather"})
_MEAN = frozenset({"reduce_sum", "reduce_window_sum"})
AFFINE = frozenset({"dot_general", "conv_general_dilated"})

_FOLD: dict[str, Callable[..., float]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "max": max,
    "min": min,
    "pow": operator.pow,
    "neg": operator.neg,
    "sqrt": math.sqrt,
    "rsqrt": lambda x: 1 / math.sqrt(x),
    "square": lambda x: x * x,
    "exp": math.exp,
    "log": math.log,
    "integer_pow": lambda x, y: x**y,
}


class PrimitiveError(ValueError):
    """A primitive that the theory has no map for; the message is half a sentence."""


def constant_result(name: str, inputs: list[Constant], eqn: Any) -> Constant:
    """The constant a primitive makes of constants, with its value where that is easy to know."""
    weights = frozenset().union(*(one.weights for one in inputs))
    if weights and name in _SELECT:
        # Pieces of one array, such as stacked[i], are different weights; the same piece is not.
        piece = _piece(inputs[1:], eqn)
        weights = frozenset((weight, piece) for weight in weights)
    values = [one.value for one in inputs]
    try:
        if None in values or not values:
            return Constant(None, weights)
        known = [float(value) for value in values if value is not None]
        if name in _MEAN:
            return Constant(known[0] * _averaged_over(eqn), weights)
        if name in _FOLD:
            extra = [eqn.params["y"]] if name == "integer_pow" else []
            return Constant(float(_FOLD[name](*known, *extra)), weights)
        return Constant(known[0] if name in _KEEP and name != "pad" else None, weights)
    except (ArithmeticError, ValueError):
        return Constant(None, weights)


def _piece(indices: list[Constant], eqn: Any) -> object:
    """What tells this piece of an array from others; unknown indices are taken to differ."""
    known = tuple(one.value for one in indices)
    if None in known or (eqn.primitive.name == "gather"):
        return object()
    names = ("start_indices", "limit_indices", "strides", "slice_sizes")
    return (known, *(eqn.params.get(name) for name in names))


def signal_result(name: str, inputs: Sequence[Value], eqn: Any, builder: GraphBuilder) -> Signal:
    """The signal a primitive makes of signals and constants.

    Args:
      name: of the primitive.
      inputs: at least one `Signal`; the others `Constant`.
      eqn: the equation of the jaxpr.
      builder: grows by a node where signals mix or pass an activation.

    Raises:
      PrimitiveError, SumError: where the theory has no map.
    """
    signals = [one for one in inputs if isinstance(one, Signal)]
    if name == "shaped_activation":
        term = _unit(single(signals[0]))
        return Signal((Term(builder.nonlinear(term.node), drawn=term.drawn),))
    if name in ("add", "sub", "add_any"):
        return _add(name, inputs, builder)
    if name in ("mul", "div", "neg"):
        return _scale(name, inputs, eqn, builder)
    if name == "concatenate":
        return _concatenate(inputs, eqn, builder)
    if name in AFFINE:
        return _affine(name, inputs)
    if name in _MEAN or name in _KEEP:
        return _keep(name, inputs, eqn)
    if name in ("max", "min"):
        raise PrimitiveError(
            f"picks the {name} of several signals, as maxout does, for which there is no kernel "
            "map; apply an activation to one signal"
        )
    raise PrimitiveError(f"applies the primitive {name}")


def _unit(term: Term) -> Term:
    if abs(term.weight**2 - 1) > term.tolerance:
        raise SumError(
            f"multiplies a signal by {term.weight:.4g} before a nonlinear layer, so its scale is "
            "no longer 1; remove the factor"
        )
    return term


def _add(name: str, inputs: Sequence[Value], builder: GraphBuilder) -> Signal:
    if name == "sub":
        inputs = [inputs[0], _negated(inputs[1])]
    signals = [one for one in inputs if isinstance(one, Signal)]
    if len(signals) == 2:
        return normalised(Signal(signals[0].terms + signals[1].terms), builder)
    constant = next(one for one in inputs if isinstance(one, Constant))
    if constant.value and not constant.weights:  # a bias is a weight, and zero at initialisation
        raise PrimitiveError(
            f"adds the number {constant.value:.4g} to a signal, which the kernel maps do not see; "
            "remove it, shifts belong to the activation"
        )
    if constant.value is None and not constant.weights:
        raise PrimitiveError(
            "adds numbers that are no weights to a signal, as noise and fixed position codes do; "
            "remove them, or add them before the first layer"
        )
    return signals[0]


def _negated(value: Value) -> Value:
    if isinstance(value, Signal):
        return value.scaled(-1.0, np.dtype("float64"))
    if isinstance(value, Constant) and value.value is not None:
        return Constant(-value.value, value.weights)
    return value


def _number(value: Value) -> float | None:
    return value.value if isinstance(value, Constant) else None


def _scale(name: str, inputs: Sequence[Value], eqn: Any, builder: GraphBuilder) -> Signal:
    if name == "neg":
        inputs, name = [*inputs, Constant(-1.0)], "mul"
    signals = [one for one in inputs if isinstance(one, Signal)]
    if len(signals) == 2 and name == "mul":
        return _product(signals, builder)
    if len(signals) == 2:
        raise PrimitiveError(
            "divides a signal by values computed from the input, as normalisation layers and "
            "softmax do; remove it"
        )
    if name == "div" and isinstance(inputs[1], Signal):
        raise PrimitiveError("divides by a signal, which is a nonlinearity; remove it")
    position = next(i for i, one in enumerate(inputs) if isinstance(one, Constant))
    factor = _number(inputs[position])
    if factor is None:
        many = position < len(eqn.invars) and math.prod(eqn.invars[position].aval.shape) > 1
        raise PrimitiveError(_unknown_factor(many, inputs[position]))
    if name == "div" and factor == 0:
        raise PrimitiveError("divides a signal by 0; divide by another number")
    factor = 1 / factor if name == "div" else factor
    return normalised(signals[0].scaled(factor, eqn.outvars[0].aval.dtype), builder)


def _product(signals: list[Signal], builder: GraphBuilder) -> Signal:
    first, second = terms = tuple(single(one) for one in signals)
    if first.drawn & second.drawn or not (first.drawn or second.drawn):
        raise PrimitiveError(
            "multiplies a signal by values that are not independent of it, as normalisation "
            "layers and attention do; remove it, or let each factor have an affine layer of its own"
        )
    node = builder.product(term.node for term in terms)
    weight = first.weight * second.weight
    precision = max(first.precision, second.precision)
    return Signal((Term(node, weight, None, precision, drawn=first.drawn | second.drawn),))


def _unknown_factor(many: bool, factor: Value) -> str:
    if isinstance(factor, Constant) and not factor.weights:
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


def _affine(name: str, inputs: Sequence[Value]) -> Signal:
    if all(isinstance(one, Signal) for one in inputs):
        raise PrimitiveError(
            f"joins two signals by {name}, as attention does, for which there is no kernel map; "
            "remove it"
        )
    signal = next(one for one in inputs if isinstance(one, Signal))
    weights = next(one for one in inputs if isinstance(one, Constant)).weights
    term = single(signal)
    layers, drawn = weights or term.layers, weights or term.drawn
    return Signal((Term(term.node, term.weight, layers, term.precision, drawn=drawn),))


def _keep(name: str, inputs: Sequence[Value], eqn: Any) -> Signal:
    others = inputs[1:]
    if not isinstance(inputs[0], Signal) or any(isinstance(one, Signal) for one in others):
        raise PrimitiveError(f"indexes or pads with a signal ({name}), for which there is no map")
    term = single(inputs[0])
    _check_channels(name, eqn)
    if name in IN_PLACE:
        return Signal((term,))
    if name not in _MEAN:
        return Signal((dataclasses.replace(term, origin=object()),))
    weight = term.weight * _averaged_over(eqn)
    return Signal((dataclasses.replace(term, weight=weight, is_mean=True, origin=object()),))


def _check_channels(name: str, eqn: Any) -> None:
    """Refuses reductions over the last axis, which holds the channels."""
    last = len(eqn.invars[0].aval.shape) - 1
    over = last in eqn.params.get("axes", ()) and name.startswith("reduce_")
    if over or eqn.params.get("window_dimensions", (1,))[-1] > 1:
        raise PrimitiveError(
            f"reduces over the channels ({name}), as softmax and LayerNorm do, for which there is "
            "no kernel map; remove it, or keep it outside the traced function"
        )


def _averaged_over(eqn: Any) -> int:
    """Number of elements a sum runs over; dividing by it gives a mean, which keeps the scale."""
    shape = eqn.invars[0].aval.shape
    window = eqn.params.get("window_dimensions")
    return math.prod(window if window else (shape[axis] for axis in eqn.params["axes"]))


def _concatenate(inputs: Sequence[Value], eqn: Any, builder: GraphBuilder) -> Signal:
    terms = tuple(single(one) for one in inputs if isinstance(one, Signal))
    axis, shapes = eqn.params["dimension"], [var.aval.shape for var in eqn.invars]
    if axis != len(shapes[0]) - 1:
        if len({(term.node, term.weight) for term in terms}) == 1:
            return Signal((dataclasses.replace(terms[0], layers=None, origin=object()),))
        raise PrimitiveError(
            "concatenates different signals along another axis than the channels, so locations "
            "differ in their kernel maps; concatenate the last axis, or keep them apart"
        )
    if len(terms) < len(inputs):
        raise PrimitiveError(
            "concatenates a signal with constant channels, which have no kernel map; do it before "
            "the first layer"
        )
    width = sum(shape[axis] for shape in shapes)
    parts = [(_unit(t).node, shape[axis] / width) for t, shape in zip(terms, shapes, strict=True)]
    return Signal((mixed(builder.mix_shares(parts), terms),))
