"""`zoo.shape`: a user's module comes back solved, re-initialised and with predicted cosines."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import stdtrit

import zoo
from zoo.models.resnet import ResNet, ResNetConfig
from zoo.shaping import ACTIVATIONS, AssumptionWarning, c_map

WIDTH = 16
TANH = zoo.ShapedActivation("tanh")
METHOD = zoo.DKS("softplus")


@dataclasses.dataclass(frozen=True)
class Options:
    activation: zoo.ShapedActivation
    width: int


class Mlp(nnx.Module):
    def __init__(self, depth=12, width=WIDTH, *, rngs):
        self.layers = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(depth)])
        self.activation = TANH

    def __call__(self, x):
        for layer in self.layers:
            x = self.activation(layer(x))
        return x


class ConvNet(nnx.Module):
    """Every way a convolution can be grouped, activations in every kind of container."""

    def __init__(self, *, rngs):
        self.stem = nnx.Sequential(nnx.Conv(4, WIDTH, (3, 3), strides=2, rngs=rngs), TANH)
        self.grouped = nnx.Conv(WIDTH, 2 * WIDTH, (3, 3), feature_group_count=4, rngs=rngs)
        self.depthwise = nnx.Conv(
            2 * WIDTH, 2 * WIDTH, (5, 5), feature_group_count=2 * WIDTH, rngs=rngs
        )
        self.pointwise = nnx.Conv(2 * WIDTH, WIDTH, (1, 1), rngs=rngs)
        self.head = nnx.Linear(WIDTH, 10, rngs=rngs)
        self.options = Options(TANH, WIDTH)
        self.pair = (TANH, "kept")
        self.unused = nnx.Param(jnp.full((3,), 7.0))
        self.count = nnx.Variable(jnp.asarray(5))

    def __call__(self, x):
        x = self.options.activation(self.grouped(self.stem(x)))
        x = self.pair[0](self.pointwise(self.depthwise(x)))
        return self.head(x.mean((1, 2)))


class Scanned(nnx.Module):
    """Layers stacked by `nnx.vmap` and run by `jax.lax.scan`: kernels [layer, inputs, outputs]."""

    def __init__(self, *, rngs):
        make = nnx.vmap(lambda rngs: nnx.Linear(WIDTH, WIDTH, rngs=rngs))
        self.layers = make(rngs.split(5))
        self.activation = TANH

    def __call__(self, x):
        graphdef, state = nnx.split(self.layers)

        def step(x, state):
            return self.activation(nnx.merge(graphdef, state)(x)), None

        return jax.lax.scan(step, x, state)[0]


class Raw(nnx.Module):
    """Parameters used directly: pieces of a stack, a transposed matrix, an einsum per head."""

    def __init__(self):
        self.stack = nnx.Param(jnp.ones((3, WIDTH, WIDTH)))
        self.turned = nnx.Param(jnp.ones((2 * WIDTH, WIDTH)))
        self.heads = nnx.Param(jnp.ones((4, 2 * WIDTH // 4, WIDTH)))
        self.shift = nnx.Param(jnp.ones((1, WIDTH)))
        self.activation = TANH

    def __call__(self, x):
        for i in range(3):
            x = self.activation(x @ self.stack[i] + self.shift[...])
        x = self.activation(x @ self.turned[...].T)
        x = jnp.einsum("bhi,hio->bho", x.reshape(-1, 4, 2 * WIDTH // 4), self.heads[...])
        return self.activation(x)


def orthogonal(kernel):
    """Whether [m, n] has orthonormal rows or columns up to max(1, sqrt(n / m))."""
    m, n = kernel.shape
    u = np.asarray(kernel, np.float64) / max(1.0, (n / m) ** 0.5)
    product = u @ u.T if m <= n else u.T @ u
    return np.allclose(product, np.eye(min(m, n)), atol=1e-5)  # float32 QR


def test_the_copy_is_solved_and_the_original_is_not_changed():
    module = Mlp(rngs=nnx.Rngs(0))
    before = jax.tree.map(np.asarray, nnx.state(module))
    shaped = zoo.shape(module, METHOD, (1, WIDTH))
    assert shaped.activation == METHOD.solve(12)
    assert module.activation == TANH
    assert jax.tree.all(jax.tree.map(np.array_equal, before, nnx.state(module)))
    assert not np.array_equal(shaped.layers[0].kernel[...], module.layers[0].kernel[...])
    assert zoo.kernel_graph(shaped, (1, WIDTH)) == zoo.KernelGraph.chain(12)


def test_dense_and_grouped_convolutions_begin_orthogonal_in_the_centre_tap():
    module = ConvNet(rngs=nnx.Rngs(0))
    module.head.bias[...] = jnp.ones(10)
    with pytest.warns(AssumptionWarning, match="sums over groups"):
        shaped = zoo.shape(module, METHOD, (1, 8, 8, 4), strict=False)
    solved = METHOD.solve(3)
    assert shaped.options == Options(solved, WIDTH) and shaped.pair == (solved, "kept")
    assert shaped.stem.layers[1] == solved and module.stem.layers[1] == TANH
    assert orthogonal(shaped.head.kernel[...]) and not np.any(shaped.head.bias[...])
    layers = [shaped.stem.layers[0], shaped.grouped, shaped.depthwise, shaped.pointwise]
    for layer in layers:
        kernel = np.array(layer.kernel[...])
        centre = tuple((size - 1) // 2 for size in kernel.shape[:2])
        blocks = np.split(kernel[centre], layer.feature_group_count, axis=1)
        assert all(orthogonal(block) for block in blocks)
        kernel[centre] = 0
        assert not kernel.any()
    first, second = np.split(np.asarray(shaped.grouped.kernel[1, 1]), 4, axis=1)[:2]
    assert not np.allclose(first, second), "groups must be independent"
    assert np.all(shaped.unused[...] == 7) and shaped.count[...] == 5


def test_grouped_convolutions_keep_q_values_at_every_location():
    with pytest.warns(AssumptionWarning, match="sums over groups"):
        shaped = zoo.shape(ConvNet(rngs=nnx.Rngs(0)), METHOD, (1, 8, 8, 4), strict=False)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, WIDTH)), jnp.float32)
    y = shaped.grouped(x)  # more outputs than inputs in every group: exact
    assert np.allclose(jnp.mean(y**2, -1), jnp.mean(x**2, -1), rtol=1e-5)
    assert np.allclose(jnp.mean(shaped.depthwise(y) ** 2, -1), jnp.mean(y**2, -1), rtol=1e-5)


def test_stacked_kernels_hold_one_matrix_per_layer():
    shaped = zoo.shape(Scanned(rngs=nnx.Rngs(0)), METHOD, (1, WIDTH))
    assert shaped.activation == METHOD.solve(5)
    kernel = shaped.layers.kernel[...]
    assert kernel.shape == (5, WIDTH, WIDTH) and all(orthogonal(one) for one in kernel)
    assert not np.allclose(kernel[0], kernel[1])


def test_parameters_used_directly_are_known_by_their_use():
    with pytest.warns(AssumptionWarning, match="groups of 8 channels"):
        shaped = zoo.shape(Raw(), METHOD, (2, WIDTH), strict=False)
    assert all(orthogonal(one) for one in shaped.stack[...])
    turned = np.asarray(shaped.turned[...])
    assert orthogonal(turned.T) and all(orthogonal(one) for one in shaped.heads[...])
    assert not np.any(shaped.shift[...])


@pytest.mark.parametrize("options", [{"scan": True}, {"remat": "blocks", "stem": "cifar"}])
def test_a_zoo_network_is_shaped_as_the_registry_builds_it(options):
    config = ResNetConfig(50, shortcut_weight=0.8, width=0.125, num_classes=10, **options)
    made = nnx.eval_shape(lambda: ResNet(config, (METHOD.unsolved,), rngs=nnx.Rngs(0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AssumptionWarning)  # the maximum of the ImageNet stem
        shaped = zoo.shape(made, METHOD, (1, 32, 32, 3), strict=options.get("stem") == "cifar")
    built = zoo.create_model(
        "rescaled_resnet50_dks_softplus", width=0.125, num_classes=10, **options
    )
    assert shaped.activations == built.activations == (shaped.activation,)
    norms = [
        jax.tree.map(lambda leaf: float(np.linalg.norm(leaf)), nnx.state(model, nnx.Param))
        for model in (shaped, built)
    ]
    close = jax.tree.map(lambda a, b: abs(a - b) <= 1e-4 * b, *norms)
    assert jax.tree.all(close)  # norms of orthogonal matrices do not depend on the draw


def test_the_seed_decides():
    module = Mlp(2, rngs=nnx.Rngs(0))
    kernels = [
        zoo.shape(module, METHOD, (1, WIDTH), seed=seed).layers[1].kernel[...] for seed in (0, 0, 1)
    ]
    assert np.array_equal(kernels[0], kernels[1]) and not np.array_equal(kernels[0], kernels[2])


@pytest.mark.parametrize("method", [METHOD, zoo.TAT("leaky_relu", eta=0.9), zoo.EOC()])
def test_cosines_of_the_shaped_network_follow_the_prediction(method):
    depth, width, draws = 16, 256, 16
    module = nnx.eval_shape(lambda: Mlp(depth, width, rngs=nnx.Rngs(0)))
    graph = zoo.kernel_graph(module, (2, width))
    frame = np.linalg.qr(np.random.default_rng(0).normal(size=(width, 2)))[0].T * width**0.5
    measured = []
    for seed in range(draws):
        shaped = zoo.shape(module, method, (2, width), seed=seed)
        u, v = np.asarray(shaped(jnp.asarray(frame, jnp.float32)), np.float64)
        measured.append(u @ v / np.linalg.norm(u) / np.linalg.norm(v))
    predicted = graph.evaluate(0.0, lambda c: float(c_map(shaped.activation, c)))
    error = np.std(measured, ddof=1) / draws**0.5
    # As rare for Student's t as four standard errors are for normal ones.
    allowed = stdtrit(draws - 1, 1 - 3.2e-5)
    assert error < 0.02 and abs(np.mean(measured) - predicted) < allowed * error


def test_every_activation_of_the_table_can_be_marked():
    for phi in sorted(ACTIVATIONS):
        module = Mlp(14, rngs=nnx.Rngs(0))
        module.activation = zoo.ShapedActivation(phi)
        assert zoo.shape(module, zoo.EOC(), (1, WIDTH)).activation.phi == "relu"
