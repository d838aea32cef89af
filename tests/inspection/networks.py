"""Networks that the tests inspect by their import path."""

import jax
import jax.numpy as jnp
from flax import nnx

import zoo


class Chain(nnx.Module):
    """Nonlinear layers in sequence, of two widths in turn."""

    def __init__(self, depth, width, phi):
        rngs = nnx.Rngs(0)
        sizes = [width, width // 2] * (depth // 2) + [width]
        pairs = zip(sizes, sizes[1:], strict=False)
        self.layers = nnx.List([nnx.Linear(m, n, rngs=rngs) for m, n in pairs])
        self.activation = zoo.ShapedActivation(phi)

    def __call__(self, x):
        for layer in self.layers:
            x = self.activation(layer(x))
        return x


def eoc(depth=8, width=32):
    return zoo.shape(Chain(depth, width, "relu"), zoo.EOC(), (1, width)), (1, width)


def tat(depth=8, width=32):
    chain = Chain(depth, width, "leaky_relu")
    return zoo.shape(chain, zoo.TAT(eta=0.9), (1, width)), (1, width)


def deep_eoc():
    return eoc(50, 128)


def deep_tat():
    return tat(50, 128)


def normalised():
    layers = [nnx.Linear(8, 8, rngs=nnx.Rngs(0)), nnx.LayerNorm(8, rngs=nnx.Rngs(0)), nnx.relu]
    return nnx.Sequential(*layers, nnx.Linear(8, 3, rngs=nnx.Rngs(1))), (1, 8)


def scanned():
    """Three residual blocks in one scan."""
    activation = zoo.EOC().solve(3)
    kernels = jax.random.normal(jax.random.key(0), (4, 16, 16)) / 4

    def network(x):
        def block(x, kernel):
            return 0.8 * x + 0.6 * (activation(x) @ kernel), None

        return jax.lax.scan(block, x @ kernels[0], kernels[1:])[0]

    return network, (1, 16)


class Pooled(Chain):
    """A chain whose locations are averaged after its second layer."""

    def __call__(self, x):
        for i, layer in enumerate(self.layers):
            x = self.activation(layer(x.mean(1, keepdims=True) if i == 2 else x))
        return x


def pooled():
    return Pooled(4, 16, "tanh"), (1, 3, 16)


def mapped():
    """One example after the other."""
    kernels = jax.random.normal(jax.random.key(0), (2, 16, 16)) / 4
    return lambda x: jax.lax.map(lambda one: jnp.tanh(one @ kernels[0]) @ kernels[1], x), (1, 16)
