"""Why a network has no kernel graph, in one sentence: what was met, where, and what to do."""

from pathlib import Path
from typing import Any

import flax
import jax
from jax.extend.core import JaxprEqn

from zoo.shaping.pointwise import ACTIVATIONS

_NORMALIZATION = "flax/nnx/nn/normalization.py"
_JAX_ACTIVATIONS = "jax/_src/nn/functions.py"
_LIBRARIES = tuple(str(Path(file).parent) for file in (jax.__file__, flax.__file__, __file__))
_OTHER_NAMES = {"soft_sign": "softsign", "logistic": "sigmoid", "max": "relu"}
# Elementwise primitives, alone or as part of an activation function.
NONLINEAR = frozenset(
    "max min abs sign exp exp2 expm1 log log1p tanh logistic erf erfc erf_inv sin cos tan asin "
    "acos atan atan2 sinh cosh asinh acosh atanh sqrt rsqrt cbrt pow integer_pow square floor "
    "ceil round clamp gt ge lt le eq ne and or not".split()
)
_OTHER_FUNCTIONS = frozenset(
    "softmax log_softmax relu6 celu mish glu hard_tanh hard_sigmoid hard_silu hard_swish "
    "log_sigmoid squareplus sparse_plus sparse_sigmoid standardize logsumexp".split()
)


_CONTROL = {
    "cond": "one of several branches (cond)",
    "while": "a loop whose length depends on data (while)",
}


class NotShapableError(ValueError):
    """The network holds something that has no kernel map."""


def refusal(
    error: ValueError, eqn: JaxprEqn, calls: list[JaxprEqn], nonlinear_layers: int
) -> NotShapableError:
    """The error for equation `eqn`, met within `calls` after `nonlinear_layers`."""
    frames = [frame for call in [*calls, eqn] for frame in _frames(call)]
    place = f"after {nonlinear_layers} nonlinear layers"
    line = user_line(eqn, calls)
    place = f"{line}, {place}" if line else place
    return NotShapableError(f"the network {_reason(error, eqn, calls, frames)} ({place})")


def refuse_outputs(num_live: int, has_layers: bool) -> None:
    """Refuses what is no network of one output."""
    if not num_live:
        reason = "returns no array that depends on its input; return what its layers compute"
    elif num_live > 1:
        reason = (
            f"returns {num_live} arrays that depend on its input; trace a function that returns one"
        )
    elif not has_layers:
        reason = (
            "multiplies its input by no weights, so it has no layers; pass the module itself, or a "
            "function that closes over its weights"
        )
    else:
        return
    raise NotShapableError(f"the network {reason}")


def drawn_inside(is_product: bool) -> str:
    """Why random numbers made in the forward pass are refused."""
    if is_product:
        return (
            "makes its weights inside the traced function, where they are no weights; build the "
            "module before, and trace it or a function that closes over it"
        )
    return (
        "draws random numbers while it runs, as dropout in training does; trace it in evaluation "
        "mode"
    )


def _reason(error: ValueError, eqn: JaxprEqn, calls: list[JaxprEqn], frames: list[Any]) -> str:
    for frame in frames:
        owner, _, method = frame.function_name.partition(".")
        if frame.file_name.endswith(_NORMALIZATION) and method == "__call__":
            return (
                f"contains {owner}, whose statistics have no kernel map; remove it (BatchNorm can "
                "be folded into the layer before it), shaped networks need no normalisation"
            )
    name = eqn.primitive.name
    function = _function_name(name, calls, frames)
    if "softmax" in function:
        return f"applies {function}, which has no kernel map; return the logits before it"
    if name == "select_n" and function == name:
        return (
            "selects elements of a signal (select_n), as dropout in training and masks do; trace "
            "it in evaluation mode, and write activations as zoo.ShapedActivation"
        )
    if name in ("cond", "while"):
        return (
            f"runs {_CONTROL[name]}, so it is not one network; decide with Python's if and for, or "
            "repeat layers with jax.lax.scan"
        )
    text = str(error)
    if name in ("max", "min") and ";" in text:
        return text
    if name in NONLINEAR or function != name:
        known = _OTHER_NAMES.get(function, function)
        use = f'zoo.ShapedActivation("{known if known in ACTIVATIONS else "softplus"}")'
        label = f"primitive {name}" if function == name else f"{function} (primitive {name})"
        return f"applies a nonlinearity that is not marked, {label}; use {use} for it"
    if ";" in text:
        return text
    return (
        f"{text}, which has no kernel map; build the network from dense layers, convolutions, "
        "zoo.ShapedActivation, pooling, normalised sums and concatenations"
    )


def activation_name(eqn: JaxprEqn, calls: list[JaxprEqn]) -> str:
    """Name of the activation function that the equation is part of, else of its primitive."""
    frames = [frame for call in [*calls, eqn] for frame in _frames(call)]
    return _function_name(eqn.primitive.name, calls, frames)


def _function_name(primitive: str, calls: list[JaxprEqn], frames: list[Any]) -> str:
    """Name of the activation function of jax.nn that the equation is part of, else `primitive`."""
    inside = [f.function_name for f in frames if f.file_name.endswith(_JAX_ACTIVATIONS)]
    named = [str(call.params["name"]) for call in calls if "name" in call.params]
    for candidate in [*inside, *named]:
        last = candidate.split(".")[-1].strip("_")
        if last in ACTIVATIONS or last in _OTHER_NAMES or last in _OTHER_FUNCTIONS:
            return last
    return primitive


def user_line(eqn: JaxprEqn, calls: list[JaxprEqn]) -> str:
    """file:line of the innermost code outside JAX, Flax and this package; empty if unknown."""
    for call in [eqn, *reversed(calls)]:
        for frame in _frames(call):
            if not frame.file_name.startswith(_LIBRARIES):
                return f"{frame.file_name}:{frame.line_num}"
    return ""


def _frames(eqn: JaxprEqn) -> list[Any]:
    """Frames of the Python stack that made `eqn`, innermost first; none if JAX kept none."""
    traceback = getattr(eqn.source_info, "traceback", None)
    return list(getattr(traceback, "frames", ()))
