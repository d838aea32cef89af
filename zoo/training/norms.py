"""Filters that keep the norm they begin with: the last part of an update, as an optax transform."""

import re
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from zoo.models import Params

_TINY = 1e-30


class FilterNorms(NamedTuple):
    """Norm of every filter at the start by name of its kernel, [outputs], float32."""

    norms: dict[str, jax.Array]


def keep_filter_norms(pattern: str) -> optax.GradientTransformationExtraArgs:
    """Changes an update so that after it every filter has its norm of the start.

      w + rate direction' = |w_0| (w + rate direction) / |w + rate direction|

    for each filter w, the weights of one output of a kernel. The variance that shaping assumes of
    every channel is then kept for good. Filters that begin at zero are left free.

    `update` takes `learning_rate`, the rate by which its result will be multiplied.

    Args:
      pattern: regular expression; kernels whose name it finds are kept.

    Source: Jordan 2024, github.com/KellerJordan/cifar10-airbench, airbench94_muon.py, which sets
    whole convolution kernels back to one norm before each update.
    """

    def init(params: optax.Params) -> FilterNorms:
        given = cast(Params, params)
        kept = {n: v for n, v in given.items() if v.ndim >= 2 and re.search(pattern, n)}
        return FilterNorms({name: _norms(value) for name, value in kept.items()})

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        *,
        learning_rate: jax.Array,
        **extra: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        given, state = cast(Params, params), cast(FilterNorms, state)
        direction = dict(cast(Params, updates))
        rate = jnp.where(learning_rate == 0, 1.0, learning_rate)  # then nothing moves anyway
        for name, wanted in state.norms.items():
            old = given[name].astype(jnp.float32)
            new = old + rate * direction[name].astype(jnp.float32)
            scale = jnp.where(wanted > 0, wanted / jnp.maximum(_norms(new), _TINY), 1.0)
            direction[name] = (scale * new - old) / rate
        return direction, state

    # pyrefly: ignore[bad-argument-type] optax's protocol gives extra arguments no names
    return optax.GradientTransformationExtraArgs(init, update)


def _norms(kernel: jax.Array) -> jax.Array:
    matrix = kernel.astype(jnp.float32).reshape(-1, kernel.shape[-1])
    return jnp.sqrt(jnp.sum(jnp.square(matrix), axis=0))
