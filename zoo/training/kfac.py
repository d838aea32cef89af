"""K-FAC: the gradient times the inverse of an approximate Fisher matrix, as an optax transform."""

import functools
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from zoo.cpu.sums import whole_sum
from zoo.models import Params
from zoo.training.alike import map_alike
from zoo.training.curvature import Block, Curvature, Factors, fisher_blocks

_TINY = 1e-30
"""Mean eigenvalue given to a factor that is zero; damping then decides alone."""


class KfacState(NamedTuple):
    """What K-FAC keeps.

    Attributes:
      count: updates made, int32.
      factors: averages of the statistics of all batches.
      inverses: of the damped factors, as last refreshed.
    """

    count: jax.Array
    factors: Curvature
    inverses: Curvature


def scale_by_kfac(
    *,
    damping: float,
    norm_constraint: float | None,
    curvature_decay: float,
    inverse_period: int,
    burnin_steps: int,
) -> optax.GradientTransformationExtraArgs:
    """Natural gradient by K-FAC, kept within a trust region.

      v = (F + damping I)^-1 g,   v <- v min(1, sqrt(norm_constraint / (rate^2 v . g)))

    with F block-diagonal, each block a Kronecker product A (x) G of which

      (A + pi sqrt(damping) I)^-1 (x) (G + sqrt(damping) / pi I)^-1,   pi^2 = mean eigenvalue of A
                                                                      / mean eigenvalue of G

    stands for the damped inverse. rate^2 v . g is the squared length of the step in F + damping I.

    `update` takes two more arguments: `curvature`, the statistics of the batch
    (`fisher_statistics`), and `learning_rate`, which the update will be multiplied by.

    Args:
      damping: weight of the identity, on the scale of the loss.
      norm_constraint: largest squared length of a step; None does not limit it.
      curvature_decay: d; the averages weigh a batch t steps ago by d^t, weights adding to 1.
      inverse_period: steps between two refreshments of the inverses; the first step is one.
      burnin_steps: updates before the first step; they measure and change no parameter.

    Source: arXiv 1503.05671, sections 4 and 6.3; arXiv 1602.01407; the trust region is that of the
    authors' implementation, kfac-jax, and so are the defaults of `KfacConfig`.
    """

    def init(params: optax.Params) -> KfacState:
        zeros = {block.name: block.zeros() for block in fisher_blocks(cast(Params, params))}
        return KfacState(jnp.zeros((), jnp.int32), zeros, jax.tree.map(jnp.copy, zeros))

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        *,
        curvature: Curvature,
        learning_rate: jax.Array,
        **extra: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        gradients, state = cast(Params, updates), cast(KfacState, state)
        steps = state.count - burnin_steps
        share = (1 - curvature_decay) / (1 - curvature_decay ** (state.count + 1.0))
        factors = jax.tree.map(lambda old, new: old + share * (new - old), state.factors, curvature)
        with jax.default_matmul_precision("highest"):
            inverses = jax.lax.cond(
                (steps >= 0) & (steps % inverse_period == 0),
                lambda: map_alike(functools.partial(damped_inverse, damping=damping), factors),
                lambda: state.inverses,
            )
            direction: Params = {}
            for block in fisher_blocks(gradients):
                direction |= _precondition(block, inverses[block.name], gradients)
        scale = jnp.where(steps >= 0, 1.0, 0.0)
        if norm_constraint is not None:
            length = learning_rate * jnp.sqrt(jnp.maximum(_inner(direction, gradients), 0))
            scale *= jnp.minimum(1, norm_constraint**0.5 / length)
        direction = {
            name: (scale * value).astype(gradients[name].dtype) for name, value in direction.items()
        }
        return direction, KfacState(state.count + 1, factors, inverses)

    # pyrefly: ignore[bad-argument-type] optax's protocol gives extra arguments no names
    return optax.GradientTransformationExtraArgs(init, update)


def damped_inverse(factors: Factors, damping: float) -> Factors:
    """Inverses of a block's factors, the damping shared between them in proportion to their size.

    Each Kronecker factor gets the part of it that its mean eigenvalue has in their product; the
    diagonal of a diagonal block gets all.

    Source: arXiv 1503.05671, section 6.3, with the trace norm.
    """
    if len(factors) == 1:
        return (1 / (factors[0] + damping),)
    first, second = (jnp.maximum(jnp.trace(one) / len(one), _TINY) for one in factors)
    pi, root = jnp.sqrt(first / second), damping**0.5
    return tuple(
        _inverse(one + weight * jnp.eye(len(one)))
        for one, weight in zip(factors, (pi * root, root / pi), strict=True)
    )


def _precondition(block: Block, inverses: Factors, gradients: Params) -> Params:
    if block.is_diagonal:
        return {block.name: inverses[0] * gradients[block.name].astype(jnp.float32)}
    by_input, by_output = inverses
    return block.parts(by_input @ block.matrix(gradients) @ by_output, gradients)


def _inverse(matrix: jax.Array) -> jax.Array:
    """Of a symmetric positive definite matrix."""
    factor = jax.scipy.linalg.cho_factor(matrix, lower=True)
    return jax.scipy.linalg.cho_solve(factor, jnp.eye(len(matrix)))


def _inner(first: Params, second: Params) -> jax.Array:
    products = [whole_sum(first[name] * second[name].astype(jnp.float32)) for name in first]
    return jnp.sum(jnp.stack(products))
