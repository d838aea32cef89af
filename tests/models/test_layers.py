"""Initial weights keep q values, and per-location normalisation makes them 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from zoo.models.layers import (
    Conv,
    he_normal,
    per_location_normalization,
    scaled_uniform_orthogonal,
    suo_delta,
)


@pytest.mark.parametrize("shape", [(16, 48), (32, 32), (48, 16)])
def test_suo_is_orthogonal_up_to_its_scale(shape):
    inputs, outputs = shape
    w = np.asarray(scaled_uniform_orthogonal(jax.random.key(0), shape, jnp.dtype("float32")))
    gram = w @ w.T if inputs <= outputs else w.T @ w
    scale = max(1, outputs / inputs)
    np.testing.assert_allclose(gram, scale * np.eye(min(shape)), atol=1e-5)  # float32, 48 terms


def test_suo_is_haar_uniform():
    """Entries of a Haar matrix have variance 1/n and no preferred sign, the diagonal included."""
    keys = jax.random.split(jax.random.key(1), 2000)
    draws = jax.vmap(lambda k: scaled_uniform_orthogonal(k, (4, 4), jnp.dtype("float32")))(keys)
    mean, mean_square = draws.mean(0), (draws**2).mean(0)
    error = 4 / 2000**0.5  # four standard errors of a variable of variance at most 1
    assert jnp.abs(mean).max() < error * 0.5
    assert jnp.abs(mean_square - 0.25).max() < error * 0.25


def test_delta_kernels_keep_the_norm_at_every_location_also_at_the_border():
    conv = Conv(
        8, 8, 3, initializer=suo_delta, dtype="float32", param_dtype="float32", rngs=nnx.Rngs(0)
    )
    x = jax.random.normal(jax.random.key(2), (2, 5, 5, 8))
    np.testing.assert_allclose(jnp.sum(conv(x) ** 2, -1), jnp.sum(x**2, -1), rtol=1e-5)  # float32


def test_even_kernels_have_no_centre():
    with pytest.raises(ValueError, match="no centre tap; use odd sizes"):
        suo_delta(jax.random.key(0), (2, 2, 4, 4), jnp.dtype("float32"))


def test_he_normal_has_variance_two_over_fan_in():
    w = he_normal(jax.random.key(0), (3, 3, 64, 64), jnp.dtype("float32"))
    assert float(w.var()) == pytest.approx(2 / (9 * 64), rel=0.03)  # 36,864 draws


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_equals_its_definition(kernel_size, stride):
    """Against a sum over taps of shifted matrix products in float64."""
    conv = Conv(
        3, 5, kernel_size, stride=stride, initializer=he_normal, dtype="float32",
        param_dtype="float32", rngs=nnx.Rngs(3),
    )  # fmt: skip
    x = np.asarray(jax.random.normal(jax.random.key(4), (2, 9, 8, 3)), np.float64)
    kernel, margin = np.asarray(conv.kernel[...], np.float64), kernel_size // 2
    padded = np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    expected = sum(
        padded[:, i : i + 9, j : j + 8] @ kernel[i, j]
        for i in range(kernel_size)
        for j in range(kernel_size)
    )[:, ::stride, ::stride]
    np.testing.assert_allclose(conv(jnp.asarray(x, jnp.float32)), expected, atol=1e-4)


def test_per_location_normalization_gives_every_pixel_q_one():
    images = jnp.array([[[[0.0, 0.0, 0.0], [5.0, -3.0, 0.1]]]])
    out = per_location_normalization(images)
    assert out.shape == (1, 1, 2, 4)
    np.testing.assert_allclose(jnp.mean(out**2, -1), 1, rtol=1e-6)
    np.testing.assert_allclose(out[0, 0, 0], [0, 0, 0, 2], rtol=1e-6)
