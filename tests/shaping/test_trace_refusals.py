"""What has no kernel graph is refused in one sentence: what it is, where it stands, what to do."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax import lax

from tests.shaping.test_trace import ACT, WIDTH, W, abstract_net, trace
from zoo.shaping import DKS, EOC, TAT, NotShapableError, kernel_graph

NORMS = [nnx.BatchNorm, nnx.LayerNorm, nnx.RMSNorm]


def hidden(x):
    return ACT(x @ W[0])


def branch(x):
    return ACT(x @ W[1]) @ W[2]


def residual(x):
    return x + branch(x)


class TrainedBatchNorm:
    """Batch statistics written out."""

    def __call__(self, x):
        mean = x.mean(0, keepdims=True)
        return (x - mean) * lax.rsqrt(((x - mean) ** 2).mean(0, keepdims=True) + 1e-5)


def attention(x):
    return jax.nn.softmax(x @ x.T) @ x


REFUSED = {
    # unnormalised sums
    "identity shortcut": (residual, "weights 1, 1 in .*, whose squares add to 2 .* 0.8 and 0.6"),
    "linear weights": (lambda x: 0.8 * x + 0.2 * branch(x), "0.8, 0.2 .* add to 0.68"),
    "three": (lambda x: 0.6 * x + 0.6 * branch(x) + 0.6 * (hidden(x) @ W[3]), "add to 1.08"),
    "sum before a layer": (lambda x: residual(x) @ W[3], "add to 2 instead of 1"),
    # dependent summands
    "twice the same": (lambda x: x + x, "adds a signal to itself"),
    "both bare": (
        lambda x: 0.6 * ACT(x @ W[1]) + 0.8 * ACT(x @ W[2]),
        "2 signals that do not end in an affine layer",
    ),
    "shared weights": (
        lambda x: 0.6 * (x @ W[1]) + 0.8 * (ACT(x @ W[2]) @ W[1]),
        "end in the same weights",
    ),
    "pooled copy": (
        lambda x: (lambda y: 0.6 * y + 0.8 * jnp.flip(y, 0))(x @ W[1]),
        "end in the same weights",
    ),
    # scales and shifts
    "scaled": (lambda x: ACT(0.5 * x), "multiplies a signal by 0.5 before a nonlinear layer"),
    "doubled": (lambda x: ACT(x / 0.5), "multiplies a signal by 2 before"),
    "shifted": (lambda x: x + 0.5, "adds the number 0.5"),
    "gain vector": (lambda x: x * W[0, 0], "multiplies a signal by a vector of weights"),
    "divided by zero": (lambda x: x / 0.0, "divides a signal by 0"),
    # normalisation
    "layer norm": (lambda x: x - x.mean(-1, keepdims=True), "reduces over the channels"),
    "batch norm in training": (TrainedBatchNorm(), "combines a signal with its own mean"),
    "standardize": (lambda x: jax.nn.standardize(x), "standardize|reduces over the channels"),
    # other functions
    "softmax": (jax.nn.softmax, "applies softmax, .*; return the logits"),
    "log softmax": (jax.nn.log_softmax, "applies log_softmax"),
    # joins
    "gate": (lambda x: x * (x @ W[1]), "multiplies a signal by values computed from the input"),
    "product": (lambda x: x @ x.T, "joins two signals by dot_general"),
    "attention": (attention, "joins two signals by dot_general"),
    "constant channel": (
        lambda x: jnp.concatenate([x, jnp.ones((2, 1))], -1),
        "concatenates a signal with constant channels",
    ),
    "dropout in training": (
        lambda x: jnp.where(jax.random.bernoulli(jax.random.key(0), 0.5, x.shape), x / 0.5, 0),
        "trace it in evaluation mode",
    ),
    # structure
    "sort": (jnp.sort, "the primitive sort, which has no kernel map; build"),
    "cond": (lambda x: lax.cond(x[0, 0] > 0, lambda y: y, lambda y: -y, x), "marked|cond"),
    "two outputs": (lambda x: (x, x @ W[1]), "returns 2 arrays"),
    "scanned signal": (
        lambda x: lax.scan(lambda c, row: (c, row), 0.0, x)[1],
        "scans over the elements of a signal",
    ),
    "stacked outputs": (
        lambda x: lax.scan(lambda c, w: (ACT(c @ w), c), x, W)[1].sum(0),
        "reads the stacked outputs of a scan",
    ),
}


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


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_says_what_and_what_to_do(name):
    function, message = REFUSED[name]
    with pytest.raises(NotShapableError, match=message) as caught:
        trace(lambda x: function(hidden(x)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["shared weights", "gain vector", "layer norm"])
def test_refusal_says_where(name):
    function, _ = REFUSED[name]

    def deep(x):
        for i in range(5):
            x = ACT(x @ W[3 + i])
        return function(x)

    with pytest.raises(NotShapableError, match=rf"{__file__}:\d+, after [56] nonlinear layers"):
        trace(jax.checkpoint(deep))


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.__name__)
def test_normalisation_layers_are_called_by_name(norm):
    with pytest.raises(NotShapableError, match=f"contains {norm.__name__}, .*remove it"):
        kernel_graph(abstract_net(norm=norm), (1, 16, 16, 3))


def test_a_scalar_weight_is_not_a_number():
    class Gated(nnx.Module):
        def __init__(self):
            self.gain = nnx.Param(jnp.ones(()))
            self.kernel = nnx.Param(jnp.ones((WIDTH, WIDTH)))

        def __call__(self, x):
            return self.gain[...] * (x @ self.kernel[...])

    with pytest.raises(NotShapableError, match="scalar weight .*; use a Python number"):
        kernel_graph(nnx.eval_shape(Gated), (2, WIDTH))


def test_refusals_inside_a_scan_count_the_layers_before():
    def forward(x):
        def step(y, w):
            return jnp.tanh(ACT(y @ w)), None

        return lax.scan(step, hidden(hidden(x)), W)[0]

    with pytest.raises(NotShapableError, match="primitive tanh.*after 3 nonlinear layers"):
        DKS().solve(trace(forward))
