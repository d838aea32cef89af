"""Delta-orthogonal tanh networks: isometries at the edge of chaos, trained at 10,000 layers.

Each layer is a 3x3 convolution and tanh. Its kernel begins as sigma_w times an orthogonal matrix in
the centre tap, its bias at N(0, sigma_b^2), where for the variance q* = 1 / L of what tanh reads

  sigma_w^2 = 1 / E[tanh'(sqrt(q*) z)^2],   sigma_b^2 = q* - sigma_w^2 E[tanh(sqrt(q*) z)^2]

with z ~ N(0, 1): slopes are kept on average, and so is q*. The deeper the network, the more linear
it begins. Images are padded by their other side, so that every location is the same. A stem of
three convolutions makes channels and divides the resolution by 4.

Source: Xiao et al. 2018, arXiv 1806.05393, and the authors' demonstration of it.
"""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from zoo.models.family import Activations, Variant
from zoo.models.layers import Conv, Initializer, suo_delta
from zoo.models.layout import Layer, Part
from zoo.models.products import product
from zoo.models.registry import register_family
from zoo.models.trunk import Place, StagedConfig, Trunk
from zoo.shaping import ACTIVATIONS, ShapedActivation
from zoo.shaping.gaussian import normal_panels

_DEPTHS = (16, 50, 100, 200, 1000)
_CHANNELS = 32
_STEM_STRIDES = (1, 2, 2)


@dataclasses.dataclass(frozen=True)
class DeltaTanhConfig(StagedConfig):
    """Options of a delta-orthogonal tanh network.

    Attributes:
      depth: L, the number of layers behind the stem.
      width: multiplies its 32 channels.
    """

    depth: int
    width: float = 1.0

    def checks(self) -> Iterator[tuple[bool, str]]:
        """Those of all networks, and of depth and width."""
        yield from super().checks()
        yield self.depth >= 1, f"depth={self.depth}; give a whole number >= 1"
        yield self.width > 0, f"width={self.width}; give a positive factor"

    @property
    def blocks_per_stage(self) -> tuple[int, ...]:
        """All layers are one stage."""
        return (self.depth,)

    @property
    def stem_channels(self) -> int:
        """Channels of every layer."""
        return max(4, round(_CHANNELS * self.width))

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Channels of the one stage."""
        return (self.stem_channels,)

    @property
    def stem_size(self) -> tuple[int, int]:
        """Side of the stem's kernels, and the stride of the three together."""
        return 3, 4

    @property
    def image_size(self) -> int:
        """Side of the images that the network is meant for, in pixels."""
        return 32

    @property
    def begins_as_delta(self) -> bool:
        """False: the stem's kernels begin as normal numbers in every tap."""
        return False

    @property
    def variances(self) -> tuple[float, float]:
        """sigma_w^2 and sigma_b^2 for q* = 1 / L."""
        return edge_of_chaos("tanh", 1 / self.depth)


def edge_of_chaos(activation: str, q: float) -> tuple[float, float]:
    """Variances sigma_w^2 and sigma_b^2 that keep q values at `q` and mean squared slopes at 1.

      sigma_w^2 = 1 / E[phi'(sqrt(q) z)^2],   sigma_b^2 = q - sigma_w^2 E[phi(sqrt(q) z)^2]

    Args:
      activation: smooth name in `ACTIVATIONS`.
      q: variance of what the activation reads, > 0.
    """
    z, weights = normal_panels(np.empty(0))
    value, slope, _ = ACTIVATIONS[activation].jet(np.sqrt(q) * z)
    weight_variance = 1 / float(weights @ slope**2)
    return weight_variance, q - weight_variance * float(weights @ value**2)


class Layers(nnx.Module):
    """Convolutions, an activation after each; biases begin at N(0, sigma_b^2)."""

    def __init__(self, config: DeltaTanhConfig, activation: ShapedActivation, convs: list[Conv], *,
                 rngs: nnx.Rngs):  # fmt: skip
        deviation = config.variances[1] ** 0.5
        for conv in convs:
            assert conv.bias is not None
            drawn = deviation * jax.random.normal(rngs.params(), conv.bias.shape)
            conv.bias[...] = drawn.astype(conv.bias.dtype)
        self.convs = nnx.List(convs)
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, outputs]."""
        for conv in self.convs:
            x = self.activation(conv(x))
        return x


class CircularConv(Conv):
    """Convolution of stride 1 that continues an image beyond each side with its other side."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, height, width, inputs] -> [batch, height, width, outputs]."""
        kernel, bias = self.plain_weights()
        out = product(_convolve_circular, x.astype(self.dtype), kernel)
        return out if bias is None else (out + bias).astype(self.dtype)


def _convolve_circular(x: jax.Array, kernel: jax.Array) -> jax.Array:
    margin = (kernel.shape[0] // 2,) * 2
    wrapped = jnp.pad(x, ((0, 0), margin, margin, (0, 0)), mode="wrap")
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(wrapped, kernel, (1, 1), "VALID", dimension_numbers=numbers)


@register_family
class DeltaTanh(Trunk):
    """Stem of three layers, L layers, mean over locations, head."""

    Config = DeltaTanhConfig

    def __init__(self, config: DeltaTanhConfig, activations: Activations, *, rngs: nnx.Rngs):
        self.config = config
        self.activations = activations
        (tanh,) = activations
        conv = functools.partial(Conv, **config.dtypes, rngs=rngs)
        circular = functools.partial(CircularConv, **config.dtypes, rngs=rngs)
        channels, variance = config.stem_channels, config.variances[0]
        normal = _normal(variance)
        inputs = (self.input_channels, channels, channels)
        stem = [
            conv(one, channels, 3, stride=stride, initializer=normal)
            for one, stride in zip(inputs, _STEM_STRIDES, strict=True)
        ]
        self.stem = Layers(config, tanh, stem, rngs=rngs)

        def block(place: Place) -> Layers:
            one = circular(channels, channels, 3, initializer=_delta(variance))
            return Layers(config, tanh, [one], rngs=rngs)

        self.stages = self.new_stages(block)
        self.head = self.new_head(channels, _normal(1.0), rngs=rngs)

    @classmethod
    def variants(cls) -> dict[str, Variant]:
        """delta_tanh16 to delta_tanh1000."""
        tanh = (ShapedActivation("tanh"),)
        return {
            f"delta_tanh{depth}": Variant(
                DeltaTanhConfig(depth, input_norm="none"), activations=tanh
            )
            for depth in _DEPTHS
        }

    def last(self, x: jax.Array) -> jax.Array:
        """`x`: a layer ends with tanh."""
        return x

    @property
    def stem_layers(self) -> tuple[Layer, ...]:
        """Three convolutions, tanh after each."""
        convs = (Layer("conv", f"stem.convs.{i}", stride=s) for i, s in enumerate(_STEM_STRIDES))
        return tuple(layer for conv in convs for layer in (conv, Layer("activation")))

    @property
    def pool_part(self) -> Part:
        """The mean."""
        return Part("pool", "", (Layer("mean"),))

    def block_layers(self, place: Place) -> tuple[Layer, ...]:
        """Convolution and tanh."""
        return Layer("circular_conv", f"{place.name}.convs.0"), Layer("activation")


def _normal(variance: float) -> Initializer:
    return jax.nn.initializers.variance_scaling(variance, "fan_in", "normal")


def _delta(variance: float) -> Initializer:
    return lambda key, shape, dtype: variance**0.5 * suo_delta(key, shape, dtype)
