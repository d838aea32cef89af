"""Quadrature against closed forms: the maps of one nonlinear layer."""

import math

import numpy as np
import pytest

from zoo.shaping import (
    ShapedActivation,
    c_curvature,
    c_map,
    c_slope,
    leaky_relu_c_map,
    q_map,
    q_slope,
)
from zoo.shaping.gaussian import normal_panels
from zoo.shaping.kernel_maps import _correlate

C = np.array([-1.0, -0.99, -0.5, 0.0, 0.3, 0.9, 0.9999, 1.0])


def _arcsine(t, c):
    return np.arcsin(2 * t**2 * c / (1 + 2 * t**2))


EXACT = 1e-12  # float64 rounding of a few hundred terms


@pytest.mark.parametrize("splits", [(), (0.7,), (-3.0, 9.99), (-50.0, 50.0)])
def test_normal_moments(splits):
    x, weights = normal_panels(np.array(splits))
    for power, moment in enumerate([1, 0, 1, 0, 3, 0, 15]):
        assert np.sum(weights * x**power) == pytest.approx(moment, abs=EXACT * max(1, moment))


@pytest.mark.parametrize("t", [0.1, 1.0, 2.5])
@pytest.mark.parametrize("b", [-1.0, 0.0, 0.4])
def test_mean_of_a_sine(t, b):
    x, weights = normal_panels(np.array([-b / t]))
    mean = np.sum(weights * np.sin(t * x + b))
    assert mean == pytest.approx(math.exp(-t * t / 2) * math.sin(b), abs=EXACT)


@pytest.mark.parametrize("t", [0.05, 0.7, 2.0])
@pytest.mark.parametrize(
    "phi, closed_form",
    [
        ("erf", lambda t, c: _arcsine(t, c) / _arcsine(t, 1)),
        ("sin", lambda t, c: np.sinh(t**2 * c) / np.sinh(t**2)),
        ("cos", lambda t, c: np.cosh(t**2 * c) / np.cosh(t**2)),
        ("identity", lambda t, c: c),
    ],
)
def test_c_map_of_smooth_activations(phi, closed_form, t):
    np.testing.assert_allclose(c_map(ShapedActivation(phi, t), C), closed_form(t, C), atol=EXACT)


@pytest.mark.parametrize("slope", [0.0, 0.3, 0.9])
def test_quadrature_across_kinks_gives_the_leaky_relu_closed_forms(slope):
    activation = ShapedActivation("leaky_relu", negative_slope=slope)
    kink = (1 - slope) ** 2 / (1 + slope**2)
    np.testing.assert_allclose(_correlate(activation, 0, C), leaky_relu_c_map(slope, C), atol=EXACT)
    expected = 1 - kink / np.pi * np.arccos(C)
    np.testing.assert_allclose(c_slope(activation, C), expected, atol=EXACT)
    q = np.array([0.0, 0.25, 1.0, 7.0])
    np.testing.assert_allclose(q_map(activation, q), q * (1 + slope**2) / 2, atol=EXACT)


def test_relu_by_name():
    relu = ShapedActivation("relu")
    assert q_map(relu, 3.0) == pytest.approx(1.5, abs=EXACT)
    assert c_map(relu, 0.0) == pytest.approx(1 / math.pi, abs=EXACT)
    assert c_slope(relu) == pytest.approx(1, abs=EXACT)
    assert q_slope(relu) == pytest.approx(0.5, abs=EXACT)


def test_shifts_and_scales_do_not_change_what_they_must_not():
    shaped = ShapedActivation("softplus", 0.3, 0.4, 5.0, -0.9)
    scaled = ShapedActivation("softplus", 0.3, 0.4, 1.0, -0.9)
    mirrored = ShapedActivation("softplus", -0.3, 0.4, 5.0, -0.9)
    np.testing.assert_allclose(c_map(scaled, C), c_map(shaped, C), atol=EXACT)
    np.testing.assert_allclose(c_map(mirrored, C), c_map(shaped, C), atol=EXACT)
    np.testing.assert_allclose(
        q_map(shaped, [1.0, 2.0]), 25 * q_map(scaled, [1.0, 2.0]), rtol=EXACT
    )


@pytest.mark.parametrize("phi", ["tanh", "softplus", "gelu", "elu", "softsign", "selu"])
def test_derivatives_of_the_maps_are_differences_of_the_maps(phi):
    activation = ShapedActivation(phi, 0.6, 0.3, 1.7, -0.2)
    step = 1e-5  # central differences: truncation and rounding near 1e-10
    c = np.array([-0.6, 0.2, 0.7])
    difference = (c_map(activation, c + step) - c_map(activation, c - step)) / (2 * step)
    np.testing.assert_allclose(c_slope(activation, c), difference, atol=1e-8)
    q_difference = (q_map(activation, 1 + step) - q_map(activation, 1 - step)) / (2 * step)
    assert q_slope(activation) == pytest.approx(float(q_difference), abs=1e-8)
    if phi != "selu":
        # Where phi'' jumps, C''(1 - h) differs from C''(1) by O(sqrt h): 1e-3 at h = 1e-6.
        slope = (c_slope(activation, 1.0) - c_slope(activation, 1 - 1e-6)) / 1e-6
        assert c_curvature(activation) == pytest.approx(float(slope), rel=5e-3)


def test_a_kink_makes_the_curvature_infinite():
    assert c_curvature(ShapedActivation("selu")) == math.inf
    assert c_curvature(ShapedActivation("leaky_relu", negative_slope=0.5)) == math.inf
    assert c_curvature(ShapedActivation("leaky_relu", negative_slope=1.0)) == 0
    assert c_curvature(ShapedActivation("elu")) < math.inf


def test_cosines_beyond_one_are_refused():
    with pytest.raises(ValueError, match=r"cosine in \[-1, 1\], got 1.5"):
        c_map(ShapedActivation("tanh"), [0.0, 1.5])
