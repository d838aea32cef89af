"""One network, however it is written, compiled or typed, has one kernel graph."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from tests.shaping.test_trace import ACT, WIDTH, W, block_graph, trace


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
