"""Networks that were once accepted and predicted wrongly: each is right now, or refused."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from tests.shaping.measuring import ALLOWED, measured
from zoo.shaping import NotShapableError, kernel_graph, propagate

WIDTH, TOKENS = 128, 8
tanh, relu = jnp.tanh, jax.nn.relu
W = jax.random.normal(jax.random.key(0), (24, WIDTH, WIDTH)) / WIDTH**0.5
TAPS = jax.random.normal(jax.random.key(1), (24, 3, WIDTH, WIDTH)) / (3 * WIDTH) ** 0.5
ORDER = np.eye(TOKENS, dtype=np.float32)[[2, 0, 3, 1, 7, 5, 6, 4]]
HADAMARD = np.array([[1, 1], [1, -1]])
HADAMARD = np.kron(HADAMARD, np.kron(HADAMARD, HADAMARD)).astype(np.float32) / 8**0.5
POSITIONS = np.sin(np.outer(np.arange(TOKENS), 1 / np.arange(1, WIDTH + 1))).astype(np.float32)
KEY = jax.random.key(2)


def mixed(matrix):
    return lambda x: relu(jnp.einsum("st,btc->bsc", matrix, x @ W[0]) @ W[1])


def on_tokens(use):
    """A layer, then `use` of its output, then another layer."""
    return lambda x: relu(use(x @ W[0]) @ W[1])


def conv(x, kernel, padding="SAME", **options):
    numbers = lax.conv_dimension_numbers(x.shape, kernel.shape, ("NWC", "WIO", "NWC"))
    return lax.conv_general_dilated(x, kernel, (1,), padding, dimension_numbers=numbers, **options)


def convs(depth, size=WIDTH, **options):
    def forward(x):
        x = x @ W[0]
        for i in range(depth):
            x = tanh(conv(x, TAPS[i][:, :size], **options))
        return x

    return forward


def transposed(x):
    return relu(lax.conv_transpose(relu(x @ W[0]), TAPS[0], (2,), "SAME"))


def option_a(x):
    narrow = (x @ W[0])[..., : WIDTH // 2]
    wide = jnp.pad(narrow, ((0, 0), (0, 0), (0, WIDTH // 2)))
    return relu(0.8 * wide + 0.6 * (relu(narrow) @ W[1][: WIDTH // 2]))


def unet(down, up, skip):
    """Two layers, half the locations, two layers, all locations, joined, two layers."""

    def forward(x):
        fine = relu(relu(x @ W[0]) @ W[1])
        coarse = relu(relu(down(fine) @ W[2]) @ W[3]) @ W[4]
        whole = jax.image.resize(coarse, fine.shape, up)
        other = fine @ W[5]
        if skip == "sum":
            joined = 0.6 * whole + 0.8 * other
        else:
            joined = jnp.concatenate([whole, other], -1)[..., ::2]
        return relu(relu(joined @ W[6]) @ W[7])

    return forward


def pool(padding="VALID", init=0.0, operation=lax.add, count=3.0):
    return lambda x: lax.reduce_window(x, init, operation, (1, 3, 1), (1, 1, 1), padding) / count


def tied(x):
    x = x @ W[1]
    for _ in range(10):
        x = 0.8 * x + 0.6 * tanh(x @ W[0])
    return x


def tied_residual(x):
    x = x @ W[1]
    for _ in range(10):
        x = 0.8 * x + 0.6 * (tanh(x) @ W[0])
    return tanh(x)


def recurrent(xs):
    def step(h, x):
        return tanh(0.6 * (x @ W[0]) + 0.8 * (h @ W[1])), None

    return lax.scan(step, jnp.zeros((1, WIDTH)), xs)[0]


def built_inside(x):
    return nnx.Linear(WIDTH, WIDTH, rngs=nnx.Rngs(0))(x)


def dropped():
    rngs = nnx.Rngs(0)
    layers = [nnx.Linear(WIDTH, WIDTH, rngs=rngs), tanh, nnx.Dropout(0.5, rngs=rngs)]
    return nnx.Sequential(*layers, nnx.Linear(WIDTH, WIDTH, rngs=rngs), tanh)


def halved(x):
    return x.reshape(x.shape[0], -1, 2, x.shape[2])


ATTENTION = eqx.nn.MultiheadAttention(4, WIDTH, key=KEY)
ROLL = functools.partial(jnp.roll, shift=1, axis=1)

# network, what the refusal says
REFUSED = {
    "sum with a permutation of itself by a matrix": (
        on_tokens(lambda h: 0.6 * h + 0.8 * jnp.einsum("st,btc->bsc", ORDER, h)),
        "mixes locations by one matrix",
    ),
    "sum with a permutation of itself by index": (
        on_tokens(lambda h: 0.6 * h + 0.8 * h[:, ::-1]),
        "end in the same weights",
    ),
    "sum with itself rolled": (on_tokens(lambda h: 0.8 * h + 0.6 * ROLL(h)), "the same weights"),
    "finite difference": (on_tokens(lambda h: (h - ROLL(h)) / 2**0.5), "the same weights"),
    "Hadamard product with equal tokens": (mixed(HADAMARD), "mixes locations by one matrix"),
    "class token and token mixing": (
        on_tokens(
            lambda h: jnp.concatenate([jnp.broadcast_to(W[2, :1], (h.shape[0], 1, WIDTH)), h], 1)
        ),
        "as class tokens are",
    ),
    "fixed mean matrix": (
        mixed(np.full((TOKENS, TOKENS), 1 / TOKENS, np.float32)),
        "mixes locations by one matrix",
    ),
    "convolution with SAME padding": (convs(2), "pads a convolution with zeros"),
    "transposed convolution": (transposed, "runs a transposed convolution"),
    "shortcut padded with channels": (option_a, "pads the channels"),
    "relu far out": (lambda x: relu(x @ W[0] - 20.0) @ W[1], "has the mean square 0"),
    "fast sine": (lambda x: jnp.sin(60 * (x @ W[0])) @ W[1], "turns faster than"),
    "position code": (on_tokens(lambda h: h + POSITIONS), "adds an array that is not zero"),
    "U-Net, mean": (
        unet(lambda x: halved(x).mean(2), "nearest", "sum"),
        "averages locations or examples",
    ),
    "U-Net, maximum": (
        unet(lambda x: halved(x).max(2), "nearest", "sum"),
        "takes the largest of locations",
    ),
    "U-Net, bilinear and concatenation": (
        unet(lambda x: x[:, ::2], "bilinear", "concatenation"),
        "multiplies a signal by a fixed array",
    ),
    "U-Net, bilinear and sum": (
        unet(lambda x: x[:, ::2], "bilinear", "sum"),
        "multiplies a signal by a fixed array",
    ),
    "U-Net, cubic and sum": (
        unet(lambda x: x[:, ::2], "cubic", "sum"),
        "multiplies a signal by a fixed array",
    ),
    "mean, SAME": (on_tokens(pool("SAME")), "averages locations"),
    "mean, SAME, without padding": (
        on_tokens(lambda h: nnx.avg_pool(h, (3,), (1,), "SAME", count_include_pad=False)),
        "averages locations",
    ),
    "mean": (on_tokens(pool()), "averages locations"),
    "dropout in training": (dropped(), "drops out 0.5 of a signal in training"),
    "global mean": (lambda x: relu(tanh(x @ W[0]).mean(1) @ W[1]), "averages locations"),
    "global mean at the output": (lambda x: tanh(x @ W[0]).mean(1) @ W[1], "averages locations"),
    "global maximum": (lambda x: relu(tanh(x @ W[0]).max(1) @ W[1]), "takes the largest of"),
    "maximum": (on_tokens(pool("SAME", -jnp.inf, lax.max, 1.0)), "takes the largest of"),
    "channels padded to twice": (
        lambda x: jnp.pad(tanh(x @ W[0]), ((0, 0), (0, 0), (0, WIDTH))),
        "pads the channels",
    ),
    "locations padded": (
        on_tokens(lambda h: jnp.pad(h, ((0, 0), (2, 2), (0, 0)))),
        "pads locations with numbers",
    ),
    "causal convolution": (convs(2, padding=[(2, 0)]), "pads a convolution with zeros"),
    "causal convolution, dilated": (
        convs(2, padding=[(4, 0)], rhs_dilation=(2,)),
        "pads a convolution with zeros",
    ),
    "depthwise convolution": (
        convs(2, 1, padding="VALID", feature_group_count=WIDTH),
        "sums over groups of 1 channels",
    ),
    "grouped convolution": (
        convs(2, 4, padding="VALID", feature_group_count=WIDTH // 4),
        "sums over groups of 4 channels",
    ),
    "convolution with full padding": (convs(2, padding=[(2, 2)]), "pads a convolution with zeros"),
    "tied residual blocks": (tied_residual, "end in the same weights"),
    "tied residual blocks, activation last": (tied, "do not end in an affine layer|itself"),
    "attention of Equinox": (lambda x: ATTENTION(x[0], x[0], x[0]), "as attention does"),
    "attention built inside": (
        lambda x: eqx.nn.MultiheadAttention(4, WIDTH, key=KEY)(x[0], x[0], x[0]),
        "makes its weights inside the traced function",
    ),
    "GRU cell of Equinox": (
        lambda x: eqx.nn.GRUCell(WIDTH, WIDTH, key=KEY)(x[0, 0], x[0, 1]),
        "makes its weights inside the traced function",
    ),
    "LayerNorm of Equinox on the input": (
        lambda x: jax.vmap(jax.vmap(eqx.nn.LayerNorm(WIDTH)))(x),
        "multiplies its input by no weights",
    ),
    "network built inside": (built_inside, "makes its weights inside the traced function"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_was_predicted_wrongly_is_refused(name):
    network, sentence = REFUSED[name]
    with pytest.raises(NotShapableError, match=sentence):
        kernel_graph(network, (2, TOKENS, WIDTH), strict=True)


def thresholds(first, second):
    def forward(x, w):
        x = (x @ w[0] > first).astype(x.dtype)
        return (x @ w[1] > second).astype(x.dtype)

    return forward


RIGHT = {
    "threshold .05 then .95": thresholds(0.05, 0.95),
    "threshold .95 then .05": thresholds(0.95, 0.05),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_was_predicted_wrongly_is_right(name):
    (q, q_error), (c, c_error) = measured(RIGHT[name], start=0.6)
    graph = kernel_graph(lambda x: RIGHT[name](x, W), (2, TOKENS, WIDTH), strict=True)
    predicted = propagate(graph, 0.6)[-1]
    assert q_error < 0.02 and c_error < 0.02
    assert abs(q - predicted.q) < ALLOWED * q_error and abs(c - predicted.c) < ALLOWED * c_error


def test_a_recurrent_network_has_a_layer_a_step():
    graph = kernel_graph(recurrent, (5, 1, WIDTH), strict=True)
    assert graph.nonlinear_depth == 5
