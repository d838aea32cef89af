"""Sums over whole arrays agree with float64, whatever XLA fuses them with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.cpu.flags import ynn_fusion_type
from zoo.cpu.sums import norm, whole_mean, whole_sum
from zoo.training.optimizer import clip_by_norm

SHAPES = [(8, 28, 28, 256), (128, 32, 32, 16), (3, 3, 256, 256), (1500, 1000), (200_000,), (7, 5)]


def _numbers(*shape):
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _leaky(x):
    return jnp.maximum(2 * x + 0.5, 0.1 * x)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("before", [lambda x: x, _leaky], ids=["stored", "computed"])
def test_mean_square_as_in_float64(shape, before):
    x = _numbers(*shape)
    right = np.mean(np.square(np.asarray(before(x), np.float64)))
    found = jax.jit(lambda x: whole_mean(jnp.square(before(x))))(x)
    assert float(found) == pytest.approx(right, rel=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_plain_sum_as_in_float64(shape):
    x = 1 + _numbers(*shape)
    assert float(jax.jit(whole_sum)(x)) == pytest.approx(x.sum(dtype=np.float64), rel=1e-6)


def test_a_plain_mean_still_loses_digits_so_that_this_is_needed():
    if jax.default_backend() != "cpu" or ynn_fusion_type() not in ("", "-reduce"):
        pytest.skip("only XLA's own reductions on a processor do")
    x = _numbers(8, 28, 28, 256)
    right = np.mean(np.square(x.astype(np.float64)))
    assert abs(float(jax.jit(lambda x: jnp.mean(x**2))(x)) / right - 1) > 1e-5


def test_norm_of_a_tree_as_in_float64():
    tree = {"a": _numbers(64, 24, 24, 32), "b": (_numbers(9), jnp.bfloat16(3.0))}
    squares = [np.square(np.asarray(x, np.float64)).sum() for x in jax.tree.leaves(tree)]
    assert float(jax.jit(norm)(tree)) == pytest.approx(sum(squares) ** 0.5, rel=1e-6)


def test_derivatives_of_a_sum():
    x = _numbers(128, 24, 24)
    gradient = jax.jit(jax.grad(lambda x: whole_sum(x**2)))(x)
    np.testing.assert_array_equal(gradient, 2 * x)
    assert jax.jvp(whole_sum, (x,), (x,))[1] == whole_sum(x)


@pytest.mark.parametrize("length", [0.5, 20.0])
def test_clipping_as_in_float64(length):
    gradients = {"kernel": _numbers(3, 3, 64, 64), "bias": _numbers(64)}
    whole = sum(np.square(x.astype(np.float64)).sum() for x in gradients.values()) ** 0.5
    transform = clip_by_norm(length * whole)
    found, _ = jax.jit(transform.update)(gradients, transform.init(gradients))
    for name, gradient in gradients.items():
        right = gradient * np.float64(min(1, length))
        np.testing.assert_allclose(found[name], right, rtol=1e-6)
        if length > 1:
            np.testing.assert_array_equal(found[name], gradient)
