"""Filters that keep their norm: by each optimiser, where a rate is zero, and in a cut run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.tiny import SOLVED, digest, optimizer, tiny
from zoo.training import ConfigError, OptimizerConfig, fit, make_optimizer, prepare, validate
from zoo.training.norms import keep_filter_norms

NOT_THE_HEAD = r"^(?!head).*kernel$"
SHAPES = {"conv.kernel": (3, 3, 32, 8), "dense.kernel": (16, 4), "head.kernel": (4, 3), "b": (4,)}


def norms(kernel):
    return np.linalg.norm(np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]), axis=0)


def drawn(seed):
    keys = jax.random.split(jax.random.key(seed), len(SHAPES))
    pairs = zip(keys, SHAPES.items(), strict=True)
    return {name: jax.random.normal(key, shape) for key, (name, shape) in pairs}


def test_filters_keep_their_norm_and_go_where_the_update_points():
    start = {**drawn(0), "dense.kernel": drawn(0)["dense.kernel"].at[:, 1].set(0)}
    free = make_optimizer(OptimizerConfig("sgd", momentum=0.0))
    kept = make_optimizer(OptimizerConfig("sgd", momentum=0.0, keep_norms=NOT_THE_HEAD))
    gradients, rate = drawn(1), jnp.float32(0.5)
    found, wanted = (
        {
            name: start[name] + rate * direction
            for name, direction in one.update(
                gradients, one.init(start), start, learning_rate=rate
            )[0].items()
        }
        for one in (kept, free)
    )
    for name in ("conv.kernel", "dense.kernel"):
        moving = norms(start[name]) > 0
        np.testing.assert_allclose(norms(found[name])[moving], norms(start[name])[moving], 1e-6)
        scaled = np.asarray(wanted[name]) * norms(start[name]) / norms(wanted[name])
        # float32, and filters that begin at zero go where they like
        expected = np.where(moving, scaled, wanted[name])
        np.testing.assert_allclose(found[name], expected, atol=2e-6)
    for name in ("head.kernel", "b"):
        assert np.array_equal(found[name], wanted[name])


def test_a_rate_of_zero_moves_nothing():
    params, transform = drawn(0), keep_filter_norms("kernel$")
    update, _ = transform.update(
        drawn(1), transform.init(params), params, learning_rate=jnp.float32(0)
    )
    assert all(bool(jnp.isfinite(value).all()) for value in update.values())


RUN = tiny(
    steps=6,
    trainable=r"^(stages\.3|head)\.",
    optimizer=optimizer(name="muon", learning_rate=0.02, weight_decay=0.1, keep_norms=NOT_THE_HEAD),
)


def test_a_run_keeps_them_and_ends_with_the_same_bits_where_it_was_cut(tmp_path):
    start = jax.device_get(prepare(RUN, solved=SOLVED).initial_state().params)
    whole = fit(RUN, tmp_path / "whole", solved=SOLVED)
    for name, value in whole.state.params.items():
        if name.startswith("stages.3.") and name.endswith("kernel"):
            assert not np.array_equal(value, start[name])
            np.testing.assert_allclose(norms(value), norms(start[name]), rtol=1e-6, err_msg=name)
    assert not np.allclose(norms(whole.state.params["head.kernel"]), norms(start["head.kernel"]))
    fit(RUN, tmp_path / "cut", stop_after=4, solved=SOLVED)
    assert digest(fit(RUN, tmp_path / "cut", solved=SOLVED).state) == digest(whole.state)


def test_a_pattern_that_cannot_be_read_is_refused():
    wrong = dataclasses.replace(RUN, optimizer=optimizer(keep_norms="["))
    with pytest.raises(ConfigError, match="optimizer.keep_norms='\\['"):
        validate(wrong)
