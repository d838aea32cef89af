"""One function of many arrays, without a program that grows with their number."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

Key = TypeVar("Key", bound=Hashable)


def map_alike(function: Callable[[Any], Any], values: Mapping[Key, Any]) -> dict[Key, Any]:
    """`function` of every value; values of equal shapes in one loop.

    For factorisations of a network's matrices: a program of hundreds of them compiles slowly.

    Args:
      function: of a pytree of arrays.
      values: pytrees of arrays by key.
    """
    alike: dict[Any, list[Key]] = defaultdict(list)
    for key, value in values.items():
        alike[tuple(leaf.shape for leaf in jax.tree.leaves(value))].append(key)
    found: dict[Key, Any] = {}
    for keys in alike.values():
        stacked = jax.tree.map(lambda *rows: jnp.stack(rows), *(values[key] for key in keys))
        # No vmap: on CPU, factorisations of batches that run at the same time can wait for each
        # other for ever (two threads, jax 0.10.2).
        mapped = jax.lax.map(function, stacked)
        for i, key in enumerate(keys):
            found[key] = jax.tree.map(lambda rows, i=i: rows[i], mapped)
    return found
