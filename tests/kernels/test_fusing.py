"""A bias, a leaky ReLU and their derivatives, computed with a product, are the plain ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.interpreters import partial_eval as pe

from tests.kernels.test_products import products_left
from zoo.kernels import with_onednn
from zoo.kernels.rewriting import rewritten
from zoo.models import create_model, merge, split
from zoo.shaping import ShapedActivation

pytestmark = pytest.mark.usefixtures("onednn")
LEAKY = ShapedActivation("leaky_relu", output_scale=1.3, negative_slope=0.4)
# bfloat16: every layer rounds by 2^-9, and gradients of biases sum what was rounded.
TOLERANCES = {"float32": 1e-5, "bfloat16": 1e-2}


def chain(activation, dtype):
    """Two layers behind an activated one, and the gradients of all that they are made from."""

    def layer(x, kernel, bias):
        product = jax.lax.conv_general_dilated(
            x, kernel.astype(dtype), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return activation((product + bias).astype(dtype))

    def loss(weights, x):
        for kernel, bias in weights:
            x = layer(x, kernel, bias)
        return jnp.mean(x.astype(jnp.float32) ** 2)

    return jax.value_and_grad(loss)


def weights():
    keys = jax.random.split(jax.random.key(0), 6)
    return [
        (0.2 * jax.random.normal(keys[i], (3, 3, 8, 8)), 0.3 * jax.random.normal(keys[i + 3], (8,)))
        for i in range(3)
    ]


def relative_errors(plain, fast):
    for expected, found in zip(jax.tree.leaves(plain), jax.tree.leaves(fast), strict=True):
        assert found.dtype == expected.dtype
        expected, found = (np.asarray(one, np.float64) for one in (expected, found))
        yield np.abs(found - expected).max() / np.abs(expected).max()


def names(function, *args):
    """Every primitive whose result the rewritten function uses."""
    jaxpr = rewritten(jax.make_jaxpr(function)(*args)).jaxpr
    live, _ = pe.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return [eqn.primitive.name for eqn in live.eqns]


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_layers_with_a_leaky_relu(dtype):
    function = chain(LEAKY, dtype)
    x = jax.random.normal(jax.random.key(9), (6, 8, 8, 8)).astype(dtype)
    found = names(function, weights(), x)
    assert "shaped_activation" not in found
    # What is left is the last layer's: its derivative meets no product above it.
    assert found.count("shaped_activation_derivative") == 1
    plain, fast = (jax.jit(f)(weights(), x) for f in (function, with_onednn(function)))
    assert max(relative_errors(plain, fast)) <= TOLERANCES[dtype]


@pytest.mark.parametrize(
    "activation",
    [
        ShapedActivation("softplus", input_scale=0.9, input_shift=-0.2, output_scale=1.4),
        ShapedActivation("leaky_relu", input_shift=0.1, negative_slope=0.4),
        ShapedActivation("leaky_relu", output_scale=-1.3, negative_slope=0.4),
    ],
    ids=["softplus", "shifted", "turned over"],
)
def test_other_activations_stay_with_xla(activation):
    function = chain(activation, "float32")
    x = jax.random.normal(jax.random.key(9), (2, 8, 8, 8))
    assert "shaped_activation" in names(function, weights(), x)
    plain, fast = (jax.jit(f)(weights(), x) for f in (function, with_onednn(function)))
    assert max(relative_errors(plain, fast)) <= TOLERANCES["float32"]


def test_what_is_read_before_the_activation_is_there():
    def function(kernel, bias, x):
        before = jnp.matmul(x, kernel) + bias
        return before, LEAKY(before)

    keys = jax.random.split(jax.random.key(0), 3)
    shapes = ((128, 128), (128,), (256, 128))
    args = [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]
    assert products_left(function, *args) == 0
    plain, fast = (jax.jit(f)(*args) for f in (function, with_onednn(function)))
    assert max(relative_errors(plain, fast)) <= TOLERANCES["float32"]


def test_not_a_number_comes_through():
    function = chain(LEAKY, "bfloat16")
    x = jnp.ones((2, 8, 8, 8), "bfloat16").at[0, 0, 0, 0].set(jnp.nan)
    value, gradients = jax.jit(with_onednn(function))(weights(), x)
    assert jnp.isnan(value) and jnp.isnan(gradients[0][0]).any()


def gradients_of(arch, dtype, wrap=lambda function: function):
    model = create_model(arch, stem="cifar", width=0.125, num_classes=10, dtype=dtype)
    graphdef, params = split(model)
    images = jax.random.normal(jax.random.key(0), (4, 16, 16, 3))

    def loss(params):
        logits = merge(graphdef, params)(images).astype(jnp.float32)
        return jax.nn.logsumexp(logits, axis=-1).sum()

    function = wrap(jax.grad(loss))
    return jax.jit(function)(params), str(jax.make_jaxpr(function)(params))


def distance(gradients, reference):
    """Length of the difference, for each unit of length of the reference."""
    pairs = [(gradients[name] - reference[name], reference[name]) for name in reference]
    squares = [[np.sum(np.square(x, dtype=np.float64)) for x in pair] for pair in pairs]
    difference, length = np.sum(squares, axis=0)
    return np.sqrt(difference / length)


def test_gradients_of_a_network():
    plain, _ = gradients_of("vanilla_resnet18_tat_lrelu", "float32")
    fast, text = gradients_of("vanilla_resnet18_tat_lrelu", "float32", with_onednn)
    assert "conv_general_dilated[" not in text
    assert distance(fast, plain) <= 1e-5  # 18 layers of float32


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["vanilla_resnet50_tat_lrelu", "rescaled_resnet50_dks_softplus"])
def test_gradients_in_bfloat16_are_as_near_to_float32_as_those_of_xla(arch):
    reference, _ = gradients_of(arch, "float32")
    plain, _ = gradients_of(arch, "bfloat16")
    fast, text = gradients_of(arch, "bfloat16", with_onednn)
    assert "conv_general_dilated[" not in text
    # Two sets of independent roundings: of the same size, not the same.
    assert distance(fast, reference) <= 1.25 * distance(plain, reference)
