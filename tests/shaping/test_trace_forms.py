"""One network, however it is written, compiled or typed, has one kernel graph."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from tests.shaping.networks import resnet_graph
from tests.shaping.test_trace import ACT, WIDTH, W, block_graph, trace
from zoo.shaping import DKS, TAT, KernelGraph, kernel_graph


def body(x, pair):
    return 0.6 * (ACT(ACT(x) @ pair[0]) @ pair[1]) + 0.8 * x, None


def unrolled(x):
    x = x @ W[0]
    for i in range(3):
        x = body(x, W[2 * i + 1 : 2 * i + 3])[0]
    return ACT(x)


FORMS = {
    "jit": jax.jit(unrolled),
    "remat": jax.checkpoint(unrolled),
    "remat of jit": jax.checkpoint(jax.jit(unrolled)),
    "scan": lambda x: ACT(lax.scan(body, x @ W[0], W[1:7].reshape(3, 2, WIDTH, WIDTH))[0]),
    "scan of remat": lambda x: ACT(
        lax.scan(jax.checkpoint(body), x @ W[0], W[1:7].reshape(3, 2, WIDTH, WIDTH))[0]
    ),
    "scan over stacked": lambda x: ACT(
        lax.scan(body, x @ W[0], jnp.stack([W[1:3], W[3:5], W[5:7]]))[0]
    ),
    "scan over an index": lambda x: ACT(
        lax.scan(lambda y, i: body(y, (W[2 * i + 1], W[2 * i + 2])), x @ W[0], jnp.arange(3))[0]
    ),
    "fori_loop": lambda x: ACT(
        lax.fori_loop(0, 3, lambda i, y: body(y, (W[2 * i + 1], W[2 * i + 2]))[0], x @ W[0])
    ),
    "custom_jvp": lambda x: custom_jvp(x),
    "custom_vjp": lambda x: custom_vjp(x),
    "vmap": lambda x: jax.vmap(unrolled)(x),
    "split weights": lambda x: ACT(
        lax.scan(body, x @ W[0], jnp.concatenate(jnp.split(W[1:7], 3)).reshape(3, 2, WIDTH, WIDTH))[
            0
        ]
    ),
}


@jax.custom_jvp
def custom_jvp(x):
    return unrolled(x)


custom_jvp.defjvp(lambda primals, tangents: (unrolled(*primals), tangents[0]))


@jax.custom_vjp
def custom_vjp(x):
    return unrolled(x)


custom_vjp.defvjp(lambda x: (unrolled(x), None), lambda _, g: (g,))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_one_network_has_one_graph(form):
    assert trace(FORMS[form]) == trace(unrolled) == block_graph(0.8, 3)


NEEDED = {50: 0.4259071946, 101: 0.5704395324, 152: 0.6386479139}


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152, 200])
def test_vanilla_resnets_are_chains(depth):
    models = pytest.importorskip("zoo.models")
    name = f"vanilla_resnet{depth}_tat_lrelu"
    model = models.create_model(name, activation=TAT().unsolved, abstract=True)
    layers = {18: 17, 34: 33, 50: 49, 101: 100, 152: 151, 200: 199}[depth]
    graph = kernel_graph(model, (1, 64, 64, 3))
    assert graph == KernelGraph.chain(layers)
    if depth in NEEDED:
        assert TAT().solve(graph).negative_slope == pytest.approx(NEEDED[depth], abs=1e-8)


@pytest.mark.parametrize(
    "options", [{}, {"dtype": "bfloat16"}, {"remat": "blocks"}, {"scan": True}]
)
def test_rescaled_resnets_have_the_graph_of_their_definition(options):
    models = pytest.importorskip("zoo.models")
    name = "rescaled_resnet50_dks_softplus"
    activation = DKS().unsolved
    model = models.create_model(name, activation=activation, abstract=True, **options)
    graph = kernel_graph(model, (1, 64, 64, 3))
    expected = resnet_graph(50, model.config.shortcut_weight)
    assert graph.nonlinear_depth == expected.nonlinear_depth == 49
    largest, wanted = (g.maximum(1.0, lambda y: 1.01 * y) for g in (graph, expected))
    assert largest == pytest.approx(wanted, rel=1e-7)
