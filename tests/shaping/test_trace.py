"""`kernel_graph`: what the forward pass says about the wiring."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from zoo.shaping import DKS, GraphBuilder, KernelGraph, ShapedActivation, kernel_graph
from zoo.shaping.graph import Mix, Nonlinear

WIDTH = 8
ACT = ShapedActivation("tanh")


def weights(count, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(count, WIDTH, WIDTH)), jnp.float32)


W = weights(12)


def trace(fn, dtype=jnp.float32):
    return kernel_graph(fn, (2, WIDTH), dtype=dtype)


def block_graph(w=0.8, blocks=1):
    """dense, then blocks  (1-w^2)^0.5 dense(act(dense(act(x)))) + w x,  then act."""
    builder = GraphBuilder()
    x = builder.input
    for _ in range(blocks):
        branch = builder.nonlinear(builder.nonlinear(x))
        x = builder.mix({x: w, branch: (1 - w**2) ** 0.5})
    return builder.graph(builder.nonlinear(x))


def rescaled(x, w=0.8, blocks=1):
    x = x @ W[0].astype(x.dtype)
    for i in range(blocks):
        branch = ACT(ACT(x) @ W[2 * i + 1].astype(x.dtype)) @ W[2 * i + 2].astype(x.dtype)
        x = (1 - w**2) ** 0.5 * branch + w * x
    return ACT(x)


def chain(depth):
    def forward(x):
        for i in range(depth):
            x = ACT(x @ W[i] + 0.0)
        return x @ W[-1]

    return forward


class Net(nnx.Module):
    """Convolution, activation, pooling, dropout, dense: 3 nonlinear layers."""

    def __init__(self, pool=None, norm=None, *, rngs):
        self.stem = nnx.Conv(3, WIDTH, (3, 3), strides=2, rngs=rngs)
        self.conv = nnx.Conv(WIDTH, WIDTH, (3, 3), rngs=rngs)
        self.head = nnx.Linear(WIDTH, 10, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.pool = pool
        self.norm = norm(WIDTH, rngs=rngs) if norm else None

    def __call__(self, x):
        x = ACT(self.stem(x))
        x = self.pool(x) if self.pool else x
        x = self.norm(x) if self.norm else x
        x = ACT(ACT(self.conv(x)) * 1.0)
        return self.head(self.dropout(x.mean((1, 2))))


def abstract_net(**options):
    return nnx.eval_shape(lambda: Net(**options, rngs=nnx.Rngs(0)))


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_a_chain_is_counted(depth):
    assert trace(chain(depth)) == KernelGraph.chain(depth)


@pytest.mark.parametrize("w", [0.0, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("blocks", [1, 3])
def test_rescaled_blocks_are_normalised_sums(w, blocks):
    traced = trace(lambda x: rescaled(x, w, blocks))
    expected = block_graph(w, blocks) if w else KernelGraph.chain(2 * blocks + 1)
    step = (1.0, lambda y: 1.01 * y)
    assert traced.maximum(*step) == pytest.approx(expected.maximum(*step), rel=1e-12)
    assert traced == expected


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("w", [0.8, 0.5, 0.3, 0.95])
def test_narrow_types_round_weights_but_give_the_same_graph(dtype, w):
    assert trace(lambda x: rescaled(x, w, 2), jnp.dtype(dtype)) == block_graph(w, 2)


def test_weights_that_all_were_rounded_are_as_exact_as_their_type():
    shares = trace(lambda x: rescaled(x, 0.1**0.5)).nodes[-2].shares
    assert shares == pytest.approx((0.1, 0.9), abs=2**-23)


POOLS = {
    "max": lambda x: nnx.max_pool(x, (3, 3), (2, 2), "SAME"),
    "mean": lambda x: nnx.avg_pool(x, (2, 2), (2, 2)),
    "mean at borders": lambda x: nnx.avg_pool(x, (3, 3), (2, 2), "SAME", count_include_pad=False),
    "stride": lambda x: x[:, ::2, ::2],
    "crop": lambda x: x[:, 1:-1, 1:-1],
    "pad": lambda x: jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))),
    "reshape": lambda x: x.reshape(1, -1, 1, WIDTH),
    "cast": lambda x: x.astype(jnp.bfloat16).astype(jnp.float32),
    "barrier": lax.optimization_barrier,
}


@pytest.mark.parametrize("pool", POOLS)
def test_pooling_and_the_like_leave_no_trace(pool):
    assert kernel_graph(abstract_net(pool=POOLS[pool]), (1, 16, 16, 3)) == KernelGraph.chain(3)


def test_a_concrete_module_has_the_graph_of_the_abstract_one():
    def make():
        rngs = nnx.Rngs(0)
        return nnx.Sequential(nnx.Linear(WIDTH, WIDTH, rngs=rngs), ACT, nnx.Dropout(0.5, rngs=rngs))

    concrete = make()
    assert kernel_graph(concrete, (1, WIDTH)) == KernelGraph.chain(1)
    assert kernel_graph(nnx.eval_shape(make), (1, WIDTH)) == KernelGraph.chain(1)
    assert not concrete.layers[2].deterministic, "tracing must not change the module"


def test_preprocessing_before_the_first_weight_is_not_looked_at():
    def forward(x):
        x = (x - jnp.array([1.0] * WIDTH)) / jnp.array([2.0] * WIDTH)
        x = jnp.concatenate([x, jnp.ones((2, 1))], axis=-1)
        x = jnp.tanh(x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True)))
        return ACT(x[:, :WIDTH] @ W[0]) @ W[1]

    assert trace(forward) == KernelGraph.chain(1)


def test_the_input_itself_can_be_a_shortcut():
    builder = GraphBuilder()
    expected = builder.graph(builder.mix({0: 0.8, builder.nonlinear(0): 0.6}))
    assert trace(lambda x: 0.8 * x + 0.6 * (ACT(x @ W[0]) @ W[1])) == expected
    scaled = trace(lambda x: (lambda y: 0.8 * y + 0.6 * (ACT(y @ W[0]) @ W[1]))(x / 255))
    assert scaled == expected


def two(x):
    x = ACT(x @ W[0])
    return x, ACT(x @ W[1]) @ W[2]


SUMS = {
    "sum then divide": lambda x, y: (x + y) / jnp.sqrt(2.0),
    "sum then multiply": lambda x, y: 2**-0.5 * (x + y),
    "mean then multiply": lambda x, y: 2**0.5 * ((x + y) / 2),
    "difference": lambda x, y: 0.5**0.5 * x - 0.5**0.5 * y,
    "negated": lambda x, y: -(0.5**0.5) * (-x - y),
    "split weight": lambda x, y: 0.5**0.5 * x + 0.5 * (2**0.5 * y),
    "bias after": lambda x, y: (x + y + W[0, 0]) / 2**0.5,
    "zero weight": lambda x, y: 0.5**0.5 * x + 0.5**0.5 * y + 0.0 * (x @ W[5]),
}


@pytest.mark.parametrize("form", SUMS)
def test_every_way_to_write_a_normalised_sum_is_understood(form):
    shares = trace(lambda x: SUMS[form](*two(x))).nodes[-1].shares
    assert shares == pytest.approx((0.5, 0.5), abs=1e-7)


def test_sums_of_three_flatten():
    def forward(x):
        x, y = two(x)
        return 0.6 * x + 0.48 * y + 0.64 * (ACT(y) @ W[3])

    shares = sorted(trace(forward).nodes[-1].shares)
    assert shares == pytest.approx([0.48**2, 0.36, 0.64**2], abs=1e-7)


def test_two_affine_layers_of_one_signal_are_independent():
    graph = trace(lambda x: ACT(0.6 * (ACT(x @ W[0]) @ W[1]) + 0.8 * (ACT(x @ W[0]) @ W[2])))
    assert (graph.nonlinear_depth, graph.num_nonlinear) == (2, 3)


def test_concatenation_mixes_by_width():
    def forward(x):
        x, y = two(x)
        return ACT(jnp.concatenate([x[:, :2], y], axis=-1))

    graph = trace(forward)
    # The activation acts on each part by itself: the mean of C(c) is not C of the mean.
    assert [type(node) for node in graph.nodes[-3:]] == [Nonlinear, Nonlinear, Mix]
    assert graph.nodes[-1].shares == pytest.approx((0.2, 0.8))


def test_a_projection_after_the_first_activation_is_part_of_the_shortcut():
    def forward(x):
        active = ACT(x @ W[0])
        branch = ACT(active @ W[1]) @ W[2]
        return ACT(0.6 * branch + 0.8 * (active @ W[3]))

    slope = trace(forward).evaluate(1.0, lambda y: 1.1 * y)
    assert slope == pytest.approx(1.1 * 1.1 * (0.36 * 1.1 + 0.64), rel=1e-12)


def test_closed_form_of_a_traced_bottleneck_resnet():
    w, s, blocks, made = 0.5, 1.02, (2, 3), []

    def forward(x):
        x = x @ W[0]
        for count in blocks:
            for block in range(count):
                active, own = ACT(x), weights(4, seed=len(made))
                made.append(own)
                shortcut = active @ own[0] if block == 0 else x
                branch = ACT(ACT(active @ own[1]) @ own[2]) @ own[3]
                x = (1 - w**2) ** 0.5 * branch + w * shortcut
        return ACT(x).mean(0) @ W[5]

    whole, r = s, w**2
    for n in blocks:
        whole *= (r * s + (1 - r) * s**3) * (r + (1 - r) * s**3) ** (n - 1)
    assert trace(forward).maximum(1.0, lambda y: s * y) == pytest.approx(whole, rel=1e-12)


def test_five_hundred_layers_trace_and_solve_quickly():
    stack = jnp.zeros((500, WIDTH, WIDTH))

    def forward(x):
        return lax.scan(lambda y, w: (ACT(y @ w), None), x, stack)[0]

    graph = trace(forward)
    assert graph == KernelGraph.chain(500)
    assert DKS("tanh").solve(graph) == DKS("tanh").solve(500)


def test_one_graph_for_every_size_of_input():
    module = abstract_net()
    assert kernel_graph(module, (1, 16, 16, 3)) == kernel_graph(module, (7, 33, 20, 3))


def test_the_shapes_of_all_inputs_are_needed():
    with pytest.raises(ValueError, match="pass the shape of each"):
        kernel_graph(abstract_net())


def test_two_inputs():
    def forward(x, y):
        return ACT(0.6 * (x @ W[0]) + 0.8 * (ACT(y @ W[1]) @ W[2]))

    assert kernel_graph(forward, (2, WIDTH), (2, WIDTH)).num_nonlinear == 2
