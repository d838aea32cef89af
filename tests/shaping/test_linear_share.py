"""Per-channel slopes: some channels of a layer linear, the others leaky ReLUs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.shaping.measuring import ALLOWED, measured
from zoo.models import create_model, graph_of
from zoo.shaping import (
    DKS,
    TAT,
    KernelGraph,
    NotShapableError,
    ShapedActivation,
    UnreachableTargetError,
    c_map,
    kernel_graph,
)
from zoo.shaping.kernel_maps import c_slope, leaky_relu_c_map, q_map
from zoo.shaping.methods import method_from_json, method_to_json

MIXED = ShapedActivation("leaky_relu", 0.5, 0.0, 3.0, negative_slope=0.2, linear_share=0.25)


def test_channels_are_spread_evenly_by_position():
    assert np.flatnonzero(MIXED.linear_channels(12)).tolist() == [3, 7, 11]
    for share in (0.1, 0.5, 0.7):
        mixed = dataclasses.replace(MIXED, linear_share=share)
        for count in (4, 10, 64):
            assert mixed.linear_channels(count).sum() == np.floor(count * share)
    assert not dataclasses.replace(MIXED, linear_share=0.0).linear_channels(8).any()


def test_linear_channels_are_a_multiple_and_the_others_leaky_with_the_same_mean_square():
    x = np.random.default_rng(0).normal(size=(4096, 8)).astype(np.float32)
    found = np.asarray(MIXED(jnp.asarray(x)))
    linear = MIXED.linear_channels(8)
    np.testing.assert_allclose(found[:, linear], MIXED.linear_scale * x[:, linear], rtol=1e-6)
    leaky = np.asarray(dataclasses.replace(MIXED, linear_share=0.0)(jnp.asarray(x)))
    assert np.array_equal(found[:, ~linear], leaky[:, ~linear])
    # Symmetric inputs: the mean square of a leaky channel is then exact.
    both = np.concatenate([x, -x])
    squares = np.mean(np.asarray(MIXED(jnp.asarray(both)), np.float64) ** 2, axis=0)
    np.testing.assert_allclose(squares, q_map(MIXED, np.mean(both**2.0, axis=0)), rtol=1e-5)


def test_transformations_leave_the_channels_in_the_last_axis():
    x = jax.random.normal(jax.random.key(0), (5, 8))
    expected = MIXED(x)
    np.testing.assert_array_equal(jax.vmap(MIXED, in_axes=-1)(jnp.moveaxis(x, 0, -1)), expected)
    slopes = jax.grad(lambda x: jnp.sum(MIXED(x)))(x)
    np.testing.assert_allclose(slopes[:, MIXED.linear_channels(8)], MIXED.linear_scale, rtol=1e-6)
    with pytest.raises(ValueError, match="needs channels in the last axis"):
        MIXED(jnp.float32(1))


def test_a_layers_maps_are_the_means_over_its_channels():
    c = np.linspace(-1, 1, 41)
    np.testing.assert_allclose(c_map(MIXED, c), 0.25 * c + 0.75 * leaky_relu_c_map(0.2, c))
    inside = c[1:-1]
    difference = (c_map(MIXED, inside + 1e-6) - c_map(MIXED, inside - 1e-6)) / 2e-6
    np.testing.assert_allclose(c_slope(MIXED, inside), difference, atol=1e-6)


@pytest.mark.parametrize(("share", "depth"), [(0.25, 18), (0.5, 27), (0.5, 100), (0.75, 199)])
def test_tat_reaches_eta_after_depth_layers(share, depth):
    method = TAT(eta=0.9, linear_share=share)
    activation = method.solve(depth)
    c = 0.0
    for _ in range(depth):
        c = share * c + (1 - share) * float(leaky_relu_c_map(activation.negative_slope, c))
    assert c == pytest.approx(0.9, abs=1e-12)
    assert activation.linear_share == share
    assert activation.linear_scale == pytest.approx(1, abs=1e-12)
    assert activation.negative_slope < TAT(eta=0.9).solve(depth).negative_slope


def test_predicted_cosines_are_those_of_wide_random_networks():
    """Twelve layers of Gaussian weights, 24 draws: by Student's quantile of one in 31,000."""
    depth = 12
    activation = TAT(eta=0.6, linear_share=0.5).solve(depth)

    def forward(x, weights):
        for layer in range(depth):
            x = activation(x @ weights[layer])
        return x

    for start in (0.0, 0.5):
        (q, q_error), (cosine, error) = measured(forward, start)
        predicted = KernelGraph.chain(depth).evaluate(start, lambda c: c_map(activation, c))
        assert abs(cosine - predicted) < ALLOWED * error and error < 0.02
        assert abs(q - 1) < ALLOWED * q_error
        # The measurement tells it from layers without linear channels.
        other = dataclasses.replace(activation, linear_share=0.0)
        without = KernelGraph.chain(depth).evaluate(start, lambda c, a=other: c_map(a, c))
        assert abs(cosine - without) > ALLOWED * error


def test_the_graph_is_traced_where_channels_are_last_and_refused_elsewhere():
    model = create_model("vanilla_resnet34_tat_mixed", abstract=True)
    assert graph_of(model) == KernelGraph.chain(33)
    assert model.activations == (TAT(linear_share=0.5).solve(33),)
    weights = jnp.eye(8)
    assert kernel_graph(lambda x: MIXED(x @ weights) @ weights, (2, 8)) == KernelGraph.chain(1)
    with pytest.raises(NotShapableError, match="linear channels are counted along the last axis"):
        kernel_graph(lambda x: MIXED((x @ weights).T).T @ weights, (2, 8))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"linear_share=1.0; give \[0, 1\)"):
        TAT(linear_share=1.0)
    with pytest.raises(ValueError, match="needs a leaky_relu without shifts .* phi is 'tanh'"):
        TAT("tanh", linear_share=0.5)
    with pytest.raises(ValueError, match="needs a leaky_relu without shifts"):
        dataclasses.replace(MIXED, output_shift=0.1)
    with pytest.raises(UnreachableTargetError, match="at least 27 nonlinear layers"):
        TAT(linear_share=0.5).solve(17)


def test_records_hold_the_share():
    for method in (TAT(eta=0.8, linear_share=0.5), TAT(eta=0.8), DKS("tanh")):
        assert method_from_json(method_to_json(method)) == method
    assert TAT().targets == {"eta": 0.9}
    assert ShapedActivation(**dataclasses.asdict(MIXED)) == MIXED
