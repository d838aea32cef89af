"""The point of it all: cosines in wide random networks follow the composed C map."""

import jax.numpy as jnp
import numpy as np
import pytest

from zoo.shaping import DKS, TAT, KernelGraph, c_map, kernel_graph
from zoo.shaping.kernel_maps import jet

WIDTH, DRAWS = 1024, 16
START = np.array([0.0, 0.5, 0.9])
MAX_STANDARD_ERRORS = 4


def frame(rng, count):
    """`count` random orthonormal columns, uniformly distributed (Haar): [width, count]."""
    q, r = np.linalg.qr(rng.normal(size=(WIDTH, count)))
    return q * np.sign(np.diag(r))


def rotated(rng, x):
    """A Haar-random orthogonal layer applied to all of `x`: [2, cosines, width].

    Drawn only where it acts: with x = basis @ r it sends the orthonormal basis to a random frame.
    """
    r = np.linalg.qr(x.reshape(-1, WIDTH).T, mode="r")
    return (frame(rng, len(r)) @ r).T.reshape(x.shape)


def pairs(rng):
    """[2, cosines, width]: unit q values and exact cosines `START`."""
    first, second = frame(rng, 2).T * WIDTH**0.5
    c = START[:, None]
    return np.stack([np.broadcast_to(first, (3, WIDTH)), c * first + np.sqrt(1 - c**2) * second])


def plain(activation, depth):
    def forward(x, dense):
        for _ in range(depth):
            x = activation(dense(x))
        return x

    return forward


def rescaled(activation, blocks, w=0.8):
    def forward(x, dense):
        x = dense(x)
        for _ in range(blocks):
            branch = dense(activation(dense(activation(dense(activation(x))))))
            x = (1 - w**2) ** 0.5 * branch + w * x
        return activation(x)

    return forward


def graph_of(forward):
    """Traced from the very function that the measurement runs."""
    rng = np.random.default_rng(0)
    return kernel_graph(
        lambda x: forward(x, lambda y: y @ jnp.asarray(rng.normal(size=(8, 8)))), (2, 8)
    )


NETWORKS = {
    "TAT leaky_relu, plain": (TAT(eta=0.9), plain, 14),
    "DKS softplus, plain": (DKS("softplus"), plain, 14),
    "TAT tanh, plain": (TAT("tanh", tau=1.0), plain, 14),
    "DKS softplus, w = 0.8": (DKS("softplus"), rescaled, 4),
    "TAT leaky_relu, w = 0.8": (TAT(eta=0.5), rescaled, 4),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_cosines_and_q_values_follow_the_maps(name):
    method, make, depth = NETWORKS[name]
    graph = graph_of(make(method.unsolved, depth))
    activation = method.solve(graph)
    predicted = graph.evaluate(START, lambda c: c_map(activation, c))
    assert graph == graph_of(make(activation, depth))
    forward = make(lambda x: jet(activation, x)[0], depth)
    cosines, q_values = [], []
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        u, v = forward(pairs(rng), lambda x, rng=rng: rotated(rng, x))
        norms = np.linalg.norm(u, axis=-1) * np.linalg.norm(v, axis=-1)
        cosines.append(np.sum(u * v, axis=-1) / norms)
        q_values.append(np.mean(u * u, axis=-1))
    error = np.std(cosines, axis=0, ddof=1) / DRAWS**0.5
    assert np.all(np.abs(np.mean(cosines, axis=0) - predicted) < MAX_STANDARD_ERRORS * error)
    assert np.all(error < 0.02), "too noisy to say anything"
    q_error = np.std(q_values, axis=0, ddof=1) / DRAWS**0.5
    assert np.all(np.abs(np.mean(q_values, axis=0) - 1) < MAX_STANDARD_ERRORS * q_error)


def test_the_measurement_can_tell_targets_apart():
    chain = KernelGraph.chain(14)
    solved = [TAT(eta=eta).solve(chain) for eta in (0.9, 0.8)]
    reached = [chain.evaluate(0.0, lambda c, a=a: c_map(a, c)) for a in solved]
    assert abs(reached[0] - reached[1]) > MAX_STANDARD_ERRORS * 0.02
