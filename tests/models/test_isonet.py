"""ISONet begins as an isometry; a penalty measures the distance from one, training adds it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.cases import small
from tests.models.quick import quick_model
from zoo.models import create_model, split, variant_of
from zoo.models.isonet import Block, IsoNetConfig, SReLU, dirac, distance_from_isometry
from zoo.models.layers import Conv
from zoo.shaping import ShapedActivation
from zoo.training.optimizer import layer_multipliers

SHAPES = [(3, 4, 4, 1), (3, 4, 8, 2), (3, 8, 4, 2), (1, 4, 8, 1), (1, 8, 4, 1), (1, 4, 8, 2)]
"""Side of a kernel, its inputs and outputs, stride."""


def _matrix(kernel, stride, side=4):
    """The convolution of side x side images as a matrix [inputs, outputs], tap by tap."""
    size, _, inputs, outputs = kernel.shape
    steps = range(0, side, stride)
    matrix = np.zeros((side, side, inputs, len(steps), len(steps), outputs))
    for i, row in enumerate(steps):
        for j, column in enumerate(steps):
            for y in range(size):
                for x in range(size):
                    at = row + y - size // 2, column + x - size // 2
                    if 0 <= min(at) and max(at) < side:
                        matrix[at[0], at[1], :, i, j, :] += kernel[y, x]
    return matrix.reshape(side * side * inputs, -1)


@pytest.mark.parametrize("id", ["isonet18", "r_isonet50"])
def test_every_convolution_but_the_stem_begins_as_a_partial_isometry(id):
    """K K^T K = K: on what it does not drop (channels, locations) a map keeps norms."""
    model = quick_model(id, **small(id))
    convs = [part for _, part in nnx.iter_modules(model.stages) if isinstance(part, Conv)]
    kinds = {(conv.kernel.shape, conv.stride): np.asarray(conv.kernel[...]) for conv in convs}
    assert len(kinds) >= 7
    for ((*_, inputs, outputs), stride), kernel in kinds.items():
        k = _matrix(kernel, stride)
        np.testing.assert_array_equal(k @ k.T @ k, k)
        if stride == 1 and inputs <= outputs:
            np.testing.assert_array_equal(k @ k.T, np.eye(len(k)))


def test_the_activation_is_the_maximum_with_a_learnt_bias():
    activation = SReLU(ShapedActivation("relu"), 3, "float32")
    x = jnp.linspace(-3, 3, 30).reshape(10, 3)
    np.testing.assert_allclose(activation(x), jnp.maximum(x, -1), atol=1e-6)
    activation.bias[...] = jnp.asarray([-2.0, 0.0, 1.0])
    np.testing.assert_allclose(activation(x), jnp.maximum(x, activation.bias[...]), atol=1e-6)


def _self_convolution(kernel, stride):
    """By its definition, one shift, tap and pair of channels after the other."""
    if kernel.shape[2] < kernel.shape[3]:
        kernel = kernel.swapaxes(2, 3)
    size, _, _, channels = kernel.shape
    shifts = [t for t in range(1 - size, size) if (t + size - 1) % stride == 0]
    total = 0.0
    for t in shifts:
        for u in shifts:
            gram = np.zeros((channels, channels))
            for i in range(size):
                for j in range(size):
                    if 0 <= i + t < size and 0 <= j + u < size:
                        gram += kernel[i + t, j + u].T @ kernel[i, j]
            total += np.sum((gram - np.eye(channels) * (t == u == 0)) ** 2)
    return total / 2


@pytest.mark.parametrize(("size", "inputs", "outputs", "stride"), SHAPES)
def test_the_penalty_is_the_self_convolution_minus_a_dirac(size, inputs, outputs, stride):
    kernel = np.random.default_rng(0).normal(size=(size, size, inputs, outputs))
    with jax.default_matmul_precision("highest"):
        found = distance_from_isometry(jnp.asarray(kernel, jnp.float32), stride)
    assert float(found) == pytest.approx(_self_convolution(kernel, stride), rel=1e-5)
    start = dirac(jax.random.key(0), kernel.shape, jnp.float32)
    assert float(distance_from_isometry(start, stride)) == 0


@pytest.mark.parametrize("id", ["isonet18"])
def test_the_penalty_is_zero_at_the_start_and_weighted(id):
    model = quick_model(id, **small(id, penalty_weight=0.5))
    assert float(model.penalty()) == 0
    conv = model.stages[0].blocks[1].convs[0]
    conv.kernel[...] = 2 * conv.kernel[...]  # K * K = 4 delta on its 4 channels
    assert float(model.penalty()) == pytest.approx(0.5 * 4 * 3**2 / 2)


def test_residual_blocks_begin_as_their_shortcut():
    """The scalar of each branch is 0: above the bias of SReLU the block is the identity."""
    config = IsoNetConfig(18, shortcuts=True, width=0.0625)
    place = list(config.places)[1]
    block = Block(config, ShapedActivation("relu"), place, rngs=nnx.Rngs(0))
    for conv in block.convs:
        conv.kernel[...] = conv.kernel[...] + 1.0
    x = jax.random.uniform(jax.random.key(0), (2, 4, 4, 4), minval=-1.0)
    np.testing.assert_allclose(block(x), x, atol=1e-6)


def test_scalars_learn_at_a_tenth_of_the_rate_and_the_deepest_is_held_more_firmly():
    model = create_model("r_isonet18", abstract=True)
    params = split(model)[1]
    slow = {name for name, rate in layer_multipliers(model.layout, params, 1.0).items() if rate < 1}
    assert slow == {name for name, value in params.items() if value.shape == ()} and len(slow) == 8
    weights = [variant_of(id).config.penalty_weight for id in ("isonet101", "r_isonet101")]
    assert weights == [3e-4, 1e-4]


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="penalty_weight=-1; give a number >= 0"):
        create_model("isonet18", penalty_weight=-1)
