"""What a kernel graph takes for granted is listed, with its line, and refused where it matters."""

import linecache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import zoo
from tests.shaping.test_trace import ACT, WIDTH, W, trace
from zoo.models.registry import graph_of
from zoo.shaping import AssumptionWarning, KernelGraph, NotShapableError, kernel_graph
from zoo.shaping.assumptions import KINDS

IMAGE = (2, 8, 8, WIDTH)
KERNEL = jnp.ones((3, 3, WIDTH, WIDTH))


def conv(x, padding="SAME", kernel=KERNEL):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def found(network, shape=IMAGE, **options):
    return [
        (one.kind, one.at_output) for one in kernel_graph(network, shape, **options).assumptions
    ]


def test_an_assumption_names_its_line_and_its_cure():
    def network(x):
        x = ACT(x @ W[0]).max((1, 2))  # the line
        return ACT(x @ W[1])

    (pooling,) = kernel_graph(network, IMAGE).assumptions
    file, _, line = pooling.where.rpartition(":")
    assert linecache.getline(file, int(line)).endswith("# the line\n")
    assert "as strides do" in pooling.cure and str(pooling).startswith("pooling: takes the largest")


def test_assumptions_are_no_part_of_the_wiring():
    pooled = kernel_graph(lambda x: ACT(ACT(x @ W[0]).mean(1) @ W[1]), (2, 4, WIDTH))
    assert pooled.assumptions and pooled == KernelGraph.chain(2)
    assert pooled.hash == KernelGraph.chain(2).hash
    assert set(KINDS) >= {one.kind for one in pooled.assumptions}


def test_what_only_the_output_rests_on_is_marked():
    def head(x):
        return ACT(x @ W[0]).mean((1, 2)) @ W[1]

    assert found(head) == [("pooling", True)]
    assert found(lambda x: ACT(head(x))) == [("pooling", False)]
    assert found(lambda x: 3.0 * (ACT(x @ W[0]) @ W[1])) == [("scale", True)]


PADDING = {
    "SAME": (lambda x: ACT(conv(x)), ["padding"], []),
    "VALID": (lambda x: ACT(conv(x, "VALID")), [], []),
    "one pixel": (lambda x: ACT(conv(x, "SAME", KERNEL[:1, :1])), [], []),
    "to one side": (lambda x: ACT(conv(x, [(2, 0), (2, 0)])), ["padding"], ["padding"]),
    "too wide": (lambda x: ACT(conv(x, [(2, 2), (2, 2)])), ["padding"], ["padding"]),
}


@pytest.mark.parametrize("name", PADDING)
def test_zero_padding_is_harmless_where_only_the_centre_tap_counts(name):
    network, dense, delta = PADDING[name]
    assert [kind for kind, _ in found(network)] == dense
    assert [kind for kind, _ in found(network, delta=True)] == delta


@pytest.mark.parametrize(("stem", "expected"), [("imagenet", [False, True]), ("cifar", [True])])
def test_networks_of_the_zoo_list_their_pooling_and_nothing_else(stem, expected):
    model = zoo.create_model("vanilla_resnet50_tat_lrelu", stem=stem, abstract=True)
    graph = graph_of(model)
    assert [(one.kind, one.at_output) for one in graph.assumptions] == [
        ("pooling", at_output) for at_output in expected
    ]
    assert graph == KernelGraph.chain(49)


def test_one_location_is_its_own_mean():
    def network(x):
        return ACT(ACT(x @ W[0]).mean((1, 2)) @ W[1])

    assert found(network, (2, 1, 1, WIDTH)) == []


class Net(nnx.Module):
    """Two layers, with `between` them."""

    def __init__(self, between, **parts):
        rngs = nnx.Rngs(0)
        self.first, self.second = (nnx.Linear(WIDTH, WIDTH, rngs=rngs) for _ in range(2))
        self.activation, self.between = ACT, between
        for name, part in parts.items():
            setattr(self, name, part)

    def __call__(self, x):
        x = self.between(self, self.activation(self.first(x)))
        return self.activation(self.second(x))


def test_shape_refuses_what_its_constants_would_rest_on_unless_told():
    pooled, method = Net(lambda m, x: x.mean(1)), zoo.TAT("tanh")
    with pytest.raises(NotShapableError, match="averages locations.*as strides do, or pass strict"):
        zoo.shape(pooled, method, (2, 4, WIDTH))
    with pytest.warns(AssumptionWarning, match="takes for granted, pooling: averages locations"):
        shaped = zoo.shape(pooled, method, (2, 4, WIDTH), strict=False)
    assert shaped.activation == method.solve(2)


def test_shape_takes_a_mean_before_the_head():
    def head(m, x):
        return x

    class WithHead(Net):
        def __call__(self, x):
            return self.second(self.activation(self.first(x)).mean(1))

    assert zoo.shape(WithHead(head), zoo.DKS("tanh"), (2, 4, WIDTH)).activation


def test_dropout_in_training_mode_is_said_and_gone_in_evaluation_mode():
    net = Net(lambda m, x: m.dropout(x), dropout=nnx.Dropout(0.25, rngs=nnx.Rngs(0)))
    (dropout,) = kernel_graph(net, (2, WIDTH)).assumptions
    assert "1.333 times as large and its cosines 0.75 times" in dropout.sentence
    with pytest.raises(NotShapableError, match=r"call module.eval\(\)"):
        zoo.shape(net, zoo.DKS("tanh"), (2, WIDTH))
    net.eval()
    assert kernel_graph(net, (2, WIDTH)).assumptions == ()


def test_arrays_of_a_module_that_are_no_parameters_are_no_weights():
    code = jnp.ones(WIDTH)
    with pytest.raises(NotShapableError, match="adds numbers that are no weights"):
        kernel_graph(Net(lambda m, x: x + code), (2, WIDTH))
    buffer = Net(lambda m, x: x + m.code[...], code=nnx.Variable(code))
    with pytest.raises(NotShapableError, match="adds numbers that are no weights"):
        kernel_graph(buffer, (2, WIDTH))
    bias = Net(lambda m, x: x + m.code[...], code=nnx.Param(code))
    assert kernel_graph(bias, (2, WIDTH)).assumptions == ()


DEPENDENT = {
    "a layer and its activation": lambda h: 0.6 * h + 0.8 * ACT(h),
    "an activation and one of it": lambda h: 0.6 * ACT(h @ W[2]) + 0.8 * (h @ W[2]),
    "overlapping rows": lambda h: 0.6 * h[:, :6] + 0.8 * h[:, 2:],
    "a piece and the whole": lambda h: 0.6 * h[:, :4] + 0.8 * jnp.split(h, 2, -1)[0],
    "reversed rows": lambda h: 0.6 * h[:, :4] + 0.8 * h[:, ::-1][:, 4:],
    "a copy": lambda h: 0.6 * h[:, :4] + 0.8 * jnp.concatenate([h, h], 1)[:, 8:12],
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_sums_that_share_a_row_of_weights_are_refused(name):
    with pytest.raises(NotShapableError, match="not independent"):
        trace(lambda x: DEPENDENT[name](x @ W[0]))


def test_rows_apart_are_independent():
    graph = trace(lambda x: (lambda h: 0.6 * h[:, :4] + 0.8 * h[:, 4:])(x @ W[0]))
    assert graph == KernelGraph() and not graph.assumptions


UNRESOLVED = {
    "pole": (lambda x: 1 / x, "mean square"),
    "staircase": (lambda x: jnp.floor(10 * x), "jumps or bends at 2.. places"),
    "steep exponential": (lambda x: jnp.exp(3 * x), "values that hardly ever occur"),
    "far": (lambda x: jax.nn.relu(x - 12), "has the mean square 0"),
    "fast": (lambda x: jnp.sin(60 * x), "turns faster than the quadrature resolves"),
}


@pytest.mark.parametrize("name", UNRESOLVED)
def test_functions_that_the_quadrature_does_not_resolve_are_refused(name):
    function, sentence = UNRESOLVED[name]
    with pytest.raises(NotShapableError, match=sentence):
        trace(lambda x: function(x @ W[0]) @ W[1])


def test_what_is_resolved_at_one_scale_may_not_be_at_another():
    graph = trace(lambda x: jnp.sin(10 * (x @ W[0])) @ W[1])
    assert zoo.shaping.propagate(graph, 0.5)[-1].q == pytest.approx((1 - np.exp(-200)) / 2)
    with pytest.raises(NotShapableError, match="mean square 100 turns faster"):
        zoo.shaping.propagate(graph, 0.5, q=100.0)
