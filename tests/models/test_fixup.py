"""Fixup's logits begin at 0, its branches as the formula says, and its scalars learn slowly."""

import jax
import numpy as np
import pytest
from flax import nnx

from tests.cases import small
from tests.models.quick import quick_jit, quick_model
from zoo.models import create_model, merge, split
from zoo.models.fixup import Block, FixupConfig
from zoo.shaping import ShapedActivation
from zoo.training.optimizer import layer_multipliers

ID = "fixup_resnet18"


def test_logits_are_exactly_zero_at_the_start():
    graphdef, params = split(quick_model(ID, **small(ID)))
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    logits = quick_jit(lambda p: merge(graphdef, p)(images))
    assert not np.any(logits(params))
    assert np.any(logits(params | {"head.kernel": params["head.kernel"] + 1}))


@pytest.mark.parametrize(("depth", "blocks", "power"), [(34, 16, -1 / 2), (101, 33, -1 / 4)])
def test_kernels_begin_with_the_deviation_of_the_paper(depth, blocks, power):
    """The relative error of an empirical deviation is 1 / sqrt(2 n), n = 8,192 at least."""
    config = FixupConfig(depth, input_norm="none")
    place = [place for place in config.places if place.stage == 1][0]
    block = Block(config, ShapedActivation("relu"), place, rngs=nnx.Rngs(0))
    *first, last = [np.asarray(conv.kernel[...]) for conv in block.convs]
    for kernel in first:
        size, _, _, outputs = kernel.shape
        deviation = (2 / (size**2 * outputs)) ** 0.5 * blocks**power
        assert np.std(kernel) == pytest.approx(deviation, rel=0.03)
    assert not np.any(last)
    projection = np.asarray(block.projection.kernel[...])
    assert np.std(projection) == pytest.approx((2 / place.outputs) ** 0.5, rel=0.03)


def test_a_block_is_its_equations():
    config = FixupConfig(50, width=0.0625)
    block = Block(config, ShapedActivation("relu"), next(config.places), rngs=nnx.Rngs(0))
    graphdef, params = split(block)
    keys = jax.random.split(jax.random.key(1), len(params))
    p = {n: jax.random.normal(k, v.shape) for k, (n, v) in zip(keys, params.items(), strict=True)}
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 4))

    def product(x, name):
        return jax.lax.conv_general_dilated(
            x, p[f"{name}.kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    b = {name.removesuffix(".value"): value for name, value in p.items() if value.ndim == 0}
    with jax.default_matmul_precision("highest"):
        out = jax.nn.relu(product(x + b["before.0"], "convs.0") + b["after.0"])
        out = jax.nn.relu(product(out + b["before.1"], "convs.1") + b["after.1"])
        out = b["scale"] * product(out + b["before.2"], "convs.2") + b["after.2"]
        expected = jax.nn.relu(out + product(x + b["before.0"], "projection"))
        found = merge(graphdef, p)(x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)  # float32
    assert len(b) == 7


def test_scalars_move_at_a_tenth_of_the_rate():
    """Two for each convolution of a block, its scale, one in the stem and one before the head."""
    model = create_model(ID, abstract=True)
    params = split(model)[1]
    scalars = {name for name, value in params.items() if value.shape == ()}
    assert len(scalars) == 2 + 8 * 5
    rates = layer_multipliers(model.layout, params, 1.0)
    assert {name for name, rate in rates.items() if rate == 0.1} == scalars
    assert {rates[name] for name in params.keys() - scalars} == {1.0}
