"""VAN: gates close on time, multipliers only grow, and what is left is a plain network."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cases import small
from tests.models.quick import quick_model
from zoo.models import create_model, fixed_of, split

GATES = 2 * 8 - 3  # of 18 layers: two in each of 8 blocks, but those that change the shape


def _gates(params):
    return {name: value for name, value in params.items() if name.endswith(".value")}


def _multipliers(params):
    return {name: value for name, value in params.items() if name.endswith(".multiplier")}


@pytest.mark.parametrize(("release", "first"), [(200, 0.5), (200, 0.9), (1000, 0.5)])
def test_on_a_constant_loss_gates_close_when_they_should(release, first):
    model = quick_model("van18", **small("van18", release_steps=release, first_gate=first))
    config, params = model.config, split(model)[1]
    period = math.pi / 2 / math.sqrt(config.gate_rate * config.multiplier_rate)
    assert period == pytest.approx(release)
    state = _gates(params) | _multipliers(params)
    assert len(_gates(state)) == len(_multipliers(state)) == GATES
    assert set(_multipliers(state)) == fixed_of(model)
    flat = {name: jnp.zeros(()) for name in _gates(state)}

    @jax.jit
    def trace(state):
        def one(state, step):
            new = state | model.after_step(step, state, state, flat)
            return new, new

        return jax.lax.scan(one, state, jnp.arange(2 * release))[1]

    for name, values in trace(state).items():
        if name.endswith(".value"):
            assert np.all((values >= 0) & (values <= 1))
            assert np.argmax(values == 0) == pytest.approx(release, rel=0.1)
            assert not np.any(values[int(1.1 * release) :])
        else:
            assert np.all(np.diff(values) >= 0) and values[-1] > 0


def test_gates_descend_and_multipliers_ascend_and_frozen_ones_stay():
    """Whatever the optimiser made of them; without a gradient, as in a frozen layer, they stay."""
    model = quick_model("van18", **small("van18", release_steps=10))
    params = split(model)[1]
    before = {name: value + 0.1 * name.endswith(".multiplier") for name, value in params.items()}
    first, *others = _gates(params)
    gradients = {gate: jnp.full((), 7.0) for gate in others} | {first: jnp.full((), -2.0)}
    optimised = {name: value + 100 for name, value in before.items()}
    new = model.after_step(jnp.zeros(()), before, optimised, gradients)
    gate = 0.5 - 0.01 * (-2 + 0.1)
    assert new[first] == pytest.approx(gate, rel=1e-6)
    debt = new[first.removesuffix(".value") + ".multiplier"]
    assert debt == pytest.approx(0.1 + (math.pi / 20) ** 2 / 0.01 * gate, rel=1e-6)
    assert set(new) == set(_gates(params)) | fixed_of(model)
    still = model.after_step(jnp.zeros(()), before, optimised, {})
    assert still == {gate: before[gate] for gate in _gates(params)}
    assert model.freeze().after_step(jnp.zeros(()), before, optimised, gradients) == still


@pytest.mark.parametrize("stage", [0, 1])
def test_a_frozen_block_is_the_plain_chain_of_its_kernels(stage):
    model = quick_model("van18", **small("van18"))
    frozen = model.freeze()
    block = frozen.stages[stage].blocks[0]
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, block.convs[0].kernel.shape[2]))
    expected = x
    for conv in block.convs:
        expected = jax.lax.conv_general_dilated(
            expected, conv.kernel[...], (conv.stride,) * 2, ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        expected = jax.nn.relu(expected + conv.bias[...])
    np.testing.assert_array_equal(block(x), expected)
    assert not np.allclose(model.stages[stage].blocks[0](x), expected, rtol=1e-3)
    assert not any(_gates(split(frozen)[1]).values())
    assert frozen.config.release_steps == 0 and model.config.release_steps
    assert frozen.layout == model.layout


def test_depths_and_gates_have_bounds():
    with pytest.raises(ValueError, match="depth=50; allowed: 18, 34.*first_gate=1"):
        create_model("van18", depth=50, first_gate=1)
