"""Size of a network, read off its own forward pass: parameters and multiply-accumulates."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn

from zoo.models import Network
from zoo.models.parameters import fixed_of, merge, split, statistics_of
from zoo.shaping.visitor import held_jaxprs, shape_of


def count_params(model: Network) -> int:
    """Number of trained parameters of `model`, abstract or not; statistics and fixed ones apart."""
    others = statistics_of(model) | fixed_of(model)
    params = split(model)[1]
    return sum(math.prod(leaf.shape) for name, leaf in params.items() if name not in others)


def count_macs(model: Network, input_size: tuple[int, int, int]) -> int:
    """Multiply-accumulates of one example: every convolution and matrix product, nothing else.

    A convolution costs (output elements) x (taps x input channels of its group), padding counted
    as if it were signal, as is usual in tables of networks.

    Args:
      model: network, abstract or not; it is traced, never run.
      input_size: (height, width, channels) of one example.
    """
    graphdef, params = split(model)
    image = jax.ShapeDtypeStruct((1, *input_size), jnp.float32)
    traced = jax.make_jaxpr(lambda params, image: merge(graphdef, params)(image))(params, image)
    return _jaxpr_macs(traced.jaxpr)


def _jaxpr_macs(jaxpr: Jaxpr) -> int:
    return sum(_equation_macs(equation) for equation in jaxpr.eqns)


def _equation_macs(equation: JaxprEqn) -> int:
    count = _PRODUCTS.get(equation.primitive.name)
    if count is not None:
        return count(equation)
    inner = [_jaxpr_macs(jaxpr) for jaxpr in held_jaxprs(equation)]
    if not any(inner):
        return 0
    if equation.primitive.name == "scan":
        return equation.params["length"] * sum(inner)
    if equation.primitive.name == "cond":
        return max(inner)
    if equation.primitive.name == "while":
        raise ValueError("a while loop has no fixed number of multiply-accumulates; use scan")
    return sum(inner)


def _dot_macs(equation: JaxprEqn) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = shape_of(equation.invars[0])
    return math.prod(shape_of(equation.outvars[0])) * math.prod(shape[i] for i in contracted)


def _conv_macs(equation: JaxprEqn) -> int:
    kernel = shape_of(equation.invars[1])
    out_channels = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    return math.prod(shape_of(equation.outvars[0])) * (math.prod(kernel) // out_channels)


_PRODUCTS: dict[str, Callable[[JaxprEqn], int]] = {
    "dot_general": _dot_macs,
    "conv_general_dilated": _conv_macs,
}
