"""Convolutions as values that are scaled, added, stacked and composed: the algebra of folding.

All of it is exact. Sides are odd and padding is side // 2, so that the centre tap of every kernel
reads the same pixel, whatever its side and stride: smaller kernels are padded with zeros.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Linear:
    """y = kernel * x + bias.

    Attributes:
      kernel: [side, side, inputs / groups, outputs].
      bias: [outputs]; None is zero.
      stride: of the convolution.
      groups: output o reads the inputs of group o // (outputs / groups).
    """

    kernel: jax.Array
    bias: jax.Array | None = None
    stride: int = 1
    groups: int = 1

    @property
    def side(self) -> int:
        """Taps along one axis."""
        return self.kernel.shape[0]

    @property
    def inputs(self) -> int:
        """Channels that it reads."""
        return self.kernel.shape[2] * self.groups

    @property
    def outputs(self) -> int:
        """Channels that it gives."""
        return self.kernel.shape[3]

    @property
    def is_pointwise(self) -> bool:
        """Whether each location is computed from itself alone."""
        return self.side == self.stride == 1

    @property
    def is_channelwise(self) -> bool:
        """Whether each channel is, too."""
        return self.is_pointwise and self.groups == self.inputs == self.outputs


def channelwise(factor: jax.Array, shift: jax.Array | None, channels: int) -> Linear:
    """Every channel times its factor, plus its shift; scalars hold for all channels."""
    kernel = jnp.broadcast_to(factor, (channels,)).reshape(1, 1, 1, channels)
    bias = None if shift is None else jnp.broadcast_to(shift, (channels,))
    return Linear(kernel, bias, groups=channels)


def identity(channels: int, dtype: jnp.dtype, *, stride: int = 1, factor: float = 1.0) -> Linear:
    """`factor` times x, at every `stride`-th pixel."""
    whole = channelwise(jnp.full(channels, factor, dtype), None, channels)
    return dataclasses.replace(whole, stride=stride)


def in_groups(linear: Linear, groups: int) -> Linear:
    """The same with fewer groups, a divisor of its own: zeros where a group read nothing."""
    merged = linear.groups // groups
    side, _, inputs, outputs = linear.kernel.shape
    parts = linear.kernel.reshape(side, side, inputs, groups, merged, outputs // linear.groups)
    spread = jnp.einsum("abigro,sr->absigro", parts, jnp.eye(merged, dtype=parts.dtype))
    kernel = spread.reshape(side, side, merged * inputs, outputs)
    return dataclasses.replace(linear, kernel=kernel, groups=groups)


def padded(linear: Linear, side: int) -> Linear:
    """The same with a kernel of `side`, zeros around its own."""
    margin = (side - linear.side) // 2
    rim = ((margin, margin), (margin, margin), (0, 0), (0, 0))
    return dataclasses.replace(linear, kernel=jnp.pad(linear.kernel, rim))


def added(linears: Sequence[Linear], weights: Iterable[float]) -> Linear:
    """sum_i weight_i linear_i as one.

    Raises:
      ValueError: if their channels or strides differ.
    """
    if len({(one.inputs, one.outputs, one.stride) for one in linears}) > 1:
        raise ValueError("paths of different channels or strides cannot be one convolution")
    groups = math.gcd(*(one.groups for one in linears))
    alike = [in_groups(one, groups) for one in _of_one_side(linears)]
    terms = [_times(one, weight) for one, weight in zip(alike, weights, strict=True)]
    kernel = functools.reduce(jnp.add, (one.kernel for one in terms))
    biases = [one.bias for one in terms if one.bias is not None]
    bias = functools.reduce(jnp.add, biases) if biases else None
    return Linear(kernel, bias, linears[0].stride, groups)


def stacked(linears: Sequence[Linear]) -> Linear:
    """All of them on the same input, of one stride, their outputs one after the other."""
    alike = [in_groups(one, 1) for one in _of_one_side(linears)]
    kernel = jnp.concatenate([one.kernel for one in alike], axis=3)
    return Linear(kernel, _bias_of(alike), linears[0].stride)


def side_by_side(linears: Sequence[Linear]) -> Linear:
    """Each on channels of its own, of one stride, inputs and outputs one after the other."""
    alike = [in_groups(one, 1) for one in _of_one_side(linears)]
    inputs = sum(one.inputs for one in alike)
    columns, before = [], 0
    for one in alike:
        after = inputs - before - one.inputs
        columns.append(jnp.pad(one.kernel, ((0, 0), (0, 0), (before, after), (0, 0))))
        before += one.inputs
    return Linear(jnp.concatenate(columns, axis=3), _bias_of(alike), linears[0].stride)


def summed(linears: Sequence[Linear], weights: Iterable[float]) -> Linear:
    """sum_i weight_i linear_i(x_i), each on channels of its own, of one stride."""
    alike = [in_groups(one, 1) for one in _of_one_side(linears)]
    terms = [_times(one, weight) for one, weight in zip(alike, weights, strict=True)]
    biases = [one.bias for one in terms if one.bias is not None]
    bias = functools.reduce(jnp.add, biases) if biases else None
    return Linear(jnp.concatenate([one.kernel for one in terms], axis=2), bias, linears[0].stride)


def composed(first: Linear, second: Linear) -> Linear:
    """`second` after `first` as one; exact where `second` is pointwise.

    Exact too where `first` is channelwise and adds nothing, or `second` has a single tap: what is
    padded stays zero.

    Raises:
      ValueError: for any other pair.
    """
    if second.is_channelwise:
        factor = second.kernel.reshape(-1)
        shifted = None if first.bias is None else first.bias * factor
        return dataclasses.replace(
            first, kernel=first.kernel * factor, bias=_plus(shifted, second.bias)
        )
    after = in_groups(second, 1)
    if second.is_pointwise:
        kernel = jnp.einsum("abio,op->abip", in_groups(first, 1).kernel, after.kernel[0, 0])
        stride = first.stride
    elif first.is_channelwise and (first.bias is None or second.side == 1):
        kernel, stride = after.kernel * first.kernel.reshape(-1, 1), second.stride
    else:
        raise ValueError("two convolutions that mix locations are not one")
    moved = None if first.bias is None else first.bias @ after.kernel[0, 0]
    return Linear(kernel, _plus(moved, second.bias), stride)


def _times(linear: Linear, weight: float) -> Linear:
    if weight == 1:
        return linear
    bias = None if linear.bias is None else weight * linear.bias
    return dataclasses.replace(linear, kernel=weight * linear.kernel, bias=bias)


def _of_one_side(linears: Sequence[Linear]) -> list[Linear]:
    side = max(one.side for one in linears)
    return [padded(one, side) for one in linears]


def _bias_of(linears: Sequence[Linear]) -> jax.Array | None:
    if all(one.bias is None for one in linears):
        return None
    zeros = (jnp.zeros(one.outputs, one.kernel.dtype) for one in linears)
    return jnp.concatenate(
        [zero if one.bias is None else one.bias for one, zero in zip(linears, zeros, strict=True)]
    )


def _plus(first: jax.Array | None, second: jax.Array | None) -> jax.Array | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second
