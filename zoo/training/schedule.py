"""Learning rates as pure functions of the step: a resumed run cannot be off by one."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from zoo.training.optimizer_config import ScheduleConfig

Schedule = Callable[[jax.Array], jax.Array]
"""Learning rate, float32, of a step (int32, starting at 0)."""


def make_schedule(config: ScheduleConfig, peak: float, total_steps: int) -> Schedule:
    """The learning rate of each step.

      rate(t) = peak (t + 1) / w                      t < w, linear warm-up over w steps
      rate(t) = peak shape((t - w) / (T - w))         w <= t < T,   1 + T - w steps to the end

    with shape(p) = f + (1 - f) (1 + cos(pi p)) / 2 for "cosine" (f = final_fraction), 1 for
    "constant". "step" multiplies the peak by `factor` from each step `boundary * T` on.

    Args:
      config: which schedule.
      peak: the learning rate that warm-up reaches.
      total_steps: T. Beyond it the rate stays at its last value.

    Raises:
      ValueError: if the warm-up is longer than `total_steps`.
    """
    warmup = config.warmup_steps or math.ceil(config.warmup_fraction * total_steps)
    if warmup > total_steps:
        raise ValueError(
            f"schedule.warmup_steps={warmup} is longer than the run of {total_steps} steps; "
            "lower it or train longer"
        )
    shape = SCHEDULES[config.name](config, warmup, total_steps)

    def rate(step: jax.Array) -> jax.Array:
        ramp = (jnp.asarray(step, jnp.float32) + 1) / max(1, warmup)
        return peak * jnp.where(step < warmup, ramp, shape(step)).astype(jnp.float32)

    return rate


def _cosine(config: ScheduleConfig, warmup: int, total: int) -> Schedule:
    low = config.final_fraction

    def shape(step: jax.Array) -> jax.Array:
        progress = jnp.clip((step - warmup) / max(1, total - warmup), 0, 1)
        return low + (1 - low) * 0.5 * (1 + jnp.cos(jnp.pi * progress))

    return shape


def _step(config: ScheduleConfig, warmup: int, total: int) -> Schedule:
    boundaries = [math.ceil(fraction * total) for fraction in config.boundaries]

    def shape(step: jax.Array) -> jax.Array:
        passed = sum((jnp.asarray(step) >= boundary).astype(jnp.float32) for boundary in boundaries)
        return jnp.asarray(config.factor, jnp.float32) ** passed

    return shape


def _constant(config: ScheduleConfig, warmup: int, total: int) -> Schedule:
    return lambda step: jnp.ones((), jnp.float32)


SCHEDULES: dict[str, Callable[[ScheduleConfig, int, int], Schedule]] = {
    "cosine": _cosine,
    "step": _step,
    "constant": _constant,
}
