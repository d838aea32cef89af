"""Unmarked activations: what an ordinary network computes is found, named and integrated."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from tests.shaping.test_trace import ACT, WIDTH, W, trace
from zoo.shaping import (
    DKS,
    KernelGraph,
    NotShapableError,
    ShapedActivation,
    c_curvature,
    c_map,
    c_slope,
    kernel_graph,
    q_map,
    q_slope,
)

COSINES = np.array([-0.9, 0.0, 0.3, 0.7, 0.95, 1.0])


def by_hand(x):
    return x * (1 / (1 + jnp.exp(-x)))


# function, the marked activation it equals
EQUALS = {
    "relu": (jax.nn.relu, ShapedActivation("relu")),
    "maximum": (lambda x: jnp.maximum(x, 0), ShapedActivation("relu")),
    "where": (lambda x: jnp.where(x > 0, x, 0.0), ShapedActivation("relu")),
    "clip": (lambda x: jnp.clip(x, 0), ShapedActivation("relu")),
    "leaky_relu": (
        lambda x: jax.nn.leaky_relu(x, 0.25),
        ShapedActivation("leaky_relu", negative_slope=0.25),
    ),
    "gelu": (jax.nn.gelu, ShapedActivation("gelu")),
    "gelu_exact": (lambda x: jax.nn.gelu(x, approximate=False), ShapedActivation("gelu_exact")),
    "silu": (jax.nn.silu, ShapedActivation("swish")),
    "silu by hand": (by_hand, ShapedActivation("swish")),
    "elu": (jax.nn.elu, ShapedActivation("elu")),
    "softplus": (jax.nn.softplus, ShapedActivation("softplus")),
    "tanh": (jnp.tanh, ShapedActivation("tanh")),
    "square": (lambda x: x * x, ShapedActivation("square")),
    "softsign": (jax.nn.soft_sign, ShapedActivation("softsign")),
    "shifted": (
        lambda x: 3.0 * (jnp.tanh(0.5 * x + 0.25) - 0.125),
        ShapedActivation("tanh", 0.5, 0.25, 3.0, -0.125),
    ),
    "scaled before": (lambda x: jnp.sin(2.0 * x), ShapedActivation("sin", 2.0)),
}


@pytest.mark.parametrize("name", EQUALS)
def test_the_maps_are_those_of_the_marked_activation(name):
    function, marked = EQUALS[name]
    (found,) = trace(lambda x: function(x @ W[0]) @ W[1]).unmarked
    # float32 rounds numbers that the network computes, such as 3 * 0.125
    q = np.array([0.25, 1.0, 2.0])
    assert q_map(found, q) == pytest.approx(q_map(marked, q), rel=1e-6)
    assert c_map(found, COSINES) == pytest.approx(c_map(marked, COSINES), rel=1e-6, abs=1e-9)
    assert q_slope(found) == pytest.approx(q_slope(marked), rel=1e-6)
    assert c_slope(found) == pytest.approx(c_slope(marked), rel=1e-6)
    assert c_curvature(found) == pytest.approx(c_curvature(marked), rel=1e-6)


NAMES = {
    "relu": jax.nn.relu,
    "1.414 relu": lambda x: 2**0.5 * jnp.maximum(x, 0),
    "leaky_relu(negative_slope=0.2)": lambda x: jnp.where(x >= 0, x, 0.2 * x),
    "swish": by_hand,
    "gelu": jax.nn.gelu,
    "relu6": jax.nn.relu6,
    "abs": jnp.abs,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_nonlinearity_is_called_by_its_name(name):
    (found,) = trace(lambda x: NAMES[name](x @ W[0])).unmarked
    assert found.phi == name


def test_closed_forms_of_functions_that_are_in_no_table():
    (cubic,) = trace(lambda x: (x @ W[0]) ** 3).unmarked
    # x^3 = h3 sqrt(6) + 3 h1 in normalised Hermite polynomials: 6 c^3 + 9 c, over 15
    assert c_map(cubic, COSINES) == pytest.approx((6 * COSINES**3 + 9 * COSINES) / 15, abs=1e-12)
    (absolute,) = trace(lambda x: jnp.abs(x @ W[0])).unmarked
    expected = 2 / np.pi * (np.sqrt(1 - COSINES**2) + COSINES * np.arcsin(COSINES))
    assert c_map(absolute, COSINES) == pytest.approx(expected, abs=1e-10)
    assert c_curvature(absolute) == math.inf
    (step,) = trace(lambda x: (x @ W[0] > 0).astype(x.dtype)).unmarked
    assert c_map(step, COSINES) == pytest.approx(1 - np.arccos(COSINES) / np.pi, abs=1e-10)
    assert c_slope(step) == math.inf
    (clipped,) = trace(lambda x: jnp.clip(x @ W[0], -1.0, 1.5)).unmarked
    assert clipped.definition.breaks == (-1.0, 1.5) and clipped.definition.kinked


def plain(activation):
    def forward(x):
        for i in range(6):
            x = activation(x @ W[i] + 0.0)
        return x @ W[7]

    return forward


@pytest.mark.parametrize("activation", [jax.nn.relu, jax.nn.gelu, jnp.tanh])
def test_an_ordinary_network_has_the_wiring_of_the_marked_one(activation):
    graph, marked = trace(plain(activation)), trace(plain(ACT))
    assert (graph.nonlinear_depth, graph.num_nonlinear) == (6, 6)
    assert [type(node) for node in graph.nodes] == [type(node) for node in marked.nodes]
    assert graph != marked and graph.hash != marked.hash
    assert marked.unmarked == () and marked == KernelGraph.chain(6)


def test_sums_keep_the_factor_of_an_unmarked_summand():
    def forward(x):
        x = x @ W[0]
        return jnp.tanh(0.6 * (jax.nn.relu(x) @ W[1]) + 0.8 * jax.nn.relu(x))

    graph = trace(forward)
    assert [one.phi for one in graph.unmarked] == ["relu", "tanh"]
    assert graph.num_nonlinear == 3


def test_different_nonlinearities_stay_apart():
    graph = trace(lambda x: jnp.tanh(jax.nn.relu(ACT(x @ W[0]) @ W[1]) @ W[2]))
    assert [one.phi for one in graph.unmarked] == ["relu", "tanh"]
    assert len(graph.nodes) == 4 and graph.nonlinear_depth == 3


def test_two_signals_are_no_elementwise_function():
    gated = [
        lambda x: x * jax.nn.sigmoid(jnp.flip(x, 0)),
        lambda x: x * jax.nn.sigmoid(x.mean(0, keepdims=True)),
    ]
    for gate in gated:
        with pytest.raises(NotShapableError, match="values that are not independent of it"):
            trace(lambda x, gate=gate: gate(x @ W[0]))
    with pytest.raises(NotShapableError, match="picks the max of several signals"):
        trace(lambda x: jnp.maximum(x @ W[0], x @ W[1]))


def test_json_says_which_function_but_does_not_hold_it():
    graph = trace(plain(jax.nn.relu))
    written = json.loads(json.dumps(graph.to_json()))
    assert written[1]["function"][0] == "relu" and graph.hash == trace(plain(jax.nn.relu)).hash
    with pytest.raises(ValueError, match="unmarked nonlinearity relu; trace the network again"):
        KernelGraph.from_json(written)


class LinenResNet(linen.Module):
    """An ordinary Linen network, its normalisation removed and its sums normalised."""

    @linen.compact
    def __call__(self, x):
        x = linen.Conv(WIDTH, (3, 3))(x)
        for _ in range(3):
            y = linen.Conv(WIDTH, (3, 3))(linen.relu(x))
            y = linen.Conv(WIDTH, (3, 3))(linen.relu(y))
            x = 0.8 * x + 0.6 * y
        return linen.Dense(10)(linen.relu(x).mean((1, 2)))


def test_an_unmodified_linen_network_is_analysed():
    model, images = LinenResNet(), (1, 8, 8, 3)
    variables = model.init(jax.random.key(0), jnp.zeros(images))
    graph = kernel_graph(lambda x: model.apply(variables, x), images)
    assert [one.phi for one in graph.unmarked] == ["relu"]
    assert (graph.nonlinear_depth, graph.num_nonlinear) == (7, 7)
    with pytest.raises(NotShapableError, match=r'use zoo.ShapedActivation\("relu"\)'):
        DKS().solve(graph)


def test_an_unmodified_nnx_network_is_analysed():
    rngs = nnx.Rngs(0)
    layers = [nnx.Linear(WIDTH, WIDTH, rngs=rngs), jax.nn.gelu] * 4
    graph = kernel_graph(nnx.Sequential(*layers), (1, WIDTH))
    assert [one.phi for one in graph.unmarked] == ["gelu"] and graph.nonlinear_depth == 4


def test_a_callable_record_of_arrays_is_analysed_like_a_function():
    class Dense:
        def __init__(self, weight):
            self.weight = weight

        def __call__(self, x):
            return jnp.tanh(x @ self.weight)

    layers = [Dense(one) for one in W[:3]]
    graph = kernel_graph(lambda x: layers[2](layers[1](layers[0](x))), (2, WIDTH))
    assert [one.phi for one in graph.unmarked] == ["tanh"] and graph.nonlinear_depth == 3
