"""Which convolutions and matrix products oneDNN computes, and as what.

In a traced step, derivatives included, every convolution is a `conv_general_dilated`. Its memory
order says which one it is: images [batch, height, width, channel] against a kernel is a forward
convolution, or with a dilated left side the gradient by the images; images against images, with
batch and channel changed about, is the gradient by the kernel.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

FORWARD, BY_SOURCE, BY_KERNEL, MATRIX = range(4)
TARGET = "zoo_onednn_multiply"

_SMALLEST_PRODUCT = 1 << 20
"""Multiplications of a matrix product below which a call costs more than it gains."""

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Product:
    """A product as `products.cc` computes it.

    Attributes:
      role: which array of a convolution is computed, or `MATRIX`.
      numbers: sizes, strides and paddings, as `products.cc` reads them.
      splits: whether a part of the left operand gives that part of the result.
      reverses: axes of the right operand that are reversed before.
    """

    role: int
    numbers: tuple[int, ...]
    splits: bool
    reverses: tuple[int, ...] = ()

    def __call__(
        self,
        left: jax.Array,
        right: jax.Array,
        *third: jax.Array,
        results: Any,
        slope: float = 1.0,
        scale: float = 1.0,
    ) -> Any:
        """The product, of the shape and dtype that `results` says.

        A third operand is a bias, or with two results the output of the layer below, at which the
        derivative of a leaky ReLU is taken; the second result is the sum over all axes but the
        last.
        """
        if self.reverses:
            right = lax.rev(right, self.reverses)
        return jax.ffi.ffi_call(TARGET, results, vmap_method="sequential")(
            left,
            right,
            *third,
            role=np.int64(self.role),
            numbers=np.asarray(self.numbers, np.int64),
            slope=np.float32(slope),
            scale=np.float32(scale),
        )


def recognized(
    name: str, params: dict[str, Any], left: Any, right: Any, out: Any
) -> Product | None:
    """The product that an equation of two operands is, or None for one that XLA keeps.

    Args:
      name: of the primitive.
      params: of the equation.
      left: shape and dtype of the first operand.
      right: of the second.
      out: of the result.
    """
    allowed = (jnp.bfloat16, jnp.float32)
    if left.dtype != right.dtype or left.dtype not in allowed or out.dtype not in allowed:
        return None
    if left.dtype == jnp.float32 and out.dtype != jnp.float32:
        return None
    if 0 in (*left.shape, *right.shape, *out.shape):
        return None
    if name == "conv_general_dilated":
        return _convolution(params, left.shape, right.shape, out.shape)
    return _matrix_product(params, left.shape, right.shape, out.shape)


def _convolution(params: dict[str, Any], left: Shape, right: Shape, out: Shape) -> Product | None:
    numbers = params["dimension_numbers"]
    plain = params["feature_group_count"] == params["batch_group_count"] == 1
    if not plain or len(left) != 4:
        return None
    spaces = [spec[2:] for spec in (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec)]
    if numbers.lhs_spec == numbers.out_spec == (0, 3, 1, 2) and spaces[1] == (0, 1):
        return _images_by_kernel(params, left, right, out)
    if numbers.lhs_spec == numbers.rhs_spec == (3, 0, 1, 2) and spaces[2] == (0, 1):
        return _images_by_images(params, left, right, out)
    return None


def _images_by_kernel(
    params: dict[str, Any], left: Shape, right: Shape, out: Shape
) -> Product | None:
    steps = _steps(right, params["dimension_numbers"].rhs_spec)
    kernel, dilation = right[:2], params["rhs_dilation"]
    before = [pair[0] for pair in params["padding"]]
    if params["lhs_dilation"] == (1, 1):
        stride = params["window_strides"]
        return _product(FORWARD, left, out, kernel, stride, dilation, before, steps)
    if params["window_strides"] != (1, 1):
        return None
    # A dilated left side is a result scattered back: the forward convolution, whose source is
    # `out`, reads its kernel the other way round and is padded by what this one leaves.
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    before = [r - b for r, b in zip(reach, before, strict=True)]
    swapped = (*steps[:2], steps[3], steps[2])
    stride = params["lhs_dilation"]
    product = _product(BY_SOURCE, out, left, kernel, stride, dilation, before, swapped)
    return product and dataclasses.replace(product, reverses=(0, 1))


def _images_by_images(
    params: dict[str, Any], left: Shape, right: Shape, out: Shape
) -> Product | None:
    if params["lhs_dilation"] != (1, 1):
        return None
    # The channels of the source are the batch of the left side, hence of `out`; those of the
    # result are the other one. What moves the window here dilates the kernel there.
    inputs, outputs, *space = params["dimension_numbers"].out_spec
    steps = _steps(out, (outputs, inputs, *space))
    before = [pair[0] for pair in params["padding"]]
    stride, dilation = params["rhs_dilation"], params["window_strides"]
    return _product(BY_KERNEL, left, right, out[:2], stride, dilation, before, steps)


def _product(
    role: int,
    source: Shape,
    result: Shape,
    kernel: Shape,
    stride: Shape,
    dilation: Shape,
    before: list[int],
    steps: Shape,
) -> Product | None:
    """One of the three arrays of the convolution of `source` to `result` from the others."""
    # What the last window reads behind the source; negative if it leaves some of it out.
    after = [
        (r - 1) * s + d * (k - 1) + 1 - n - b
        for r, s, d, k, n, b in zip(
            result[1:3], stride, dilation, kernel, source[1:3], before, strict=True
        )
    ]
    if min(before) < 0 or any(a <= -s for a, s in zip(after, stride, strict=True)):
        return None
    numbers = (*source, *result[1:], *kernel, *stride, *before, *after, *dilation, *steps)
    return Product(role, tuple(int(number) for number in numbers), role != BY_KERNEL)


def _steps(shape: Shape, spec: Shape) -> Shape:
    """Elements between neighbours along height, width, inputs and outputs of a kernel."""
    strides = [math.prod(shape[axis + 1 :]) for axis in range(4)]
    outputs, inputs, *space = spec
    return (*(strides[axis] for axis in space), strides[inputs], strides[outputs])


def _matrix_product(
    params: dict[str, Any], left: Shape, right: Shape, out: Shape
) -> Product | None:
    (left_axes, right_axes), batch = params["dimension_numbers"]
    if any(batch) or not out:
        return None
    inner = math.prod(left[axis] for axis in left_axes)
    rows, columns = math.prod(left) // inner, math.prod(right) // inner
    ways = _layout(left, left_axes), _layout(right, right_axes)
    if None in ways or rows * columns * inner < _SMALLEST_PRODUCT or min(rows, columns) == 1:
        return None
    if tuple(left_axes) == tuple(right_axes) == (0, 1, 2) and len(left) == len(right) == 4:
        # The gradient by a 1x1 kernel takes two thirds of the time as that of a convolution.
        steps = (rows * columns, rows * columns, columns, 1)
        return _product(BY_KERNEL, left, right, (1, 1), (1, 1), (1, 1), [0, 0], steps)
    # Contracted axes come last or first, all together and in order: each operand is a matrix.
    left_steps = (inner, 1) if ways[0] == "last" else (1, rows)
    right_steps = (1, inner) if ways[1] == "last" else (columns, 1)
    numbers = (rows, inner, columns, *left_steps, *right_steps)
    return Product(MATRIX, numbers, splits=ways[0] == "last")


def _layout(shape: Shape, axes: Any) -> str | None:
    axes, rank = tuple(axes), len(shape)
    if axes == tuple(range(rank - len(axes), rank)):
        return "last"
    return "first" if axes == tuple(range(len(axes))) else None
