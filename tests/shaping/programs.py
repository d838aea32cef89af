"""Networks as programs of nested tuples: `forward` runs ("dense", None), ("activation", "tanh").

Every operation maps a signal [2, tokens, channels] to one of as many channels. Most keep the kernel
maps right; the others are what people write too, and must be refused or predicted.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zoo.shaping import ShapedActivation

MARKED = ShapedActivation("tanh", 1.2, 0.3, 1.1, -0.2)
MOST_TOKENS = 8

ACTIVATIONS = {
    "marked": MARKED,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "leaky_relu": lambda x: jnp.where(x > 0, x, 0.3 * x),
    "sin": jnp.sin,
    "square": lambda x: x * x,
    "clip": lambda x: jnp.clip(x, -0.5, 1.0),
    "step": lambda x: (x > 0.2).astype(x.dtype),
    "shifted": lambda x: jax.nn.relu(x - 0.5),
    "sum of two": lambda x: jnp.tanh(x) + 0.5 * jax.nn.relu(x),
    "far": lambda x: jax.nn.relu(x - 9.0),
    "fast": lambda x: jnp.sin(40.0 * x),
}


class Matrices:
    """Square matrices, handed out one after the other, or again by their number."""

    def __init__(self, array):
        self.array, self.width = array, array.shape[-1]
        self._handed_out = 0

    def take(self, number=None):
        if number is None:
            number, self._handed_out = self._handed_out, self._handed_out + 1
        return self.array[number % len(self.array)]


def dense(w, i):
    return lambda x: x @ w.take(i)


def conv(w, i, padding, dilation, groups):
    """Three taps, or one where there are groups."""

    def apply(x):
        kernel = w.take(i)[None, : w.width // groups] * groups**0.5
        if groups == 1:
            kernel = jnp.stack([w.take(i), w.take(), w.take()]) / 3**0.5
        reach = (kernel.shape[0] - 1) * dilation
        pads = {"SAME": (reach // 2, reach // 2), "VALID": (0, 0), "CAUSAL": (reach, 0)}[padding]
        if padding == "VALID" and x.shape[1] <= reach:
            pads = (reach, 0)
        numbers = lax.conv_dimension_numbers(x.shape, kernel.shape, ("NWC", "WIO", "NWC"))
        return lax.conv_general_dilated(
            x, kernel, (1,), [pads], rhs_dilation=(dilation,), dimension_numbers=numbers,
            feature_group_count=groups,
        )  # fmt: skip

    return apply


def heads(w, i, count, contract_all):
    """Channels in groups, each with matrices of its own, or all together."""

    def apply(x):
        split = x.reshape(*x.shape[:2], count, -1)
        size = split.shape[-1]
        if contract_all:
            return jnp.einsum("bthc,hcd->btd", split, w.take(i).reshape(count, size, -1))
        own = w.take(i)[:, :size].reshape(count, size, size) * count**0.5
        return jnp.einsum("bthc,hcd->bthd", split, own).reshape(x.shape)

    return apply


def tokens_mixed(w, i, how):
    def apply(x):
        count = x.shape[1]
        matrix = {
            "random": w.take(i)[:count, :count] * (w.width / count) ** 0.5,
            "mean": jnp.full((count, count), 1 / count),
            "order": jnp.asarray(np.eye(count, dtype=np.float32)[::-1]),
        }[how]
        return jnp.einsum("st,btc->bsc", matrix, x)

    return apply


def rearranged(how):
    def apply(x):
        length = x.shape[1]
        return {
            "reverse": lambda: x[:, ::-1],
            "roll": lambda: jnp.roll(x, 1, 1),
            "stride": lambda: x[:, ::2],
            "crop": lambda: x[:, 1:] if length > 1 else x,
            "repeat": lambda: jnp.repeat(x, 2, 1) if 2 * length <= MOST_TOKENS else x,
            "nearest": lambda: jax.image.resize(x, (2, MOST_TOKENS, x.shape[2]), "nearest"),
            "linear": lambda: jax.image.resize(x, (2, MOST_TOKENS, x.shape[2]), "linear"),
            "pad": lambda: jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :MOST_TOKENS],
            "edge": lambda: jnp.pad(x, ((0, 0), (1, 0), (0, 0)), mode="edge")[:, :MOST_TOKENS],
            "channels reversed": lambda: x[..., ::-1],
            "channels turned": lambda: jnp.roll(x, 3, -1),
            "flat and back": lambda: x.reshape(2, -1).reshape(x.shape),
            "channels to tokens": lambda: (
                x.reshape(2, 2 * length, -1).repeat(2, -1) if 2 * length <= MOST_TOKENS else x
            ),
            "copies": lambda: jnp.concatenate([x, x], -1)[..., ::2],
            "half padded": lambda: jnp.pad(x[..., ::2], ((0, 0), (0, 0), (0, x.shape[2] // 2))),
        }[how]()

    return apply


def pooled(how):
    def apply(x):
        length = x.shape[1]
        if how == "global mean":
            return jnp.broadcast_to(x.mean(1, keepdims=True), x.shape)
        if how == "global maximum":
            return x.max(1, keepdims=True)
        pairs = x[:, : length // 2 * 2].reshape(2, length // 2, 2, -1) if length > 1 else x[:, None]
        return pairs.mean(2) if how == "mean" else pairs.max(2)

    return apply


def changed(w, i, how):
    """What is no layer: noise, masks, biases, normalisation."""

    def apply(x):
        mask = jax.random.bernoulli(jax.random.key(0), 0.5, x.shape)
        return {
            "dropout": lambda: jnp.where(mask, x / 0.5, 0.0),
            "mask": lambda: x * mask,
            "bias": lambda: x + w.take(i)[0],
            "zero bias": lambda: x + jnp.zeros(x.shape[-1]),
            "computed bias": lambda: x + w.take(i) @ jnp.ones(x.shape[-1]) * 0.1,
            "vector": lambda: x * w.take(i)[0],
            "centred": lambda: x - x.mean(1, keepdims=True),
            "norm": lambda: x / jnp.sqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6),
            "integers": lambda: (4 * x).astype(jnp.int32).astype(x.dtype),
            "own matrix": lambda: x @ (w.take(i) * (jnp.arange(x.shape[-1]) % 2)),
            "positive matrix": lambda: x @ jnp.abs(w.take(i)),
            "transposed matrix": lambda: x @ w.take(i).T,
            "doubled": lambda: 2.0 * x,
        }[how]()

    return apply


def joined(body, w, i, how):
    """A signal and what a body makes of it, in one array."""

    def apply(x):
        y = body(x)
        if y.shape != x.shape:
            return y
        both = jnp.concatenate([x, y], -1)
        matrix = jnp.concatenate([w.take(i), w.take()]) / 2**0.5
        return {
            "dense": lambda: both @ matrix,
            "activation": lambda: jnp.tanh(both) @ matrix,
            "piece": lambda: both[..., ::2],
            "half": lambda: both[..., : x.shape[-1]],
            "shortcut": lambda: 0.6 * jnp.tanh(both)[..., ::2] + 0.8 * (y @ w.take(i)),
            "tokens": lambda: jnp.concatenate([x, y], 1)[:, ::2],
            "product": lambda: x * y,
            "maximum": lambda: jnp.maximum(x, y),
        }[how]()

    return apply


def halves(w, i, how):
    def apply(x):
        first, second = jnp.split(x, 2, -1)
        size = first.shape[-1]
        left, right = w.take(i)[:size] * 2**0.5, w.take()[:size] * 2**0.5
        return {
            "layers": lambda: 0.6 * (first @ left) + 0.8 * (second @ right),
            "sum": lambda: jnp.tile(0.6 * first + 0.8 * second, 2),
            "same": lambda: jnp.tile(0.6 * first + 0.8 * x[..., :size], 2),
            "gate": lambda: jnp.tile(first * jnp.tanh(second), 2),
            "swapped": lambda: jnp.concatenate([second, first], -1),
        }[how]()

    return apply


def residual(body, weights, shift):
    def apply(x):
        y = body(x)
        y = jnp.roll(y, 1, 1) if shift else y
        return weights[0] * x + weights[1] * y if y.shape == x.shape else y

    return apply


def scanned(ops, w, tied):
    """A residual block three times, with its own matrices or the same ones."""

    def apply(x):
        def step(y, own):
            z = run(ops, w if tied else Matrices(own), y)
            return (0.6 * z + 0.8 * y if z.shape == y.shape else y), None

        own = jnp.stack([w.take() for _ in range(6)])
        return lax.scan(step, x, own.reshape(3, 2, *own.shape[1:]))[0]

    return apply


def run(ops, w, x):
    for name, *arguments in ops:
        x = _OPERATIONS[name](w, *arguments)(x)
    return x


def forward(ops, x, w):
    """The network `ops` with the matrices `w` [n, width, width]."""
    return run(ops, Matrices(w), x)


def _body(ops, w):
    return functools.partial(run, ops, w)


_OPERATIONS = {
    "dense": dense,
    "activation": lambda w, name: ACTIVATIONS[name],
    "conv": conv,
    "heads": heads,
    "tokens mixed": tokens_mixed,
    "rearranged": lambda w, how: rearranged(how),
    "pooled": lambda w, how: pooled(how),
    "changed": changed,
    "halves": halves,
    "joined": lambda w, body, i, how: joined(_body(body, w), w, i, how),
    "residual": lambda w, body, weights, shift: residual(_body(body, w), weights, shift),
    "scanned": lambda w, body, tied: scanned(body, w, tied),
    "jit": lambda w, body: jax.jit(_body(body, w)),
    "checkpoint": lambda w, body: jax.checkpoint(_body(body, w)),
}
