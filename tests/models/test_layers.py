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


@pytest.mark.parametrize("shape", [(16, 48), (32, 32), (48, 16), (24, 16), (256, 1024)])
def test_suo_is_orthogonal_up_to_its_scale(shape):
    inputs, outputs = shape
    w = np.asarray(scaled_uniform_orthogonal(jax.random.key(0), shape, jnp.dtype("float32")))
    gram = w @ w.T if inputs <= outputs else w.T @ w
    scale = max(1, outputs / inputs)
    np.testing.assert_allclose(gram, scale * np.eye(min(shape)), atol=scale * 1e-5)  # float32


@pytest.mark.parametrize("shape", [(4, 4), (4, 2), (6, 4)])
def test_suo_is_haar_uniform(shape):
    """Entries of a Haar matrix of n rows: mean 0, variance 1/n, also on the diagonal."""
    keys = jax.random.split(jax.random.key(1), 2000)
    draws = jax.vmap(lambda k: scaled_uniform_orthogonal(k, shape, jnp.dtype("float32")))(keys)
    variance = 1 / shape[0]
    error = 4 / 2000**0.5  # four standard errors, in standard deviations
    assert jnp.abs(draws.mean(0)).max() < error * variance**0.5
    assert jnp.abs((draws**2).mean(0) - variance).max() < error * 2**0.5 * variance


def test_suo_is_the_q_factor_with_positive_r():
    """Both ways of computing it against NumPy's QR of the same Gaussian matrix."""
    for shape in ((64, 16), (24, 16)):
        gaussian = np.asarray(jax.random.normal(jax.random.key(5), shape), np.float64)
        q, r = np.linalg.qr(gaussian)
        ours = scaled_uniform_orthogonal(jax.random.key(5), shape, jnp.dtype("float32"))
        np.testing.assert_allclose(ours, q * np.sign(np.diagonal(r)), atol=2e-6)  # float32


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


@pytest.mark.parametrize(("kernel_size", "stride"), [(1, 1), (3, 2)])
def test_gradients_of_narrow_layers_are_those_of_exact_arithmetic(kernel_size, stride):
    """Gradients of a bfloat16 layer against float64: rounded once at the end, not at each step."""

    def layer(dtype):
        return Conv(8, 16, kernel_size, stride=stride, initializer=he_normal, dtype=dtype,
                    param_dtype="float32", rngs=nnx.Rngs(0))  # fmt: skip

    def gradients(x, upstream, dtype):
        graphdef, params = nnx.split(layer(dtype))

        @jax.jit
        def backward(params, x, upstream):
            out, transpose = jax.vjp(lambda p: nnx.merge(graphdef, p)(x), params)
            return transpose(upstream.astype(out.dtype))[0]

        return backward(params, x, upstream)

    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], (4, 12, 12, 8), jnp.bfloat16)
    side = 12 // stride
    upstream = jax.random.normal(keys[1], (4, side, side, 16), jnp.bfloat16)
    with jax.enable_x64(True):
        exact = gradients(x.astype("float64"), upstream, "float64")
    narrow = gradients(x, upstream, "bfloat16")
    for found, expected in zip(jax.tree.leaves(narrow), jax.tree.leaves(exact), strict=True):
        assert found.dtype == jnp.float32
        # float32 sums of 576 terms; bfloat16 would be off by 2e-3
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_narrow_layers_differentiate_forwards_as_backwards():
    layer = Conv(4, 6, 3, initializer=he_normal, dtype="bfloat16", param_dtype="float32",
                 rngs=nnx.Rngs(0))  # fmt: skip
    graphdef, params = nnx.split(layer)
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, 4))

    def loss(params, x):
        return jnp.mean(nnx.merge(graphdef, params)(x).astype(jnp.float32) ** 2)

    @jax.jit
    def both(params, x):
        _, forward = jax.jvp(loss, (params, x), (params, x))
        products = jax.tree.map(jnp.vdot, jax.grad(loss, (0, 1))(params, x), (params, x))
        return forward, sum(jax.tree.leaves(products))

    forward, backward = both(params, x)
    assert backward == pytest.approx(forward, rel=2**-7)  # bfloat16


def test_float32_layers_are_plain_products():
    layer = Conv(4, 6, 3, initializer=he_normal, dtype="float32", param_dtype="float32",
                 rngs=nnx.Rngs(0))  # fmt: skip
    assert "custom_jvp" not in str(jax.make_jaxpr(layer)(jnp.ones((2, 5, 5, 4))))


def test_per_location_normalization_gives_every_pixel_q_one():
    images = jnp.array([[[[0.0, 0.0, 0.0], [5.0, -3.0, 0.1]]]])
    out = per_location_normalization(images)
    assert out.shape == (1, 1, 2, 4)
    np.testing.assert_allclose(jnp.mean(out**2, -1), 1, rtol=1e-6)
    np.testing.assert_allclose(out[0, 0, 0], [0, 0, 0, 2], rtol=1e-6)
