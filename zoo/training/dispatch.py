"""Several training steps as one call of the device, and what they measured."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.training.config import TrainConfig
from zoo.training.step import Batch, Metrics, TrainState

# Dispatches the host may be ahead of the device: enough to hide itself, few enough to bound memory.
_AHEAD = 2
# A quarter to a half of what is usually logged as one line. None on CPU, where a loop around
# convolutions is many times slower than the convolutions.
_STEPS_PER_DISPATCH = 25


def largest_dispatch(config: TrainConfig) -> int:
    """Steps that one dispatch of a run makes, at most."""
    if config.steps_per_dispatch is not None:
        return config.steps_per_dispatch
    loops = config.data.resident and jax.default_backend() != "cpu"
    return _STEPS_PER_DISPATCH if loops else 1


def steps_until(periods: Iterable[int], done: int, last: int) -> int:
    """Steps from `done` to the next multiple of a period (0: none) or to `last`."""
    return min([last - done, *(period - done % period for period in periods if period > 0)])


def stacked(orders: Sequence[Mapping[str, np.ndarray]], size: int) -> dict[str, np.ndarray]:
    """What up to `size` steps take, as one batch for `repeated`.

    Returns:
      The arrays of `orders` with a first axis of length `size`, filled up with zeros, and "count",
      int32: how many of them are steps.
    """
    if not 1 <= len(orders) <= size:
        raise ValueError(f"{len(orders)} steps given; a dispatch takes 1 to {size}")
    arrays = {}
    for name, first in orders[0].items():
        arrays[name] = np.zeros((size, *first.shape), first.dtype)
        arrays[name][: len(orders)] = [order[name] for order in orders]
    return {**arrays, "count": np.asarray(len(orders), np.int32)}


def repeated(
    step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]],
    state: TrainState,
    batch: Batch,
) -> tuple[TrainState, Metrics]:
    """The first `count` steps of a `stacked` batch, one after the other, without the host.

    The number of steps is data, not shape: one compiled program makes any number, so that how a
    run is cut into dispatches changes no bit of it.

    Returns:
      The state after the last step, and every metric with a first axis over the steps; zero from
      `count` on.
    """
    orders = {name: rows for name, rows in batch.items() if name != "count"}
    size = next(iter(orders.values())).shape[0]

    def order(number: int | jax.Array) -> Batch:
        return {name: rows[number] for name, rows in orders.items()}

    def one(number: jax.Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        state, found = step(carry[0], order(number))
        return state, jax.tree.map(lambda rows, new: rows.at[number].set(new), carry[1], found)

    shapes = jax.eval_shape(step, state, order(0))[1]
    metrics = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), shapes)
    return jax.lax.fori_loop(0, batch["count"], one, (state, metrics))


class Measured:
    """Metrics of the steps since the last log line, on the device until they are taken.

    Args:
      averaged: names of the metrics that are kept of every step; of all others, of the last.
    """

    def __init__(self, averaged: Sequence[str]) -> None:
        self._averaged = averaged
        self._dispatches: list[tuple[int, int, Metrics]] = []
        self._newest: Metrics = {}

    def add(self, done: int, count: int, metrics: Metrics) -> int | None:
        """Takes what a dispatch of `count` steps that ends at step `done` gave.

        Waits where the host is too far ahead.

        Returns:
          The last step known to be complete on the device, if one is.
        """
        kept = {name: metrics[name] for name in self._averaged}
        self._dispatches.append((done, count, kept))
        self._newest = metrics
        if len(self._dispatches) <= _AHEAD:
            return None
        complete, _, waited = self._dispatches[-1 - _AHEAD]
        jax.block_until_ready(waited)
        return complete

    def take(self) -> tuple[dict[str, list[float]], dict[str, Any]]:
        """Metrics to average, one value per step, and all of the last step; then forgets them."""
        last = self._dispatches[-1][1] - 1
        dispatches, newest = jax.device_get((self._dispatches, self._newest))
        self._dispatches = []
        values = {
            name: [
                float(value)
                for _, count, metrics in dispatches
                for value in np.ravel(metrics[name])[:count]
            ]
            for name in self._averaged
        }
        return values, jax.tree.map(lambda leaf: float(np.ravel(leaf)[last]), newest)
