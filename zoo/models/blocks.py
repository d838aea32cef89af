"""Blocks of a network: how many, and running them one by one, scanned, or with recomputation."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import Primitive

from zoo.models.family import NetworkConfig
from zoo.models.parameters import in_training

BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
"""Blocks of each of the four stages of a ResNet, by depth (arXiv 1512.03385)."""


def run_blocks(blocks: Sequence[nnx.Module], x: jax.Array, config: NetworkConfig) -> jax.Array:
    """`x` through all blocks; all but the first are scanned as one where they are equal.

    Args:
      blocks: modules that take and give one array.
      x: input of the first.
      config: its `remat` and `scan` decide how, and change no number.
    """
    scan = jax.default_backend() == "tpu" if config.scan is None else config.scan
    first, *others = blocks
    x = _apply(first, x, config.remat)
    if not others:
        return x
    graphdefs, states = zip(*(nnx.split(block) for block in others), strict=True)
    if not scan or len(set(graphdefs)) > 1:  # in training mode only some may measure batches
        for block in others:
            x = _apply(block, x, config.remat)
        return x
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    x, measured = jax.lax.scan(_pure(graphdefs[0], config.remat), x, stacked)
    for i, block in enumerate(others):
        nnx.update(block, jax.tree.map(lambda leaf, i=i: leaf[i], measured))
    return x


def _apply(block: nnx.Module, x: jax.Array, remat: str) -> jax.Array:
    graphdef, state = nnx.split(block)
    x, measured = _pure(graphdef, remat)(x, state)
    nnx.update(block, measured)
    return x


def _pure(
    graphdef: nnx.GraphDef, remat: str
) -> Callable[[jax.Array, nnx.State], tuple[jax.Array, nnx.State]]:
    """A block as a function of its state: the output, and the statistics it measured."""

    def run(x: jax.Array, state: nnx.State) -> tuple[jax.Array, nnx.State]:
        block: Any = nnx.merge(graphdef, state)
        x = block(x)
        return x, nnx.state(block, nnx.BatchStat if in_training(block) else nnx.Nothing())

    return _REMAT[remat](run)


def _is_product(primitive: Primitive, *_: Any, **__: Any) -> bool:
    return primitive.name in ("conv_general_dilated", "dot_general")


# By name: how a block is wrapped so that its backward pass computes some values again.
_REMAT: dict[str, Callable[[Any], Any]] = {
    "none": lambda run: run,
    "activations": functools.partial(jax.checkpoint, policy=_is_product),
    "blocks": jax.checkpoint,
}
