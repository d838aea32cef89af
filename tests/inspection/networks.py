"""Networks that the tests inspect by their import path."""

from flax import nnx

import zoo

DEPTH, WIDTH = 50, 128


class Chain(nnx.Module):
    """`DEPTH` nonlinear layers in sequence, wide and narrow in turn."""

    def __init__(self, rngs):
        sizes = [WIDTH, WIDTH // 2] * (DEPTH // 2) + [WIDTH]
        pairs = zip(sizes, sizes[1:], strict=False)
        self.layers = nnx.List([nnx.Linear(m, n, rngs=rngs) for m, n in pairs])
        self.activation = zoo.ShapedActivation("relu")

    def __call__(self, x):
        for layer in self.layers:
            x = self.activation(layer(x))
        return x


def eoc():
    return zoo.shape(Chain(nnx.Rngs(0)), zoo.EOC(), (1, WIDTH)), (1, WIDTH)


def tat():
    chain = Chain(nnx.Rngs(0))
    chain.activation = zoo.ShapedActivation("leaky_relu")
    return zoo.shape(chain, zoo.TAT(eta=0.9), (1, WIDTH)), (1, WIDTH)


def normalised():
    layers = [nnx.Linear(8, 8, rngs=nnx.Rngs(0)), nnx.LayerNorm(8, rngs=nnx.Rngs(0)), nnx.relu]
    return nnx.Sequential(*layers, nnx.Linear(8, 3, rngs=nnx.Rngs(1))), (1, 8)


def scanned():
    """Three residual blocks in one scan."""
    import jax

    activation = zoo.EOC().solve(3)
    kernels = jax.random.normal(jax.random.key(0), (4, 16, 16)) / 4

    def network(x):
        def block(x, kernel):
            return 0.8 * x + 0.6 * (activation(x) @ kernel), None

        return jax.lax.scan(block, x @ kernels[0], kernels[1:])[0]

    return network, (1, 16)
