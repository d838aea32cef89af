"""The table of activations: derivatives, symmetry and names."""

import jax
import numpy as np
import pytest

from zoo.shaping.pointwise import ACTIVATIONS, UnknownActivationError, pointwise

SLOPE = {"leaky_relu": (0.3,)}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_numpy_derivatives_equal_those_of_jax(name):
    phi, slope = ACTIVATIONS[name], SLOPE.get(name, ())
    x = np.linspace(-6, 6, 101) + 0.013  # not on a kink

    def value(one):
        return phi.value(one, *slope)

    def each(function):
        return jax.vmap(function)(x)

    jet = phi.jet(x, *slope)
    # float64 rounding, grown by the cancellation in second derivatives of large terms
    np.testing.assert_allclose(jet[0], each(value), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(jet[1], each(jax.grad(value)), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(jet[2], each(jax.grad(jax.grad(value))), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_kinks_are_where_the_slope_jumps(name):
    phi, slope = ACTIVATIONS[name], SLOPE.get(name, ())
    for at in (*phi.breaks, 0.0):
        left, right = (phi.jet(np.array([at + side]), *slope)[1][0] for side in (-1e-9, 1e-9))
        assert (abs(right - left) > 1e-3) == phi.kinked
    assert not phi.kinked or phi.breaks


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if ACTIVATIONS[name].period])
def test_periodic_activations_repeat(name):
    phi, x = ACTIVATIONS[name], np.linspace(-3, 3, 11)
    np.testing.assert_allclose(phi.jet(x + phi.period)[0], phi.jet(x)[0], atol=1e-14)


@pytest.mark.parametrize(
    "given, nearest", [("tahn", "tanh"), ("softplu", "softplus"), ("Relu", "relu")]
)
def test_unknown_activation_names_the_nearest(given, nearest):
    with pytest.raises(UnknownActivationError, match=f"nearest: .*{nearest}"):
        pointwise(given)


@pytest.mark.parametrize("given", [None, 3, "zeros", ""])
def test_what_is_no_activation_is_refused(given):
    with pytest.raises(UnknownActivationError, match="unknown activation"):
        pointwise(given)
