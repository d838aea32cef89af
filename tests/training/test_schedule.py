"""Learning rates equal their closed forms at every step."""

import math

import jax
import numpy as np
import pytest

from zoo.training import ScheduleConfig, make_schedule

TOTAL, WARMUP, PEAK = 40, 8, 0.3


def _rates(config: ScheduleConfig) -> np.ndarray:
    steps = np.arange(TOTAL + 5, dtype=np.int32)
    return np.asarray(jax.vmap(make_schedule(config, PEAK, TOTAL))(steps))


def _with_warmup(after) -> np.ndarray:
    steps = range(TOTAL + 5)
    return np.asarray([PEAK * ((t + 1) / WARMUP if t < WARMUP else after(t)) for t in steps])


def _cosine(t: int, low: float) -> float:
    progress = min(1.0, (t - WARMUP) / (TOTAL - WARMUP))
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress))


CASES = [
    (ScheduleConfig("cosine", warmup_steps=WARMUP), lambda t: _cosine(t, 0.0)),
    (
        ScheduleConfig("cosine", warmup_fraction=WARMUP / TOTAL, final_fraction=0.1),
        lambda t: _cosine(t, 0.1),
    ),
    (ScheduleConfig("constant", warmup_steps=WARMUP), lambda t: 1.0),
    (
        ScheduleConfig("step", warmup_steps=WARMUP, boundaries=(0.5, 0.75), factor=0.1),
        lambda t: 0.1 ** ((t >= 20) + (t >= 30)),
    ),
]


@pytest.mark.parametrize(("config", "after"), CASES, ids=["cosine", "floor", "constant", "step"])
def test_rates_equal_the_closed_form(config, after):
    # float32 rounding of numbers up to PEAK
    np.testing.assert_allclose(_rates(config), _with_warmup(after), atol=1e-7 * PEAK + 5e-8)


@pytest.mark.fault("D17")
def test_a_warmup_longer_than_the_run_is_refused():
    with pytest.raises(ValueError, match="warmup_steps=50 is longer than the run of 40 steps"):
        make_schedule(ScheduleConfig(warmup_steps=50), PEAK, TOTAL)
