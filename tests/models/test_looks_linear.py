"""Looks-linear networks are linear at the start, and keep norms through any number of layers."""

import jax
import numpy as np
import pytest
from flax import nnx

from tests.cases import small
from tests.models.quick import quick_jit, quick_model
from zoo.complexity import count_params
from zoo.models import create_model, merge, split
from zoo.models.looks_linear import Block, LooksLinearConfig, averaging
from zoo.models.trunk import Place
from zoo.shaping import ShapedActivation

CHANNELS = 16


@pytest.mark.parametrize(("depth", "stem"), [(18, "imagenet"), (50, "cifar")])
def test_logits_of_a_combination_are_the_combination_of_the_logits(depth, stem):
    model = quick_model(f"looks_linear{depth}", **small("looks_linear18", stem=stem))
    graphdef, params = split(model)
    x, y = jax.random.normal(jax.random.key(0), (2, 2, 32, 32, 3))
    logits = quick_jit(lambda images: merge(graphdef, params)(images))
    with jax.default_matmul_precision("highest"):
        found, parts = logits(2 * x - 3 * y), 2 * logits(x) - 3 * logits(y)
    size = np.abs(parts).max()
    assert size > 0.01
    np.testing.assert_allclose(found, parts, atol=1e-4 * size)  # float32, up to 50 layers
    assert not np.allclose(logits(x), logits(-x), atol=0.1 * size)  # and it is no constant


def _hundred_layers():
    place = Place("", 0, 0, CHANNELS, CHANNELS, 1, bottleneck=False)
    config = LooksLinearConfig(18)
    return nnx.List(
        [Block(config, ShapedActivation("relu"), place, rngs=nnx.Rngs(i)) for i in range(50)]
    )


def test_a_hundred_layers_keep_norms_and_inner_products():
    graphdef, params = split(_hundred_layers())
    x = jax.random.normal(jax.random.key(1), (3, 4, 4, CHANNELS))

    @quick_jit
    def run(params, x):
        for block in merge(graphdef, params):
            x = block(x)
        return x

    with jax.default_matmul_precision("highest"):
        y = run(params, x)
    before, after = (np.asarray(one, np.float64).reshape(3, -1) for one in (x, y))
    np.testing.assert_allclose(after @ after.T, before @ before.T, rtol=1e-4, atol=1e-2)  # float32
    assert np.abs(after - before).max() > 1  # the map is no identity


def test_the_halves_are_free_after_the_start():
    """The gradient of the two halves of a kernel differs: they are tied at the start alone."""
    graphdef, params = split(quick_model("looks_linear18", **small("looks_linear18")))
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    loss = quick_jit(jax.grad(lambda params: (merge(graphdef, params)(images) ** 2).mean()))
    gradient = loss(params)["stages.0.blocks.1.convs.0.kernel"]
    half = gradient.shape[2] // 2
    assert not np.allclose(gradient[:, :, :half], -gradient[:, :, half:])


def test_a_stride_of_two_averages_the_locations_that_it_skips():
    kernel = np.asarray(averaging(jax.random.key(0), (3, 3, 4, 4), np.float32))
    np.testing.assert_array_equal(kernel[0, 0], kernel[1, 1])
    assert not kernel[2].any() and not kernel[:, 2].any()
    mean = 4 * kernel[1, 1]
    np.testing.assert_allclose(mean @ mean.T, np.eye(4), atol=1e-6)


def test_weights_of_a_layer_are_twice_those_of_the_vanilla_network():
    one = count_params(create_model("looks_linear18", abstract=True))
    options = {"abstract": True, "input_norm": "none"}
    other = create_model("vanilla_resnet18_eoc_relu", **options)
    stem, biases = 7 * 7 * 3 * 64, 64 + 4 * (64 + 128 + 256 + 512) + 1000
    assert one - stem - biases == 2 * (count_params(other) - stem - biases)
