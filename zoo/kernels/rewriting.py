"""A function with its convolutions and matrix products computed by oneDNN.

Works below tracing and differentiation: on the jaxpr of the whole function, whose derivatives are
written out in it. So it needs no derivative of its own and knows no layer; what it does not
recognise stays as it is.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun

from zoo.kernels.fusing import with_products

_CALLS = ("jit", "pjit", "remat2", "checkpoint", "scan", "while", "cond", "closed_call",
          "custom_jvp_call", "custom_vjp_call")  # fmt: skip


def with_onednn(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of pytrees of arrays, its products computed by oneDNN; for one processor.

    Differentiated from outside, it is the plain function.
    """

    @jax.custom_jvp
    def fast(*args: Any) -> Any:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        outputs = jaxpr_as_fun(rewritten(closed))(*jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), outputs)

    fast.defjvp(lambda primals, tangents: jax.jvp(function, primals, tangents))
    return functools.wraps(function)(lambda *args: fast(*args))


def rewritten(closed: ClosedJaxpr) -> ClosedJaxpr:
    """A jaxpr, and all that it calls, with products computed by oneDNN."""
    return closed.replace(jaxpr=_open(closed.jaxpr))


def _open(jaxpr: Jaxpr) -> Jaxpr:
    jaxpr = with_products(jaxpr)
    return jaxpr.replace(eqns=[_entered(eqn) for eqn in jaxpr.eqns])


def _entered(eqn: Any) -> Any:
    """An equation that calls others, with those rewritten."""
    if eqn.primitive.name not in _CALLS:
        return eqn
    return eqn.replace(params={key: _inside(value) for key, value in eqn.params.items()})


def _inside(value: Any) -> Any:
    if isinstance(value, ClosedJaxpr):
        return rewritten(value)
    if isinstance(value, Jaxpr):
        return _open(value)
    if isinstance(value, tuple) and all(isinstance(one, ClosedJaxpr) for one in value):
        return tuple(rewritten(one) for one in value)
    return value
