"""Pairs of inputs at chosen cosines, after whatever preprocessing the network does itself."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

_BISECTIONS = 30


def pairs(
    first_tap: Callable[[jnp.ndarray], jnp.ndarray],
    shape: tuple[int, ...],
    cosines: tuple[float, ...],
    count: int,
    seed: int,
) -> np.ndarray:
    """Random pairs [2, cosines, count, *one input], float32, of unit q value where that is free.

    x and y(t) = x cos t + z sin t with z orthogonal to x at every location; t is found by
    bisection on the cosine that the network's first layer sees.

    Args:
      first_tap: inputs [batch, ...] -> what the first layer reads.
      shape: of the input, batch axis first.
      cosines: wanted; the nearest there is if preprocessing does not allow one.
      count: pairs of each cosine.
      seed: of the pairs.
    """
    rng = np.random.default_rng(seed)
    batch = len(cosines) * count
    x = _unit(rng.normal(size=(batch, *shape[1:])))
    z = rng.normal(size=x.shape)
    z = _unit(z - x * np.mean(x * z, axis=-1, keepdims=True)) if shape[-1] > 1 else 0 * x
    seen = np.asarray(first_tap(jnp.asarray(x, jnp.float32)))
    target = np.repeat(cosines, count).reshape(-1, *[1] * (seen.ndim - 2))
    low, high = np.zeros(seen.shape[:-1]), np.full(seen.shape[:-1], np.pi)
    lift = (*low.shape, *[1] * (x.ndim - low.ndim))
    y = x
    for _ in range(_BISECTIONS):
        t = (low + high) / 2
        y = x * np.cos(t.reshape(lift)) + z * np.sin(t.reshape(lift))
        other = np.asarray(first_tap(jnp.asarray(y, jnp.float32)))
        above = cosine(seen, other, axis=-1) > target
        low, high = np.where(above, t, low), np.where(above, high, t)
    return np.stack([x, y]).astype(np.float32).reshape(2, len(cosines), count, *shape[1:])


def cosine(u: np.ndarray, v: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """u.v / (|u| |v|) over `axis`."""
    u, v = np.asarray(u, np.float64), np.asarray(v, np.float64)
    return np.sum(u * v, axis) / np.sqrt(np.sum(u * u, axis) * np.sum(v * v, axis))


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True))
