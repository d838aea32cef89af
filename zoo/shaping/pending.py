"""Elementwise primitives on a signal: the unmarked nonlinearity they are part of goes on."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
from jax.extend.core import JaxprEqn

from zoo.shaping.constants import IN_PLACE
from zoo.shaping.elementwise import Program
from zoo.shaping.refusals import NONLINEAR, activation_name, refusal, user_line
from zoo.shaping.signals import Constant, Pending, Signal, Value
from zoo.shaping.site import PrimitiveError

SUMS = frozenset({"add", "sub", "add_any"})
_LINEAR = SUMS | {"mul", "div", "neg"}
_BENT = NONLINEAR | {"select_n"}


def continued(
    name: str, inputs: Sequence[Value], eqn: JaxprEqn, calls: list[JaxprEqn], depth: int
) -> Pending | None:
    """The elementwise function that a primitive makes of one signal, or None if it does not.

    Args:
      name: of the primitive.
      inputs: constants, signals and functions of signals.
      eqn: the equation.
      calls: that are being entered, outermost first.
      depth: nonlinear layers before it.
    """
    live = [one for one in inputs if isinstance(one, Pending | Signal)]
    pending = [one for one in live if isinstance(one, Pending)]
    bends = name in _BENT or _truncates(name, eqn)
    if name in IN_PLACE and name != "convert_element_type":
        return pending[0] if pending and len(inputs) == 1 else None
    if name not in _BENT | _LINEAR | IN_PLACE or not _is_of_one_signal(inputs):
        return None
    if not pending and not bends and not _leaves_the_line(name, inputs):
        return None
    factor = _factor(name, inputs)
    if pending and factor is not None:
        return dataclasses.replace(pending[0], scale=factor * pending[0].scale)
    step = Program(eqn, tuple(_argument(one) for one in inputs))
    term = next(one.term if isinstance(one, Pending) else one.terms[0] for one in live)
    called = next((one.called for one in pending if one.called), "")
    sentence = next((one.refusal for one in pending if one.called), "")
    if not called and (bends or (name in ("mul", "div") and not pending)):
        called = activation_name(eqn, calls)
        sentence = str(refusal(PrimitiveError(f"applies {name}"), eqn, calls, depth))
    if not sentence:
        sentence = pending[0].refusal if pending else _shift_refusal(inputs, eqn, calls, depth)
    where = next((one.where for one in pending), "") or user_line(eqn, calls)
    return Pending(term, step, 1.0, called, sentence, where)


def _truncates(name: str, eqn: JaxprEqn) -> bool:
    """Whether a cast to integers or truth values leaves less than the signal."""
    return name == "convert_element_type" and not jnp.issubdtype(
        eqn.params["new_dtype"], jnp.inexact
    )


def _is_of_one_signal(inputs: Sequence[Value]) -> bool:
    """Whether all are numbers or functions of one array, element by element."""
    origins = set()
    for one in inputs:
        if isinstance(one, Pending):
            origins.add(id(one.term.origin))
        elif isinstance(one, Signal) and len(one.terms) == 1:
            origins.add(id(one.terms[0].origin))
        elif not (isinstance(one, Constant) and one.value is not None):
            return False
    return len(origins) == 1


def _leaves_the_line(name: str, inputs: Sequence[Value]) -> bool:
    """Whether signals and numbers give more than a multiple of the signal."""
    if name in SUMS:
        return any(isinstance(one, Constant) and one.value for one in inputs)
    if name == "div":
        return isinstance(inputs[1], Signal)
    return name == "mul" and all(isinstance(one, Signal) for one in inputs)


def _factor(name: str, inputs: Sequence[Value]) -> float | None:
    """The number by which a function is multiplied, if that is all."""
    if name == "neg":
        return -1.0
    number = next((one.value for one in inputs if isinstance(one, Constant)), None)
    if name == "mul" or (name == "div" and isinstance(inputs[1], Constant) and number):
        return number if name == "mul" or number is None else 1 / number
    return None


def _argument(value: Value) -> Program | float:
    if isinstance(value, Pending):
        return value.whole
    if isinstance(value, Signal):
        return Program(None, (value.terms[0].weight,))
    assert isinstance(value, Constant) and value.value is not None
    return value.value


def _shift_refusal(
    inputs: Sequence[Value], eqn: JaxprEqn, calls: list[JaxprEqn], depth: int
) -> str:
    number = next((one.value for one in inputs if isinstance(one, Constant)), 0.0)
    error = PrimitiveError(
        f"adds the number {number:.4g} to a signal, which the kernel maps do not see; remove it, "
        "shifts belong to the activation"
    )
    return str(refusal(error, eqn, calls, depth))
