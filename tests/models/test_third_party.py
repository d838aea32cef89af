"""Networks as other people write them: read, shaped, and their cosines measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from scipy.special import stdtrit

import zoo
from zoo.models import suo_delta
from zoo.shaping import AssumptionWarning, c_map, propagate

WIDTH, DRAWS = 128, 16
# As rare for Student's t as four standard errors are for normal ones.
ALLOWED = stdtrit(DRAWS - 1, 1 - 3.2e-5)
TANH = zoo.ShapedActivation("tanh")


class LinenResNet(linen.Module):
    """An ordinary Linen residual network without normalisation layers, its sums normalised."""

    activation: object = linen.relu
    kernel_init: object = suo_delta

    @linen.compact
    def __call__(self, x):
        def conv(x, size):
            return linen.Conv(WIDTH, (size, size), kernel_init=self.kernel_init)(x)

        x = conv(x, 3)
        for _ in range(3):
            y = conv(self.activation(conv(self.activation(x), 1)), 3)
            x = 0.8 * x + 0.6 * y
        return self.activation(x)


class LinenMlp(linen.Module):
    activation: object

    @linen.compact
    def __call__(self, x):
        for _ in range(3):
            x = self.activation(linen.Dense(8)(x))
        return x


class Mixer(nnx.Module):
    """Tokens and channels mixed by random matrices in turn, as an MLP-Mixer without norm."""

    def __init__(self, tokens=16, *, rngs):
        def dense(size):
            return nnx.Linear(size, size, rngs=rngs)

        self.embed = dense(WIDTH)
        self.blocks = nnx.List([nnx.List([dense(tokens), dense(WIDTH)]) for _ in range(3)])
        self.activation = TANH

    def __call__(self, x):
        x = self.activation(self.embed(x))
        for tokens, channels in self.blocks:
            x = tokens(x.swapaxes(1, 2)).swapaxes(1, 2)
            x = self.activation(channels(x))
        return x


def pairs(shape, c, seed):
    """Two inputs whose vectors at every location have q = 1 and cosine c; locations orthogonal."""
    count = int(np.prod(shape))
    frame = np.linalg.qr(np.random.default_rng(seed).normal(size=(WIDTH, 2 * count)))[0].T
    first, second = frame.reshape(2, *shape, WIDTH) * WIDTH**0.5
    return jnp.asarray(np.stack([first, c * first + (1 - c * c) ** 0.5 * second]), jnp.float32)


def cosine(outputs):
    """Mean over locations of the cosine between two examples."""
    u, v = np.asarray(outputs, np.float64)
    norms = np.linalg.norm(u, axis=-1) * np.linalg.norm(v, axis=-1)
    return np.mean(np.sum(u * v, axis=-1) / norms)


def follows(measured, predicted):
    """Whether the mean over draws is within four standard errors, themselves small.

    Finite width moves the mean by about 0.6 / width, 0.005 here: less than one of them.
    """
    assert len(measured) == DRAWS
    error = np.std(measured, ddof=1) / DRAWS**0.5
    assert error < 0.02, "too noisy to say anything"
    return abs(np.mean(measured) - predicted) < ALLOWED * error


@pytest.mark.slow
@pytest.mark.parametrize("c", [0.0, 0.5])
def test_an_unmodified_linen_resnet_has_the_cosines_of_its_graph(c):
    model, shape = LinenResNet(), (3, 3)
    graph = zoo.kernel_graph(model, (2, *shape, WIDTH))
    assert [one.phi for one in graph.unmarked] == ["relu"] and graph.num_nonlinear == 7
    predicted = propagate(graph, c)[-1]
    measured, q_values, run = [], [], jax.jit(model.init_with_output)
    for seed in range(DRAWS):
        x = pairs(shape, c, seed)
        outputs, _ = run(jax.random.key(seed), x)
        measured.append(cosine(outputs))
        q_values.append(float(jnp.mean(outputs**2)))
    assert follows(measured, float(predicted.c))
    assert follows(q_values, predicted.q)
    # With all q taken to be 1 the sums would weigh their branches wrongly.
    assert abs(propagate(graph, 0.0)[-1].q - 0.5) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("method", [zoo.DKS("tanh"), zoo.TAT("leaky_relu", eta=0.5)])
def test_a_shaped_linen_resnet_has_the_cosines_of_its_graph(method):
    shape, measured = (2, 3, 3, WIDTH), []
    module = LinenResNet(method.unsolved, linen.initializers.lecun_normal())
    bridged = nnx.bridge.ToNNX(module, rngs=nnx.Rngs(0)).lazy_init(jnp.ones(shape))
    for seed in range(DRAWS):
        shaped = zoo.shape(bridged, method, shape, seed=seed)
        measured.append(cosine(shaped(pairs((3, 3), 0.0, seed))))
    graph = zoo.kernel_graph(bridged, shape)
    assert graph.num_nonlinear == 7
    activation = method.solve(graph)
    assert follows(measured, graph.evaluate(0.0, lambda c: float(c_map(activation, c))))


def test_a_linen_module_with_marked_activations_is_shaped_through_the_bridge():
    module = LinenMlp(TANH)
    bridged = nnx.bridge.ToNNX(module, rngs=nnx.Rngs(0)).lazy_init(jnp.ones((1, 8)))
    shaped = zoo.shape(bridged, zoo.DKS("softplus"), (1, 8))
    assert zoo.kernel_graph(shaped, (1, 8)) == zoo.KernelGraph.chain(3)
    (kernel, *_) = [leaf for leaf in jax.tree.leaves(nnx.state(shaped, nnx.Param)) if leaf.ndim > 1]
    assert np.allclose(kernel @ kernel.T, np.eye(8), atol=1e-5)


def test_a_mixer_without_normalisation_is_shaped():
    method, measured = zoo.DKS("tanh"), []
    module = nnx.eval_shape(lambda: Mixer(rngs=nnx.Rngs(0)))
    for seed in range(DRAWS):
        # The tokens of `pairs` are orthogonal, as mixing them by one matrix takes them to be.
        with pytest.warns(AssumptionWarning, match="mixes locations by one matrix"):
            shaped = zoo.shape(module, method, (2, 16, WIDTH), seed=seed, strict=False)
        measured.append(cosine(shaped(pairs((16,), 0.5, seed))))
    graph = zoo.kernel_graph(module, (2, 16, WIDTH))
    assert graph == zoo.KernelGraph.chain(4)
    assert follows(measured, graph.evaluate(0.5, lambda c: float(c_map(shaped.activation, c))))


def test_an_equinox_mlp_is_read_and_shaped():
    equinox = pytest.importorskip("equinox")
    net = equinox.nn.MLP(WIDTH, WIDTH, WIDTH, 8, activation=TANH, key=jax.random.key(0))
    method, measured = zoo.TAT("tanh"), []
    for seed in range(DRAWS):
        shaped = zoo.shape(net, method, (WIDTH,), seed=seed)
        measured.append(cosine(jax.vmap(jax.vmap(shaped))(pairs((16,), 0.5, seed))))
    graph = zoo.kernel_graph(net, (WIDTH,))
    assert graph == zoo.KernelGraph.chain(8) and net.activation == TANH
    assert not np.any(shaped.layers[0].bias)
    activation = method.solve(graph)
    assert follows(measured, graph.evaluate(0.5, lambda c: float(c_map(activation, c))))


class TwoKinds(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(WIDTH, WIDTH, rngs=rngs) for _ in range(6)])
        self.kinds = (TANH, zoo.ShapedActivation("softplus"))

    def __call__(self, x):
        for i, layer in enumerate(self.layers):
            x = self.kinds[i % 2](layer(x))
        return x


def test_each_kind_gets_a_solution_of_its_own():
    module, method = TwoKinds(nnx.Rngs(0)), zoo.DKS("tanh")
    shaped = zoo.shape(module, method, (2, WIDTH), per_kind=True)
    assert shaped.kinds == (zoo.DKS("tanh").solve(6), zoo.DKS("softplus").solve(6))
    assert {one.phi for one in zoo.shape(module, method, (2, WIDTH)).kinds} == {"tanh"}
