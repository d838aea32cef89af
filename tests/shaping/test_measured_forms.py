"""Every form that `kernel_graph` reads: its predicted q value and cosine against random draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy.special import stdtrit

from zoo.shaping import kernel_graph, propagate

WIDTH, TOKENS, DRAWS, START = 256, 4, 24, 0.6
# As rare for Student's t as four standard errors are for normal ones.
ALLOWED = stdtrit(DRAWS - 1, 1 - 3.2e-5)
HADAMARD = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
tanh, relu = jnp.tanh, jax.nn.relu


def chain(x, w):
    return tanh(relu(x @ w[0]) @ w[1]) @ w[2]


def branches(count):
    """`count` branches of unequal weights, whose squares add to 1."""
    numbers = np.arange(1, count + 1, dtype=float)
    weights = [float(one) for one in numbers / np.linalg.norm(numbers)]

    def forward(x, w):
        x = relu(x @ w[0])
        return sum(a * (tanh(x @ w[2 * i + 1]) @ w[2 * i + 2]) for i, a in enumerate(weights))

    return forward


def shortcut(x, w):
    x = x @ w[0]
    return relu(0.8 * x + 0.6 * (tanh(relu(x) @ w[1]) @ w[2]))


def concatenation(x, w):
    x = tanh(x @ w[0])
    joined = jnp.concatenate([x, relu(x @ w[1])[..., : WIDTH // 2]], axis=-1)
    return relu(joined @ (jnp.concatenate([w[2], w[3][: WIDTH // 2]]) / 1.5**0.5))


def activated_concatenation(x, w):
    """Parts of unequal q values and cosines, each of which passes the activation by itself."""
    x = x @ w[0]
    return relu(jnp.concatenate([x, tanh(x) @ w[1]], axis=-1))


def product(x, w):
    x = relu(x @ w[0])
    return (tanh(x @ w[1]) * (x @ w[2])) @ w[3]


def mixed_tokens(matrix):
    """Tokens mixed between two layers; rows of `matrix` have unit norm."""

    def forward(x, w):
        x = tanh(x @ w[0])
        return relu(jnp.einsum("st,btc->bsc", jnp.asarray(matrix, jnp.float32), x) @ w[1])

    return forward


def randomly_mixed_tokens(x, w):
    x = tanh(x @ w[0])
    x = (x.swapaxes(1, 2) @ (w[1][:TOKENS, :TOKENS] * (WIDTH / TOKENS) ** 0.5)).swapaxes(1, 2)
    return relu(x @ w[2])


def pooled(x, w):
    """The largest of equal tokens, and their mean, are each token."""
    x = jnp.repeat(relu(x @ w[0]), 2, axis=1)
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 1), (1, 2, 1), "VALID")
    x = lax.reduce_window(jnp.repeat(x, 2, axis=1), 0.0, lax.add, (1, 2, 1), (1, 2, 1), "VALID")
    return tanh((x / 2) @ w[1])


def rearranged(x, w):
    x = relu(x @ w[0]).transpose(1, 2, 0)[::-1].reshape(2, 2, WIDTH, 2)
    x = jnp.moveaxis(x, -1, 0).reshape(2, TOKENS, WIDTH)
    return tanh(x @ w[1])[:, 1:3]


def halves(x, w):
    """Slices and pieces of the channels, each with a layer of its own."""
    first, second = jnp.split(relu(x @ w[0]), 2, axis=-1)
    first, second = (y @ (w[i][: WIDTH // 2] * 2**0.5) for i, y in ((1, first), (2, second)))
    return tanh(0.6 * first + 0.8 * second)


def step(x, pair):
    return 0.6 * (tanh(relu(x) @ pair[0]) @ pair[1]) + 0.8 * x, None


def scanned(body=step):
    return lambda x, w: relu(lax.scan(body, x @ w[0], w[1:7].reshape(3, 2, WIDTH, WIDTH))[0])


def looped(x, w):
    def body(i, y):
        return step(y, (w[2 * i + 1], w[2 * i + 2]))[0]

    return relu(lax.fori_loop(0, 3, body, x @ w[0]))


def mapped(x, w):
    return lax.map(lambda one: chain(one, w), x)


@jax.custom_jvp
def with_jvp(x):
    return tanh(x)


with_jvp.defjvp(lambda primals, tangents: (with_jvp(*primals), tangents[0]))


@jax.custom_vjp
def with_vjp(x):
    return tanh(x)


with_vjp.defvjp(lambda x: (with_vjp(x), None), lambda _, gradient: (gradient,))

FORMS = {
    "chain": chain,
    **{f"normalised sum of {count} branches": branches(count) for count in (2, 3, 7)},
    "shortcut": shortcut,
    "concatenation": concatenation,
    "activation of a concatenation": activated_concatenation,
    "product of independent branches": product,
    "tokens mixed by a fixed matrix": mixed_tokens(HADAMARD),
    "tokens in another order": mixed_tokens(np.eye(TOKENS)[[2, 0, 3, 1]]),
    "tokens mixed by a random matrix": randomly_mixed_tokens,
    "pooling": pooled,
    "reshape, transpose, reverse and slice": rearranged,
    "pieces of the channels": halves,
    "scan": scanned(),
    "scan of remat": scanned(jax.checkpoint(step)),
    "remat": jax.checkpoint(chain),
    "jit": jax.jit(chain),
    "fori_loop": looped,
    "map over the batch": mapped,
    "vmap": lambda x, w: jax.vmap(functools.partial(chain, w=w))(x),
    "custom_jvp": lambda x, w: with_jvp(relu(x @ w[0]) @ w[1]),
    "custom_vjp": lambda x, w: with_vjp(relu(x @ w[0]) @ w[1]),
}


def draw(seed):
    """Inputs [2, tokens, width] of cosine `START`, tokens orthogonal; weights of variance 1 / m."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((15, WIDTH, WIDTH), np.float32) / WIDTH**0.5
    frame = np.linalg.qr(rng.normal(size=(WIDTH, 2 * TOKENS)))[0].T * WIDTH**0.5
    first, second = frame.reshape(2, TOKENS, WIDTH)
    pair = np.stack([first, START * first + (1 - START**2) ** 0.5 * second])
    return pair.astype(np.float32), weights


@functools.cache
def draws():
    """Inputs and weights of all draws, stacked."""
    return tuple(map(jnp.stack, zip(*map(draw, range(DRAWS)), strict=True)))


@pytest.mark.parametrize("form", FORMS)
def test_the_maps_of_the_graph_are_what_wide_draws_show(form):
    inputs, weights = draws()
    graph = kernel_graph(lambda x: FORMS[form](x, weights[0]), inputs[0].shape)
    predicted = propagate(graph, START)[-1]
    outputs = np.asarray(jax.vmap(FORMS[form])(inputs, weights), np.float64)
    u, v = np.moveaxis(outputs, 1, 0)
    squares = np.mean(u * u, -1), np.mean(v * v, -1)
    cosines = np.mean(u * v, -1) / np.sqrt(squares[0] * squares[1])
    for by_location, expected in ((cosines, predicted.c), (np.mean(squares, 0), predicted.q)):
        by_draw = np.mean(by_location, axis=-1)
        error = np.std(by_draw, ddof=1) / DRAWS**0.5
        assert error < 0.02 and abs(np.mean(by_draw) - expected) < ALLOWED * error
