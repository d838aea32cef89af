"""What has no kernel graph is refused in one sentence: what it is, where it stands, what to do."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from tests.shaping.test_trace import ACT, W, trace
from zoo.shaping import DKS, EOC, TAT, NotShapableError


def hidden(x):
    return ACT(x @ W[0])


# Elementwise functions have a graph, so that a network is analysed as it is; no method solves it.
UNMARKED = {
    "relu": (jax.nn.relu, r'relu \(primitive max\); use zoo.ShapedActivation\("relu"\)'),
    "maximum": (lambda x: jnp.maximum(x, 0), r'use zoo.ShapedActivation\("relu"\)'),
    "gelu": (jax.nn.gelu, r'gelu .*use zoo.ShapedActivation\("gelu"\)'),
    "silu": (jax.nn.silu, r'use zoo.ShapedActivation\("silu"\)'),
    "elu": (jax.nn.elu, r'use zoo.ShapedActivation\("elu"\)'),
    "leaky relu": (jax.nn.leaky_relu, r'use zoo.ShapedActivation\("leaky_relu"\)'),
    "tanh": (jnp.tanh, r'primitive tanh; use zoo.ShapedActivation\("tanh"\)'),
    "sigmoid": (jax.nn.sigmoid, r'use zoo.ShapedActivation\("sigmoid"\)'),
    "relu6": (jax.nn.relu6, "relu6"),
    "square": (lambda x: x**2, "nonlinearity that is not marked"),
    "abs": (jnp.abs, "nonlinearity that is not marked, primitive abs"),
}


@pytest.mark.parametrize("method", [DKS(), TAT(), EOC()], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("name", UNMARKED)
def test_solving_for_an_unmarked_activation_is_refused(name, method):
    function, message = UNMARKED[name]
    graph = trace(lambda x: function(hidden(x)))
    with pytest.raises(NotShapableError, match=message) as caught:
        method.solve(graph)
    assert "\n" not in str(caught.value) and "zoo.ShapedActivation" in str(caught.value)
    assert f"{__file__}:" in str(caught.value) and "after 1 nonlinear" in str(caught.value)


PLACED = {
    "shared weights": lambda x: 0.6 * (x @ W[1]) + 0.8 * (ACT(x @ W[2]) @ W[1]),
    "gain vector": lambda x: x * W[0, 0],
    "layer norm": lambda x: x - x.mean(-1, keepdims=True),
}


@pytest.mark.parametrize("name", PLACED)
def test_refusal_says_where(name):
    function = PLACED[name]

    def deep(x):
        for i in range(5):
            x = ACT(x @ W[3 + i])
        return function(x)

    with pytest.raises(NotShapableError, match=rf"{__file__}:\d+, after [56] nonlinear layers"):
        trace(jax.checkpoint(deep))


def test_refusals_inside_a_scan_count_the_layers_before():
    def forward(x):
        def step(y, w):
            return jnp.tanh(ACT(y @ w)), None

        return lax.scan(step, hidden(hidden(x)), W)[0]

    with pytest.raises(NotShapableError, match="primitive tanh.*after 3 nonlinear layers"):
        DKS().solve(trace(forward))
