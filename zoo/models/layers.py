"""Affine layers, their initial weights, and normalisation.

Owns how a weight begins and how it is applied; knows nothing of blocks or networks.
"""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from zoo.models.products import convolve, product

Initializer = Callable[[jax.Array, tuple[int, ...], jnp.dtype], jax.Array]
PlainWeights = tuple[jax.Array, jax.Array | None]
"""What a layer computes with: y = kernel * x + bias. Kernels of rank 4 convolve, those of rank 2
are matrices, and those of rank 1 multiply the channels."""


def at_least_float32(dtype: jnp.dtype) -> jnp.dtype:
    """`dtype`, or float32 if that is wider: what sums, statistics and logits are kept in."""
    return jnp.promote_types(dtype, jnp.float32)


STATISTICS_MOMENTUM = 0.9
"""Share of a running average that one batch leaves as it was."""

# One compilation a shape, instead of one for each operation of each shape.
_compiled_by_shape = functools.partial(jax.jit, static_argnums=(1, 2))


@_compiled_by_shape
def scaled_uniform_orthogonal(
    key: jax.Array, shape: tuple[int, int], dtype: jnp.dtype
) -> jax.Array:
    """A Haar-uniform matrix with orthonormal rows or columns, scaled to keep q values.

      W = max(1, sqrt(n / m)) U,  so that |x W|^2 / n = |x|^2 / m,

    exactly if m <= n, else on average.

    Args:
      key: random key.
      shape: (m, n), inputs and outputs.
      dtype: of the result.

    Source: arXiv 2110.01765, "scaled uniform orthogonal"; arXiv 1312.6120 for the QR sampling.
    """
    inputs, outputs = shape
    q = _orthonormal_columns(key, max(shape), min(shape))
    q = q if inputs >= outputs else q.T
    return (q * max(1.0, (outputs / inputs) ** 0.5)).astype(dtype)


@_compiled_by_shape
def suo_delta(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """Delta initialisation: a scaled uniform orthogonal matrix in the centre tap, zeros elsewhere.

    Only the centre tap is non-zero, so each location sees one location and q is kept at borders.

    Args:
      key: random key.
      shape: kernel shape, spatial sizes (odd) then inputs and outputs.
      dtype: of the result.

    Raises:
      ValueError: if a spatial size is even and so has no centre.

    Source: arXiv 1806.05393; arXiv 2110.01765.
    """
    *spatial, inputs, outputs = shape
    if any(size % 2 == 0 for size in spatial):
        raise ValueError(f"kernel {tuple(spatial)} has no centre tap; use odd sizes")
    centre = tuple((size - 1) // 2 for size in spatial)
    matrix = scaled_uniform_orthogonal(key, (inputs, outputs), dtype)
    return jnp.zeros(shape, dtype).at[centre].set(matrix)


@_compiled_by_shape
def he_normal(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """Independent normal weights of variance 2 / fan-in (arXiv 1502.01852)."""
    return jax.nn.initializers.he_normal()(key, shape, dtype)


INITIALIZERS: dict[str, Initializer] = {"suo_delta": suo_delta, "he_normal": he_normal}


class Conv(nnx.Module):
    """Convolution with symmetric padding (k - 1) / 2, whatever the image size; bias optional.

    "SAME" padding would pad (0, 1) at stride 2 on even sizes and shift the centre tap by a pixel.
    A subclass whose kernel is made from other numbers overrides `plain_weights` alone.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        use_bias: bool = True,
        initializer: Initializer,
        dtype: str,
        param_dtype: str,
        rngs: nnx.Rngs,
    ):
        shape = (kernel_size, kernel_size, inputs // groups, outputs)
        self.kernel = nnx.Param(initializer(rngs.params(), shape, jnp.dtype(param_dtype)))
        self.bias = nnx.data(nnx.Param(jnp.zeros((outputs,), param_dtype)) if use_bias else None)
        self.stride = stride
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, height, width, inputs] -> [batch, height / stride, width / stride, outputs]."""
        kernel, bias = self.plain_weights()
        convolved = functools.partial(convolve, stride=self.stride)
        out = product(convolved, x.astype(self.dtype), kernel)
        return out if bias is None else (out + bias).astype(self.dtype)

    def plain_weights(self) -> PlainWeights:
        """The kernel [side, side, inputs / groups, outputs] and bias that it computes with."""
        return self.kernel[...], None if self.bias is None else self.bias[...]


class BatchNorm(nnx.BatchNorm):
    """Normalises every channel, by its batch in training and by running averages otherwise.

      y = scale (x - mean) / sqrt(var + 1e-5) + bias;  averages: m <- 0.9 m + 0.1 m(batch)

    It starts in evaluation mode; `train()` and `eval()` of the network switch it. Statistics are
    float32 whatever the computation is. Source: arXiv 1502.03167.
    """

    def __init__(
        self,
        channels: int,
        *,
        scale_initializer: Initializer = jax.nn.initializers.ones,
        dtype: str,
        param_dtype: str,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            channels,
            use_running_average=True,
            momentum=STATISTICS_MOMENTUM,
            dtype=at_least_float32(jnp.dtype(dtype)),
            param_dtype=jnp.dtype(param_dtype),
            scale_init=scale_initializer,
            rngs=rngs,
        )
        self.output_dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, height, width, channels], normalised."""
        return super().__call__(x).astype(self.output_dtype)

    def plain_weights(self) -> PlainWeights:
        """Factor and shift of every channel, by the running averages."""
        assert self.scale is not None and self.bias is not None
        factor = self.scale[...] / jnp.sqrt(self.var[...] + self.epsilon)
        return factor, self.bias[...] - factor * self.mean[...]


def normalization(
    kind: Literal["none", "batch"], channels: int, *, dtype: str, param_dtype: str, rngs: nnx.Rngs
) -> Callable[[jax.Array], jax.Array]:
    """A `BatchNorm` layer, or for "none" the identity."""
    if kind == "none":
        return _identity
    return BatchNorm(channels, dtype=dtype, param_dtype=param_dtype, rngs=rngs)


def _identity(x: jax.Array) -> jax.Array:
    return x


def pooled_statistics(parts: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Running averages after a batch, from those after each of its equal parts alone.

      mean = E mean_a;  var = E var_a + Var mean_a / 0.1

    by the law of total variance: the averages move by 0.1 of what each part measured.

    Args:
      parts: `mean` and `var` of every `BatchNorm` by name, [part, channel].
    """
    pooled = {name: jnp.mean(values, axis=0) for name, values in parts.items()}
    for name in pooled:
        if name.endswith(".var"):
            means = parts[name.removesuffix("var") + "mean"]
            pooled[name] += jnp.var(means, axis=0) / (1 - STATISTICS_MOMENTUM)
    return pooled


class Dense(nnx.Module):
    """Affine map of the last axis."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        initializer: Initializer,
        dtype: str,
        param_dtype: str,
        rngs: nnx.Rngs,
    ):
        self.kernel = nnx.Param(
            initializer(rngs.params(), (inputs, outputs), jnp.dtype(param_dtype))
        )
        self.bias = nnx.Param(jnp.zeros((outputs,), param_dtype))
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., inputs] -> [..., outputs]."""
        kernel, bias = self.plain_weights()
        out = product(jnp.matmul, x.astype(self.dtype), kernel)
        return out if bias is None else (out + bias).astype(self.dtype)

    def plain_weights(self) -> PlainWeights:
        """The matrix [inputs, outputs] and the bias."""
        return self.kernel[...], self.bias[...]


def max_pool(x: jax.Array, kernel_size: int = 3, stride: int = 2) -> jax.Array:
    """Maximum over windows, padding (k - 1) // 2: [b, h, w, c] -> [b, h / stride, w / stride, c].

    A window of 2 has no padding: an odd last row and column are left out.
    """
    margin = (kernel_size - 1) // 2
    window, strides = (1, kernel_size, kernel_size, 1), (1, stride, stride, 1)
    padding = ((0, 0), (margin, margin), (margin, margin), (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, padding)


def concatenated_relu(x: jax.Array, *, negated: bool = False) -> jax.Array:
    """CReLU(x) = [max(x, 0), max(-x, 0)], or NCReLU(x) = [max(x, 0), min(x, 0)] if `negated`.

    Args:
      x: [..., channel]; the result has twice the channels.
      negated: whether the second half keeps its sign, so that both halves add to x.

    Source: arXiv 1603.05201 (CReLU); arXiv 1706.00388 (NCReLU).
    """
    second = jnp.minimum(x, 0) if negated else jnp.maximum(-x, 0)
    return jnp.concatenate([jnp.maximum(x, 0), second], axis=-1)


def per_location_normalization(images: jax.Array) -> jax.Array:
    """Gives every pixel q value 1: appends a channel of ones, divides by the root mean square.

    Args:
      images: [..., channel], normalised by mean and standard deviation.

    Returns:
      [..., channel + 1] with mean square 1 over the last axis, also where a pixel is all zero.

    Source: arXiv 2110.01765, "per-location normalisation"; mode "one" of its implementation.
    """
    images = images.astype(
        at_least_float32(images.dtype)
    )  # the mean square of a pixel does not fit bfloat16
    extended = jnp.concatenate([images, jnp.ones_like(images[..., :1])], axis=-1)
    return extended * lax.rsqrt(jnp.mean(extended**2, axis=-1, keepdims=True))


def _orthonormal_columns(key: jax.Array, rows: int, columns: int) -> jax.Array:
    """Haar-uniform: the Q of a Gaussian matrix G = Q R whose R has a positive diagonal."""
    gaussian = jax.random.normal(key, (rows, columns), jnp.float32)
    with jax.default_matmul_precision("highest"):
        if rows >= 2 * columns:
            # R is the Cholesky factor of G^T G. A large G this tall has a condition below 6,
            # so float32 keeps its digits; a QR took 2.4 to 4.0 times as long on two CPU cores
            # (2048 x 512 and 1024 x 256, median of 9, jax 0.10.2).
            lower = jnp.linalg.cholesky(gaussian.T @ gaussian)
            return jax.scipy.linalg.solve_triangular(lower, gaussian.T, lower=True).T
        q, r = jnp.linalg.qr(gaussian)
        return q * jnp.sign(jnp.diagonal(r))
