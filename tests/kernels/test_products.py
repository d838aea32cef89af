"""oneDNN computes what XLA does: values and gradients of every kind of product."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from zoo.kernels import with_onednn
from zoo.models.products import convolve, product

pytestmark = pytest.mark.usefixtures("onednn")
# float32: up to 49 x 24 terms summed in another order; bfloat16: one rounding of the result.
TOLERANCES = {"float32": 1e-5, "bfloat16": 1e-2}


def normal(seed, shape, dtype="float32"):
    return jax.random.normal(jax.random.key(seed), shape).astype(dtype)


def with_gradients(function):
    """Result and gradients of `function(x, kernel)`, for a cotangent."""

    def computed(x, kernel, cotangent):
        result, pullback = jax.vjp(function, x, kernel)
        return result, *pullback(cotangent)

    return computed


def products_left(function, *args):
    """Products of the rewritten function that XLA computes."""
    text = str(jax.make_jaxpr(with_onednn(function))(*args))
    return text.count("conv_general_dilated[") + text.count("dot_general[")


def assert_equal(function, *args, tolerance):
    plain = jax.jit(function)(*args)
    fast = jax.jit(with_onednn(function))(*args)
    for expected, found in zip(plain, fast, strict=True):
        assert found.dtype == expected.dtype
        expected, found = (np.asarray(one, np.float64) for one in (expected, found))
        assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("size", [(8, 8), (9, 6)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel_size", [3, 7])
def test_convolution_of_the_layers(dtype, size, stride, kernel_size):
    x = normal(0, (4, *size, 4), dtype)
    kernel = normal(1, (kernel_size, kernel_size, 4, 24))
    layer = functools.partial(product, functools.partial(convolve, stride=stride))
    cotangent = normal(2, jax.eval_shape(layer, x, kernel).shape, dtype)
    args = (x, kernel, cotangent)
    assert products_left(with_gradients(layer), *args) == 0
    assert_equal(with_gradients(layer), *args, tolerance=TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_pointwise_convolution_and_head(dtype):
    x, kernel = normal(0, (64, 16, 16, 16), dtype), normal(1, (1, 1, 16, 24))
    layer = functools.partial(product, functools.partial(convolve, stride=1))
    cotangent = normal(2, (64, 16, 16, 24), dtype)
    args = (x, kernel, cotangent)
    assert products_left(with_gradients(layer), *args) == 0
    assert_equal(with_gradients(layer), *args, tolerance=TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(
    ("padding", "stride", "dilation"),
    [("SAME", (2, 2), (1, 1)), ("VALID", (1, 2), (1, 1)), (((2, 0), (1, 2)), (1, 1), (1, 1)),
     ("SAME", (1, 1), (2, 2)), ("VALID", (3, 3), (1, 1)), (((2, 2), (2, 2)), (2, 2), (2, 2))],
    ids=str,
)  # fmt: skip
def test_any_padding_stride_and_dilation(dtype, padding, stride, dilation):
    x, kernel = normal(0, (3, 11, 10, 8), dtype), normal(1, (3, 3, 8, 5), dtype)

    def convolve(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, stride, padding, rhs_dilation=dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    cotangent = normal(2, jax.eval_shape(convolve, x, kernel).shape, dtype)
    args = (x, kernel, cotangent)
    assert products_left(with_gradients(convolve), *args) == 0
    assert_equal(with_gradients(convolve), *args, tolerance=TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("axes", [(2, 0), (2, 1), (0, 0), (0, 1)], ids=str)
def test_matrix_products(dtype, axes):
    # Contracted sizes are equal by choice: 96 x 160 x 112 multiplications and more.
    left = normal(0, (160, 4, 24) if axes[0] == 0 else (24, 4, 160), dtype)
    right = normal(1, (160, 112) if axes[1] == 0 else (112, 160), dtype)

    def product(left, right):
        return (lax.dot_general(left, right, (((axes[0],), (axes[1],)), ((), ()))),)

    assert products_left(product, left, right) == 0
    assert_equal(product, left, right, tolerance=TOLERANCES[dtype])


IMAGES = ("NHWC", "HWIO", "NHWC")
UNKNOWN = {
    "depthwise": lambda x: lax.conv_general_dilated(
        x, x[:3, :3, :1], (1, 1), "SAME", feature_group_count=8, dimension_numbers=IMAGES
    ),
    "channels first": lambda x: lax.conv_general_dilated(x, x, (1, 1), "SAME"),
    "float16": lambda x: lax.conv_general_dilated(
        *2 * [x.astype("float16")], (1, 1), "SAME", dimension_numbers=IMAGES
    ),
    "batched": lambda x: jnp.einsum("bhwc,bhwd->bcd", x, x),
    "small": lambda x: x @ x[0, 0],
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_stays_with_xla(name):
    def function(x):
        return (UNKNOWN[name](x),)

    x = normal(0, (8, 8, 8, 8))
    assert products_left(function, x) == 1
    assert_equal(function, x, tolerance=0)


def test_products_inside_calls_and_loops():
    x, kernel = normal(0, (4, 8, 8, 8)), normal(1, (3, 3, 8, 8))
    layer = functools.partial(convolve, stride=1)

    def network(x, kernel):
        step = jax.checkpoint(lambda x, _: (jnp.tanh(layer(x, 0.1 * kernel)), None))
        x, _ = lax.scan(step, x, None, length=3)
        x = lax.cond(x.sum() > 0, lambda x: layer(x, kernel), lambda x: 2 * layer(x, kernel), x)
        return lax.fori_loop(0, 2, lambda _, x: jax.jit(layer)(x, kernel), x)

    args = (x, kernel, x)
    assert products_left(with_gradients(network), *args) == 0
    assert_equal(with_gradients(network), *args, tolerance=TOLERANCES["float32"])


def test_derivatives_from_outside_are_those_of_the_plain_function():
    x, kernel = normal(0, (2, 6, 6, 4)), normal(1, (3, 3, 4, 4))

    def loss(kernel):
        return jnp.sum(jnp.tanh(convolve(x, kernel, 1)) ** 2)

    fast = with_onednn(loss)
    along = lambda function: jax.jvp(function, (kernel,), (kernel,))  # noqa: E731
    for derived in (jax.grad, along, lambda f: along(jax.grad(f)), jax.hessian):
        pairs = zip(
            *(jax.tree.leaves(_value(derived(f), kernel)) for f in (loss, fast)), strict=True
        )
        for expected, found in pairs:
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def _value(derived, kernel):
    return derived(kernel) if callable(derived) else derived


def test_vectorized_function():
    x, kernels = normal(0, (2, 6, 6, 4)), normal(1, (5, 3, 3, 4, 8))
    of_kernel = functools.partial(convolve, x, stride=1)
    expected = jax.vmap(of_kernel)(kernels)
    np.testing.assert_allclose(jax.vmap(with_onednn(of_kernel))(kernels), expected, atol=1e-4)
