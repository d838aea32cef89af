"""A function with its convolutions and matrix products computed by oneDNN.

Works below tracing and differentiation: on the jaxpr of the whole function, whose derivatives are
written out in it. So it needs no derivative of its own and knows no layer; what it does not
recognise stays as it is.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun

from zoo.kernels.products import Call, recognized

_CALLS = ("jit", "pjit", "remat2", "checkpoint", "scan", "while", "cond", "closed_call",
          "custom_jvp_call", "custom_vjp_call")  # fmt: skip


def with_onednn(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of pytrees of arrays, its products computed by oneDNN; for one processor.

    Differentiated from outside, it is the plain function.
    """

    @jax.custom_jvp
    def fast(*args: Any) -> Any:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        outputs = jaxpr_as_fun(_closed(closed))(*jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), outputs)

    fast.defjvp(lambda primals, tangents: jax.jvp(function, primals, tangents))
    return functools.wraps(function)(lambda *args: fast(*args))


def _closed(closed: ClosedJaxpr) -> ClosedJaxpr:
    return closed.replace(jaxpr=_rewritten(closed.jaxpr))


def _rewritten(jaxpr: Jaxpr) -> Jaxpr:
    narrow: dict[int, Any] = {}  # by id of a float32 variable: the bfloat16 one widened to it
    eqns = []
    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        if name == "convert_element_type" and _dtype(eqn.invars[0]) == jnp.bfloat16:
            narrow[id(eqn.outvars[0])] = eqn.invars[0]
        if name in ("conv_general_dilated", "dot_general"):
            eqn = _product(eqn, narrow)
        elif name in _CALLS:
            params = {key: _inside(value) for key, value in eqn.params.items()}
            eqn = eqn.replace(params=params)
        eqns.append(eqn)
    return jaxpr.replace(eqns=eqns)


def _inside(value: Any) -> Any:
    """A parameter of a call, with the jaxprs in it rewritten."""
    if isinstance(value, ClosedJaxpr):
        return _closed(value)
    if isinstance(value, Jaxpr):
        return _rewritten(value)
    if isinstance(value, tuple) and all(isinstance(one, ClosedJaxpr) for one in value):
        return tuple(_closed(one) for one in value)
    return value


def _product(eqn: Any, narrow: dict[int, Any]) -> Any:
    """The equation of a product as one that calls oneDNN, or as it is."""
    operands, result = eqn.invars, eqn.outvars[0].aval
    if result.dtype == jnp.float32 and all(id(atom) in narrow for atom in operands):
        # Products of bfloat16 numbers are exact in float32: the same sum, without the copies.
        operands = [narrow[id(atom)] for atom in operands]
    left, right = (jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in operands)
    result = jax.ShapeDtypeStruct(result.shape, result.dtype)
    call = recognized(eqn.primitive.name, eqn.params, left, right, result)
    if call is None:
        return eqn
    return _traced(call, left, right, result).replace(invars=operands, outvars=eqn.outvars)


def _dtype(atom: Any) -> Any:
    return getattr(atom.aval, "dtype", None)


@functools.lru_cache(maxsize=1024)
def _traced(call: Call, left: Any, right: Any, result: Any) -> Any:
    compute = jax.jit(lambda left, right: call(left, right, result))
    return jax.make_jaxpr(compute)(left, right).eqns[0]
