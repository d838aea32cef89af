"""The Fisher matrix of a network, one block per layer, as K-FAC approximates it on a batch.

Owns which parameters share a block, and how a block's statistics are measured. What an optimiser
makes of them is in `kfac.py`.
"""

import dataclasses
import functools
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from zoo.models import Network, Params, statistics_of
from zoo.models.layers import Conv, Dense
from zoo.models.parameters import layer_at, replace_layer
from zoo.training.decode import ConfigError

Factors = tuple[jax.Array, ...]
"""Of one block: the Kronecker factors of inputs and of output gradients, or its diagonal alone."""
Curvature = dict[str, Factors]
"""Factors by block."""

_KERNEL = ".kernel"
_LAST_NUMBER = re.compile(r"(.*\.)(\d+)(\..*)")  # an index of a list; greedy, so the last one
_Window = tuple[int, int, bool]


@dataclasses.dataclass(frozen=True)
class Block:
    """Parameters whose Fisher matrix is approximated together, independently of all others.

    Attributes:
      name: of the layer, or of the one parameter of a diagonal block.
      parameters: their names: a kernel, and the bias of its layer if that is trained too.
      sizes: sides of the Kronecker factors: inputs of the layer as a matrix (a bias is one more,
        which is always 1) and outputs; or the shape of the parameter of a diagonal block.
    """

    name: str
    parameters: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def is_diagonal(self) -> bool:
        """Whether it has a diagonal in place of Kronecker factors."""
        return self.parameters == (self.name,)

    def zeros(self) -> Factors:
        """Its factors, float32, before anything was measured."""
        shapes = [self.sizes] if self.is_diagonal else [(size, size) for size in self.sizes]
        return tuple(jnp.zeros(shape, jnp.float32) for shape in shapes)

    def matrix(self, values: Params) -> jax.Array:
        """Kernel and bias, one value per parameter, as the matrix [inputs, outputs], float32."""
        rows = [values[name].reshape(-1, self.sizes[1]) for name in self.parameters]
        return jnp.concatenate(rows).astype(jnp.float32)

    def parts(self, matrix: jax.Array, like: Params) -> Params:
        """The inverse of `matrix`, in the shapes of `like`."""
        kernel, *bias = self.parameters
        inputs = self.sizes[0] - len(bias)
        rows = {kernel: matrix[:inputs], **{name: matrix[inputs:] for name in bias}}
        return {name: value.reshape(like[name].shape) for name, value in rows.items()}


def fisher_blocks(params: Mapping[str, Any]) -> tuple[Block, ...]:
    """The blocks of trained parameters, by their names and shapes; each is in exactly one.

    A `LAYER.kernel` and its `LAYER.bias` are one Kronecker-factored block, everything else is
    diagonal.
    """
    blocks = []
    for name, value in params.items():
        layer, _, last = name.rpartition(".")
        if last == "kernel":
            names = tuple(n for n in (name, f"{layer}.bias") if n in params)
            *inputs, outputs = value.shape
            sizes = (functools.reduce(int.__mul__, inputs) + len(names) - 1, outputs)
            blocks.append(Block(layer, names, sizes))
        elif last != "bias" or layer + _KERNEL not in params:
            blocks.append(Block(name, (name,), value.shape))
    return tuple(blocks)


def check_layers(model: Network, params: Mapping[str, Any]) -> None:
    """Refuses a network that `fisher_blocks` does not describe.

    Args:
      model: abstract or concrete.
      params: those that are trained, by name.

    Raises:
      ConfigError: if examples depend on each other, or a layer is neither `Conv` nor `Dense`.
    """
    remedy = "take optimizer.name='sgd', 'adamw', 'lamb' or 'muon'"
    if measured := sorted(statistics_of(model)):
        raise ConfigError(
            "optimizer.name='kfac' needs examples that do not depend on each other, this network "
            f"normalises by the batch ({measured[0].rpartition('.')[0]}); {remedy}"
        )
    for block in fisher_blocks(params):
        layer = layer_at(model, block.name.rpartition(".")[0] if block.is_diagonal else block.name)
        if type(layer) not in (Conv, Dense) and (not block.is_diagonal or len(block.sizes) > 1):
            raise ConfigError(
                f"optimizer.name='kfac' knows layers of type Conv and Dense, {block.parameters[0]} "
                f"belongs to a {type(layer).__name__}; {remedy}"
            )


def describe_blocks(blocks: tuple[Block, ...]) -> str:
    """Which parameters are in which block; layers that differ by their last number on one line."""
    groups: dict[tuple[str, str, tuple[int, ...]], list[str]] = defaultdict(list)
    for block in blocks:
        numbered = _LAST_NUMBER.fullmatch(block.name)
        members = ", ".join(name.rpartition(".")[2] for name in block.parameters)
        kind = "diagonal" if block.is_diagonal else f"{members}: factors"
        pattern = f"{numbered[1]}*{numbered[3]}" if numbered else block.name
        groups[pattern, kind, block.sizes].append(numbered[2] if numbered else "")
    lines = [f"K-FAC: {len(blocks)} blocks of the Fisher matrix"]
    for (pattern, kind, sizes), numbers in groups.items():
        where = pattern.replace("*", numbers[0] if len(numbers) == 1 else _span(numbers))
        lines.append(f"  {where}: {kind} {' x '.join(map(str, sizes))}")
    return "\n".join(lines)


def fisher_statistics(
    logits_of: Callable[[Params, Curvature], jax.Array],
    params: Params,
    draw: Callable[[jax.Array], jax.Array],
) -> Curvature:
    """Factors of all blocks, estimated on one batch with labels drawn from the network itself.

      F = E_x E_{y ~ p(.|x)}[grad log p(y|x) grad log p(y|x)^T]   is approximated, per layer, by
      A (x) G,   A = mean over examples and locations of a a^T,
                 G = mean over examples of the sum over locations of g g^T,

    with a what one location reads (and a 1 if there is a bias) and g the gradient of log p with
    respect to its output; for other parameters by the diagonal of the square of the gradient summed
    over the examples, divided by their number: gradients of different examples are uncorrelated.

    Args:
      logits_of: network as a function of trained parameters and of the `moments` of `watch`.
      params: trained parameters, by name.
      draw: labels [batch] from logits [batch, classes].

    Source: arXiv 1503.05671 for dense layers; arXiv 1602.01407, section 3, for convolutions.
    """
    blocks = fisher_blocks(params)
    moments = {block.name: block.zeros() for block in blocks if not block.is_diagonal}
    logits, pull_back = jax.vjp(logits_of, params, moments)
    targets = jax.nn.one_hot(draw(logits), logits.shape[-1], dtype=logits.dtype)
    by_param, by_layer = pull_back(jax.nn.softmax(logits) - targets)
    squares = {
        block.name: (jnp.square(by_param[block.name].astype(jnp.float32)) / len(logits),)
        for block in blocks
        if block.is_diagonal
    }
    return {**by_layer, **squares}


def watch(model: nnx.Module, moments: Curvature) -> None:
    """Makes the factors of each layer in `moments` the gradient with respect to its entry there.

    The layers compute what they computed, and the values of `moments` are not used. Being a
    gradient, the factors come out of scanned and rematerialised blocks like any other.

    Args:
      model: whose layers are replaced.
      moments: of `Conv` and `Dense` layers by name, of the shapes of `Block.zeros`.
    """
    for name, factors in moments.items():
        replace_layer(model, name, _Watched(layer_at(model, name), factors))


class _Moment(nnx.Variable):
    """What stands for a factor, so that its gradient is the factor."""


class _Watched(nnx.Module):
    def __init__(self, layer: Conv | Dense, factors: Factors):
        size, stride = (layer.kernel.shape[0], layer.stride) if isinstance(layer, Conv) else (1, 1)
        fan_in = layer.kernel.size // layer.kernel.shape[-1]
        self.window: _Window = (size, stride, len(factors[0]) > fan_in)
        self.layer = layer
        self.inputs, self.outputs = map(_Moment, factors)

    def __call__(self, x: jax.Array) -> jax.Array:
        moments = (self.inputs[...], self.outputs[...])
        return _watched(self.window, jax.lax.stop_gradient(x), self.layer(x), moments)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _watched(window: _Window, x: jax.Array, out: jax.Array, moments: Factors) -> jax.Array:
    return out


def _forward(
    window: _Window, x: jax.Array, out: jax.Array, moments: Factors
) -> tuple[jax.Array, jax.Array]:
    return out, x


def _backward(
    window: _Window, x: jax.Array, gradient: jax.Array
) -> tuple[None, jax.Array, Factors]:
    size, stride, has_bias = window
    read = _patches(x, size, stride)
    if has_bias:
        read = jnp.concatenate([read, jnp.ones_like(read[..., :1])], axis=-1)
    examples, locations = len(x), read[..., 0].size
    factors = (_second_moment(read) / locations, _second_moment(gradient) / examples)
    return None, gradient, factors


_watched.defvjp(_forward, _backward)


def _second_moment(x: jax.Array) -> jax.Array:
    """Sum of x x^T over all axes but the last, float32."""
    rows = x.reshape(-1, x.shape[-1])
    return jnp.matmul(rows.T, rows, preferred_element_type=jnp.float32)


def _patches(x: jax.Array, size: int, stride: int) -> jax.Array:
    """What each output location of a convolution reads, in the order of its kernel."""
    if size == 1:
        return x if stride == 1 else x[:, ::stride, ::stride]
    margin = size // 2
    padded = jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    rows, columns = ((side + 2 * margin - size) // stride * stride + 1 for side in x.shape[1:3])
    taps = [
        padded[:, i : i + rows : stride, j : j + columns : stride]
        for i in range(size)
        for j in range(size)
    ]
    return jnp.concatenate(taps, axis=-1)


def _span(numbers: list[str]) -> str:
    return f"{{{numbers[0]}..{numbers[-1]}}}"
