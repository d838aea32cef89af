"""SkipInit, NF-ResNet: blocks begin as the identity, kernels are standardised, scales known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.cases import small
from tests.models.quick import quick_model
from zoo.models import variant_of
from zoo.models.layers import he_normal
from zoo.models.normalizer_free import (
    RELU_GAIN,
    Block,
    NormalizerFreeConfig,
    StandardizedConv,
)
from zoo.shaping import ShapedActivation

IDS = ["skipinit_resnet18", "nf_resnet50"]


@pytest.mark.parametrize("id", IDS)
def test_a_block_begins_as_the_identity(id):
    variant = variant_of(id)
    config = dataclasses.replace(variant.config, width=0.0625)
    place = list(config.places)[1]
    block = Block(config, *variant.activations, place, config.deviations[1], rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, place.inputs))
    np.testing.assert_array_equal(block(x), x)


def test_the_head_of_skipinit_begins_at_zero_and_that_of_nf_resnet_does_not():
    for id, deviation in (("skipinit_resnet18", 0), ("nf_resnet18", 0.01)):
        head = quick_model(id, **small(id)).head  # 32 x 10
        assert np.std(head.kernel[...]) == pytest.approx(deviation, rel=0.2)


@pytest.mark.parametrize("size", [1, 3])
def test_a_standardised_kernel_has_mean_0_and_variance_gain_squared_by_fan_in(size):
    options = {"dtype": "float32", "param_dtype": "float32", "rngs": nnx.Rngs(0)}
    conv = StandardizedConv(16, 8, size, initializer=he_normal, **options)
    conv.kernel[...] = 3 * conv.kernel[...] + 0.5
    conv.gain[...] = jnp.arange(1.0, 9.0)
    weights = np.asarray(conv.plain_weights()[0], np.float64).reshape(-1, 8)
    np.testing.assert_allclose(weights.mean(0), 0, atol=1e-6)
    expected = np.arange(1.0, 9.0) ** 2 / len(weights)
    np.testing.assert_allclose(weights.var(0), expected, rtol=1e-5)
    x = jax.random.normal(jax.random.key(1), (1, 5, 5, 16))
    other = 0.1 * conv(x) + 0.9 * conv(x)
    conv.kernel[...] = 7 * conv.kernel[...] - 2  # scale and shift of a kernel change nothing
    np.testing.assert_allclose(conv(x), other, rtol=1e-3, atol=1e-4)


def test_the_scales_of_the_first_stages_are_those_of_the_papers_rule():
    """A stage has 1 / s = 1, .98058, .96225, .94491, .92848; its first block what came in."""
    scales = 1 / np.asarray(NormalizerFreeConfig(50, input_norm="none").deviations)
    np.testing.assert_allclose(scales[:3], [1, 0.98058, 0.96225], atol=5e-6)
    np.testing.assert_allclose(scales[3:7], [0.94491, 0.98058, 0.96225, 0.94491], atol=5e-6)
    np.testing.assert_allclose(scales[7], 0.92848, atol=5e-6)
    skipinit = NormalizerFreeConfig(50, input_norm="none", standardized=False, branch_scale=1.0)
    assert set(skipinit.deviations) == {1.0}


def test_the_activation_keeps_variance_1():
    """Monte Carlo with 4 million numbers; the standard error of a variance is below 2e-3."""
    x = np.random.default_rng(0).normal(size=4_000_000)
    assert np.var(RELU_GAIN * np.maximum(x, 0)) == pytest.approx(1, abs=5e-3)


def test_with_gains_of_one_the_variance_is_what_the_scales_divide_by():
    """The empirical deviation of what each block of a wide stage reads."""
    config = NormalizerFreeConfig(34, input_norm="none", width=2.0)
    activation = ShapedActivation("relu", output_scale=RELU_GAIN)
    x = jax.random.normal(jax.random.key(0), (8, 12, 12, config.stem_channels))
    places = [place for place in config.places if place.stage == 0]
    for place, deviation in zip(places, config.deviations, strict=False):
        # Zeros beside the image take a part of every sum at its border.
        assert float(jnp.std(x)) == pytest.approx(deviation, rel=0.02)
        block = Block(config, activation, place, deviation, rngs=nnx.Rngs(place.number))
        block.gain[...] = jnp.ones(())
        x = block(x)
