"""The networks of "Identity Matters": their size, their start, their fixed classifier."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from zoo.complexity import count_params
from zoo.models import create_model, fixed_of, split
from zoo.models.identity_matters import (
    Block,
    IdentityMattersConfig,
    RandomProjection,
    mean_pool,
)
from zoo.shaping import ShapedActivation

ID = "identity_matters55"


def test_the_cifar_network_has_the_weights_of_its_table():
    plain = create_model(ID, num_classes=10, abstract=True)
    kernels = [v for n, v in split(plain)[1].items() if n.endswith("kernel") and n != "head.kernel"]
    assert len(kernels) == 55
    assert sum(math.prod(kernel.shape) for kernel in kernels) == 13_538_736
    assert count_params(plain) == 13_546_816
    projected = create_model(ID, num_classes=10, shortcut="project", abstract=True)
    assert count_params(projected) == 13_588_800


def _block(stage, number, **options):
    config = IdentityMattersConfig(55, input_norm="none", **options)
    place = [one for one in config.places if (one.stage, one.number) == (stage, number)][0]
    return Block(config, ShapedActivation("relu"), place, rngs=nnx.Rngs(0)), place


def test_kernels_of_blocks_begin_far_below_the_usual_scale():
    for stage, channels in enumerate((64, 128, 256)):
        block, _ = _block(stage, 0)
        for conv in block.convs:  # 9,216 weights at least
            assert np.std(conv.kernel[...]) == pytest.approx(1 / (9 * channels), rel=0.03)


def test_without_its_branch_a_block_is_a_mean_and_new_channels_of_zeros():
    block, place = _block(1, 0, width=0.125)
    for conv in block.convs:
        conv.kernel[...] = jnp.zeros_like(conv.kernel[...])
    x = np.asarray(jax.random.normal(jax.random.key(0), (2, 4, 6, place.inputs)))
    y = np.asarray(block(x))
    means = x.reshape(2, 2, 2, 3, 2, place.inputs).mean(axis=(2, 4))
    np.testing.assert_allclose(y[..., : place.inputs], means, rtol=1e-5, atol=1e-6)
    assert y.shape == (2, 2, 3, place.outputs) and not y[..., place.inputs :].any()


@pytest.mark.parametrize(("height", "width", "last"), [(4, 6, 1), (5, 4, 1 / 2), (3, 1, 1 / 4)])
def test_means_have_the_size_of_a_strided_convolution(height, width, last):
    pooled = mean_pool(jnp.ones((1, height, width, 2)))
    assert pooled.shape == (1, -(-height // 2), -(-width // 2), 2)
    assert pooled[0, -1, -1, 0] == last


def test_the_classifier_is_drawn_once_stored_and_not_counted():
    model = create_model(ID, abstract=True)
    assert fixed_of(model) == {"head.kernel"} and "head.kernel" in split(model)[1]
    head = RandomProjection(256, 100, dtype="float32", param_dtype="float32", rngs=nnx.Rngs(0))
    assert np.std(head.kernel[...]) == pytest.approx(1 / 16, rel=0.03)
    bare = create_model(ID, num_classes=0, abstract=True)
    assert "head.kernel" not in split(bare)[1] and not bare.head_part.layers
