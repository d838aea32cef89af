"""Restricted updates: layers that begin as they are and learn a small multiple of a difference."""

from typing import Any

import jax.numpy as jnp
from flax import nnx

from zoo.models.layers import Conv, Dense, PlainWeights
from zoo.models.parameters import Fixed, replace_layer


class _Restricted:
    """A layer whose kernel is W = W_0 + beta dW.

    Attributes:
      initial: W_0, never trained.
      kernel: dW, zero at the start; gradients and decay act on it.
      update_scale: beta.
    """

    initial: Fixed
    kernel: nnx.Param
    update_scale: float

    def __init__(self, layer: Any, update_scale: float):
        for name, value in vars(layer).items():
            if not name.startswith("_"):
                setattr(self, name, nnx.data(value) if name == "bias" else value)
        kernel = layer.kernel[...]
        self.initial, self.kernel = Fixed(kernel), nnx.Param(jnp.zeros_like(kernel))
        self.update_scale = update_scale

    def plain_weights(self) -> PlainWeights:
        """W, and the bias."""
        update, bias = super().plain_weights()  # pyrefly: ignore[missing-attribute] of the layer
        return self.initial[...] + self.update_scale * update, bias


class RestrictedConv(_Restricted, Conv):
    """A convolution by W = W_0 + beta dW."""


class RestrictedDense(_Restricted, Dense):
    """An affine map by W = W_0 + beta dW."""


_RESTRICTED: dict[type[nnx.Module], Any] = {Conv: RestrictedConv, Dense: RestrictedDense}


def restrict_updates(network: nnx.Module, update_scale: float) -> None:
    """Puts restricted layers in the place of all convolutions and dense layers of `network`.

    The function that it computes stays the same. Layers with a parametrisation of their own, such
    as those of DiracNets, are left as they are.

    Args:
      network: with fresh weights.
      update_scale: beta; of order 1 / sqrt(depth), the smaller, the slower the kernels move.

    Source: He & Hofmann 2024, arXiv 2311.01906, section 4, with alpha = 1: another factor of W_0
    would change the q values that shaping keeps.
    """
    found = [(path, layer) for path, layer in nnx.iter_modules(network)]
    for path, layer in found:
        if type(layer) in _RESTRICTED:
            made = _RESTRICTED[type(layer)](layer, update_scale)
            replace_layer(network, ".".join(map(str, path)), made)
